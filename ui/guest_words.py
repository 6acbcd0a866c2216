"""What a guest is made of in words: its fields by name, its priority, its limits."""

import contextlib
import ipaddress
from collections.abc import Mapping, Sequence
from typing import Any, Final

from nano.ui.formats import Formats
from nano.ui.words import N_, Words

FIELDS: Final = {
    "name": N_("name"),
    "cores": N_("cores"),
    "cores_max": N_("room for more cores"),
    "memory": N_("memory"),
    "memory_max": N_("room for more memory"),
    "priority": N_("priority"),
    "disks": N_("disks"),
    "hardware": N_("hardware"),
    "disk_limits": N_("limits of its disks"),
    "network_limits": N_("limits of its network"),
    "more_macs": N_("network interfaces"),
    "security": N_("security rules"),
}
PRIORITIES: Final = {"high": N_("High"), "medium": N_("Medium"), "low": N_("Low")}
ACTIONS: Final = {"accept": N_("Let through"), "drop": N_("Drop")}
RATES: Final = {
    "read_bytes": N_("read %(rate)s"),
    "write_bytes": N_("write %(rate)s"),
    "read_operations": N_("%(n)s read operations a second"),
    "write_operations": N_("%(n)s write operations a second"),
    "receive_bytes": N_("receive %(rate)s"),
    "send_bytes": N_("send %(rate)s"),
}


def fields(names: Sequence[str], words: Words) -> str:
    return words._(", ").join(words._(FIELDS.get(name, name)) for name in names)


def priority(name: str, words: Words) -> str:
    return words._(PRIORITIES.get(name, name))


def action(name: str, words: Words) -> str:
    """What a security rule does."""
    return words._(ACTIONS.get(name, name))


def limits(guest: Mapping[str, Any], words: Words, formats: Formats) -> list[str]:
    """One phrase for each limit that is set."""
    told = []
    for name, value in {**guest["disk_limits"], **guest["network_limits"]}.items():
        if not value:
            continue
        if name.endswith("operations"):
            told.append(words._(RATES[name], n=value))
        elif name in ("receive_bytes", "send_bytes"):
            told.append(words._(RATES[name], rate=f"{formats.number(value * 8 / 1e6)} Mbit/s"))
        else:
            told.append(words._(RATES[name], rate=formats.rate(value)))
    return told


def vnc_place(vnc: Mapping[str, Any]) -> str:
    """As viewers take it."""
    address = str(vnc["address"])
    return f"[{address}]:{vnc['port']}" if ":" in address else f"{address}:{vnc['port']}"


def vnc_tunnel(vnc: Mapping[str, Any], cell: Mapping[str, Any] | None) -> str:
    """How to come there from elsewhere, where the address is the host's own; else empty."""
    if not ipaddress.ip_address(vnc["address"]).is_loopback:
        return ""
    host = str(cell["address"]) if cell else "HOST"
    with contextlib.suppress(ValueError):
        host = str(ipaddress.ip_address(host.rpartition(":")[0].strip("[]") or host))
    return f"ssh -L {vnc['port']}:{vnc_place(vnc)} {host}"
