"""Security rules of a guest: added, changed, moved, removed one at a time, with a default action (feature M45).

The policy is a part of the guest's spec, so each of these is a change like others: its cell puts the new set in place whole,
or the last one stays. Rules are numbered from 1, in the order in which they are asked. A guest that was never given a
rule, a default or an address has no policy, and no filter; where its host can, it is kept from posing as others all the same.
"""

from typing import TYPE_CHECKING, Final, Literal

import msgspec

from nano.domain.errors import Invalid
from nano.domain.facts import Command, Context, Emitted, Rules
from nano.domain.guest import Guest
from nano.domain.guest_change import hold_for_change
from nano.domain.security import (
    Action,
    Protocol,
    SecurityPolicy,
    SecurityRule,
    checked_addresses,
    with_moved_rule,
    with_other_rule,
    with_rule,
    without_rule,
)

if TYPE_CHECKING:
    from nano.domain.zone import Zone


class AddRule(Command, frozen=True, kw_only=True, tag="guest.rule.add"):
    """Let certain packets to a guest through, or drop them. Effective at once; connections that are open go on."""

    guest: str
    action: Action
    protocol: Protocol = "any"
    source: str = ""
    port: int = 0
    last_port: int = 0
    before: int = 0  # number of the rule that comes after it; 0 = it becomes the last


class ModifyRule(Command, frozen=True, kw_only=True, tag="guest.rule.modify"):
    """Change a security rule of a guest."""

    guest: str
    rule: int
    action: Action | None = None
    protocol: Protocol | None = None
    source: str | None = None
    port: int | None = None
    last_port: int | None = None


class RemoveRule(Command, frozen=True, kw_only=True, tag="guest.rule.remove"):
    """Remove a security rule of a guest."""

    guest: str
    rule: int


class MoveRule(Command, frozen=True, kw_only=True, tag="guest.rule.move"):
    """Give a security rule of a guest another place in their order."""

    guest: str
    rule: int
    place: int  # the number that it is to have


class SetDefaultAction(Command, frozen=True, kw_only=True, tag="guest.rule.default"):
    """Say what becomes of packets to a guest that no rule is about."""

    guest: str
    action: Action


class SetAddresses(Command, frozen=True, kw_only=True, tag="guest.rule.addresses"):
    """Say which addresses a guest may use; it can pose as no other. None = any."""

    guest: str
    addresses: tuple[str, ...] = ()


class SetGuard(Command, frozen=True, kw_only=True, tag="guest.rule.guard"):
    """Keep a guest from sending as other machines, or let it, as a router needs."""

    guest: str
    guard: Literal["on", "off"]


def decide_add(zone: "Zone", command: AddRule, context: Context) -> list[Emitted]:
    guest, policy = _guarded(zone, command.guest)
    last = len(policy.rules)
    place = _place(guest, policy, command.before, "before") if command.before else last
    rule = SecurityRule(
        action=command.action,
        protocol=command.protocol,
        source=command.source,
        port=command.port,
        last_port=command.last_port,
    )
    return _hold(zone, guest, "rule.add", with_rule(policy, rule, place), context)


def decide_modify(zone: "Zone", command: ModifyRule, context: Context) -> list[Emitted]:
    guest, policy = _guarded(zone, command.guest)
    place = _place(guest, policy, command.rule, "rule")
    fields = ("action", "protocol", "source", "port", "last_port")
    wanted = {name: value for name in fields if (value := getattr(command, name)) is not None}
    if not wanted:
        raise Invalid("Nothing is to be changed.", code="nothing_to_change", hint="Say what, such as port or source.")
    rule = msgspec.structs.replace(policy.rules[place], **wanted)
    return _hold(zone, guest, "rule.modify", with_other_rule(policy, place, rule), context)


def decide_remove(zone: "Zone", command: RemoveRule, context: Context) -> list[Emitted]:
    guest, policy = _guarded(zone, command.guest)
    wanted = without_rule(policy, _place(guest, policy, command.rule, "rule"))
    return _hold(zone, guest, "rule.remove", wanted, context)


def decide_move(zone: "Zone", command: MoveRule, context: Context) -> list[Emitted]:
    guest, policy = _guarded(zone, command.guest)
    place = _place(guest, policy, command.rule, "rule")
    wanted = with_moved_rule(policy, place, _place(guest, policy, command.place, "place"))
    return _hold(zone, guest, "rule.move", wanted, context)


def decide_default(zone: "Zone", command: SetDefaultAction, context: Context) -> list[Emitted]:
    guest, policy = _guarded(zone, command.guest)
    return _hold(zone, guest, "rule.default", msgspec.structs.replace(policy, default=command.action), context)


def decide_addresses(zone: "Zone", command: SetAddresses, context: Context) -> list[Emitted]:
    guest, policy = _guarded(zone, command.guest)
    wanted = msgspec.structs.replace(policy, addresses=checked_addresses(command.addresses))
    spec = msgspec.structs.replace(guest.spec, security=wanted, own_addresses=())
    return hold_for_change(zone, guest, "rule.addresses", spec, context)


def decide_guard(zone: "Zone", command: SetGuard, context: Context) -> list[Emitted]:
    guest = zone.find_guest(command.guest)
    spec = msgspec.structs.replace(guest.spec, unguarded=command.guard == "off")
    return hold_for_change(zone, guest, "rule.guard", spec, context)


def _guarded(zone: "Zone", reference: str) -> tuple[Guest, SecurityPolicy]:
    guest = zone.find_guest(reference)
    return guest, guest.spec.security or SecurityPolicy()


def _place(guest: Guest, policy: SecurityPolicy, number: int, field: str) -> int:
    """Of the rule with this number. Raises Invalid."""
    if not 1 <= number <= len(policy.rules):
        raise Invalid(
            f"Guest {guest.name} has no rule {number}.",
            code=f"invalid_{field}",
            hint=f"Use 1 to {len(policy.rules)}." if policy.rules else "It has none yet: add one.",
            field=field,
        )
    return number - 1


def _hold(zone: "Zone", guest: Guest, action: str, policy: SecurityPolicy, context: Context) -> list[Emitted]:
    return hold_for_change(zone, guest, action, msgspec.structs.replace(guest.spec, security=policy), context)


RULES: Final = Rules(
    decide={
        AddRule: decide_add,
        ModifyRule: decide_modify,
        RemoveRule: decide_remove,
        MoveRule: decide_move,
        SetDefaultAction: decide_default,
        SetAddresses: decide_addresses,
        SetGuard: decide_guard,
    },
    evolve={},
)
