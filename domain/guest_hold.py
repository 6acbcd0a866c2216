"""Holding a guest: every work on one is a task that owns it from the first event to the last.

The decision that accepts a work opens its task and gives it hold of the guest in one transaction, so no guest is ever in
between without an owner. What a work changes of the guest comes from its cell's journal (``report``); the commands here,
which only tasks use, settle guest and task together.
"""

from datetime import timedelta
from typing import TYPE_CHECKING, Final, Literal

from nano.domain.cell import Cell
from nano.domain.errors import Conflict
from nano.domain.facts import Command, Context, Emitted, Event, Rules
from nano.domain.guest import Guest, GuestDeleted, GuestWorkEnded, GuestWorkStarted
from nano.domain.limits import LIMITS
from nano.domain.naming import require_name
from nano.domain.task import Problem, TaskEnded, TaskStarted, TaskStepStarted, end_step, open_task

if TYPE_CHECKING:
    from nano.domain.zone import Zone


class EndWork(Command, frozen=True, tag="guest.end_work"):
    task: str


class AbandonWork(Command, frozen=True, kw_only=True, tag="guest.abandon_work"):
    task: str
    error: Problem
    undone: tuple[str, ...] = ()
    cancelled: bool = False


def task_for(
    context: Context,
    task_id: str,
    kind: str,
    guest_id: str,
    name: str,
    plan: tuple[str, ...],
    limit: timedelta,
    arguments: dict[str, str] | None = None,
) -> TaskStarted:
    return TaskStarted(
        id=task_id,
        kind=kind,
        target=f"guest/{guest_id}",
        target_name=name,
        actor=context.actor,
        command_id=context.command_id,
        plan=plan,
        deadline_at=context.at + limit,
        arguments=arguments or {},
    )


def open_events(started: TaskStarted) -> list[Emitted]:
    """The task with its first step, so that nothing more has to be written before the work begins."""
    return [Emitted(f"task/{started.id}", started), Emitted(f"task/{started.id}", TaskStepStarted(started.plan[0]))]


def take_hold(
    zone: "Zone",
    guest: Guest,
    action: str,
    context: Context,
    *,
    plan: tuple[str, ...],
    limit: timedelta = LIMITS.power_deadline,
    arguments: dict[str, str] | None = None,
) -> list[Emitted]:
    """Open the task ``guest.<action>`` and give it hold of the guest. ``arguments``: what its saga has to know besides
    the guest, also after a restart; never a secret. Raises Conflict (guest_busy, cell_offline)."""
    require_at_rest(zone, guest)
    task_id = context.new_id()
    started = task_for(context, task_id, f"guest.{action}", guest.id, guest.name, plan, limit, arguments)
    return [Emitted(f"guest/{guest.id}", GuestWorkStarted(action, task_id)), *open_events(started)]


def require_at_rest(zone: "Zone", guest: Guest) -> None:
    """Raises Conflict (guest_busy, cell_offline) unless a task can take hold of it now."""
    if guest.task:
        raise Conflict(
            f"Guest {guest.name} is busy with another task.",
            code="guest_busy",
            hint="Wait for that task to end, or cancel it.",
            task=guest.task,
        )
    cell = zone.get(f"cell/{guest.cell}")
    if not isinstance(cell, Cell) or not cell.online:
        raise Conflict(
            f"Cell {guest.cell} of guest {guest.name} is offline.",
            code="cell_offline",
            hint="Bring the cell back first.",
            cell=guest.cell,
        )


def require_free_name(zone: "Zone", name: str) -> str:
    """The name, fit for a new or renamed guest. Raises Invalid(invalid_name), Conflict(duplicate_name)."""
    require_name(name, "guest name")
    if name in zone.guest_ids or zone.claims("name", name):
        raise Conflict(f"A guest {name!r} exists already.", code="duplicate_name", hint="Choose another name.")
    return name


def refuse_protected(guest: Guest, what: str) -> None:
    """Raises Conflict(guest_protected)."""
    if guest.protected:
        raise Conflict(
            f"Guest {guest.name} is protected: {what}.",
            code="guest_protected",
            hint="Take the protection off first, if you are sure.",
        )


def require_power(guest: Guest, allowed: tuple[str, ...], verb: str) -> None:
    if guest.phase == "recycled":
        raise Conflict(f"Guest {guest.name} is in the recycle bin.", code="guest_recycled", hint="Restore it first.")
    if guest.phase != "ready":
        raise Conflict(
            f"Guest {guest.name} is {guest.phase}.", code="guest_not_ready", hint="Wait for its task to end."
        )
    if guest.power not in allowed:
        raise Conflict(
            f"Guest {guest.name} is {guest.power} and can't be {verb}.",
            code=f"guest_{guest.power}",
            hint=f"It must be {' or '.join(allowed)}.",
            state=guest.power,
        )


def decide_end_work(zone: "Zone", command: EndWork, context: Context) -> list[Emitted]:
    task = open_task(zone, command.task)
    steps = [event for name in task.plan for event in end_step(task, name)]
    ended = Emitted(f"task/{task.id}", TaskEnded("done"))
    if zone.get(task.resource) is None:  # deleted when its cell said so
        return [*steps, ended]
    settled: Event = GuestDeleted() if task.kind == "guest.delete" else GuestWorkEnded(task.id)
    return [*steps, Emitted(task.resource, settled), ended]


def decide_abandon_work(zone: "Zone", command: AbandonWork, context: Context) -> list[Emitted]:
    task = open_task(zone, command.task)
    if zone.get(task.resource) is None:  # too late to give it up: it is done
        return decide_end_work(zone, EndWork(command.task), context)
    outcome: Literal["failed", "cancelled"] = "cancelled" if command.cancelled else "failed"
    return [
        Emitted(task.resource, GuestWorkEnded(task.id, error=command.error.message)),
        Emitted(f"task/{task.id}", TaskEnded(outcome, error=command.error, undone=command.undone)),
    ]


RULES: Final = Rules(decide={EndWork: decide_end_work, AbandonWork: decide_abandon_work}, evolve={})
