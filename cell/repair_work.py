"""Repairing what drifted: a domain made again what the journal says, and volumes and filters that belong to nobody removed.

A repair does only what is safe: what would cut a disk, or needs a file that is gone, is refused by name. Each order looks
at the host anew when it acts, and again after a restart.
"""

from collections.abc import Mapping

from nano.cell.handlers import Handler, Tell
from nano.domain.errors import HostError, Unknown
from nano.domain.host_domain import CloseOrder, DomainChanged, DomainRedefined, HostDomain, TakeOrder
from nano.domain.order import Order
from nano.domain.site import Site
from nano.hypervisor.domain_xml import file_names, volume_name
from nano.hypervisor.host import Host
from nano.transports.messages import GuestOrder, RemoveFile, RemoveFilter, RepairDomain


class RepairWork:
    def __init__(self, site: Site, host: Host) -> None:
        self._site = site
        self._host = host

    def handlers(self) -> Mapping[type[GuestOrder], Handler]:
        return {
            RepairDomain: Handler(
                "repair", self.repair, resume=lambda order: self._repair(order.id, order.guest_id, _nobody_asks)
            ),
            RemoveFile: Handler(
                "remove_volume", self.remove_file, take=_take_remove_file, resume=self._resume_remove_file
            ),
            RemoveFilter: Handler(
                "remove_filter",
                self.remove_filter,
                resume=lambda order: self._remove_filter(order.id, order.guest_id),
            ),
        }

    async def repair(self, order: RepairDomain, tell: Tell) -> CloseOrder:
        return await self._repair(order.command_id, order.guest_id, tell)

    async def _repair(self, order_id: str, guest_id: str, tell: Tell) -> CloseOrder:
        domain = self._site.get(f"domain/{guest_id}")
        if not isinstance(domain, HostDomain):
            raise Unknown(f"This cell has no domain {guest_id}.", code="unknown_domain")
        found = await self._host.changes.deviations(guest_id, domain.spec, domain.pending)
        if unsafe := [item for item in found if item.repair == "by_hand"]:
            raise HostError(
                f"{unsafe[0].expected} was expected, but found: {unsafe[0].found}. Nothing safe mends that by itself.",
                code="repair_unsafe",
                hint="Restore the file, or change the guest to what is there.",
            )
        found = tuple(item for item in found if item.repair != "not_here")
        mended = "\n".join(f"{item.attribute}: {item.found} -> {item.expected}" for item in found)
        if any(item.repair == "define_again" for item in found):
            await self._host.define(guest_id, domain.spec)
            return CloseOrder(id=order_id, events=(DomainRedefined(),), detail=mended)
        pending = await self._host.changes.apply(
            guest_id, domain.spec, domain.spec, None, lambda percent: tell(percent, "repair")
        )
        changed = DomainChanged(spec=domain.spec, pending=pending)
        events = (changed,) if found or pending != domain.pending else ()
        return CloseOrder(id=order_id, events=events, detail=mended)

    async def remove_file(self, order: RemoveFile, tell: Tell) -> CloseOrder:  # noqa: ARG002
        return await self._remove_file(order.command_id, order.guest_id, order.file)

    async def _resume_remove_file(self, order: Order) -> CloseOrder:
        number = order.arguments.get("number")  # all that was journaled while only volumes could be removed
        return await self._remove_file(
            order.id, order.guest_id, volume_name(order.guest_id, int(number)) if number else order.arguments["file"]
        )

    async def _remove_file(self, order_id: str, guest_id: str, file: str) -> CloseOrder:
        domain = self._site.get(f"domain/{guest_id}")
        if isinstance(domain, HostDomain) and file in file_names(guest_id, domain.spec):
            raise HostError(f"{file} belongs to guest {domain.spec.name}.", code="not_an_orphan")
        removed = await self._host.changes.remove_file(guest_id, file)
        return CloseOrder(id=order_id, detail="\n".join(f"{name} removed" for name in removed))

    async def remove_filter(self, order: RemoveFilter, tell: Tell) -> CloseOrder:  # noqa: ARG002
        return await self._remove_filter(order.command_id, order.guest_id)

    async def _remove_filter(self, order_id: str, guest_id: str) -> CloseOrder:
        domain = self._site.get(f"domain/{guest_id}")
        if isinstance(domain, HostDomain):
            raise HostError(f"It is the packet filter of guest {domain.spec.name}.", code="not_an_orphan")
        removed = await self._host.filters.drop(guest_id)
        return CloseOrder(id=order_id, detail="packet filter removed" if removed else "")


def _nobody_asks(_percent: int, _step: str) -> None:
    """After a restart nobody watches the progress."""


def _take_remove_file(order: RemoveFile) -> TakeOrder:
    arguments = {"file": order.file}
    return TakeOrder(id=order.command_id, kind="remove_volume", guest_id=order.guest_id, arguments=arguments)
