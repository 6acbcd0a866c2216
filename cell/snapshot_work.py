"""Snapshots of a domain: the orders that make, restore and drop one.

Making one that was interrupted is completed when the host holds it whole, and else nothing of it is left. Dropping is safe to
repeat. Restoring is not: the guest may have worked on since, so an interrupted one looks at the note that the host keeps with
the domain's definition and does only what is still to be done (``Stage``).
"""

import logging
from collections.abc import Callable, Mapping

import msgspec

from nano.cell.handlers import Handler, Tell
from nano.domain.domain_snapshot import DomainSnapshotDeleted, DomainSnapshotMade, DomainSnapshotRestored
from nano.domain.errors import HostError, NanoError, Unknown
from nano.domain.facts import Event
from nano.domain.guest import Power
from nano.domain.host_domain import CloseOrder, DomainChanged, FailOrder, HostDomain, TakeOrder
from nano.domain.order import Order
from nano.domain.site import Site
from nano.domain.snapshot import Snapshot
from nano.hypervisor.host import Host
from nano.hypervisor.snapshots import Stage
from nano.transports.messages import DropSnapshot, GuestOrder, MakeSnapshot, RestoreSnapshot

log = logging.getLogger("nano.cell")

SnapshotOrder = MakeSnapshot | RestoreSnapshot | DropSnapshot


