"""Task: a piece of work that takes longer than a request, with steps, deadline, cancel and compensation.

States:  running ─▶ done
            │ ├──▶ undoing ─▶ failed            an error; every step taken is undone first
            └─▶ cancelling ─▶ undoing ─▶ cancelled
A transitional state of any other resource names the task that owns it; a task that has ended owns nothing.
What a task does is decided in ``core/``; here is only what may be said of it. Percentages are not facts: progress
between steps is shown live and never journaled.
"""

from datetime import datetime
from typing import Final, Literal

import msgspec

from nano.domain.errors import Conflict, NanoError, Unknown
from nano.domain.facts import Command, Context, Emitted, Event, Model, Rules

TaskState = Literal["running", "cancelling", "undoing", "done", "failed", "cancelled"]
ENDED: frozenset[str] = frozenset({"done", "failed", "cancelled"})


class Problem(msgspec.Struct, frozen=True, gc=False):
    """A NanoError as a fact."""

    code: str
    message: str
    hint: str = ""


def problem_of(error: NanoError) -> Problem:
    return Problem(error.code, error.message, error.hint)


class Step(msgspec.Struct, frozen=True, gc=False):
    name: str
    state: Literal["running", "done", "failed", "undone"]
    started_at: datetime
    ended_at: datetime | None = None
    detail: str = ""


class Item(msgspec.Struct, frozen=True, gc=False):
    """One of the guests that a task does the same to (``task_items``); ``task`` is the one that does it to this guest."""

    name: str
    guest: str = ""
    state: Literal["waiting", "running", "done", "failed", "cancelled"] = "waiting"
    task: str = ""
    error: Problem | None = None


class Task(msgspec.Struct, frozen=True, kw_only=True, gc=False):
    id: str
    kind: str  # name of the catalogue entry: "guest.create"
    resource: str
    resource_name: str
    actor: str
    command_id: str
    plan: tuple[str, ...]  # names of all steps, in order
    deadline_at: datetime
    started_at: datetime
    state: TaskState = "running"
    steps: tuple[Step, ...] = ()
    ended_at: datetime | None = None
    error: Problem | None = None
    undone: tuple[str, ...] = ()
    arguments: dict[str, str] = {}
    items: tuple[Item, ...] = ()

    @property
    def ended(self) -> bool:
        return self.state in ENDED

    @property
    def parts_done(self) -> int:
        """Steps that are done; of a batch, items that have ended."""
        if self.items:
            return sum(item.state not in ("waiting", "running") for item in self.items)
        return sum(step.state == "done" for step in self.steps)


class TaskStarted(Event, frozen=True, kw_only=True, tag="task.started"):
    id: str
    kind: str
    target: str
    target_name: str
    actor: str
    command_id: str
    plan: tuple[str, ...]
    deadline_at: datetime
    arguments: dict[str, str] = {}


class TaskStepStarted(Event, frozen=True, tag="task.step_started"):
    name: str


class TaskStepEnded(Event, frozen=True, tag="task.step_ended"):
    name: str
    outcome: Literal["done", "failed", "undone"]
    detail: str = ""


class TaskCancelRequested(Event, frozen=True, tag="task.cancel_requested"):
    by: str


class TaskUndoing(Event, frozen=True, tag="task.undoing"):
    error: Problem


class TaskEnded(Event, frozen=True, tag="task.ended"):
    outcome: Literal["done", "failed", "cancelled"]
    error: Problem | None = None
    undone: tuple[str, ...] = ()


class CancelTask(Command, frozen=True, tag="task.cancel"):
    """Ask a running task to stop; what it has done is undone."""

    task: str


class StartStep(Command, frozen=True, tag="task.start_step"):
    """Open a step; the one open before it has ended well, and ``detail`` tells how."""

    task: str
    name: str
    detail: str = ""


class BeginUndo(Command, frozen=True, tag="task.begin_undo"):
    task: str
    error: Problem


def open_task(model: Model, task_id: str) -> Task:
    """The task, still open. Raises Unknown(unknown_task), Conflict(task_ended)."""
    task = model.get(f"task/{task_id}")
    if not isinstance(task, Task):
        raise Unknown(f"There is no task {task_id!r}.", code="unknown_task", hint="List tasks to find its id.")
    if task.ended:
        raise Conflict(f"Task {task.kind} has already ended: {task.state}.", code="task_ended", state=task.state)
    return task


