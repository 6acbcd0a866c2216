"""The terminal a program writes to: two streams, a clock, a time zone, a width. All of them come in by constructor.

Invariants: colours only where a terminal shows them; what goes into a pipe is neither coloured nor cut. Data goes to
``out``, everything said about it (progress, notes, errors) to ``err``. rich is loaded by the first table, not before:
it would double the start of ``-o json``.
"""

import os
from collections.abc import Callable
from datetime import UTC, datetime, tzinfo
from functools import cached_property
from typing import TYPE_CHECKING, Final, TextIO

if TYPE_CHECKING:
    from rich.console import Console, RenderableType
    from rich.text import Text

UNBOUNDED: Final = 100_000  # columns of a pipe
NOTE_COLUMNS: Final = 120
NARROW: Final = 80


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
    def symbols(self) -> bool:
        """Whether ``out`` can show more than ASCII."""
        return (getattr(self.out, "encoding", None) or "ascii").lower().replace("-", "").startswith("utf")

    @cached_property
    def console(self) -> "Console":
        return self._console(self.out)

    @cached_property
    def notes(self) -> "Console":
        return self._console(self.err)

    def _console(self, stream: TextIO, width: int = 0) -> "Console":
        from rich.console import Console

        usual = min(self.width, NOTE_COLUMNS) if stream is self.err else self.width
        return Console(file=stream, width=width or usual, highlight=False, markup=False, emoji=False)

    def write(self, text: str) -> None:
        """Data, as it is, with a newline."""
        self.out.write(text + "\n")

    def show(self, renderable: "RenderableType", width: int | None = None) -> None:
        """Data for people; ``width`` = columns it must get even if the terminal has fewer. Lines end where their text
        ends, so that files and golden copies stay clean."""
        console = self.console if width is None or width <= self.width else self._console(self.out, width)
        with console.capture() as capture:
            console.print(renderable)
        if console.is_terminal:
            self.out.write(capture.get())
            return
        self.out.write("".join(line.rstrip() + "\n" for line in capture.get().splitlines()))

    def note(self, text: str, style: str = "dim") -> None:
        """Something said about the data; goes to stderr."""
        if self.err.isatty():
            self.notes.print(text, style=style)
        else:
            self.err.write(text + "\n")

    def state(self, word: str, shown: str = "") -> "Text":
        """Symbol and word in the state's colour."""
        from rich.text import Text

        from nano.tools.display.states import look

        found = look(word)
        return Text(f"{found.symbol if self.symbols else found.plain} {shown or word}", style=found.style)
