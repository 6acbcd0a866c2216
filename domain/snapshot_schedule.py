"""Snapshots of a guest on a schedule: one every so many hours, and the oldest of them deleted again.

The schedule is part of the guest. That one was begun for a due time is recorded with the task that takes it, so each time is
tried once, whatever restarts in between; a time at which the guest was busy or its cell away is tried again until the next
is due. The schedule deletes only what it took, of a protected guest too: that was meant from the start.
"""

from datetime import datetime
from typing import TYPE_CHECKING, Final

import msgspec

from nano.domain.errors import Conflict, Invalid
from nano.domain.facts import Command, Context, Emitted, Event, Rules
from nano.domain.guest import Guest
from nano.domain.guest_snapshot import begin, begin_delete
from nano.domain.snapshot import SnapshotSchedule, due_at, expired

if TYPE_CHECKING:
    from nano.domain.zone import Zone

EVERY_MAX: Final = 24 * 31
KEEP_MAX: Final = 32
EXPIRE_MAX: Final = 24 * 366


class ScheduleSnapshots(Command, frozen=True, kw_only=True, tag="guest.snapshot.schedule"):
    """Take a snapshot of a guest every so many hours, the first at once, and keep the newest ones.

    Of its disks only, with file systems frozen by the guest's agent, unless its memory is wanted too.
    """

    guest: str
    every_hours: int
    keep: int = 7
    expire_hours: int = 0
    with_memory: bool = False


class UnscheduleSnapshots(Command, frozen=True, kw_only=True, tag="guest.snapshot.unschedule"):
    """Take no more snapshots of a guest by schedule. Those taken stay."""

    guest: str


class TakeScheduled(Command, frozen=True, tag="guest.snapshot.take_scheduled"):
    guest: str


class ExpireScheduled(Command, frozen=True, tag="guest.snapshot.expire_scheduled"):
    """Delete the oldest one that is past its time."""

    guest: str


class GuestSnapshotsScheduled(Event, frozen=True, tag="guest.snapshots_scheduled"):
    schedule: SnapshotSchedule


class GuestSnapshotsUnscheduled(Event, frozen=True, tag="guest.snapshots_unscheduled"):
    pass


class GuestSnapshotDue(Event, frozen=True, tag="guest.snapshot_due"):
    """The one for this time is begun."""

    due: datetime


def decide_schedule(zone: "Zone", command: ScheduleSnapshots, context: Context) -> list[Emitted]:
    guest = zone.find_guest(command.guest)
    for name, low, high in (("every_hours", 1, EVERY_MAX), ("keep", 1, KEEP_MAX), ("expire_hours", 0, EXPIRE_MAX)):
        value = getattr(command, name)
        if not low <= value <= high:
            raise Invalid(
                f"{name} is {value}, and must be from {low} to {high}.",
                code="out_of_range",
                hint="Give another number.",
                field=name,
            )
    wanted = SnapshotSchedule(
        every_hours=command.every_hours,
        keep=command.keep,
        expire_hours=command.expire_hours,
        with_memory=command.with_memory,
        since=context.at,
    )
    old = guest.snapshot_schedule
    if old is not None:
        same_rhythm = old.every_hours == wanted.every_hours
        wanted = msgspec.structs.replace(wanted, since=old.since, begun=old.begun) if same_rhythm else wanted
        if wanted == old:
            raise Conflict(
                f"Snapshots of guest {guest.name} are scheduled like that already.",
                code="no_change",
                hint="Nothing needs to be done.",
            )
    return [Emitted(f"guest/{guest.id}", GuestSnapshotsScheduled(wanted))]


def decide_unschedule(zone: "Zone", command: UnscheduleSnapshots, context: Context) -> list[Emitted]:
    guest = zone.find_guest(command.guest)
    if guest.snapshot_schedule is None:
        raise Conflict(
            f"No snapshots of guest {guest.name} are scheduled.", code="no_change", hint="Nothing needs to be done."
        )
    return [Emitted(f"guest/{guest.id}", GuestSnapshotsUnscheduled())]


def decide_take(zone: "Zone", command: TakeScheduled, context: Context) -> list[Emitted]:
    """Nothing when none is due (any more)."""
    guest = zone.get(f"guest/{command.guest}")
    if not isinstance(guest, Guest) or guest.snapshot_schedule is None:
        return []
    due = due_at(guest.snapshot_schedule, context.at)
    if due is None:
        return []
    name = _free_name(guest, f"auto-{due:%Y%m%dT%H%M%SZ}")
    begun = Emitted(f"guest/{guest.id}", GuestSnapshotDue(due))
    memory = guest.snapshot_schedule.with_memory
    return [begun, *begin(zone, guest, name, context, memory=memory, scheduled=True)]


def _free_name(guest: Guest, name: str) -> str:
    taken = {one.name for one in guest.snapshots}
    return next(free for free in (name, *(f"{name}-{number}" for number in range(2, 100))) if free not in taken)


def decide_expire(zone: "Zone", command: ExpireScheduled, context: Context) -> list[Emitted]:
    guest = zone.get(f"guest/{command.guest}")
    if not isinstance(guest, Guest) or guest.snapshot_schedule is None:
        return []
    beyond = expired(guest.snapshot_schedule, guest.snapshots, context.at)
    return begin_delete(zone, guest, beyond[0], context) if beyond else []


def evolve_scheduled(state: Guest, event: GuestSnapshotsScheduled, at: datetime) -> Guest:
    return msgspec.structs.replace(state, snapshot_schedule=event.schedule, changed_at=at)


def evolve_unscheduled(state: Guest, event: GuestSnapshotsUnscheduled, at: datetime) -> Guest:
    free = {"snapshot_schedule": None, "snapshot_due": False, "snapshots_failed": 0, "snapshot_error": ""}
    return msgspec.structs.replace(state, **free, changed_at=at)


def evolve_due(state: Guest, event: GuestSnapshotDue, at: datetime) -> Guest:
    if state.snapshot_schedule is None:
        return state
    begun = msgspec.structs.replace(state.snapshot_schedule, begun=event.due)
    return msgspec.structs.replace(state, snapshot_schedule=begun, snapshot_due=True)


RULES: Final = Rules(
    decide={
        ScheduleSnapshots: decide_schedule,
        UnscheduleSnapshots: decide_unschedule,
        TakeScheduled: decide_take,
        ExpireScheduled: decide_expire,
    },
    evolve={
        GuestSnapshotsScheduled: evolve_scheduled,
        GuestSnapshotsUnscheduled: evolve_unscheduled,
        GuestSnapshotDue: evolve_due,
    },
)
