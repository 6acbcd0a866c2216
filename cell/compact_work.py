"""Compacting a guest's disk on its cell. An interrupted order has failed, the old volume is there, and the copy is removed."""

from collections.abc import Mapping

from nano.cell.handlers import Handler, Tell
from nano.domain.host_domain import CloseOrder, FailOrder, TakeOrder
from nano.domain.order import Order
from nano.hypervisor.host import Host
from nano.transports.messages import CompactVolume, GuestOrder


class CompactWork:
    def __init__(self, host: Host) -> None:
        self._host = host

    def handlers(self) -> Mapping[type[GuestOrder], Handler]:
        return {CompactVolume: Handler("compact", self.compact, take=_taken, undo=self.tidy)}

    async def compact(self, order: CompactVolume, tell: Tell) -> CloseOrder:
        def told(percent: int) -> None:
            tell(percent, "compact disk")

        freed = await self._host.compactor.compact(order.guest_id, order.number, told)
        return CloseOrder(id=order.command_id, detail=str(freed))

    async def tidy(self, order: Order, failed: FailOrder) -> FailOrder:
        await self._host.compactor.tidy(order.guest_id, int(order.arguments["number"]))
        return failed


def _taken(order: CompactVolume) -> TakeOrder:
    number = {"number": str(order.number)}
    return TakeOrder(id=order.command_id, kind="compact", guest_id=order.guest_id, arguments=number)
