"""Removing an orphan: a domain, volume, packet filter or snapshot that Nano made on a cell and no guest has (``inspection``).

Never by itself, only by its exact id, ``cell/kind/name``. That nobody owns it is decided here once more, and again by the
cell. What is not Nano's has no such id. The task is the cell's: there is no guest to hold.
"""

import re
from typing import TYPE_CHECKING, Final, Literal, NamedTuple

from nano.domain.cell import cell_named, share_storage
from nano.domain.errors import Conflict, Invalid
from nano.domain.facts import Command, Context, Emitted, Rules
from nano.domain.guest import Guest
from nano.domain.guest_hold import open_events
from nano.domain.limits import LIMITS
from nano.domain.machine import MachineSpec
from nano.domain.task import Problem, TaskEnded, TaskStarted, end_step, open_task

if TYPE_CHECKING:
    from nano.domain.zone import Zone

REMOVE: Final = "remove orphan"  # the one step of its plan
_UUID: Final = r"[0-9a-f]{8}(?:-[0-9a-f]{4}){3}-[0-9a-f]{12}"
_ID: Final = re.compile(
    rf"(?P<cell>[0-9A-Za-z_-]{{1,64}})/(?:(?P<kind>domain|filter)/(?P<itself>{_UUID})"
    rf"|(?:volume/(?=.*\.qcow2)|seed/(?=.*_seed)|media/(?!.*(?:_seed|\.qcow2)))"
    rf"(?P<file>(?P<of>{_UUID})_(?:\d{{1,2}}\.qcow2|seed\.iso|{_UUID}\.iso))"
    rf"|snapshot/(?P<at>{_UUID})_(?P<snapshot>{_UUID}))"
)


class Orphan(NamedTuple):
    """The name of a ``file``, the id of a ``snapshot``; a domain goes with all of its files and its filter."""

    cell: str
    kind: Literal["domain", "file", "filter", "snapshot"]
    guest_id: str
    file: str = ""
    snapshot: str = ""


class RemoveOrphan(Command, frozen=True, kw_only=True, tag="orphans.remove"):
    """Remove a domain, file, packet filter or snapshot that no guest owns, by its exact id."""

    orphan: str


class EndOrphan(Command, frozen=True, tag="orphans.end"):
    task: str


class AbandonOrphan(Command, frozen=True, kw_only=True, tag="orphans.abandon"):
    task: str
    error: Problem
    cancelled: bool = False


def parse_orphan(text: str) -> Orphan:
    """Raises Invalid(invalid_orphan)."""
    match = _ID.fullmatch(text)
    if match is None:
        raise Invalid(
            f"{text[:120]!r} is not the id of an orphan that can be removed.",
            code="invalid_orphan",
            hint="List orphans, and give the id of a domain, file, filter or snapshot just as it stands there.",
            field="orphan",
        )
    cell = match["cell"]
    if match["of"]:
        return Orphan(cell, "file", match["of"], file=match["file"])
    if match["snapshot"]:
        return Orphan(cell, "snapshot", match["at"], snapshot=match["snapshot"])
    return Orphan(cell, "filter" if match["kind"] == "filter" else "domain", match["itself"])


def decide_remove(zone: "Zone", command: RemoveOrphan, context: Context) -> list[Emitted]:
    orphan = parse_orphan(command.orphan)
    cell = cell_named(zone, orphan.cell)
    guest = zone.get(f"guest/{orphan.guest_id}")
    if isinstance(guest, Guest) and _owns(zone, guest, orphan):
        raise Conflict(
            f"It belongs to guest {guest.spec.name}.", code="not_an_orphan", hint="Only what nobody owns is removed."
        )
    if not cell.pool or not cell.online:
        raise Conflict(f"Cell {cell.name} can't be asked now.", code="cell_offline", hint="Bring the cell back first.")
    for task in zone.open_tasks.values():
        if task.kind == "orphans.remove" and task.arguments.get("orphan") == command.orphan:
            raise Conflict("It is being removed already.", code="orphan_busy", hint="Wait for that task.", task=task.id)
    started = TaskStarted(
        id=context.new_id(),
        kind="orphans.remove",
        target=f"cell/{cell.name}",
        target_name=cell.name,
        actor=context.actor,
        command_id=context.command_id,
        plan=(REMOVE,),
        deadline_at=context.at + LIMITS.delete_deadline,
        arguments={"orphan": command.orphan},
    )
    return open_events(started)


def _owns(zone: "Zone", guest: Guest, orphan: Orphan) -> bool:
    """While a task works on the guest, whatever bears its id anywhere is taken for its own. Files on a storage that its
    cell has too are as good as there."""
    if guest.task:
        return True
    if guest.cell != orphan.cell and not (orphan.kind == "file" and share_storage(zone, guest.cell, orphan.cell)):
        return False
    if orphan.kind == "snapshot":
        return any(one.id == orphan.snapshot for one in guest.snapshots)
    return orphan.kind != "file" or owns_file(guest.spec, orphan.file)


def leaves_files(zone: "Zone", orphan: Orphan) -> bool:
    """Whether the files of this domain are another cell's, which has the guest on the storage of both."""
    guest = zone.get(f"guest/{orphan.guest_id}")
    return isinstance(guest, Guest) and guest.cell != orphan.cell and share_storage(zone, guest.cell, orphan.cell)


def owns_file(spec: MachineSpec, file: str) -> bool:
    """Whether a guest of this spec has the file, whose name begins with its id."""
    part = file.rpartition("_")[2].partition(".")[0]
    if file.endswith(".qcow2"):
        return int(part) in spec.volume_numbers
    return spec.seed if part == "seed" else bool(part) and part == spec.media


def decide_end(zone: "Zone", command: EndOrphan, context: Context) -> list[Emitted]:
    task = open_task(zone, command.task)
    return [*end_step(task, REMOVE), Emitted(f"task/{task.id}", TaskEnded("done"))]


def decide_abandon(zone: "Zone", command: AbandonOrphan, context: Context) -> list[Emitted]:
    task = open_task(zone, command.task)
    outcome: Literal["failed", "cancelled"] = "cancelled" if command.cancelled else "failed"
    return [Emitted(f"task/{task.id}", TaskEnded(outcome, error=command.error))]


RULES: Final = Rules(
    decide={RemoveOrphan: decide_remove, EndOrphan: decide_end, AbandonOrphan: decide_abandon}, evolve={}
)
