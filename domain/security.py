"""Security policy of a guest: which packets its network interfaces let through. Data and their sense; enforcing it is a host's.

A rule is about packets that come to the guest. The first rule that fits decides, and after the last one the default action.
Answers to what the guest itself began always pass. What it sends is not filtered, except that it can't pose as another, unless
it is ``unguarded``: from its own MAC addresses only, and from ``addresses`` only where some are given to it.
"""

import ipaddress
import re
from collections.abc import Iterable
from typing import Final, Literal, get_args

import msgspec

from nano.domain.errors import Conflict, Invalid

RULES_MAX: Final = 50  # libvirt runs two programs for each when a set is put in place
ADDRESSES_MAX: Final = 16
PORT_MAX: Final = 65535
_TEXT_MAX: Final = 64  # of an address or network, the longest of which has 43 letters

Action = Literal["accept", "drop"]
Protocol = Literal["tcp", "udp", "icmp", "any"]
WITH_PORTS: Final = ("tcp", "udp")
_PROTOCOLS: Final[dict[str, Protocol]] = {name: name for name in get_args(Protocol)}
_RULE: Final = re.compile(
    rf"(accept|drop)(?: ({'|'.join(_PROTOCOLS)}))?(?: ([0-9]{{1,5}})(?:-([0-9]{{1,5}}))?)?(?: from (\S{{1,64}}))?"
)
"""As ``in_words`` spells one, after its action."""


class SecurityRule(msgspec.Struct, frozen=True, kw_only=True, gc=False):
    """``source``: an address or a network, IPv4 or IPv6, empty = anybody. ``port`` 0 = every port; with ``last_port`` a range."""

    action: Action
    protocol: Protocol = "any"
    source: str = ""
    port: int = 0
    last_port: int = 0

    @property
    def fits(self) -> tuple[str, str, int, int]:
        """Which packets it is about."""
        return self.protocol, self.source, self.port, self.last_port


class SecurityPolicy(msgspec.Struct, frozen=True, kw_only=True, gc=False):
    """``addresses``: the only ones that the guest may use; empty = any."""

    default: Action = "accept"
    rules: tuple[SecurityRule, ...] = ()
    addresses: tuple[str, ...] = ()


def checked_policy(policy: SecurityPolicy) -> SecurityPolicy:
    """A whole one as it is kept. Raises Invalid, Conflict."""
    checked = SecurityPolicy(default=policy.default, addresses=checked_addresses(policy.addresses))
    for rule in policy.rules:
        checked = with_rule(checked, rule, len(checked.rules))
    return checked


def read_policy(lines: Iterable[str]) -> SecurityPolicy:
    """What people write: "drop" or "accept" for what no rule is about ("accept" when it is left out), "accept tcp 80-89 from
    10.0.0.0/8" for a rule, "address 10.0.0.5" for what it may use. Empty lines are passed over. Raises Invalid, Conflict."""
    default: Action | None = None
    rules, addresses = list[SecurityRule](), list[str]()
    for line in lines:
        words = line.split()
        if words in (["accept"], ["drop"]):
            if default is not None:
                raise _invalid("policy", "It says twice what becomes of the rest.", "Write accept, or drop, once.")
            default = "accept" if words == ["accept"] else "drop"
        elif len(words) == 2 and words[0] == "address":
            addresses.append(words[1])
        elif words:
            rules.append(_read_rule(line, words))
    return checked_policy(SecurityPolicy(default=default or "accept", rules=tuple(rules), addresses=tuple(addresses)))


def _read_rule(line: str, words: list[str]) -> SecurityRule:
    match = _RULE.fullmatch(" ".join(words))
    if match is None:
        raise _invalid(
            "policy",
            f"{line.strip()[:80]!r} is no security rule.",
            "Write one such as: accept tcp 80-89 from 10.0.0.0/8",
        )
    action, protocol, port, last_port, source = match.groups()
    return SecurityRule(
        action="accept" if action == "accept" else "drop",
        protocol=_PROTOCOLS[protocol or "any"],
        source="" if source in (None, "anybody") else source,
        port=int(port or 0),
        last_port=int(last_port or 0),
    )


