"""A bar for long work, on a terminal only and on stderr, so that what goes into a pipe is the result and nothing else."""

import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Final

from nano.tools.display.terminal import Terminal

Moved = Callable[[str, int, int], None]
"""(what is done, how much of it was, how much there is); cheap enough to be called thousands of times."""

REDRAWN_S: Final = 0.1


@contextmanager
def bar(terminal: Terminal) -> Iterator[Moved]:
    """Something to tell progress to; the bar is gone afterwards."""
    if not terminal.err.isatty():
        yield lambda *_: None
        return
    from rich.progress import BarColumn, Progress, TaskProgressColumn, TextColumn, TimeElapsedColumn

    columns = (TextColumn("{task.description}"), BarColumn(), TaskProgressColumn(), TimeElapsedColumn())
    with Progress(*columns, console=terminal.console(terminal.err), transient=True) as progress:
        shown = progress.add_task("", total=None)
        last = ("", 0.0)

        def moved(part: str, done: int, total: int) -> None:
            nonlocal last
            now = time.monotonic()
            if part == last[0] and now - last[1] < REDRAWN_S:
                return
            last = (part, now)
            progress.update(shown, description=part, completed=done, total=max(1, total))

        yield moved
