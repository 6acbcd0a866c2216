"""Snapshots of a guest: taking one, going back to one, deleting one (feature M38).

One of a guest that is on holds its memory too, so it is whole without the guest's help, and the guest goes on from there;
unless only the disks are wanted: then its agent, when there is one, holds its file systems still meanwhile. Going back
changes what is on the disks and in the memory, not what the guest is made of: that stays as the journal has it.
A disk that a snapshot holds can't be removed or get another size, so that each snapshot can always be restored.
"""

from datetime import datetime
from typing import TYPE_CHECKING, Final

import msgspec

from nano.domain.errors import Conflict
from nano.domain.facts import Command, Context, Emitted, Event, Rules
from nano.domain.guest import Guest
from nano.domain.guest_hold import refuse_protected, require_power, take_hold
from nano.domain.limits import LIMITS
from nano.domain.machine import MachineSpec
from nano.domain.naming import format_size, require_name, require_text
from nano.domain.snapshot import (
    DESCRIPTION_MAX,
    SNAPSHOTS_MAX,
    Snapshot,
    back_at,
    snapshot_of,
    with_snapshot,
    without_snapshot,
)
from nano.domain.task import Task

if TYPE_CHECKING:
    from nano.domain.zone import Zone

ANY_POWER: Final = ("stopped", "running", "paused", "crashed")


class CreateSnapshot(Command, frozen=True, kw_only=True, tag="guest.snapshot.create"):
    """Take a snapshot of a guest's disks, and of its memory when it is on.

    With ``disks_only`` its memory is left out, and the agent of a guest that is on freezes its file systems meanwhile.
    """

    guest: str
    name: str
    description: str = ""
    disks_only: bool = False


class RestoreSnapshot(Command, frozen=True, kw_only=True, tag="guest.snapshot.restore"):
    """Take a guest back to a snapshot. What is on its disks and in its memory now is lost."""

    guest: str
    snapshot: str


class DeleteSnapshot(Command, frozen=True, kw_only=True, tag="guest.snapshot.delete"):
    """Delete a snapshot of a guest; those that came after it stay."""

    guest: str
    snapshot: str


class GuestSnapshotMade(Event, frozen=True, tag="guest.snapshot_made"):
    snapshot: Snapshot


class GuestSnapshotRestored(Event, frozen=True, tag="guest.snapshot_restored"):
    id: str
    name: str


class GuestSnapshotDeleted(Event, frozen=True, tag="guest.snapshot_deleted"):
    id: str
    name: str


def decide_create(zone: "Zone", command: CreateSnapshot, context: Context) -> list[Emitted]:
    guest = zone.find_guest(command.guest)
    name = require_name(command.name, "snapshot name", dotted=True)
    description = require_text(command.description.strip(), "description", DESCRIPTION_MAX)
    return begin(zone, guest, name, context, description=description, memory=not command.disks_only)


def begin(
    zone: "Zone",
    guest: Guest,
    name: str,
    context: Context,
    *,
    memory: bool,
    description: str = "",
    scheduled: bool = False,
) -> list[Emitted]:
    """Open the task that takes it. Raises Conflict."""
    if any(name in (one.name, one.id) for one in guest.snapshots):
        raise Conflict(
            f"Guest {guest.name} has a snapshot {name!r} already.", code="duplicate_name", hint="Choose another name."
        )
    if len(guest.snapshots) >= SNAPSHOTS_MAX:
        raise Conflict(
            f"Guest {guest.name} has {SNAPSHOTS_MAX} snapshots, the most a guest may have.",
            code="too_many_snapshots",
            hint="Delete one first.",
        )
    if "disks" in guest.pending:
        raise Conflict(
            f"Guest {guest.name} runs with other disks than it will have at its next start.",
            code="disks_pending",
            hint="Stop it first, or start it anew.",
        )
    snapshot = Snapshot(
        id=context.new_id(),
        name=name,
        created_at=context.at,
        disks=guest.spec.disks,
        volumes=guest.spec.volume_numbers,
        parent=guest.snapshot,
        description=description,
        scheduled=scheduled,
        memory=memory and guest.power in ("running", "paused"),
    )
    return _hold(zone, guest, "snapshot.create", snapshot, context)


