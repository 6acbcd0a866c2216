"""Probing a cell again: what its host can do (``ability``) may change while it runs, when a program is installed or a kernel
module comes. A task has the cell look; what it finds is recorded together with the task's end.
"""

from typing import TYPE_CHECKING, Final, Literal

from nano.domain.ability import Ability
from nano.domain.cell import CellDescribed, cell_named
from nano.domain.errors import Conflict
from nano.domain.facts import Command, Context, Emitted, Rules, id_of
from nano.domain.guest_hold import open_events
from nano.domain.limits import LIMITS
from nano.domain.task import Problem, TaskEnded, TaskStarted, end_step, open_task

if TYPE_CHECKING:
    from nano.domain.zone import Zone

PROBE: Final = "probe host"  # the one step of its plan


class ProbeCell(Command, frozen=True, kw_only=True, tag="cell.probe"):
    """Look once more what a cell's host can do."""

    cell: str


class EndProbe(Command, frozen=True, kw_only=True, tag="cell.end_probe"):
    task: str
    abilities: tuple[Ability, ...]


class AbandonProbe(Command, frozen=True, kw_only=True, tag="cell.abandon_probe"):
    task: str
    error: Problem
    cancelled: bool = False


def decide_probe(zone: "Zone", command: ProbeCell, context: Context) -> list[Emitted]:
    cell = cell_named(zone, command.cell)
    if not cell.pool or not cell.online:
        raise Conflict(f"Cell {cell.name} can't be asked now.", code="cell_offline", hint="Bring the cell back first.")
    resource = f"cell/{cell.name}"
    for task in zone.open_tasks.values():
        if task.kind == "cell.probe" and task.resource == resource:
            raise Conflict("It is being probed already.", code="cell_busy", hint="Wait for that task.", task=task.id)
    started = TaskStarted(
        id=context.new_id(),
        kind="cell.probe",
        target=resource,
        target_name=cell.name,
        actor=context.actor,
        command_id=context.command_id,
        plan=(PROBE,),
        deadline_at=context.at + LIMITS.power_deadline,
    )
    return open_events(started)


def decide_end(zone: "Zone", command: EndProbe, context: Context) -> list[Emitted]:
    task = open_task(zone, command.task)
    cell = cell_named(zone, id_of(task.resource))
    found = CellDescribed(
        cores=cell.cores,
        memory=cell.memory,
        disk=cell.disk,
        virt_type=cell.virt_type,
        virt_note=cell.virt_note,
        hypervisor=cell.hypervisor,
        abilities=command.abilities,
        storage=cell.storage,
    )
    news = [Emitted(task.resource, found)] if command.abilities != cell.abilities else []
    return [*news, *end_step(task, PROBE), Emitted(f"task/{task.id}", TaskEnded("done"))]


def decide_abandon(zone: "Zone", command: AbandonProbe, context: Context) -> list[Emitted]:
    task = open_task(zone, command.task)
    outcome: Literal["failed", "cancelled"] = "cancelled" if command.cancelled else "failed"
    return [Emitted(f"task/{task.id}", TaskEnded(outcome, error=command.error))]


RULES: Final = Rules(decide={ProbeCell: decide_probe, EndProbe: decide_end, AbandonProbe: decide_abandon}, evolve={})
