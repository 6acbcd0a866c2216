"""What happens to the snapshots of a host domain, as its cell records it."""

from datetime import datetime
from typing import Final

from nano.domain.facts import Event, Rules
from nano.domain.host_domain import HostDomain
from nano.domain.snapshot import Snapshot, back_at, with_snapshot, without_snapshot


class DomainSnapshotMade(Event, frozen=True, tag="domain.snapshot_made"):
    snapshot: Snapshot


class DomainSnapshotRestored(Event, frozen=True, tag="domain.snapshot_restored"):
    id: str
    name: str


class DomainSnapshotDeleted(Event, frozen=True, tag="domain.snapshot_deleted"):
    id: str
    name: str


DomainSnapshotEvent = DomainSnapshotMade | DomainSnapshotRestored | DomainSnapshotDeleted


def evolve_made(state: HostDomain, event: DomainSnapshotMade, at: datetime) -> HostDomain:
    return with_snapshot(state, event.snapshot)


def evolve_restored(state: HostDomain, event: DomainSnapshotRestored, at: datetime) -> HostDomain:
    return back_at(state, event.id)


def evolve_deleted(state: HostDomain, event: DomainSnapshotDeleted, at: datetime) -> HostDomain:
    return without_snapshot(state, event.id)


RULES: Final = Rules(
    decide={},
    evolve={
        DomainSnapshotMade: evolve_made,
        DomainSnapshotRestored: evolve_restored,
        DomainSnapshotDeleted: evolve_deleted,
    },
)
