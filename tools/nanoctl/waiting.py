"""Waiting for tasks: their events are followed, and each is asked for again whenever the stream ends or falls silent.

So a lost connection, a restarted Core or a missed event only make it slower. It ends when every task has ended, when
the time is up (DeadlineExceeded: the tasks go on), or at Ctrl-C. The progress bar goes to stderr and only to a terminal.
"""

import time
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING, Final, Protocol

from nano.domain.errors import DeadlineExceeded, Unreachable
from nano.domain.task import ENDED
from nano.tools.display import words
from nano.tools.display.columns import task_subject, task_took
from nano.tools.nanoctl.exits import SILENT_RETRIES, ApiProblem
from nano.tools.nanoctl.session import BASE, Row, Session

if TYPE_CHECKING:
    from rich.progress import Progress, TaskID

QUIET_S: Final = 3.0
RETRY_S: Final = 0.5


class Watcher(Protocol):
    def __call__(self, row: Row) -> None:
        """A task has changed."""


def wait_for(
    session: Session, tasks: Iterable[Row], position: int | None, timeout_s: float | None, changed: Watcher
) -> dict[str, Row]:
    """The last rows by id. ``position`` is one at which these rows were true; events after it are read."""
    rows = {row["id"]: row for row in tasks}
    clock = time.monotonic
    end = clock() + timeout_s if timeout_s is not None else None
    lost = 0
    while any(row["state"] not in ENDED for row in rows.values()):
        try:
            for row in _news(session, rows, position, end, clock):
                rows[row["id"]] = row
                changed(row)
            for key in [key for key, row in rows.items() if row["state"] not in ENDED]:
                rows[key] = session.get(f"/tasks/{key}")
                changed(rows[key])
            lost = 0
        except Unreachable:
            lost += 1
            if lost > SILENT_RETRIES:
                raise
            time.sleep(RETRY_S)
        if end is not None and clock() >= end and any(row["state"] not in ENDED for row in rows.values()):
            open_task = next(row for row in rows.values() if row["state"] not in ENDED)
            raise DeadlineExceeded(
                f"{open_task['kind']} of {task_subject(open_task)} is still {open_task['state']} after {timeout_s:.0f} s.",
                hint=f"It goes on. Follow it: nanoctl task watch {words.short(open_task['id'])}",
                task=open_task["id"],
            )
    return rows


def _news(
    session: Session, rows: dict[str, Row], position: int | None, end: float | None, clock: Callable[[], float]
) -> Iterator[Row]:
    """Rows of these tasks as the stream tells them; ends when all have ended, at silence, or when the time is up."""
    waiting = {key for key, row in rows.items() if row["state"] not in ENDED}
    quiet_s = QUIET_S if end is None else max(0.1, min(QUIET_S, end - clock()))
    try:
        opened = session.api.events(f"{BASE}/events", query={"kinds": "task"}, after=position, quiet_s=quiet_s)
    except ApiProblem as problem:
        if problem.answered < 500:
            raise
        time.sleep(RETRY_S)  # too many streams are open, say: asking now and then will do
        return
    with opened as stream:
        for event in stream:
            if event.event == "change":
                row = event.json().get("row")
                if row and row.get("id") in waiting:
                    yield row
                    if row["state"] in ENDED:
                        waiting.discard(row["id"])
            if not waiting or (end is not None and clock() >= end):
                return


@contextmanager
def shown(session: Session, rows: Iterable[Row]) -> Iterator[Watcher]:
    """A watcher that draws one progress bar a task; on anything but a terminal it draws nothing."""
    if not session.for_people or not session.terminal.err.isatty():
        yield lambda _row: None
        return
    from rich.progress import BarColumn, Progress, SpinnerColumn, TaskProgressColumn, TextColumn, TimeElapsedColumn

    columns = [
        SpinnerColumn(style="cyan"),
        TextColumn("{task.description}"),
        BarColumn(bar_width=10 if session.terminal.narrow else 24),
        TaskProgressColumn(),
        TimeElapsedColumn(),
    ]
    if not session.terminal.narrow:
        columns.append(TextColumn("[dim]{task.fields[step]}"))
    with Progress(*columns, console=session.terminal.console(session.terminal.err), transient=True) as progress:
        bars: dict[str, TaskID] = {}
        for row in rows:
            _draw(progress, bars, row)
        yield lambda row: _draw(progress, bars, row)


def _draw(progress: "Progress", bars: "dict[str, TaskID]", row: Row) -> None:
    key = row["id"]
    if key not in bars:
        bars[key] = progress.add_task(f"{row['kind']} {task_subject(row)}", total=100, step="")
    progress.update(bars[key], completed=row.get("progress", 0), step=str(row.get("step") or row["state"]))


def say_end(session: Session, row: Row) -> None:
    """One line on stderr about a task that has ended; nothing in a script's output."""
    if not session.for_people:
        return
    terminal = session.terminal
    line = terminal.state(row["state"], f"{row['kind']} {task_subject(row)}")
    line.append(f" {row['state']} in {task_took(row, terminal)}", "dim")
    if row["state"] == "done" and (details := [step["detail"] for step in row["steps"] if step["detail"]]):
        line.append(f": {'; '.join(details)}", "dim")
    terminal.note(line)
