"""Host domain: a guest's libvirt domain as its Cell made it and sees it. The Cell's own truth; Core follows it.

``ready`` = defined by us. ``power`` is what the hypervisor last said. A domain that vanished stays here, so that it can be
defined again; one that was removed on order is gone. ``borrowed``: its files lie on a storage that another cell sees too, and
are that cell's: the guest is about to come from there, or has gone there. A cell never removes borrowed files.
"""

from datetime import datetime
from typing import Final

import msgspec

from nano.domain.errors import Conflict, Unknown
from nano.domain.facts import Command, Context, Emitted, Event, Model, Rules
from nano.domain.guest import Power
from nano.domain.machine import MachineSpec
from nano.domain.order import Order, OrderDone, OrderFailed, OrderTaken
from nano.domain.snapshot import Snapshot
from nano.domain.task import Problem
from nano.domain.vnc import VncEntrance


class HostDomain(msgspec.Struct, frozen=True, kw_only=True):
    guest_id: str
    spec: MachineSpec
    changed_at: datetime
    ready: bool = False
    borrowed: bool = False
    power: Power = "stopped"
    agent: bool = False
    addresses: tuple[str, ...] = ()
    pending: tuple[str, ...] = ()  # fields of the spec that take effect at its next start
    snapshots: tuple[Snapshot, ...] = ()  # oldest first
    snapshot: str = ""  # id of the one it has last come from
    vnc: VncEntrance | None = None


class DomainRequested(Event, frozen=True, kw_only=True, tag="domain.requested"):
    guest_id: str
    spec: MachineSpec
    borrowed: bool = False
    pending: tuple[str, ...] = ()


class DomainCreated(Event, frozen=True, tag="domain.created"):
    pass


class DomainDiscarded(Event, frozen=True, tag="domain.discarded"):
    """A creation was undone; nothing of it is left on the host."""

    reason: str


class DomainRemoved(Event, frozen=True, tag="domain.removed"):
    volumes: tuple[str, ...] = ()


class DomainReleased(Event, frozen=True, tag="domain.released"):
    """Undefined because its guest moves to another cell; its volumes are still here, its own or ``borrowed`` from now on."""

    borrowed: bool = False


class DomainRedefined(Event, frozen=True, tag="domain.redefined"):
    pass


class DomainChanged(Event, frozen=True, kw_only=True, tag="domain.changed"):
    """Defined as this spec says from now on; ``pending`` names the fields that take effect at its next start."""

    spec: MachineSpec
    pending: tuple[str, ...] = ()


class DomainVanished(Event, frozen=True, tag="domain.vanished"):
    reason: str


class DomainPowerChanged(Event, frozen=True, tag="domain.power_changed"):
    power: Power
    reason: str


class DomainAgentChanged(Event, frozen=True, tag="domain.agent_changed"):
    connected: bool
    addresses: tuple[str, ...] = ()


class TakeOrder(Command, frozen=True, kw_only=True, tag="order.take"):
    """``spec`` goes with kind create only. ``arguments``: what resuming or undoing it has to know; never a secret."""

    id: str
    kind: str
    guest_id: str
    action: str = ""
    arguments: dict[str, str] = {}
    spec: MachineSpec | None = None


class CloseOrder(Command, frozen=True, kw_only=True, tag="order.close"):
    """The work was done. ``events`` are what happened to the domain by it; ``power``: what the host shows now."""

    id: str
    events: tuple[Event, ...] = ()
    power: Power | None = None
    detail: str = ""


class FailOrder(Command, frozen=True, kw_only=True, tag="order.fail"):
    """It failed, and what it had done was undone. ``events`` are what happened to the domain all the same."""

    id: str
    events: tuple[Event, ...] = ()
    error: Problem
    undone: tuple[str, ...] = ()


class ObserveDomain(Command, frozen=True, kw_only=True, tag="domain.observe"):
    """What the hypervisor shows of one domain; ``power`` missing = it has no such domain."""

    guest_id: str
    power: Power
    reason: str


class ObserveAgent(Command, frozen=True, kw_only=True, tag="domain.observe_agent"):
    guest_id: str
    connected: bool
    addresses: tuple[str, ...] = ()


def decide_take(model: Model, command: TakeOrder, context: Context) -> list[Emitted]:
    domain = model.get(f"domain/{command.guest_id}")
    for other in model.of_kind("order"):
        if isinstance(other, Order) and other.state == "open" and other.guest_id == command.guest_id:
            raise Conflict(
                f"Domain {command.guest_id} is busy with order {other.kind}.",
                code="domain_busy",
                hint="Ask again when it is done.",
            )
    resource = f"domain/{command.guest_id}"
    taken = Emitted(
        f"order/{command.id}",
        OrderTaken(
            id=command.id,
            kind=command.kind,
            guest_id=command.guest_id,
            action=command.action,
            arguments=command.arguments,
        ),
    )
    if command.kind in ("create", "receive"):
        if domain is not None or command.spec is None:
            raise Conflict(f"Domain {command.guest_id} exists already.", code="domain_exists")
        requested = DomainRequested(
            guest_id=command.guest_id,
            spec=command.spec,
            borrowed=bool(command.arguments.get("storage")),
            pending=tuple(command.arguments.get("pending", "").split()),
        )
        return [taken, Emitted(resource, requested)]
    if command.kind in ("remove", "discard", "remove_volume", "remove_filter"):
        return [taken]  # also when nothing is known of it: the host is asked
    if not isinstance(domain, HostDomain):
        raise Unknown(f"This cell has no domain {command.guest_id}.", code="unknown_domain")
    return [taken]


