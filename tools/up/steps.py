"""The steps of ``up`` as people see them: a spinner or a bar while one runs, a line with its time when it ended.

Several may run at once. Without a terminal only the ended ones are printed. It measures wall time in seconds.
"""

import time
from collections.abc import Iterator
from contextlib import contextmanager

from rich.console import Console
from rich.progress import BarColumn, Progress, ProgressColumn, SpinnerColumn, Task, TextColumn, TimeElapsedColumn
from rich.text import Text


class Step:
    """One running step; ``advance`` tells how far it is."""

    def __init__(self, progress: Progress, title: str) -> None:
        self._progress = progress
        self._task = progress.add_task(title, total=None)
        self.note = ""  # what the line says after the title once it ended

    def advance(self, done: int, of: int = 100, text: str = "") -> None:
        self._progress.update(self._task, completed=done, total=of, text=text)

    def percent(self, done: int) -> None:
        self.advance(done)

    def remove(self) -> None:
        self._progress.remove_task(self._task)


class Steps:
    """Use it as a context manager around all steps."""

    def __init__(self, console: Console) -> None:
        self.console = console
        self.seconds: dict[str, float] = {}
        columns = (SpinnerColumn(), TextColumn("{task.description}"), _Bar(), _Detail(), TimeElapsedColumn())
        self._progress = Progress(*columns, console=console, transient=True)

    def __enter__(self) -> "Steps":
        self._progress.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._progress.stop()

    @contextmanager
    def step(self, title: str) -> Iterator[Step]:
        started = time.monotonic()
        step = Step(self._progress, title)
        mark = "[red]✗[/]"
        try:
            yield step
            mark = "[green]✓[/]"
        finally:
            step.remove()
            self.seconds[title] = time.monotonic() - started
            note = f" [dim]{step.note}[/]" if step.note else ""
            self.console.print(
                f"{mark} {title}{note} [cyan]{self.seconds[title]:.1f} s[/]", highlight=False, soft_wrap=True
            )


class _Bar(ProgressColumn):
    """A bar only for a step that knows how far it is."""

    def __init__(self) -> None:
        super().__init__()
        self._bar = BarColumn(bar_width=24)

    def render(self, task: Task) -> object:  # type: ignore[override]  # a bar or nothing
        return self._bar.render(task) if task.total else Text("")


class _Detail(ProgressColumn):
    def render(self, task: Task) -> Text:
        return Text(str(task.fields.get("text", "")), style="dim")
