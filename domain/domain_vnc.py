"""VNC access to a host domain, as its cell gives it: opened and closed by orders, and settled where the cell itself finds that
its settings or the host's ports are other than they were."""

from datetime import datetime
from typing import Final

import msgspec

from nano.domain.facts import Command, Context, Emitted, Event, Model, Rules
from nano.domain.host_domain import HostDomain
from nano.domain.task import Problem
from nano.domain.vnc import VncEntrance


class SettleVnc(Command, frozen=True, kw_only=True, tag="domain.settle_vnc"):
    """It is somewhere else from now on; or, with an error, it has come to an end. ``kept``: of the one that was looked at."""

    guest_id: str
    kept: str
    address: str = ""
    port: int = 0
    error: Problem | None = None


class DomainVncOpened(Event, frozen=True, kw_only=True, tag="domain.vnc_opened"):
    """See ``VncEntrance``."""

    address: str
    port: int
    sealed: str
    kept: str


class DomainVncClosed(Event, frozen=True, kw_only=True, tag="domain.vnc_closed"):
    """``error``: why the cell ended it; None = it was ordered."""

    error: Problem | None = None


def decide_settle(model: Model, command: SettleVnc, context: Context) -> list[Emitted]:
    domain = model.get(f"domain/{command.guest_id}")
    if not isinstance(domain, HostDomain) or domain.vnc is None or domain.vnc.kept != command.kept:
        return []  # an order was quicker
    if command.error is not None:
        return [Emitted(f"domain/{domain.guest_id}", DomainVncClosed(error=command.error))]
    moved = DomainVncOpened(address=command.address, port=command.port, sealed=domain.vnc.sealed, kept=domain.vnc.kept)
    return [Emitted(f"domain/{domain.guest_id}", moved)]


def evolve_opened(state: HostDomain, event: DomainVncOpened, at: datetime) -> HostDomain:
    entrance = VncEntrance(address=event.address, port=event.port, sealed=event.sealed, kept=event.kept)
    return msgspec.structs.replace(state, vnc=entrance, changed_at=at)


def evolve_closed(state: HostDomain, event: DomainVncClosed, at: datetime) -> HostDomain:
    return msgspec.structs.replace(state, vnc=None, changed_at=at)


RULES: Final = Rules(
    decide={SettleVnc: decide_settle},
    evolve={DomainVncOpened: evolve_opened, DomainVncClosed: evolve_closed},
)
