"""Migrating a guest: moving it with its disks to another cell of its pool (features M42, B01; decisions 41 and 45).

    prepare ─▶ copy ─▶ switch ─▶ clear
    (turns back at any moment) │ (turns back only when a cell says that it could not)

The guest is the source cell's until ``guest.moved``, and the destination's from there on; what either says of it counts only
then. The destination's room is promised to it from the decision on (``incoming``). Where both cells have the storage that
its files are on, these stay where they are, and change hands with the guest.
"""

from typing import TYPE_CHECKING, Final, Literal

import msgspec

from nano.domain.ability import ABILITY_MISSING, LIVE_MIGRATION, VNC, needed, why_unfit
from nano.domain.cell import Cell, CellDebtRecorded, cell_named, share_storage
from nano.domain.errors import Conflict
from nano.domain.facts import Command, Context, Emitted, Rules
from nano.domain.guest import Guest, GuestMoved, GuestVanished, GuestWorkEnded
from nano.domain.guest_hold import require_power, take_hold
from nano.domain.guest_makeup import choose_cell
from nano.domain.limits import LIMITS
from nano.domain.machine import MachineSpec
from nano.domain.placement import Need
from nano.domain.task import Problem, Task, TaskEnded, end_step, open_task

if TYPE_CHECKING:
    from nano.domain.zone import Zone

PREPARE, COPY, SWITCH, CLEAR = "prepare destination", "copy to destination", "switch over", "clear source"
KIND: Final = "guest.migrate"
HELD_BACK: Final = frozenset({"disks", "more_macs", "media", "hardware"})
"""Changes that wait for a guest's next start, and keep it from moving while it runs: it has other devices than it is made of."""
NO_ROOM: Final = 1  # bytes of disk, of a guest whose files are there already


class MigrateGuest(Command, frozen=True, kw_only=True, tag="guest.migrate"):
    """Move a guest with its disks to another cell of its pool; one that runs goes on running with ``live``."""

    guest: str
    to: str
    live: bool = False


class SwitchGuest(Command, frozen=True, tag="guest.switch"):
    """The source has let go of it; ``since``: where the destination's journal is. ``back``: the destination could not take
    it, and has nothing of it."""

    task: str
    since: int = 0
    back: bool = False


class EndMigration(Command, frozen=True, kw_only=True, tag="guest.end_migration"):
    """``debt``: the source could not be asked to remove its volumes, and owes it."""

    task: str
    debt: bool = False


class AbandonMigration(Command, frozen=True, kw_only=True, tag="guest.abandon_migration"):
    """``debt``: the destination could not be asked to remove what it has, and owes it."""

    task: str
    error: Problem
    undone: tuple[str, ...]
    cancelled: bool = False
    debt: bool = False


def source_of(task: Task) -> str:
    return task.arguments["from"]


def destination_of(task: Task) -> str:
    return task.arguments["to"]


def is_live(task: Task) -> bool:
    return "live" in task.arguments


def storage_of(task: Task) -> str:
    """The storage of both cells, "" when its files are copied."""
    return task.arguments.get("storage", "")


def require_able(zone: "Zone", name: str, abilities: tuple[str, ...]) -> None:
    """Raises Conflict(ability_missing) when its own cell can't."""
    cell = zone.get(f"cell/{name}")
    if isinstance(cell, Cell) and (why := why_unfit(cell.abilities, abilities)):
        raise Conflict(
            f"Cell {name} can't let it go: {why}.", code=ABILITY_MISSING, hint="Stop the guest and move it then."
        )


def spec_there(spec: MachineSpec, task: Task) -> MachineSpec:
    """What it is made of at the destination: a linked system disk that is copied arrives whole."""
    return spec if storage_of(task) else msgspec.structs.replace(spec, linked=False)


def incoming(zone: "Zone", cell: str) -> list[Guest]:
    """Guests on their way to this cell."""
    moving = (task for task in zone.open_tasks.values() if task.kind == KIND and destination_of(task) == cell)
    guests = (zone.get(task.resource) for task in moving)
    return [guest for guest in guests if isinstance(guest, Guest) and guest.cell != cell]


