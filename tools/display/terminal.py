"""The terminal a program writes to: two streams, a clock, a time zone, a width. All of them come in by constructor.

Invariants: colours only where a terminal shows them and $NO_COLOR does not forbid them; what goes into a pipe is neither
coloured nor cut. Data goes to ``out``, everything said about it (progress, notes, errors) to ``err``.
"""

import io
import os
import sys
from collections.abc import Callable
from datetime import UTC, datetime, tzinfo
from functools import cached_property
from typing import TYPE_CHECKING, Final, TextIO

from nano.tools.display.states import look
from nano.tools.display.text import Text

if TYPE_CHECKING:
    from rich.console import Console

UNBOUNDED: Final = 100_000  # columns of a pipe
NARROW: Final = 80


def streams() -> "Terminal":
    """The process's own. A letter that stdout can't encode is written as JSON would: \\u2026."""
    if isinstance(sys.stdout, io.TextIOWrapper):
        sys.stdout.reconfigure(errors="backslashreplace")
    return Terminal(sys.stdout, sys.stderr)


def utc_now() -> datetime:
    return datetime.now(UTC)


class Terminal:
    """``zone`` None = local time. ``width`` None = the terminal's own ($COLUMNS first)."""

    def __init__(
        self,
        out: TextIO,
        err: TextIO,
        *,
        now: Callable[[], datetime] = utc_now,
        zone: tzinfo | None = None,
        width: int | None = None,
    ) -> None:
        self.out = out
        self.err = err
        self.now = now
        self.zone = zone
        self._width = width

    @cached_property
    def width(self) -> int:
        """Columns that a table may take."""
        if self._width is not None:
            return self._width
        columns = os.environ.get("COLUMNS", "")
        if columns.isdigit() and int(columns) > 0:
            return int(columns)
        return os.get_terminal_size(self.out.fileno()).columns or 80 if self.out.isatty() else UNBOUNDED

    @property
    def narrow(self) -> bool:
        """Whether words should be spared."""
        return self.width < NARROW

    @cached_property
    def colours(self) -> bool:
        return _shows_colours(self.out)

    @cached_property
    def symbols(self) -> bool:
        """Whether ``out`` can show more than ASCII."""
        return (getattr(self.out, "encoding", None) or "ascii").lower().replace("-", "").startswith("utf")

    def console(self, stream: TextIO) -> "Console":
        """rich's, for what moves: progress bars and live boards."""
        from rich.console import Console

        return Console(file=stream, width=min(self.width, 200), highlight=False, markup=False, emoji=False)

    def data(self, text: str) -> None:
        """Text for programs, as it is, with a newline."""
        self.out.write(text + "\n")

    def write(self, line: str | Text) -> None:
        """A line for people."""
        text = line if isinstance(line, str) else line.ansi(self.colours)
        self.out.write((text if self.symbols else text.encode("ascii", "replace").decode()) + "\n")

    def note(self, line: str | Text, style: str = "dim") -> None:
        """A line about the data; goes to stderr."""
        text = Text(line, style) if isinstance(line, str) else line
        self.err.write(text.ansi(_shows_colours(self.err)) + "\n")

    def state(self, word: str, shown: str = "") -> Text:
        """Symbol and word in the state's colour."""
        found = look(word)
        return Text(f"{found.symbol if self.symbols else found.plain} {shown or word}", found.style)


def _shows_colours(stream: TextIO) -> bool:
    return stream.isatty() and not os.environ.get("NO_COLOR") and os.environ.get("TERM") != "dumb"
