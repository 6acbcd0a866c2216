"""VNC access to a guest: its display for people's own viewers, with an address and a secret (feature M36, decision 44).

Off until somebody enables it. The secret is made up at Core's door (``core/vault.py``) and gets here sealed; it is the
guest's from the moment that its cell says it lets people in with it, so what Core tells is always what the cell takes.
Whoever has it told is recorded. What the cell says comes by ``report``.
"""

from datetime import datetime
from typing import TYPE_CHECKING, Final

import msgspec

from nano.domain.ability import ABILITY_MISSING, VNC, why_unfit
from nano.domain.cell import Cell
from nano.domain.errors import Conflict, Invalid
from nano.domain.facts import Command, Context, Emitted, Event, Rules
from nano.domain.guest import Guest
from nano.domain.guest_hold import require_power, take_hold
from nano.domain.task import Problem
from nano.domain.vnc import VncAccess

if TYPE_CHECKING:
    from nano.domain.zone import Zone

OPEN, CLOSE = "open VNC access", "close VNC access"  # the one step of each plan


class EnableVnc(Command, frozen=True, kw_only=True, tag="guest.vnc.enable"):
    """Let VNC viewers see and operate a guest's display, with an address, a port and a secret that is made up."""

    guest: str
    sealed: str = ""


class ResetVnc(Command, frozen=True, kw_only=True, tag="guest.vnc.reset"):
    """Make up another secret for a guest's VNC access at once. Viewers that are connected are disconnected."""

    guest: str
    sealed: str = ""


class DisableVnc(Command, frozen=True, kw_only=True, tag="guest.vnc.disable"):
    """End a guest's VNC access and forget its secret. Viewers that are connected are disconnected."""

    guest: str


class ShowVnc(Command, frozen=True, kw_only=True, tag="guest.vnc.show"):
    """Tell address, port and secret of a guest's VNC access."""

    guest: str


class GuestVncOpened(Event, frozen=True, kw_only=True, tag="guest.vnc_opened"):
    """Its cell lets viewers in there while it runs. ``sealed`` opens with Core's key alone."""

    address: str
    port: int
    sealed: str


class GuestVncClosed(Event, frozen=True, kw_only=True, tag="guest.vnc_closed"):
    """``error``: why its cell ended it; None = it was asked for."""

    error: Problem | None = None


class GuestVncTold(Event, frozen=True, tag="guest.vnc_told"):
    by: str


def refuse_sealed(command: EnableVnc | ResetVnc) -> None:
    """Of what somebody asks for, before it is sealed. Raises Invalid."""
    if command.sealed:
        raise Invalid("sealed is made by Core.", code="invalid_sealed", hint="Leave it out.", field="sealed")


def decide_enable(zone: "Zone", command: EnableVnc, context: Context) -> list[Emitted]:
    guest = zone.find_guest(command.guest)
    if not guest.task:
        _require_there(guest)
        if guest.vnc is not None:
            raise Conflict(
                f"VNC access to guest {guest.name} is on already.",
                code="no_change",
                hint="Have its secret told, or reset it.",
            )
        if guest.spec.hardware.display == "none":
            raise Conflict(
                f"Guest {guest.name} has no display.",
                code="guest_without_display",
                hint="Use its serial console, or a guest made with another template.",
            )
        _require_able(zone, guest)
    return take_hold(zone, guest, "vnc.enable", context, plan=(OPEN,), arguments={"sealed": command.sealed})


def decide_reset(zone: "Zone", command: ResetVnc, context: Context) -> list[Emitted]:
    guest = zone.find_guest(command.guest)
    if not guest.task:
        _require_there(guest)
        require_vnc(guest)
    return take_hold(zone, guest, "vnc.reset", context, plan=(OPEN,), arguments={"sealed": command.sealed})


def decide_disable(zone: "Zone", command: DisableVnc, context: Context) -> list[Emitted]:
    guest = zone.find_guest(command.guest)
    if not guest.task:
        require_vnc(guest)
    return take_hold(zone, guest, "vnc.disable", context, plan=(CLOSE,))


def decide_show(zone: "Zone", command: ShowVnc, context: Context) -> list[Emitted]:
    guest = zone.find_guest(command.guest)
    require_vnc(guest)
    return [Emitted(f"guest/{guest.id}", GuestVncTold(by=context.actor))]


def _require_there(guest: Guest) -> None:
    require_power(guest, ("running", "paused", "stopped", "crashed"), "given VNC access")


def require_vnc(guest: Guest) -> VncAccess:
    """Raises Conflict(vnc_off)."""
    if guest.vnc is None:
        raise Conflict(f"VNC access to guest {guest.name} is off.", code="vnc_off", hint="Enable it first.")
    return guest.vnc


def _require_able(zone: "Zone", guest: Guest) -> None:
    cell = zone.get(f"cell/{guest.cell}")
    if isinstance(cell, Cell) and (why := why_unfit(cell.abilities, (VNC,))):
        raise Conflict(
            f"Cell {guest.cell} can't do it: {why}.",
            code=ABILITY_MISSING,
            hint="Give it an address for viewers ([vnc] in its cell.toml) and restart it, or use the browser console.",
        )


def evolve_opened(state: Guest, event: GuestVncOpened, at: datetime) -> Guest:
    access = VncAccess(address=event.address, port=event.port, sealed=event.sealed)
    return msgspec.structs.replace(state, vnc=access, changed_at=at)


def evolve_closed(state: Guest, event: GuestVncClosed, at: datetime) -> Guest:
    return msgspec.structs.replace(state, vnc=None, changed_at=at)


def evolve_told(state: Guest, event: GuestVncTold, at: datetime) -> Guest:
    return state


RULES: Final = Rules(
    decide={EnableVnc: decide_enable, ResetVnc: decide_reset, DisableVnc: decide_disable, ShowVnc: decide_show},
    evolve={GuestVncOpened: evolve_opened, GuestVncClosed: evolve_closed, GuestVncTold: evolve_told},
)