def _order(model: Model, order_id: str) -> Order:
    order = model.get(f"order/{order_id}")
    if not isinstance(order, Order) or order.state != "open":
        raise Conflict(f"Order {order_id} is not open.", code="order_not_open")
    return order


def decide_close(model: Model, command: CloseOrder, context: Context) -> list[Emitted]:
    order = _order(model, command.id)
    resource = f"domain/{order.guest_id}"
    domain = model.get(resource)
    events = [Emitted(resource, event) for event in command.events if domain is not None]
    if command.power is not None and isinstance(domain, HostDomain) and domain.power != command.power:
        why = f"{(order.action or order.kind).replace('_', ' ')} on order"
        events.append(Emitted(resource, DomainPowerChanged(command.power, why)))
    return [*events, Emitted(f"order/{order.id}", OrderDone(detail=command.detail))]


def decide_fail(model: Model, command: FailOrder, context: Context) -> list[Emitted]:
    order = _order(model, command.id)
    resource = f"domain/{order.guest_id}"
    happened = [Emitted(resource, event) for event in command.events if model.get(resource) is not None]
    return [*happened, Emitted(f"order/{order.id}", OrderFailed(error=command.error, undone=command.undone))]


def decide_observe(model: Model, command: ObserveDomain, context: Context) -> list[Emitted]:
    domain = model.get(f"domain/{command.guest_id}")
    if not isinstance(domain, HostDomain) or not domain.ready or domain.power == command.power:
        return []
    if command.power == "missing":
        return [Emitted(f"domain/{domain.guest_id}", DomainVanished(reason=command.reason))]
    return [Emitted(f"domain/{domain.guest_id}", DomainPowerChanged(command.power, command.reason))]


def decide_observe_agent(model: Model, command: ObserveAgent, context: Context) -> list[Emitted]:
    domain = model.get(f"domain/{command.guest_id}")
    if not isinstance(domain, HostDomain) or not domain.ready:
        return []
    if (domain.agent, domain.addresses) == (command.connected, command.addresses):
        return []
    if command.connected and domain.power not in ("running", "paused"):
        return []  # a late word of an agent whose guest is off
    return [Emitted(f"domain/{domain.guest_id}", DomainAgentChanged(command.connected, command.addresses))]


def evolve_requested(state: HostDomain | None, event: DomainRequested, at: datetime) -> HostDomain:
    return HostDomain(
        guest_id=event.guest_id, spec=event.spec, borrowed=event.borrowed, pending=event.pending, changed_at=at
    )


def evolve_created(state: HostDomain, event: DomainCreated, at: datetime) -> HostDomain:
    return msgspec.structs.replace(state, ready=True, borrowed=False, power="stopped", changed_at=at)


def evolve_gone(state: HostDomain, event: DomainDiscarded | DomainRemoved, at: datetime) -> None:
    return None


def evolve_released(state: HostDomain, event: DomainReleased, at: datetime) -> HostDomain:
    return msgspec.structs.replace(_off(state, "missing", at), ready=False, borrowed=event.borrowed)


def evolve_redefined(state: HostDomain, event: DomainRedefined, at: datetime) -> HostDomain:
    return msgspec.structs.replace(_off(state, "stopped", at), ready=True, borrowed=False)


def evolve_changed(state: HostDomain, event: DomainChanged, at: datetime) -> HostDomain:
    return msgspec.structs.replace(state, spec=event.spec, pending=event.pending, changed_at=at)


def evolve_vanished(state: HostDomain, event: DomainVanished, at: datetime) -> HostDomain:
    return _off(state, "missing", at)


def evolve_power(state: HostDomain, event: DomainPowerChanged, at: datetime) -> HostDomain:
    if event.power in ("running", "paused"):
        return msgspec.structs.replace(state, power=event.power, changed_at=at)
    return _off(state, event.power, at)


def _off(state: HostDomain, power: Power, at: datetime) -> HostDomain:
    """It runs as nothing any more: whatever waited for its next start has nothing to wait for."""
    return msgspec.structs.replace(state, power=power, agent=False, addresses=(), pending=(), changed_at=at)


def evolve_agent(state: HostDomain, event: DomainAgentChanged, at: datetime) -> HostDomain:
    return msgspec.structs.replace(
        state, agent=event.connected, addresses=event.addresses if event.connected else (), changed_at=at
    )


RULES: Final = Rules(
    decide={
        TakeOrder: decide_take,
        CloseOrder: decide_close,
        FailOrder: decide_fail,
        ObserveDomain: decide_observe,
        ObserveAgent: decide_observe_agent,
    },
    evolve={
        DomainRequested: evolve_requested,
        DomainCreated: evolve_created,
        DomainDiscarded: evolve_gone,
        DomainRemoved: evolve_gone,
        DomainReleased: evolve_released,
        DomainRedefined: evolve_redefined,
        DomainChanged: evolve_changed,
        DomainVanished: evolve_vanished,
        DomainPowerChanged: evolve_power,
        DomainAgentChanged: evolve_agent,
    },
    states={"domain": HostDomain},
)