def decide_cancel(model: Model, command: CancelTask, context: Context) -> list[Emitted]:
    task = open_task(model, command.task)
    if task.state != "running":
        raise Conflict(
            f"Task {task.kind} is already {task.state}.",
            code="task_not_running",
            hint="Wait for it to end.",
            state=task.state,
        )
    return [Emitted(f"task/{task.id}", TaskCancelRequested(by=context.actor))]


def decide_start_step(model: Model, command: StartStep, context: Context) -> list[Emitted]:
    task = open_task(model, command.task)
    if any(step.name == command.name for step in task.steps):
        return []  # resumed after a restart: the step is already open
    before = [
        event for step in task.steps if step.state == "running" for event in end_step(task, step.name, command.detail)
    ]
    return [*before, Emitted(f"task/{task.id}", TaskStepStarted(name=command.name))]


def decide_begin_undo(model: Model, command: BeginUndo, context: Context) -> list[Emitted]:
    task = open_task(model, command.task)
    if task.state == "undoing":
        return []
    return [Emitted(f"task/{task.id}", TaskUndoing(error=command.error))]


def end_step(task: Task, name: str, detail: str = "") -> list[Emitted]:
    """The step's end as an event; nothing when it has ended already. Opens it first where a resume skipped that."""
    events: list[Emitted] = []
    known = next((step for step in task.steps if step.name == name), None)
    if known is not None and known.state != "running":
        return events
    if known is None:
        events.append(Emitted(f"task/{task.id}", TaskStepStarted(name=name)))
    events.append(Emitted(f"task/{task.id}", TaskStepEnded(name=name, outcome="done", detail=detail)))
    return events


def evolve_started(state: Task | None, event: TaskStarted, at: datetime) -> Task:
    return Task(
        id=event.id,
        kind=event.kind,
        resource=event.target,
        resource_name=event.target_name,
        actor=event.actor,
        command_id=event.command_id,
        plan=event.plan,
        deadline_at=event.deadline_at,
        started_at=at,
        arguments=event.arguments,
    )


def evolve_step_started(state: Task, event: TaskStepStarted, at: datetime) -> Task:
    return msgspec.structs.replace(state, steps=(*state.steps, Step(event.name, "running", at)))


def evolve_step_ended(state: Task, event: TaskStepEnded, at: datetime) -> Task:
    steps = [
        Step(step.name, event.outcome, step.started_at, at, event.detail) if step.name == event.name else step
        for step in state.steps
    ]
    return msgspec.structs.replace(state, steps=tuple(steps))


def evolve_cancel_requested(state: Task, event: TaskCancelRequested, at: datetime) -> Task:
    return msgspec.structs.replace(state, state="cancelling")


def evolve_undoing(state: Task, event: TaskUndoing, at: datetime) -> Task:
    return msgspec.structs.replace(
        state, state="undoing", error=event.error, steps=_close_open(state.steps, "failed", at, event.error.message)
    )


def evolve_ended(state: Task, event: TaskEnded, at: datetime) -> Task:
    steps = _close_open(state.steps, "done" if event.outcome == "done" else "failed", at, "")
    if event.undone:
        steps = tuple(msgspec.structs.replace(step, state="undone") if step.state == "done" else step for step in steps)
    return msgspec.structs.replace(
        state, state=event.outcome, ended_at=at, error=event.error or state.error, undone=event.undone, steps=steps
    )


def _close_open(
    steps: tuple[Step, ...], outcome: Literal["done", "failed"], at: datetime, detail: str
) -> tuple[Step, ...]:
    closed = [
        Step(step.name, outcome, step.started_at, at, detail or step.detail) if step.state == "running" else step
        for step in steps
    ]
    return tuple(closed)


RULES: Final = Rules(
    decide={CancelTask: decide_cancel, StartStep: decide_start_step, BeginUndo: decide_begin_undo},
    evolve={
        TaskStarted: evolve_started,
        TaskStepStarted: evolve_step_started,
        TaskStepEnded: evolve_step_ended,
        TaskCancelRequested: evolve_cancel_requested,
        TaskUndoing: evolve_undoing,
        TaskEnded: evolve_ended,
    },
    states={"task": Task},
    last=frozenset({TaskEnded}),
)
