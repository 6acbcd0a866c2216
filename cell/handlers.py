"""Handler: what the order desk has to know of one kind of order. Each family of orders gives a table of them.

``act`` carries the order out and is safe to repeat. After a restart ``resume`` looks at the host and completes an order
that was open, or answers None: then it is undone. ``undo`` takes back what a failed, cancelled or interrupted one did and
adds to the outcome what it undid and what stays so; where it raises, it is tried again for a while. What can't be undone
says before by ``too_late`` that it is done.
"""

from collections.abc import Awaitable, Callable, Mapping
from typing import Any, NamedTuple, Protocol

from nano.domain.host_domain import CloseOrder, FailOrder, TakeOrder
from nano.domain.order import Order
from nano.transports.messages import GuestOrder

Tell = Callable[[int, str], None]
"""Percent done, and the step in words."""


async def give_up(order: Order) -> None:
    """An order that was interrupted has failed."""


async def leave(order: Order, failed: FailOrder) -> FailOrder:  # noqa: ARG001
    """Nothing has to be taken back."""
    return failed


class Handler(NamedTuple):
    """``take`` says what is journaled before acting, when it is more than the kind; never a secret."""

    kind: str
    act: Callable[[Any, Tell], Awaitable[CloseOrder]]
    take: Callable[[Any], TakeOrder] | None = None
    resume: Callable[[Order], Awaitable[CloseOrder | None]] = give_up
    undo: Callable[[Order, FailOrder], Awaitable[FailOrder]] = leave
    too_late: Callable[[Order], Awaitable[CloseOrder | None]] = give_up

    def taken(self, order: GuestOrder) -> TakeOrder:
        if self.take is not None:
            return self.take(order)
        return TakeOrder(id=order.command_id, kind=self.kind, guest_id=order.guest_id)


class Family(Protocol):
    """Some kinds of orders that belong together."""

    def handlers(self) -> Mapping[type[GuestOrder], Handler]: ...
