"""VNC access of guests: what is ordered of a cell. The entrances themselves are ``Viewers``'.

What is journaled of an order before it is carried out holds the secret sealed twice, for Core and for this cell, so it can be
completed after a restart.
"""

import contextlib
from collections.abc import Mapping
from typing import Final

from nano.cell.handlers import Handler, Tell
from nano.cell.viewers import Viewers, no_offer
from nano.domain.domain_vnc import DomainVncClosed, DomainVncOpened
from nano.domain.errors import Conflict, NanoError
from nano.domain.facts import Event
from nano.domain.host_domain import CloseOrder, TakeOrder
from nano.domain.order import Order
from nano.domain.task import problem_of
from nano.transports.messages import CloseVnc, GuestOrder, OpenVnc
from nano.transports.move_messages import AdoptDomain

SEALED: Final = "sealed"
KEPT: Final = "kept"


class VncWork:
    def __init__(self, viewers: Viewers) -> None:
        self._viewers = viewers

    def handlers(self) -> Mapping[type[GuestOrder], Handler]:
        return {
            OpenVnc: Handler("open_vnc", self.open, take=self._take_open, resume=self.resume_open),
            CloseVnc: Handler("close_vnc", self.close, resume=lambda order: self._close(order.id, order.guest_id)),
        }

    async def open(self, order: OpenVnc, tell: Tell) -> CloseOrder:
        tell(0, "open VNC access")
        arguments = self._take_open(order).arguments
        return await self._open(order.command_id, order.guest_id, arguments)

    async def resume_open(self, order: Order) -> CloseOrder:
        return await self._open(order.id, order.guest_id, order.arguments)

    async def _open(self, order_id: str, guest_id: str, arguments: Mapping[str, str]) -> CloseOrder:
        address, port = await self._viewers.make_room(guest_id)
        opened = DomainVncOpened(address=address, port=port, sealed=arguments[SEALED], kept=arguments[KEPT])
        return CloseOrder(id=order_id, events=(opened,))

    async def close(self, order: CloseVnc, tell: Tell) -> CloseOrder:  # noqa: ARG002
        return await self._close(order.command_id, order.guest_id)

    async def _close(self, order_id: str, guest_id: str) -> CloseOrder:
        await self._viewers.shut(guest_id)
        return CloseOrder(id=order_id, events=(DomainVncClosed(),))

    def _take_open(self, order: OpenVnc) -> TakeOrder:
        """Raises Conflict when no viewers are let in here."""
        arguments = {SEALED: order.sealed, KEPT: self._viewers.seal(order.secret, order.command_id)}
        return TakeOrder(id=order.command_id, kind="open_vnc", guest_id=order.guest_id, arguments=arguments)

    # ---- of a guest that moves here

    def brought(self, order: AdoptDomain) -> dict[str, str]:
        """What is journaled of its access; without ``kept``, it ends here."""
        if not order.sealed:
            return {}
        kept = ""
        if order.secret:
            with contextlib.suppress(Conflict):  # no viewers are let in here; the guest is welcome all the same
                kept = self._viewers.seal(order.secret, order.command_id)
        return {SEALED: order.sealed, KEPT: kept}

    async def came_with(self, guest_id: str, arguments: Mapping[str, str]) -> tuple[Event, ...]:
        """What becomes of its access: it goes on, or ends with a reason."""
        if SEALED not in arguments:
            return ()
        if not arguments[KEPT]:
            return (DomainVncClosed(error=problem_of(no_offer())),)
        try:
            address, port = await self._viewers.make_room(guest_id)
        except NanoError as error:
            return (DomainVncClosed(error=problem_of(error)),)
        return (DomainVncOpened(address=address, port=port, sealed=arguments[SEALED], kept=arguments[KEPT]),)
