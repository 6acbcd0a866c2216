"""What a Cell's own journal means for Core: facts of host domains become facts of guests.

Core follows each cell's log and records, in one transaction, what follows from a batch together with the position it has
read (the tracking), so nothing is taken twice or missed. A fact about a guest that Core does not have, or has on another
cell, changes nothing, and may be read again later: so one about an earlier stay of a guest that came back changes nothing either.
"""

from typing import TYPE_CHECKING, Final

import msgspec

from nano.domain import domain_snapshot as ds
from nano.domain import domain_vnc as dv
from nano.domain import host_domain as hd
from nano.domain.facts import Command, Context, Emitted, Event, Rules
from nano.domain.guest import (
    Guest,
    GuestAgentChanged,
    GuestChanged,
    GuestCrashed,
    GuestCreated,
    GuestDeleted,
    GuestPaused,
    GuestRedefined,
    GuestStarted,
    GuestStopped,
    GuestVanished,
)
from nano.domain.guest_snapshot import GuestSnapshotDeleted, GuestSnapshotMade, GuestSnapshotRestored
from nano.domain.guest_vnc import GuestVncClosed, GuestVncOpened
from nano.domain.image import Image
from nano.domain.machine import MachineSpec

if TYPE_CHECKING:
    from nano.domain.zone import Zone

Snapshots = ds.DomainSnapshotMade | ds.DomainSnapshotRestored | ds.DomainSnapshotDeleted
Vnc = dv.DomainVncOpened | dv.DomainVncClosed
Reported = (
    hd.DomainCreated
    | hd.DomainRedefined
    | hd.DomainChanged
    | hd.DomainVanished
    | hd.DomainPowerChanged
    | hd.DomainAgentChanged
    | hd.DomainRemoved
    | Snapshots
    | Vnc
)


class ReportedFact(msgspec.Struct, frozen=True):
    guest_id: str
    event: Reported
    position: int = 1  # in the cell's journal


class RecordReport(Command, frozen=True, kw_only=True, tag="cell.record_report"):
    cell: str
    facts: tuple[ReportedFact, ...]


_POWER = {"running": GuestStarted, "stopped": GuestStopped, "paused": GuestPaused, "crashed": GuestCrashed}


def decide_report(zone: "Zone", command: RecordReport, context: Context) -> list[Emitted]:
    events: list[Emitted] = []
    created: set[str] = set()
    gone: set[str] = set()
    for fact in command.facts:
        guest = zone.get(f"guest/{fact.guest_id}")
        if not isinstance(guest, Guest) or guest.cell != command.cell or fact.position <= guest.since:
            continue
        event = _translate(zone, guest, fact.event, fresh=guest.id in created)
        if event is not None and guest.id not in gone:
            events.append(Emitted(f"guest/{guest.id}", event))
        if isinstance(event, GuestCreated):
            created.add(guest.id)
        elif isinstance(event, GuestDeleted):
            gone.add(guest.id)
    return events


def _translate(zone: "Zone", guest: Guest, event: Reported, *, fresh: bool) -> Event | None:
    if isinstance(event, hd.DomainCreated):
        if guest.phase == "creating":
            return GuestCreated()
        return GuestStopped() if guest.power == "crashed" else None  # moved: what is new there has never run
    if guest.phase == "creating" and not fresh:
        return None
    if isinstance(event, hd.DomainRedefined):
        return GuestRedefined()
    if isinstance(event, hd.DomainChanged):
        return GuestChanged(spec=event.spec, pending=event.pending, image_name=_new_image(zone, guest, event.spec))
    if isinstance(event, hd.DomainVanished):
        return GuestVanished(event.reason)
    if isinstance(event, hd.DomainPowerChanged):
        return _POWER[event.power](event.reason) if event.power in _POWER else GuestVanished(event.reason)
    if isinstance(event, hd.DomainAgentChanged):
        return GuestAgentChanged(event.connected, event.addresses)
    if isinstance(event, Snapshots | Vnc):
        return _of_a_family(event)
    # A removal can't be taken back, so it counts from here on, whatever becomes of the task that asked for it.
    return GuestDeleted() if guest.phase == "deleting" else GuestVanished("its domain was removed")


def _of_a_family(event: Snapshots | Vnc) -> Event:
    if isinstance(event, ds.DomainSnapshotMade):
        return GuestSnapshotMade(event.snapshot)
    if isinstance(event, ds.DomainSnapshotRestored):
        return GuestSnapshotRestored(event.id, event.name)
    if isinstance(event, ds.DomainSnapshotDeleted):
        return GuestSnapshotDeleted(event.id, event.name)
    if isinstance(event, dv.DomainVncOpened):
        return GuestVncOpened(address=event.address, port=event.port, sealed=event.sealed)
    return GuestVncClosed(error=event.error)


def _new_image(zone: "Zone", guest: Guest, spec: MachineSpec) -> str | None:
    if spec.image == guest.spec.image:
        return None
    image = zone.get(f"image/{spec.image}")
    return image.name if isinstance(image, Image) else ""


RULES: Final = Rules(decide={RecordReport: decide_report}, evolve={})
