"""TaskRunner: runs every open task until it has ended, and takes each up again after a restart.

A task is found open in the model, whether a command opened it a moment ago or before a crash: there is one way in. Its
saga does the steps (each safe to repeat), and when one fails, the deadline passes or somebody cancels, undoes what was
done. Whatever happens, the saga ends the task; a saga that breaks on a defect fails its task with code ``internal``.
"""

import logging
from collections.abc import Awaitable, Callable, Mapping
from datetime import datetime

import anyio
import anyio.abc

from nano.domain.errors import DeadlineExceeded, DiskFull, JournalError, NanoError
from nano.domain.facts import Change, Command
from nano.domain.task import BeginUndo, StartStep, Task, TaskCancelRequested, TaskEnded, TaskStarted, problem_of
from nano.domain.zone import Zone
from nano.journal.ledger import Ledger, Receipt

log = logging.getLogger("nano.core")

ACTOR = "core"
RECORD_AGAIN_S = 2.0  # before a task goes on whose word the journal could not take


class Cancelled(NanoError):
    """Somebody cancelled the task."""

    default_code = "task_cancelled"


class Run:
    """One task being carried out: what a saga is given."""

    def __init__(self, task: Task, ledger: Ledger, clock: Callable[[], datetime]) -> None:
        self.task = task
        self._ledger = ledger
        self._clock = clock
        self._scope: anyio.CancelScope | None = None
        self._cancelled = task.state == "cancelling"

    @property
    def cancelled(self) -> bool:
        return self._cancelled

    def cancel(self) -> None:
        self._cancelled = True
        if self._scope is not None:
            self._scope.cancel()

    async def record(self, command: Command, name: str) -> Receipt:
        """Record a word of this task; ``name`` makes it repeatable. Raises JournalError when our own journal can't take it."""
        task = self.task
        try:
            return await self._ledger.execute(
                command, actor=ACTOR, command_id=f"{task.id}/{name}", cause=f"task/{task.id}"
            )
        except DiskFull as error:
            raise JournalError(error.message, code=error.code, hint=error.hint) from error

    async def step(self, name: str, detail: str = "") -> None:
        """``detail``: of the step before it."""
        if all(step.name != name for step in self.task.steps):
            await self.record(StartStep(self.task.id, name, detail), f"step/{name}")

    async def within_deadline(self, work: Callable[[], Awaitable[None]]) -> None:
        """Do it, unless the deadline passes (DeadlineExceeded) or the task is cancelled (Cancelled) before."""
        if self._cancelled:
            raise self._why_stopped()
        left = (self.task.deadline_at - self._clock()).total_seconds()
        with anyio.move_on_after(max(0.0, left)) as scope:
            self._scope = scope
            try:
                await work()
            except NanoError:
                raise
            except Exception as defect:
                log.exception("task broke id=%s kind=%s", self.task.id, self.task.kind)
                raise NanoError(
                    f"{self.task.kind} broke on a defect of Nano: {type(defect).__name__}.",
                    hint="The log of nano-core has the details; please report it.",
                ) from defect
            finally:
                self._scope = None
        if scope.cancelled_caught:
            raise self._why_stopped()

    async def begin_undo(self, error: NanoError) -> None:
        await self.record(BeginUndo(self.task.id, problem_of(error)), "undo")

    def _why_stopped(self) -> NanoError:
        if self._cancelled:
            return Cancelled("The task was cancelled.", hint="Start it again if you still want it.")
        return DeadlineExceeded(
            f"{self.task.kind} did not end by {self.task.deadline_at:%Y-%m-%d %H:%M:%S} UTC.",
            hint="Look at what it was waiting for, then start it again.",
        )


Saga = Callable[[Run], Awaitable[None]]


def resumed_undo(run: Run) -> NanoError:
    """The error for which a task was already undoing when Core stopped."""
    problem = run.task.error
    assert problem is not None
    kind = Cancelled if problem.code == Cancelled.default_code else NanoError
    return kind(problem.message, code=problem.code, hint=problem.hint)


class TaskRunner:
    def __init__(self, ledger: Ledger, zone: Zone, clock: Callable[[], datetime], sagas: Mapping[str, Saga]) -> None:
        self._ledger = ledger
        self._zone = zone
        self._clock = clock
        self._sagas = sagas
        self._runs: dict[str, Run] = {}
        self._tasks: anyio.abc.TaskGroup | None = None

    async def run(self, *, task_status: anyio.abc.TaskStatus[None] = anyio.TASK_STATUS_IGNORED) -> None:
        self._ledger.feed.add_listener(self._on_changes)
        try:
            async with anyio.create_task_group() as tasks:
                self._tasks = tasks
                for task in list(self._zone.open_tasks.values()):
                    self._begin(task)
                task_status.started()
                await anyio.sleep_forever()
        finally:
            self._tasks = None
            self._ledger.feed.remove_listener(self._on_changes)

    def _on_changes(self, changes: list[Change]) -> None:
        for change in changes:
            event, task = change.fact.event, change.after
            if not isinstance(task, Task):
                continue
            run = self._runs.get(task.id)
            if run is not None:
                run.task = task
            if isinstance(event, TaskStarted):
                self._begin(task)
            elif isinstance(event, TaskCancelRequested) and run is not None:
                run.cancel()
            elif isinstance(event, TaskEnded):
                log.info("task ended id=%s kind=%s state=%s", task.id, task.kind, task.state)

    def _begin(self, task: Task) -> None:
        if self._tasks is None or task.id in self._runs:
            return
        run = self._runs[task.id] = Run(task, self._ledger, self._clock)
        self._tasks.start_soon(self._carry_out, run)

    async def _carry_out(self, run: Run) -> None:
        task = run.task
        try:
            while not run.task.ended:
                try:
                    await self._sagas[task.kind](run)
                    return
                except JournalError as error:
                    # Nothing can be recorded, so nothing may be done: later, or after a restart, it is taken up again.
                    text = "task halted id=%s kind=%s code=%s reason=%s"
                    log.error(text, task.id, task.kind, error.code, error.message)
                    if self._ledger.log.poisoned is not None:
                        return
                await anyio.sleep(RECORD_AGAIN_S)
        finally:
            del self._runs[task.id]
