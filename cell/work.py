"""Work: what each kind of order does on the host. Every action is safe to repeat; the desk journals around it."""

import logging
from collections.abc import Mapping
from pathlib import Path
from typing import Final

import anyio
import msgspec

from nano.cell.doors import Doors
from nano.cell.handlers import Handler, Tell
from nano.cell.image_cache import ImageCache
from nano.domain.errors import DeadlineExceeded, HostError, NanoError, Unknown
from nano.domain.guest import Power
from nano.domain.host_domain import (
    CloseOrder,
    DomainCreated,
    DomainDiscarded,
    DomainRedefined,
    DomainRemoved,
    FailOrder,
    HostDomain,
    TakeOrder,
)
from nano.domain.order import Order
from nano.domain.site import Site
from nano.hypervisor.host import Host
from nano.journal.feed import Feed
from nano.transports.messages import CreateDomain, GuestOrder, PowerDomain, RedefineDomain, RemoveDomain
from nano.transports.unwrap import plain_errors

log = logging.getLogger("nano.cell")

PRESS_AGAIN_S = 10.0  # a guest that is still booting loses the first press of its power button
FILES_STAY: Final = "files_stay"  # the argument of a removal that leaves them to another cell
REACHED: dict[str, Power] = {"start": "running", "stop": "stopped", "force_stop": "stopped"}


