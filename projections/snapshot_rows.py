"""What a guest's row tells of its snapshots and of their schedule. Sizes in bytes, times in UTC."""

from datetime import datetime

import msgspec

from nano.domain.guest import Guest
from nano.domain.snapshot import SnapshotSchedule, next_at


class SnapshotRow(msgspec.Struct, frozen=True, kw_only=True, gc=False):
    """``parent`` is the name of the one that it came after, ``current`` that the guest has last come from it; with ``memory``
    the guest goes on where it was; without, ``frozen`` that its agent held its file systems still. ``scheduled``: its guest's
    schedule took it, and deletes it. ``disks`` in bytes."""

    id: str
    name: str
    description: str
    parent: str
    current: bool
    memory: bool
    frozen: bool
    scheduled: bool
    disks: tuple[int, ...]
    created_at: datetime


class SnapshotScheduleRow(msgspec.Struct, frozen=True, kw_only=True, gc=False):
    """``next_at``: when the next one is due, or has been since; see ``ScheduleSnapshots``."""

    every_hours: int
    keep: int
    expire_hours: int
    with_memory: bool
    next_at: datetime


def snapshot_rows(guest: Guest) -> tuple[SnapshotRow, ...]:
    names = {one.id: one.name for one in guest.snapshots}
    return tuple(
        SnapshotRow(
            id=one.id,
            name=one.name,
            description=one.description,
            parent=names.get(one.parent, ""),
            current=one.id == guest.snapshot,
            memory=one.memory,
            frozen=one.frozen,
            scheduled=one.scheduled,
            disks=one.disks,
            created_at=one.created_at,
        )
        for one in guest.snapshots
    )


def schedule_row(schedule: SnapshotSchedule | None) -> SnapshotScheduleRow | None:
    if schedule is None:
        return None
    return SnapshotScheduleRow(
        every_hours=schedule.every_hours,
        keep=schedule.keep,
        expire_hours=schedule.expire_hours,
        with_memory=schedule.with_memory,
        next_at=next_at(schedule),
    )