def decide_migrate(zone: "Zone", command: MigrateGuest, context: Context) -> list[Emitted]:
    guest = zone.find_guest(command.guest)
    if not guest.task:
        if guest.cell == command.to:
            raise Conflict(f"Guest {guest.name} is on cell {guest.cell} already.", code="no_change")
        running = guest.power == "running" and command.live
        require_power(guest, ("running",) if running else ("stopped", "crashed"), "moved")
        if running and (held := sorted(set(guest.pending) & HELD_BACK)):
            raise Conflict(
                f"Changes of guest {guest.name} wait for its next start: {', '.join(held)}.",
                code="guest_change_pending",
                hint="Restart it first, or stop it and move it then.",
            )
        if guest.snapshots:
            raise Conflict(
                f"Guest {guest.name} has {len(guest.snapshots)} snapshots, which can't move with it.",
                code="guest_has_snapshots",
                hint="Delete them first.",
            )
        if guest.spec.media and not share_storage(zone, guest.cell, command.to):
            raise Conflict(
                f"Guest {guest.name} has a medium in its drive.",
                code="guest_has_media",
                hint="Eject it first; it can be inserted again at the destination.",
            )
        spec, moving = guest.spec, (LIVE_MIGRATION,) if running else ()
        require_able(zone, guest.cell, moving)
        more = NO_ROOM if share_storage(zone, guest.cell, command.to) else spec.disk_total
        there = (*needed(spec), *moving, *((VNC,) if guest.vnc else ()))
        need = Need(cores=spec.cores, memory=spec.memory, disk=more, abilities=there)
        choose_cell(zone, guest.pool, need, command.to)
    plan = (PREPARE, COPY, SWITCH, CLEAR)
    before = msgspec.json.encode(guest.spec).decode()
    live = {"live": "yes"} if guest.power == "running" else {}
    shared = share_storage(zone, guest.cell, command.to)
    storage = {"storage": cell_named(zone, guest.cell).storage} if shared else {}
    arguments = live | storage | {"from": guest.cell, "to": command.to, "spec": before, "since": str(guest.since)}
    return take_hold(zone, guest, "migrate", context, plan=plan, limit=LIMITS.migrate_deadline, arguments=arguments)


def decide_switch(zone: "Zone", command: SwitchGuest, context: Context) -> list[Emitted]:
    task = open_task(zone, command.task)
    guest = zone.get(task.resource)
    cell = source_of(task) if command.back else destination_of(task)
    if not isinstance(guest, Guest) or guest.cell == cell:
        return []  # so it is
    if not command.back:
        return [Emitted(task.resource, GuestMoved(cell=cell, spec=spec_there(guest.spec, task), since=command.since))]
    before = msgspec.json.decode(task.arguments["spec"], type=MachineSpec)
    vanished = GuestVanished("given back by its destination; to be defined again")
    moved = GuestMoved(cell=cell, spec=before, since=int(task.arguments["since"]))
    return [Emitted(task.resource, moved), Emitted(task.resource, vanished)]


def decide_end(zone: "Zone", command: EndMigration, context: Context) -> list[Emitted]:
    task = open_task(zone, command.task)
    steps = [event for name in task.plan for event in end_step(task, name)]
    owed = _owed(task, source_of(task)) if command.debt else []
    return [*steps, Emitted(task.resource, GuestWorkEnded(task.id)), *owed, _ended(task, TaskEnded("done"))]


def decide_abandon(zone: "Zone", command: AbandonMigration, context: Context) -> list[Emitted]:
    task = open_task(zone, command.task)
    outcome: Literal["failed", "cancelled"] = "cancelled" if command.cancelled else "failed"
    freed = Emitted(task.resource, GuestWorkEnded(task.id, error=command.error.message))
    owed = _owed(task, destination_of(task)) if command.debt else []
    return [freed, *owed, _ended(task, TaskEnded(outcome, error=command.error, undone=command.undone))]


def _owed(task: Task, cell: str) -> list[Emitted]:
    return [Emitted(f"cell/{cell}", CellDebtRecorded(guest_id=task.resource.removeprefix("guest/")))]


def _ended(task: Task, event: TaskEnded) -> Emitted:
    return Emitted(f"task/{task.id}", event)


RULES: Final = Rules(
    decide={
        MigrateGuest: decide_migrate,
        SwitchGuest: decide_switch,
        EndMigration: decide_end,
        AbandonMigration: decide_abandon,
    },
    evolve={},
)