class SnapshotWork:
    def __init__(self, site: Site, host: Host) -> None:
        self._site = site
        self._host = host

    def handlers(self) -> Mapping[type[GuestOrder], Handler]:
        return {
            MakeSnapshot: Handler(
                "snapshot", self.make, take=_taking("snapshot"), resume=self.resume_make, undo=self.undo_make
            ),
            RestoreSnapshot: Handler(
                "restore_snapshot",
                self.restore,
                take=_taking("restore_snapshot"),
                resume=self.resume_restore,
                undo=self.undo_restore,
            ),
            DropSnapshot: Handler("drop_snapshot", self.drop, take=_taking("drop_snapshot"), resume=self.resume_drop),
        }

    async def make(self, order: MakeSnapshot, tell: Tell) -> CloseOrder:
        tell(0, "create snapshot")
        await self._require_volumes(order.guest_id, order.snapshot)
        memory = await self._host.snapshots.make(order.guest_id, order.snapshot.id)
        return _made(order.command_id, order.snapshot, memory)

    async def resume_make(self, order: Order) -> CloseOrder | None:
        snapshot = _snapshot_of(order)
        memory = await self._host.snapshots.held(order.guest_id, snapshot.id)
        return None if memory is None else _made(order.id, snapshot, memory)

    async def undo_make(self, order: Order, failed: FailOrder) -> FailOrder:
        undone: tuple[str, ...] = ()
        try:
            if await self._host.snapshots.drop(order.guest_id, _snapshot_of(order).id):
                undone = ("snapshot removed",)
        except NanoError as error:
            log.error("undo incomplete guest=%s code=%s reason=%s", order.guest_id, error.code, error.message)
            undone = (f"not everything could be taken back: {error.message}",)
        return msgspec.structs.replace(failed, undone=undone)

    async def restore(self, order: RestoreSnapshot, tell: Tell) -> CloseOrder:
        tell(0, "restore snapshot")
        await self._require_volumes(order.guest_id, order.snapshot)
        return await self._restore(order.command_id, order.guest_id, order.snapshot, "before")

    async def resume_restore(self, order: Order) -> CloseOrder | None:
        snapshot = _snapshot_of(order)
        stage = await self._host.snapshots.stage(order.guest_id, snapshot.id, order.id)
        return await self._restore(order.id, order.guest_id, snapshot, stage)

    async def _restore(self, order_id: str, guest_id: str, snapshot: Snapshot, stage: Stage) -> CloseOrder:
        spec = self._domain(guest_id).spec
        if stage == "before":
            await self._host.snapshots.restore(guest_id, snapshot.id, spec, memory=snapshot.memory)
        if stage != "settled":
            await self._host.snapshots.settle(guest_id, spec, order_id)
        return CloseOrder(
            id=order_id, events=await self._restored(guest_id, snapshot), power=await self._power(guest_id)
        )

    async def _restored(self, guest_id: str, snapshot: Snapshot) -> tuple[Event, ...]:
        """What came of it; the running guest is what it was then, so some of its spec may wait for the next start."""
        domain = self._domain(guest_id)
        pending = await self._host.changes.follow(guest_id, domain.spec)
        back = DomainSnapshotRestored(snapshot.id, snapshot.name)
        return (back,) if pending == domain.pending else (back, DomainChanged(spec=domain.spec, pending=pending))

    async def undo_restore(self, order: Order, failed: FailOrder) -> FailOrder:
        """There is no way back from one that has happened: then its outcome says so, beside what failed after it."""
        snapshot = _snapshot_of(order)
        try:
            stage = await self._host.snapshots.stage(order.guest_id, snapshot.id, order.id)
            if stage == "before":
                return failed
            if stage == "restored":
                await self._host.snapshots.settle(order.guest_id, self._domain(order.guest_id).spec, order.id)
            events = await self._restored(order.guest_id, snapshot)
        except NanoError as error:
            log.error("undo incomplete guest=%s code=%s reason=%s", order.guest_id, error.code, error.message)
            return msgspec.structs.replace(
                failed, undone=(f"the snapshot may have been restored all the same: {error.message}",)
            )
        return msgspec.structs.replace(failed, events=events, undone=("the snapshot was restored all the same",))

    async def drop(self, order: DropSnapshot, tell: Tell) -> CloseOrder:
        tell(0, "delete snapshot")
        return await self._drop(order.command_id, order.guest_id, order.snapshot)

    async def resume_drop(self, order: Order) -> CloseOrder | None:
        return await self._drop(order.id, order.guest_id, _snapshot_of(order))

    async def _drop(self, order_id: str, guest_id: str, snapshot: Snapshot) -> CloseOrder:
        await self._host.snapshots.drop(guest_id, snapshot.id)
        return CloseOrder(id=order_id, events=(DomainSnapshotDeleted(snapshot.id, snapshot.name),))

    async def _require_volumes(self, guest_id: str, snapshot: Snapshot) -> None:
        """What it holds, or will hold, is there as it should be."""
        sizes = await self._host.changes.volume_sizes(guest_id)
        for number, size in zip(snapshot.volumes, snapshot.disks, strict=True):
            if sizes.get(number) != size:
                raise HostError(
                    f"Volume {number} of the guest is not on this host in its size.",
                    code="volumes_missing",
                    hint="Restore it from a backup first.",
                )

    async def _power(self, guest_id: str) -> Power:
        for domain in await self._host.domains():
            if domain.guest_id == guest_id:
                return domain.state
        return "missing"

    def _domain(self, guest_id: str) -> HostDomain:
        domain = self._site.get(f"domain/{guest_id}")
        if not isinstance(domain, HostDomain):
            raise Unknown(f"This cell has no domain {guest_id}.", code="unknown_domain")
        return domain


def _taking(kind: str) -> Callable[[SnapshotOrder], TakeOrder]:
    def take(order: SnapshotOrder) -> TakeOrder:
        arguments = {"snapshot": msgspec.json.encode(order.snapshot).decode()}
        return TakeOrder(id=order.command_id, kind=kind, guest_id=order.guest_id, arguments=arguments)

    return take


def _snapshot_of(order: Order) -> Snapshot:
    return msgspec.json.decode(order.arguments["snapshot"], type=Snapshot)


def _made(order_id: str, snapshot: Snapshot, memory: bool) -> CloseOrder:
    made = snapshot if snapshot.memory == memory else msgspec.structs.replace(snapshot, memory=memory)
    return CloseOrder(id=order_id, events=(DomainSnapshotMade(made),))
