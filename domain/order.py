"""Order: one piece of work a Cell took from Core, from intention to outcome (architecture.md, "journal before acting").

The order's id is Core's command id. Taking it is journaled before the hypervisor is touched; its outcome after. A repeated
order is answered from here, and every order still open when a Cell starts is completed or undone by looking at the host.
"""

from datetime import datetime
from typing import Final, Literal

import msgspec

from nano.domain.facts import Event, Rules
from nano.domain.task import Problem


class Order(msgspec.Struct, frozen=True, kw_only=True):
    id: str
    kind: str  # what the cell's table of orders calls it: create, remove, power, redefine, …
    guest_id: str
    action: str = ""  # of a power order: start, stop, force_stop, reboot, force_reboot
    arguments: dict[str, str] = {}  # what resuming or undoing it has to know
    state: Literal["open", "done", "failed"] = "open"
    error: Problem | None = None
    undone: tuple[str, ...] = ()
    detail: str = ""
    taken_at: datetime


class OrderTaken(Event, frozen=True, kw_only=True, tag="order.taken"):
    id: str
    kind: str
    guest_id: str
    action: str = ""
    arguments: dict[str, str] = {}


class OrderDone(Event, frozen=True, tag="order.done"):
    detail: str = ""


class OrderFailed(Event, frozen=True, tag="order.failed"):
    error: Problem
    undone: tuple[str, ...] = ()


def evolve_taken(state: Order | None, event: OrderTaken, at: datetime) -> Order:
    return Order(
        id=event.id,
        kind=event.kind,
        guest_id=event.guest_id,
        action=event.action,
        arguments=event.arguments,
        taken_at=at,
    )


def evolve_done(state: Order, event: OrderDone, at: datetime) -> Order:
    return msgspec.structs.replace(state, state="done", detail=event.detail)


def evolve_failed(state: Order, event: OrderFailed, at: datetime) -> Order:
    return msgspec.structs.replace(state, state="failed", error=event.error, undone=event.undone)


RULES: Final = Rules(
    decide={},
    evolve={OrderTaken: evolve_taken, OrderDone: evolve_done, OrderFailed: evolve_failed},
    states={"order": Order},
    last=frozenset({OrderDone, OrderFailed}),
)
