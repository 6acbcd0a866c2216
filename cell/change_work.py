"""Changing a domain: the order that makes it what a spec says, or leaves it what it was.

The intention is journaled with the whole spec. After a restart a change is carried on from its start, each act being safe
to repeat; only one that had still to fetch an image is taken back, because where to get it was Core's to say.
"""

from collections.abc import Mapping
from contextlib import AsyncExitStack
from pathlib import Path

import msgspec

from nano.cell.handlers import Handler, Tell
from nano.cell.image_cache import ImageCache
from nano.domain.errors import Unknown
from nano.domain.host_domain import CloseOrder, DomainChanged, FailOrder, HostDomain, TakeOrder
from nano.domain.machine import MachineSpec
from nano.domain.order import Order
from nano.domain.site import Site
from nano.hypervisor.host import Host
from nano.transports.messages import ChangeDomain, GuestOrder, ImageSource


class ChangeWork:
    def __init__(self, site: Site, host: Host, images: ImageCache) -> None:
        self._site = site
        self._host = host
        self._images = images

    def handlers(self) -> Mapping[type[GuestOrder], Handler]:
        return {
            ChangeDomain: Handler("change", self.change, take=_take_change, resume=self.carry_on, undo=self.take_back)
        }

    async def change(self, order: ChangeDomain, tell: Tell) -> CloseOrder:
        before = self._domain(order.guest_id).spec
        done = 50 if order.source or order.media else 0
        async with AsyncExitStack() as fetched:
            image, media = [await self._fetched(fetched, source, tell) for source in (order.source, order.media)]
            pending = await self._host.changes.apply(
                order.guest_id,
                before,
                order.spec,
                image,
                lambda percent: tell(done + percent * (100 - done) // 100, "change"),
                media=media,
            )
        return _changed(order.command_id, order.spec, pending)

    async def _fetched(self, stack: AsyncExitStack, source: ImageSource | None, tell: Tell) -> Path | None:
        """The file, which stays until the stack is left."""
        if source is None:
            return None
        return await stack.enter_async_context(
            self._images.using(source, lambda percent: tell(percent // 2, "fetch image"))
        )

    async def carry_on(self, order: Order) -> CloseOrder | None:
        before, spec = self._domain(order.guest_id).spec, _spec_of(order)
        fetched = order.arguments.get("image") or order.arguments.get("media")
        if fetched and not await self._host.changes.is_defined(order.guest_id, spec):
            return None
        pending = await self._host.changes.apply(order.guest_id, before, spec, None, lambda _percent: None)
        return _changed(order.id, spec, pending)

    async def take_back(self, order: Order, failed: FailOrder) -> FailOrder:
        """What it was made of. Raises what the host does not let us: its disks and its packet filter hang on it."""
        domain = self._domain(order.guest_id)
        restored = await self._host.changes.take_back(order.guest_id, _spec_of(order), domain.spec)
        failed = msgspec.structs.replace(failed, undone=restored.undone)
        if (restored.spec, restored.pending) == (domain.spec, domain.pending):
            return failed
        return msgspec.structs.replace(failed, events=(DomainChanged(spec=restored.spec, pending=restored.pending),))

    def _domain(self, guest_id: str) -> HostDomain:
        domain = self._site.get(f"domain/{guest_id}")
        if not isinstance(domain, HostDomain):
            raise Unknown(f"This cell has no domain {guest_id}.", code="unknown_domain")
        return domain


def _take_change(order: ChangeDomain) -> TakeOrder:
    arguments = {"spec": msgspec.json.encode(order.spec).decode()}
    if order.source is not None:
        arguments["image"] = order.source.image_id
    if order.media is not None:
        arguments["media"] = order.media.image_id
    return TakeOrder(id=order.command_id, kind="change", guest_id=order.guest_id, arguments=arguments)


def _spec_of(order: Order) -> MachineSpec:
    return msgspec.json.decode(order.arguments["spec"], type=MachineSpec)


def _changed(order_id: str, spec: MachineSpec, pending: tuple[str, ...]) -> CloseOrder:
    return CloseOrder(id=order_id, events=(DomainChanged(spec=spec, pending=pending),))
