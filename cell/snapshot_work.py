"""Snapshots of a domain: the orders that make, restore and drop one.

Making one that was interrupted is completed when the host holds it whole, and else nothing of it is left; what could not be
taken back then is, before the next work on the guest's snapshots. Dropping is safe to repeat. Restoring is not: the guest may
have worked on since, so an interrupted one looks at the note that the host keeps with the domain's definition and does only
what is still to be done (``Stage``).
"""

import logging
from collections.abc import Callable, Collection, Mapping
from typing import Final

import anyio
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
from nano.hypervisor.host import DOMAIN_FOREIGN, DOMAIN_MISSING, Host
from nano.hypervisor.snapshots import Stage
from nano.transports.messages import DropSnapshot, GuestOrder, MakeSnapshot, RemoveSnapshot, RestoreSnapshot

log = logging.getLogger("nano.cell")

THAW_PATIENCE_S: Final = 300.0
THAW_AGAIN_S: Final = 1.0
THAW_LIMIT_S: Final = 60.0

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
            DropSnapshot: Handler(
                "drop_snapshot",
                self.drop,
                take=_taking("drop_snapshot"),
                resume=self.resume_drop,
                undo=self.undo_drop,
            ),
            RemoveSnapshot: Handler(
                "remove_snapshot", self.remove, take=_take_remove, resume=lambda order: self._remove(order.id, order)
            ),
        }

    async def make(self, order: MakeSnapshot, tell: Tell) -> CloseOrder:
        tell(0, "create snapshot")
        await self._drop_left(order.guest_id)
        await self._require_volumes(order.guest_id, order.snapshot)
        guest_id, snapshot = order.guest_id, order.snapshot
        spec = self._domain(guest_id).spec
        if snapshot.memory:  # nothing of its file systems is missing then; frozen, it would come back frozen
            return _made(
                order.command_id,
                snapshot,
                memory=await self._host.snapshots.make(guest_id, snapshot.id, spec, memory=True),
            )
        frozen, detail = True, ""  # so it may be as soon as it was asked for
        try:
            frozen = await self._host.snapshots.freeze(guest_id)
            await self._host.snapshots.make(guest_id, snapshot.id, spec, memory=False)
        finally:
            if frozen:
                detail = await self._thaw(guest_id, THAW_PATIENCE_S)
        return _made(order.command_id, snapshot, frozen=frozen, detail=detail)

    async def _thaw(self, guest_id: str, patience_s: float) -> str:
        """Let its file systems go on, whatever else has happened; once for certain, then as long as the order is wanted: the
        undoing of one that is not, and a restart, do it too. In words what could not be done."""
        with anyio.CancelScope(shield=True):
            failed = await self._thaw_once(guest_id)
        with anyio.move_on_after(patience_s):
            while failed:
                await anyio.sleep(THAW_AGAIN_S)
                failed = await self._thaw_once(guest_id)
        return failed

    async def _thaw_once(self, guest_id: str) -> str:
        try:
            with anyio.fail_after(THAW_LIMIT_S):
                await self._host.snapshots.thaw(guest_id)
        except (NanoError, TimeoutError) as error:
            log.error("not thawed guest=%s reason=%s", guest_id, error)
            gone = isinstance(error, NanoError) and error.code in (DOMAIN_MISSING, DOMAIN_FOREIGN)
            return "" if gone else f"its file systems may still be frozen: {error}"
        return ""

    async def resume_make(self, order: Order) -> CloseOrder | None:
        snapshot = snapshot_of_order(order)
        if not snapshot.memory:
            await self._thaw(order.guest_id, THAW_AGAIN_S)
        memory = await self._host.snapshots.held(order.guest_id, snapshot.id)
        return None if memory is None else _made(order.id, snapshot, memory=memory)

    async def undo_make(self, order: Order, failed: FailOrder) -> FailOrder:
        undone: tuple[str, ...] = ()
        snapshot = snapshot_of_order(order)
        if not snapshot.memory:
            await self._thaw(order.guest_id, THAW_AGAIN_S)
        try:
            if await self._drop_at_host(order.guest_id, snapshot.id):
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
        snapshot = snapshot_of_order(order)
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
        snapshot = snapshot_of_order(order)
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
        await self._drop_left(order.guest_id)
        return await self._drop(order.command_id, order.guest_id, order.snapshot)

    async def resume_drop(self, order: Order) -> CloseOrder | None:
        return await self._drop(order.id, order.guest_id, snapshot_of_order(order))

    async def _drop(self, order_id: str, guest_id: str, snapshot: Snapshot) -> CloseOrder:
        await self._drop_at_host(guest_id, snapshot.id)
        return CloseOrder(id=order_id, events=(DomainSnapshotDeleted(snapshot.id, snapshot.name),))

    async def undo_drop(self, order: Order, failed: FailOrder) -> FailOrder:
        """One that is gone is gone, whatever failed after it."""
        snapshot = snapshot_of_order(order)
        try:
            held = await self._host.snapshots.held(order.guest_id, snapshot.id)
            if held is not None or any(snapshot.id in ids for ids in await self._in_volumes(order.guest_id)):
                return failed
        except NanoError as error:
            log.error("outcome not seen guest=%s code=%s reason=%s", order.guest_id, error.code, error.message)
            return msgspec.structs.replace(failed, undone=(f"the snapshot may be deleted: {error.message}",))
        gone = DomainSnapshotDeleted(snapshot.id, snapshot.name)
        return msgspec.structs.replace(failed, events=(gone,), undone=("the snapshot was deleted all the same",))

    async def remove(self, order: RemoveSnapshot, tell: Tell) -> CloseOrder:  # noqa: ARG002
        """One that the journal does not have."""
        return await self._remove(order.command_id, order)

    async def _remove(self, order_id: str, order: RemoveSnapshot | Order) -> CloseOrder:
        wanted = order.arguments["id"] if isinstance(order, Order) else order.snapshot_id
        domain = self._domain(order.guest_id)
        if any(one.id == wanted for one in domain.snapshots):
            raise HostError(f"It is a snapshot of guest {domain.spec.name}.", code="not_an_orphan")
        removed = await self._drop_at_host(order.guest_id, wanted)
        return CloseOrder(id=order_id, detail=f"snapshot {wanted} removed" if removed else "")

    async def _drop_left(self, guest_id: str) -> None:
        """Those whose making failed, and could not be taken back then."""
        kept = {one.id for one in self._domain(guest_id).snapshots}
        failed = [order for order in self._site.closed_orders(guest_id, "snapshot") if order.state == "failed"]
        if abandoned := {snapshot_of_order(order).id for order in failed} - kept:
            for left in frozenset[str]().union(*await self._in_volumes(guest_id)) & abandoned:
                await self._drop_at_host(guest_id, left)

    async def _in_volumes(self, guest_id: str) -> Collection[frozenset[str]]:
        return (await self._host.snapshots.in_volumes(guest_id)).values()

    async def _drop_at_host(self, guest_id: str, snapshot_id: str) -> bool:
        return await self._host.snapshots.drop(guest_id, snapshot_id, self._domain(guest_id).spec)

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


def _take_remove(order: RemoveSnapshot) -> TakeOrder:
    arguments = {"id": order.snapshot_id}
    return TakeOrder(id=order.command_id, kind="remove_snapshot", guest_id=order.guest_id, arguments=arguments)


def snapshot_of_order(order: Order) -> Snapshot:
    return msgspec.json.decode(order.arguments["snapshot"], type=Snapshot)


def _made(
    order_id: str, snapshot: Snapshot, *, memory: bool = False, frozen: bool = False, detail: str = ""
) -> CloseOrder:
    made = msgspec.structs.replace(snapshot, memory=memory, frozen=frozen)
    return CloseOrder(id=order_id, events=(DomainSnapshotMade(made),), detail=detail)
