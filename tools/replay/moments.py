"""Points in a journal as people write them: a position, a time, or how long ago.

1200                        position
2026-11-21T03:10:53Z        time, with its zone; without one it is local
"2026-11-21 03:10"          the same
10m, 2h, 3d, 45s            that long before now
"""

import re
from collections.abc import Sequence
from datetime import UTC, datetime, timedelta, tzinfo
from typing import Any, Final, NamedTuple

from nano.domain.errors import Invalid
from nano.journal.line import Line
from nano.tools.display.terminal import Terminal

_AGO: Final = re.compile(r"(\d+)\s*(s|m|min|h|d)")
SHOWN: Final = 80  # letters of what was given, in a refusal
_UNITS: Final = {"s": 1, "m": 60, "min": 60, "h": 3600, "d": 86_400}


class Moment(NamedTuple):
    """One of the two is set."""

    position: int | None = None
    time: datetime | None = None

    def is_before(self, position: int, time: datetime) -> bool:
        """Whether this moment is earlier than a line that ends with the position."""
        if self.position is not None:
            return self.position < position
        assert self.time is not None
        return self.time < time

    def covers(self, line: "Line[Any]", number: int = 0) -> bool:
        """Whether the event of this number in the line is at or before this moment."""
        if self.position is not None:
            return line.position + number <= self.position
        assert self.time is not None
        return line.time <= self.time


def parse_moment(text: str, now: datetime, zone: tzinfo | None) -> Moment:
    """Raises Invalid(invalid_moment)."""
    try:
        return _parsed(text.strip(), now, zone)
    except (ValueError, OverflowError) as error:
        raise Invalid(
            f"{text[:SHOWN]!r} is no moment.",
            code="invalid_moment",
            hint="Write a position (1200), a time (2026-11-21T03:10:53Z) or how long ago (10m, 2h, 3d).",
        ) from error


def _parsed(text: str, now: datetime, zone: tzinfo | None) -> Moment:
    """Raises ValueError, OverflowError."""
    if text.isdigit():
        return Moment(position=int(text))
    if match := _AGO.fullmatch(text):
        return Moment(time=now - timedelta(seconds=int(match[1]) * _UNITS[match[2]]))
    at = datetime.fromisoformat(text)
    if at.tzinfo is None:
        at = at.replace(tzinfo=zone) if zone is not None else at.astimezone()
    return Moment(time=at.astimezone(UTC))


def tell_end(terminal: Terminal, moments: Sequence[Moment | None], position: int) -> None:
    """Say so where a journal ends before what was asked for."""
    if any(moment is not None and moment.position is not None and moment.position > position for moment in moments):
        terminal.note(f"The journal ends at position {position}.")
