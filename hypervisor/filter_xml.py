"""A guest's libvirt network filter, as a pure function of its security policy, and what two equal ones share.

Two layers, as libvirt has them (formatnwfilter.html). On the bridge (ebtables): from which MAC and address a guest sends. On
IP (iptables, with connection tracking): what comes to it. States are said in every rule: where they are not, libvirt lets
what a rule allows inwards out as well. Held by golden files (tests/golden/domain_xml); it refers to none of the filters that
libvirt's packages bring along, because not every host has them.
"""

import ipaddress
from collections.abc import Iterator
from typing import Final
from xml.etree import ElementTree as ET

from nano.domain.machine import MachineSpec
from nano.domain.security import SecurityPolicy, SecurityRule
from nano.hypervisor.packet_filter import filter_name

OWN_MAC, OWN_ARP, OWN_ADDRESS, NO_OTHER, NO_VLAN = -500, -490, -480, -400, -300
ANSWERS, NEEDED, FIRST_RULE, LAST = 10, 20, 100, 900  # priorities: the lower is asked first
FAMILIES: Final = {4: "", 6: "-ipv6"}
NEIGHBOURS: Final = (130, 134, 135, 136)  # ICMPv6 without which there is no IPv6 (RFC 4890, 4.4.1)


def filter_xml(guest_id: str, policy: SecurityPolicy, *, unguarded: bool = False) -> str:
    root = ET.Element("filter", name=filter_name(guest_id), chain="root")
    ET.SubElement(root, "uuid").text = guest_id
    root.extend(() if unguarded else _own(policy))
    root.extend(_rules(policy))
    ET.indent(root)
    return ET.tostring(root, encoding="unicode") + "\n"


def filter_text(guest_id: str, spec: MachineSpec) -> str:
    """Empty when it has no policy."""
    if spec.security is None:
        return ""
    return told(filter_xml(guest_id, spec.security, unguarded=spec.unguarded))


def told(xml: str) -> str:
    """One line for each rule, in the order in which they are asked; libvirt spells attributes in another order than we."""
    rules = ET.fromstring(xml).findall("rule")  # noqa: S314  our own, or libvirt's
    rules.sort(key=lambda rule: int(rule.get("priority", "500")))
    return "\n".join(
        " ".join([rule.get("direction", ""), rule.get("action", ""), *map(_spelled, rule)]) for rule in rules
    )


def _spelled(match: ET.Element) -> str:
    return " ".join([match.tag, *(f"{name}={value}" for name, value in sorted(match.items()))])


def _own(policy: SecurityPolicy) -> Iterator[ET.Element]:
    yield _rule("drop", "out", OWN_MAC, "mac", match="no", srcmacaddr="$MAC")
    yield _rule("drop", "out", OWN_ARP, "arp", match="no", arpsrcmacaddr="$MAC")
    if policy.addresses:
        yield from _addresses(policy)


def _rules(policy: SecurityPolicy) -> Iterator[ET.Element]:
    if not policy.rules and policy.default == "accept":
        return
    if policy.default == "drop":
        yield _rule("drop", "in", NO_VLAN, "vlan")  # tagged packets pass by the rules for IP
    for family in FAMILIES.values():
        yield _rule("accept", "in", ANSWERS, f"all{family}", state="ESTABLISHED,RELATED")
        yield _rule("accept", "out", ANSWERS, f"all{family}", state="NEW,ESTABLISHED,RELATED")
    if policy.default == "drop":
        yield _rule("accept", "in", NEEDED, "udp", state="NEW", srcportstart="67", dstportstart="68")
        yield _rule("accept", "in", NEEDED, "udp-ipv6", state="NEW", srcportstart="547", dstportstart="546")
        for kind in NEIGHBOURS:
            yield _rule("accept", "in", NEEDED, "icmpv6", state="NONE", type=str(kind))
    for place, rule in enumerate(policy.rules):
        yield from _packets(rule, FIRST_RULE + place)
    if policy.default == "drop":
        for family in FAMILIES.values():
            yield _rule("drop", "in", LAST, f"all{family}")


def _addresses(policy: SecurityPolicy) -> Iterator[ET.Element]:
    """From which it may send: those given to it, those one sends from while one asks for an address, and no other kind of
    packet than IP, ARP and RARP. A local IPv6 address is one's own by its MAC."""
    for text in ("0.0.0.0", *policy.addresses):  # noqa: S104  the source of a request for an address
        if ipaddress.ip_address(text).version == 4:
            yield _rule("accept", "out", OWN_ADDRESS, "arp", arpsrcipaddr=text)
            yield _rule("accept", "out", OWN_ADDRESS, "ip", srcipaddr=text)
        else:
            yield _rule("accept", "out", OWN_ADDRESS, "ipv6", srcipaddr=text)
    yield _rule("accept", "out", OWN_ADDRESS, "ipv6", srcipaddr="fe80::", srcipmask="10")
    yield _rule("accept", "out", OWN_ADDRESS, "ipv6", srcipaddr="::")
    yield _rule("accept", "out", OWN_ADDRESS, "mac", protocolid="rarp")  # how QEMU tells switches where a guest is now
    yield _rule("drop", "out", NO_OTHER, "mac")


def _packets(rule: SecurityRule, priority: int) -> Iterator[ET.Element]:
    """What one rule is about, in each family of addresses that it can be about."""
    network = ipaddress.ip_network(rule.source) if rule.source else None
    match = {"state": "NEW"}
    if network is not None:
        match |= {"srcipaddr": str(network.network_address), "srcipmask": str(network.prefixlen)}
    if rule.port:
        match["dstportstart"] = str(rule.port)
    if rule.last_port:
        match["dstportend"] = str(rule.last_port)
    for version, ending in FAMILIES.items():
        if network is None or network.version == version:
            kind = {"any": f"all{ending}", "icmp": "icmpv6" if ending else "icmp"}.get(
                rule.protocol, f"{rule.protocol}{ending}"
            )
            yield _rule(rule.action, "in", priority, kind, **match)


def _rule(action: str, direction: str, priority: int, kind: str, **match: str) -> ET.Element:
    rule = ET.Element("rule", action=action, direction=direction, priority=str(priority))
    ET.SubElement(rule, kind, match)
    return rule
