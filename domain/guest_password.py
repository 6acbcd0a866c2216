"""A guest's administrator password: set inside the running guest by its agent, kept sealed, told on demand (feature M32).

The password never gets as far as a decision in clear: Core's door (``core/vault.py``) makes one up where none is given, and puts
it into ``sealed``, which only Core's key opens again. It is kept with the guest when the agent has set it, and forgotten when
the guest gets another system disk. Whoever has it told is recorded.
"""

import re
from datetime import datetime
from typing import TYPE_CHECKING, Final

import msgspec

from nano.domain.errors import Conflict, Invalid, Unknown
from nano.domain.facts import Command, Context, Emitted, Event, Rules
from nano.domain.guest import Guest
from nano.domain.guest_hold import EndWork, decide_end_work, require_power, take_hold
from nano.domain.task import open_task
from nano.domain.template import find_template

if TYPE_CHECKING:
    from nano.domain.zone import Zone

SET: Final = "set password"  # the one step of its plan
ADMIN: Final = "root"  # of a system that no template speaks for
PASSWORD_MAX: Final = 128
_USER: Final = re.compile(r"[A-Za-z_][0-9A-Za-z_.-]{0,31}")


class SetPassword(Command, frozen=True, kw_only=True, tag="guest.password"):
    """Set the password of an account inside a running guest, by its agent; without one a good one is made up."""

    guest: str
    user: str = ""
    password: str = ""
    sealed: str = ""


class ShowPassword(Command, frozen=True, kw_only=True, tag="guest.show_password"):
    """Tell the administrator password that was last set in a guest."""

    guest: str


class EndPassword(Command, frozen=True, tag="guest.end_password"):
    """The agent has set it."""

    task: str


class GuestPasswordSet(Event, frozen=True, kw_only=True, tag="guest.password_set"):
    """``sealed`` opens with Core's key alone."""

    user: str
    sealed: str


class GuestPasswordTold(Event, frozen=True, tag="guest.password_told"):
    by: str


def check(command: SetPassword) -> None:
    """What somebody asks for, before it is sealed. Raises Invalid, which never shows a secret."""
    if command.sealed:
        raise Invalid("sealed is made by Core.", code="invalid_sealed", hint="Give the password.", field="sealed")
    if command.user and not _USER.fullmatch(command.user):
        raise Invalid(
            f"{command.user[:40]!r} is no account's name.",
            code="invalid_user",
            hint="Use letters, digits, '_', '-' and '.', a letter first.",
            field="user",
        )
    if len(command.password) > PASSWORD_MAX or not _plain(command.password):
        raise Invalid(
            "The password can't be used.",
            code="invalid_password",
            hint=f"Use up to {PASSWORD_MAX} letters of one line.",
            field="password",
        )


def _plain(text: str) -> bool:
    return all(ord(letter) >= 32 and ord(letter) != 127 and not 0xD800 <= ord(letter) <= 0xDFFF for letter in text)


def require_agent(guest: Guest) -> None:
    """Raises Conflict (guest_stopped, agent_silent, …) unless there is an agent to ask."""
    require_power(guest, ("running",), "asked")
    if not guest.agent:
        raise Conflict(
            f"No guest agent answers in {guest.name}.",
            code="agent_silent",
            hint="Install qemu-guest-agent in it, and see that it runs; after a start it takes some seconds.",
        )


def decide_set(zone: "Zone", command: SetPassword, context: Context) -> list[Emitted]:
    if command.password or not command.sealed:
        raise AssertionError("A password has passed Core's door in clear.")
    guest = zone.find_guest(command.guest)
    if not guest.task:
        require_agent(guest)
    arguments = {"user": command.user or _administrator(zone, guest), "sealed": command.sealed}
    return take_hold(zone, guest, "password", context, plan=(SET,), arguments=arguments)


def _administrator(zone: "Zone", guest: Guest) -> str:
    if guest.cloud_init is not None and guest.cloud_init.user:
        return guest.cloud_init.user
    try:
        return find_template(zone, guest.template).admin
    except Unknown:
        return ADMIN


def decide_show(zone: "Zone", command: ShowPassword, context: Context) -> list[Emitted]:
    guest = zone.find_guest(command.guest)
    if not guest.password:
        raise Conflict(
            f"No password of guest {guest.name} is known.",
            code="password_unknown",
            hint="Set one; what was set inside the guest, or by cloud-init, can't be read.",
        )
    return [Emitted(f"guest/{guest.id}", GuestPasswordTold(by=context.actor))]


def decide_end(zone: "Zone", command: EndPassword, context: Context) -> list[Emitted]:
    task = open_task(zone, command.task)
    ended = decide_end_work(zone, EndWork(command.task), context)
    if zone.get(task.resource) is None:
        return ended
    known = GuestPasswordSet(user=task.arguments["user"], sealed=task.arguments["sealed"])
    return [Emitted(task.resource, known), *ended]


def evolve_set(state: Guest, event: GuestPasswordSet, at: datetime) -> Guest:
    return msgspec.structs.replace(state, admin=event.user, password=event.sealed, changed_at=at)


def evolve_told(state: Guest, event: GuestPasswordTold, at: datetime) -> Guest:
    return state


RULES: Final = Rules(
    decide={SetPassword: decide_set, ShowPassword: decide_show, EndPassword: decide_end},
    evolve={GuestPasswordSet: evolve_set, GuestPasswordTold: evolve_told},
)
