"""What a cell has a guest's agent do: set a password. An interrupted order has failed, because its password is not journaled."""

from collections.abc import Mapping

from nano.cell.handlers import Handler, Tell
from nano.domain.host_domain import CloseOrder
from nano.hypervisor.host import Host
from nano.transports.messages import GuestOrder, SetGuestPassword


class AgentWork:
    def __init__(self, host: Host) -> None:
        self._host = host

    def handlers(self) -> Mapping[type[GuestOrder], Handler]:
        return {SetGuestPassword: Handler("password", self.set_password)}

    async def set_password(self, order: SetGuestPassword, tell: Tell) -> CloseOrder:
        tell(0, "set password")
        await self._host.insider.set_password(order.guest_id, order.user, order.password)
        return CloseOrder(id=order.command_id)
