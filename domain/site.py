"""Site: the model of one Cell, its host domains and orders. What a Cell's journal folds into."""

from collections.abc import Iterator
from typing import Final

import msgspec

from nano.domain import host_domain as hd
from nano.domain import order as od
from nano.domain.facts import Command, Context, Emitted, Event, Model, Rules, State

ORDERS_KEPT: Final = 10_000  # closed orders held in memory for answering repeats; Core stops repeating long before


class CorePinned(Event, frozen=True, kw_only=True, tag="trust.core_pinned"):
    """The Core that approved this cell: from now on no other may give it orders."""

    name: str
    fingerprint: str
    domain: str
    epoch: int


class PinnedCore(msgspec.Struct, frozen=True, kw_only=True):
    name: str
    fingerprint: str
    domain: str
    epoch: int


class PinCore(Command, frozen=True, kw_only=True, tag="trust.pin_core"):
    name: str
    fingerprint: str
    domain: str
    epoch: int


TRUST: Final = "trust/core"


def decide_pin(model: Model, command: PinCore, context: Context) -> list[Emitted]:
    pinned = PinnedCore(name=command.name, fingerprint=command.fingerprint, domain=command.domain, epoch=command.epoch)
    if model.get(TRUST) == pinned:
        return []
    return [Emitted(TRUST, CorePinned(**msgspec.structs.asdict(pinned)))]


def evolve_pinned(state: State | None, event: CorePinned, at: object) -> PinnedCore:
    return PinnedCore(**msgspec.structs.asdict(event))


SITE_RULES: Final = Rules(
    decide={
        PinCore: decide_pin,
        hd.TakeOrder: hd.decide_take,
        hd.CloseOrder: hd.decide_close,
        hd.FailOrder: hd.decide_fail,
        hd.ObserveDomain: hd.decide_observe,
        hd.ObserveAgent: hd.decide_observe_agent,
    },
    evolve={
        CorePinned: evolve_pinned,
        hd.DomainRequested: hd.evolve_requested,
        hd.DomainCreated: hd.evolve_created,
        hd.DomainDiscarded: hd.evolve_gone,
        hd.DomainRemoved: hd.evolve_gone,
        hd.DomainRedefined: hd.evolve_redefined,
        hd.DomainVanished: hd.evolve_vanished,
        hd.DomainPowerChanged: hd.evolve_power,
        hd.DomainAgentChanged: hd.evolve_agent,
        od.OrderTaken: od.evolve_taken,
        od.OrderDone: od.evolve_done,
        od.OrderFailed: od.evolve_failed,
    },
)


class Site(Model):
    rules = SITE_RULES

    def __init__(self) -> None:
        super().__init__()
        self.open_orders: dict[str, od.Order] = {}
        self._closed: dict[str, None] = {}

    def clear(self) -> None:
        super().clear()
        self.open_orders.clear()
        self._closed.clear()

    def of_kind(self, kind: str) -> Iterator[State]:
        """Orders: the open ones only."""
        return iter(list(self.open_orders.values())) if kind == "order" else super().of_kind(kind)

    def domains(self) -> list[hd.HostDomain]:
        return [state for state in self.of_kind("domain") if isinstance(state, hd.HostDomain)]

    def changed(self, resource: str, before: State | None, after: State | None) -> None:
        if not isinstance(after, od.Order):
            return
        if after.state == "open":
            self.open_orders[after.id] = after
            return
        self.open_orders.pop(after.id, None)
        self._closed[after.id] = None
        while len(self._closed) > ORDERS_KEPT:
            oldest = next(iter(self._closed))
            del self._closed[oldest]
            self.states.pop(f"order/{oldest}", None)