class Work:
    def __init__(self, site: Site, host: Host, images: ImageCache, feed: Feed, doors: Doors) -> None:
        self._site = site
        self._doors = doors
        self._host = host
        self._images = images
        self._feed = feed

    def handlers(self) -> Mapping[type[GuestOrder], Handler]:
        return {
            CreateDomain: Handler("create", self.create, take=_take_create, undo=self.undo_create),
            RemoveDomain: Handler("remove", self.remove, take=_take_remove, resume=self._resume_remove),
            PowerDomain: Handler("power", self.power, take=_take_power, resume=self._resume_power),
            RedefineDomain: Handler(
                "redefine", self.redefine, resume=lambda order: self._redefine(order.id, order.guest_id)
            ),
        }

    async def create(self, order: CreateDomain, tell: Tell) -> CloseOrder:
        created = CloseOrder(id=order.command_id, events=(DomainCreated(),))
        if order.seed:
            await self._host.make_seed(order.guest_id, order.seed)
        if order.source is None:
            # Neither needs the other: a domain may be defined before its volumes are there.
            with plain_errors():
                async with anyio.create_task_group() as tasks:
                    tasks.start_soon(self._make_volumes, order, None, tell)
                    tasks.start_soon(self._host.define, order.guest_id, order.spec)
            return created
        images = self._images.using if order.spec.linked else self._images.reading
        async with images(order.source, lambda percent: tell(percent // 2, "fetch image")) as image:
            await self._make_volumes(order, image, lambda percent, step: tell(50 + percent // 2, step))
        await self._host.define(order.guest_id, order.spec)
        return created

    async def _make_volumes(self, order: CreateDomain, image: Path | None, tell: Tell) -> None:
        await self._host.make_volumes(order.guest_id, order.spec, image, lambda percent: tell(percent, "make disks"))

    async def undo_create(self, order: Order, failed: FailOrder) -> FailOrder:
        """Take back whatever of it is on the host, as far as the host lets us; what can't be is said."""
        guest_id, undone = order.guest_id, list[str]()
        await self._doors.close(guest_id)
        try:
            if any(domain.guest_id == guest_id for domain in await self._host.domains()):
                await self._host.destroy(guest_id)
                await self._host.undefine(guest_id)
                undone.append("domain undefined")
            elif await self._host.filters.drop(guest_id):
                undone.append("packet filter removed")
            undone += [f"volume {name} removed" for name in await self._host.remove_volumes(guest_id)]
        except NanoError as error:
            log.error("undo incomplete guest=%s code=%s reason=%s", guest_id, error.code, error.message)
            undone.append(f"not everything could be taken back: {error.message}")
        discarded = DomainDiscarded(reason=failed.error.message)
        return msgspec.structs.replace(failed, events=(discarded,), undone=tuple(undone))

    async def remove(self, order: RemoveDomain, tell: Tell) -> CloseOrder:  # noqa: ARG002
        return await self.take_away(order.command_id, order.guest_id, files=order.files)

    async def _resume_remove(self, order: Order) -> CloseOrder:
        return await self.take_away(order.id, order.guest_id, files=FILES_STAY not in order.arguments)

    async def take_away(self, order_id: str, guest_id: str, *, files: bool = True) -> CloseOrder:
        """Its domain, and its files when they are this cell's."""
        undone = []
        known = self._site.get(f"domain/{guest_id}")
        await self._doors.close(guest_id)
        if any(domain.guest_id == guest_id for domain in await self._host.domains()):
            await self._host.destroy(guest_id)
            await self._host.undefine(guest_id)
            undone.append("domain undefined")
        elif await self._host.filters.drop(guest_id):
            undone.append("packet filter removed")
        if not files or (isinstance(known, HostDomain) and known.borrowed):
            await self._host.storage.withdraw(guest_id)
            return CloseOrder(id=order_id, events=(DomainRemoved(),), detail="\n".join(undone))
        removed = await self._host.remove_volumes(guest_id)
        undone += [f"volume {name} removed" for name in removed]
        return CloseOrder(id=order_id, events=(DomainRemoved(volumes=tuple(removed)),), detail="\n".join(undone))

    async def power(self, order: PowerDomain, tell: Tell) -> CloseOrder:  # noqa: ARG002
        host, guest_id, order_id = self._host, order.guest_id, order.command_id
        if order.action == "stop":
            await self._press_until_off(guest_id, order.timeout_s)
            return CloseOrder(id=order_id, power="stopped")
        actions = {"start": self._start, "force_stop": host.destroy, "reboot": host.reboot, "force_reboot": host.reset}
        action = actions.get(order.action)
        if action is None:
            raise Unknown(f"A cell knows no power action {order.action!r}.", code="unknown_order")
        await action(guest_id)
        return CloseOrder(id=order_id, power=REACHED.get(order.action))

    async def _start(self, guest_id: str) -> None:
        domain = self._site.get(f"domain/{guest_id}")
        if isinstance(domain, HostDomain):
            await self._host.changes.prepare(guest_id, domain.spec)
        await self._host.start(guest_id)

    async def _press_until_off(self, guest_id: str, patience_s: float) -> None:
        with anyio.move_on_after(patience_s):
            while True:
                await self._host.shutdown(guest_id)
                with anyio.move_on_after(PRESS_AGAIN_S):
                    await self._until_off(guest_id)
                    return
                if await self._power_of(guest_id) == "stopped":
                    return
        raise DeadlineExceeded(
            f"The guest did not power off within {patience_s:.0f} s of pressing its power button.",
            code="guest_ignores_power_button",
            hint="Stop it from inside, or force the stop.",
        )

    async def _until_off(self, guest_id: str) -> None:
        while True:
            domain = self._site.get(f"domain/{guest_id}")
            if not isinstance(domain, HostDomain) or domain.power in ("stopped", "crashed", "missing"):
                return
            await self._feed.wait_for(self._feed.position + 1)

    async def redefine(self, order: RedefineDomain, tell: Tell) -> CloseOrder:  # noqa: ARG002
        return await self._redefine(order.command_id, order.guest_id)

    async def _redefine(self, order_id: str, guest_id: str) -> CloseOrder:
        domain = self._site.get(f"domain/{guest_id}")
        if not isinstance(domain, HostDomain):
            raise Unknown(f"This cell has no domain {guest_id}.", code="unknown_domain")
        if guest_id not in await self._host.volumes():
            raise HostError(
                f"The disks of guest {domain.spec.name} are gone too.",
                code="volumes_missing",
                hint="Delete the guest, or restore its disks first.",
            )
        await self._host.define(guest_id, domain.spec)
        return CloseOrder(id=order_id, events=(DomainRedefined(),))

    async def _resume_power(self, order: Order) -> CloseOrder | None:
        wanted = REACHED.get(order.action)
        if wanted is not None and await self._power_of(order.guest_id) == wanted:
            return CloseOrder(id=order.id, power=wanted)
        return None

    async def _power_of(self, guest_id: str) -> Power:
        for domain in await self._host.domains():
            if domain.guest_id == guest_id:
                return domain.state
        return "missing"


def _take_create(order: CreateDomain) -> TakeOrder:
    return TakeOrder(id=order.command_id, kind="create", guest_id=order.guest_id, spec=order.spec)


def _take_remove(order: RemoveDomain) -> TakeOrder:
    arguments = {} if order.files else {FILES_STAY: "yes"}
    return TakeOrder(id=order.command_id, kind="remove", guest_id=order.guest_id, arguments=arguments)


def _take_power(order: PowerDomain) -> TakeOrder:
    return TakeOrder(id=order.command_id, kind="power", guest_id=order.guest_id, action=order.action)