def decide_restore(zone: "Zone", command: RestoreSnapshot, context: Context) -> list[Emitted]:
    guest = zone.find_guest(command.guest)
    snapshot = snapshot_of(guest, command.snapshot)
    refuse_protected(guest, "what is on its disks is not replaced")
    held = dict(zip(snapshot.volumes, snapshot.disks, strict=True))
    later = [place for place, number in enumerate(guest.spec.volume_numbers) if number not in held]
    if later:
        raise Conflict(
            f"Guest {guest.name} was given disk {later[0]} after snapshot {snapshot.name} was taken.",
            code="disk_not_in_snapshot",
            hint="Remove that disk first, or go back to a snapshot that holds it.",
        )
    return _hold(zone, guest, "snapshot.restore", snapshot, context)


def decide_delete(zone: "Zone", command: DeleteSnapshot, context: Context) -> list[Emitted]:
    guest = zone.find_guest(command.guest)
    snapshot = snapshot_of(guest, command.snapshot)
    refuse_protected(guest, "its snapshots are not deleted")
    return begin_delete(zone, guest, snapshot, context)


def begin_delete(zone: "Zone", guest: Guest, snapshot: Snapshot, context: Context) -> list[Emitted]:
    return _hold(zone, guest, "snapshot.delete", snapshot, context)


def _hold(zone: "Zone", guest: Guest, action: str, snapshot: Snapshot, context: Context) -> list[Emitted]:
    if not guest.task:
        require_power(guest, ANY_POWER, "taken to a snapshot" if action == "snapshot.restore" else "worked on")
    arguments = {"snapshot": msgspec.json.encode(snapshot).decode(), "name": snapshot.name}
    plan = (f"{action.partition('.')[2]} snapshot",)
    return take_hold(zone, guest, action, context, plan=plan, limit=LIMITS.snapshot_deadline, arguments=arguments)


def snapshot_in(task: Task) -> Snapshot:
    """The one that an open task makes, restores or deletes."""
    return msgspec.json.decode(task.arguments["snapshot"], type=Snapshot)


def refuse_loss(guest: Guest, spec: MachineSpec) -> None:
    """Every disk that a snapshot holds is still there in its size. Raises Conflict(disk_in_snapshot)."""
    sizes = dict(zip(spec.volume_numbers, spec.disks, strict=True))
    for snapshot in guest.snapshots:
        for number, size in zip(snapshot.volumes, snapshot.disks, strict=True):
            if sizes.get(number) != size:
                raise Conflict(
                    f"Snapshot {snapshot.name} of guest {guest.name} holds that disk, as one of {format_size(size)}.",
                    code="disk_in_snapshot",
                    hint="Delete the snapshots that hold it first.",
                    snapshot=snapshot.name,
                )


def evolve_made(state: Guest, event: GuestSnapshotMade, at: datetime) -> Guest:
    return msgspec.structs.replace(with_snapshot(state, event.snapshot), changed_at=at)


def evolve_restored(state: Guest, event: GuestSnapshotRestored, at: datetime) -> Guest:
    return msgspec.structs.replace(back_at(state, event.id), changed_at=at)


def evolve_deleted(state: Guest, event: GuestSnapshotDeleted, at: datetime) -> Guest:
    return msgspec.structs.replace(without_snapshot(state, event.id), changed_at=at)


RULES: Final = Rules(
    decide={CreateSnapshot: decide_create, RestoreSnapshot: decide_restore, DeleteSnapshot: decide_delete},
    evolve={
        GuestSnapshotMade: evolve_made,
        GuestSnapshotRestored: evolve_restored,
        GuestSnapshotDeleted: evolve_deleted,
    },
)
