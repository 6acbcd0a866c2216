"""A timeline: the life of a zone as a scale that fits any width. Ticks at round hours or days, marks where things happened.

Pure. Places are percent of the way from beginning to end; times are UTC, as everywhere in the portal.
"""

from collections.abc import Iterable
from datetime import UTC, datetime, timedelta
from typing import Final, NamedTuple

TICKS_MAX: Final = 7
MARKS_MAX: Final = 400  # places that can be told apart; more marks than that fall together
STEPS_S: Final = (
    60, 300, 900, 3600, 3 * 3600, 6 * 3600, 12 * 3600, 86400, 2 * 86400, 7 * 86400, 14 * 86400, 30 * 86400,
    90 * 86400, 365 * 86400,
)  # fmt: skip
HEIGHT: Final = 10  # of the drawing of marks, in its own units
_DAY_S: Final = 86400


class Tick(NamedTuple):
    place: float
    at: datetime
    is_day: bool


class Timeline:
    """From ``begin`` to ``end``; an empty life is one second long."""

    def __init__(self, begin: datetime, end: datetime) -> None:
        self.begin = begin.astimezone(UTC).replace(microsecond=0)
        self.end = max(end.astimezone(UTC).replace(microsecond=0), self.begin) + timedelta(seconds=1)
        self.span_s = (self.end - self.begin).total_seconds()

    def place(self, at: datetime) -> float:
        """Percent of the way, 0 to 100."""
        passed = (at - self.begin).total_seconds()
        return max(0.0, min(100.0, 100 * passed / self.span_s))

    def ticks(self) -> list[Tick]:
        """At most TICKS_MAX, at multiples of a round step counted from midnight of 1970."""
        step = next((step for step in STEPS_S if self.span_s / step <= TICKS_MAX), None)
        if step is None:
            step = STEPS_S[-1] * -(-int(self.span_s) // (STEPS_S[-1] * TICKS_MAX))
        first = -(-int(self.begin.timestamp()) // step) * step
        times = range(first, int(self.end.timestamp()) + 1, step)
        found = [datetime.fromtimestamp(second, UTC) for second in times]
        return [Tick(self.place(at), at, int(at.timestamp()) % _DAY_S == 0) for at in found[:TICKS_MAX]]

    def marks(self, times: Iterable[datetime]) -> str:
        """The drawing (path data) of one line for each place where something happened, in a field of MARKS_MAX × HEIGHT."""
        places = sorted({round(self.place(at) * MARKS_MAX / 100) for at in times})
        return "".join(f"M{place} 0v{HEIGHT}" for place in places)
