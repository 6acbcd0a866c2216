"""Snapshot: what a guest was at one moment, kept in its volumes, and the tree that a guest's snapshots form (feature M38).

Invariants: every parent in a tree is in that tree; names are unique in it; the current snapshot is the one that the guest has
last come from, made or restored, and "" when that is none. A snapshot taken away hands its children to its parent.
"""

from collections.abc import Iterable, Mapping
from datetime import datetime, timedelta
from typing import Any, Final, TypeVar

import msgspec

from nano.domain.errors import Unknown

SNAPSHOTS_MAX: Final = 64  # of one guest
DESCRIPTION_MAX: Final = 200

Holder = TypeVar("Holder", bound=Any)  # a state with ``snapshots`` and ``snapshot``: a guest, or its host domain


class Snapshot(msgspec.Struct, frozen=True, kw_only=True, gc=False, omit_defaults=True):
    """``memory``: the guest was on, and goes on from there. ``frozen``: it was on, and its file systems stood
    still and whole. ``disks`` in bytes and ``volumes`` are those it holds."""

    id: str
    name: str
    created_at: datetime
    disks: tuple[int, ...]
    volumes: tuple[int, ...]
    parent: str = ""
    description: str = ""
    memory: bool = False
    frozen: bool = False
    scheduled: bool = False  # taken by the guest's schedule, which also deletes it


class SnapshotSchedule(msgspec.Struct, frozen=True, kw_only=True, gc=False, omit_defaults=True):
    """One every so many hours, from ``since`` on; the newest ``keep`` of them stay, and of these only the newest one past
    ``expire_hours`` (0 = they do not grow old). ``begun``: the last time for which one was begun."""

    every_hours: int
    keep: int
    expire_hours: int = 0
    with_memory: bool = False
    since: datetime
    begun: datetime | None = None


def due_at(schedule: SnapshotSchedule, at: datetime) -> datetime | None:
    """The newest time that is due by then and not begun yet. Those that were missed before it are not made up for."""
    if at < schedule.since:
        return None
    every = timedelta(hours=schedule.every_hours)
    due = schedule.since + every * ((at - schedule.since) // every)
    return due if schedule.begun is None or schedule.begun < due else None


def next_at(schedule: SnapshotSchedule) -> datetime:
    """When the next one is due, or has been since."""
    return schedule.since if schedule.begun is None else schedule.begun + timedelta(hours=schedule.every_hours)


def expired(schedule: SnapshotSchedule, snapshots: Iterable[Snapshot], at: datetime) -> list[Snapshot]:
    """Which of these the schedule deletes, oldest first; only of those that it took itself, and never the newest."""
    taken = sorted((one for one in snapshots if one.scheduled), key=lambda one: one.created_at)
    beyond = taken[: max(0, len(taken) - schedule.keep)]
    if schedule.expire_hours:
        limit = at - timedelta(hours=schedule.expire_hours)
        beyond += [one for one in taken[len(beyond) : -1] if one.created_at <= limit]
    return beyond


def snapshot_of(holder: Holder, reference: str) -> Snapshot:
    """By name or id. Raises Unknown(unknown_snapshot)."""
    snapshots: tuple[Snapshot, ...] = holder.snapshots
    for snapshot in snapshots:
        if reference in (snapshot.name, snapshot.id):
            return snapshot
    raise Unknown(
        f"There is no snapshot {reference[:64]!r} of this guest.",
        code="unknown_snapshot",
        hint="List the guest's snapshots to see their names.",
    )


def with_snapshot(holder: Holder, snapshot: Snapshot) -> Holder:
    """The newest, and the current one."""
    return msgspec.structs.replace(holder, snapshots=(*holder.snapshots, snapshot), snapshot=snapshot.id)


def back_at(holder: Holder, snapshot_id: str) -> Holder:
    return msgspec.structs.replace(holder, snapshot=snapshot_id)


def without_snapshot(holder: Holder, snapshot_id: str) -> Holder:
    """Its children are its parent's, and so is what the guest has last come from."""
    parent = next((one.parent for one in holder.snapshots if one.id == snapshot_id), "")
    kept = tuple(
        msgspec.structs.replace(one, parent=parent) if one.parent == snapshot_id else one
        for one in holder.snapshots
        if one.id != snapshot_id
    )
    current = parent if holder.snapshot == snapshot_id else holder.snapshot
    return msgspec.structs.replace(holder, snapshots=kept, snapshot=current)


def tree_order(parents: Mapping[str, str]) -> list[tuple[str, int]]:
    """Each name with its depth, every one right behind what it came after; ``parents`` from the oldest on, "" = none."""
    children: dict[str, list[str]] = {}
    for name, parent in parents.items():
        children.setdefault(parent if parent in parents else "", []).append(name)
    order: list[tuple[str, int]] = []
    ahead = [(name, 0) for name in reversed(children.get("", []))]
    while ahead:
        name, depth = ahead.pop()
        order.append((name, depth))
        ahead += [(child, depth + 1) for child in reversed(children.get(name, []))]
    return order