def checked_rule(rule: SecurityRule) -> SecurityRule:
    """The rule as it is kept: one spelling for one meaning. Raises Invalid."""
    if rule.protocol not in WITH_PORTS and (rule.port or rule.last_port):
        raise _invalid("port", f"Packets of {rule.protocol} have no ports.", "Leave it out, or use tcp or udp.")
    for field in ("port", "last_port"):
        value = getattr(rule, field)
        if not 0 <= value <= PORT_MAX:
            raise _invalid(field, f"{field} is {value}.", f"Use 1 to {PORT_MAX}, or 0 for every port.")
    if rule.last_port and not rule.port:
        raise _invalid("port", "A range of ports has a last one, but no first.", "Give port too.")
    if rule.last_port and rule.last_port < rule.port:
        raise _invalid("last_port", f"last_port {rule.last_port} is below port {rule.port}.", "Swap them.")
    last = 0 if rule.last_port == rule.port else rule.last_port
    return msgspec.structs.replace(rule, source=_network(rule.source), last_port=last)


def checked_addresses(texts: tuple[str, ...]) -> tuple[str, ...]:
    """Raises Invalid."""
    if len(texts) > ADDRESSES_MAX:
        raise _invalid("addresses", f"{len(texts)} addresses are given.", f"Use {ADDRESSES_MAX} at most.")
    found = []
    for text in texts:
        try:
            address = ipaddress.ip_address(_plain(text))
        except ValueError:
            raise _invalid("addresses", f"{text[:48]!r} is no address.", "Use one such as 10.0.0.5.") from None
        if address.is_multicast or address.is_unspecified or address.is_loopback:
            raise _invalid("addresses", f"{address} is no guest's address.", "Use one such as 10.0.0.5.")
        found.append(str(address))
    return tuple(dict.fromkeys(found))


def with_rule(policy: SecurityPolicy, rule: SecurityRule, place: int) -> SecurityPolicy:
    """One rule more, before the one that has this place (0 = the first one). Raises Invalid, Conflict."""
    rule = checked_rule(rule)
    if len(policy.rules) >= RULES_MAX:
        raise Conflict(
            f"It has {RULES_MAX} rules, the most a guest may have.",
            code="too_many_rules",
            hint="Remove one, or write several as one network or one range of ports.",
        )
    _refuse_second(policy.rules, rule)
    return msgspec.structs.replace(policy, rules=(*policy.rules[:place], rule, *policy.rules[place:]))


def with_other_rule(policy: SecurityPolicy, place: int, rule: SecurityRule) -> SecurityPolicy:
    """Raises Invalid, Conflict."""
    rule = checked_rule(rule)
    _refuse_second((*policy.rules[:place], *policy.rules[place + 1 :]), rule)
    return msgspec.structs.replace(policy, rules=(*policy.rules[:place], rule, *policy.rules[place + 1 :]))


def without_rule(policy: SecurityPolicy, place: int) -> SecurityPolicy:
    return msgspec.structs.replace(policy, rules=(*policy.rules[:place], *policy.rules[place + 1 :]))


def with_moved_rule(policy: SecurityPolicy, place: int, to: int) -> SecurityPolicy:
    others = [rule for other, rule in enumerate(policy.rules) if other != place]
    return msgspec.structs.replace(policy, rules=(*others[:to], policy.rules[place], *others[to:]))


def in_words(rule: SecurityRule) -> str:
    """ "tcp 80-89 from 10.0.0.0/8"."""
    ports = f" {rule.port}" + (f"-{rule.last_port}" if rule.last_port else "") if rule.port else ""
    return f"{rule.protocol}{ports} from {rule.source or 'anybody'}"


def _refuse_second(rules: tuple[SecurityRule, ...], rule: SecurityRule) -> None:
    for number, other in enumerate(rules, 1):
        if other.fits == rule.fits:
            raise Conflict(
                f"Rule {number} of the others is about {in_words(rule)} already.",
                code="duplicate_rule",
                hint="Change that one, or remove it first.",
            )


def _network(text: str) -> str:
    """As it is kept: empty for anybody, an address without its length, a network with it."""
    if not text:
        return ""
    try:
        network = ipaddress.ip_network(_plain(text))
    except ValueError as error:
        told = f"{text[:48]!r} is no address or network."
        hint = "Use one such as 10.0.0.5, 10.0.0.0/8 or 2001:db8::/32."
        if "host bits" in str(error):
            hint = f"Use {ipaddress.ip_network(text, strict=False)} for the whole network, or the address without its length."
        raise _invalid("source", told, hint) from None
    return str(network.network_address) if network.num_addresses == 1 else str(network)


def _plain(text: str) -> str:
    """Raises ValueError. An interface's name behind an address means something on one host only."""
    if len(text) > _TEXT_MAX or "%" in text:
        raise ValueError(text[:_TEXT_MAX])
    return text


def _invalid(field: str, message: str, hint: str) -> Invalid:
    return Invalid(message, code=f"invalid_{field}", hint=hint, field=field)
