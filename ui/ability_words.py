"""What a cell's host can do, in words: each ability, and why one is missing."""

from collections.abc import Collection, Iterable, Mapping
from typing import Any, Final, NamedTuple

from nano.domain.ability import DISK_LIMITS, NETWORK_LIMITS, PACKET_FILTER
from nano.domain.machine import DiskLimits, NetworkLimits
from nano.ui.words import N_, Words

ABILITIES: Final = {
    "kvm": N_("Run guests on the processor itself (KVM)"),
    "disk_limits": N_("Limit disks"),
    "network_limits": N_("Limit network interfaces"),
    "packet_filter": N_("Filter packets"),
    "anti_spoofing": N_("Keep guests from posing as others"),
    "plug": N_("Plug cores, disks and network interfaces into running guests"),
    "unplug": N_("Take disks and network interfaces out of running guests"),
    "unplug_cores": N_("Take cores out of running guests"),
    "balloon": N_("Change the memory of running guests"),
    "guest_agent": N_("Talk to agents inside guests"),
    "clipboard": N_("Share the clipboard of guests with their consoles"),
    "memory_snapshots": N_("Keep a running guest's memory in a snapshot"),
    "live_migration": N_("Move running guests"),
    "reflink": N_("Copy disks without their blocks"),
    "nfs": N_("Mount NFS"),
    "vnc": N_("Let VNC viewers in"),
}
REASONS: Final = {
    "kernel": N_("The kernel lacks %(what)s."),
    "program": N_("%(what)s is not installed."),
    "qemu": N_("QEMU lacks %(what)s."),
    "file_system": N_("The file system of the volumes is %(what)s."),
    "unsafe": N_("Not safe with %(what)s."),
    "not_allowed": N_("It is not allowed: %(what)s."),
    "setting": N_("Its settings have no %(what)s."),
    "told": N_("%(what)s"),
}


class Told(NamedTuple):
    """``note``: why not, or by what."""

    title: str
    can: bool
    note: str


def tell(abilities: Iterable[Mapping[str, Any]], words: Words) -> list[Told]:
    """What is missing comes first."""
    told = []
    for one in abilities:
        title = words._(ABILITIES.get(one["name"], one["name"]))
        note = str(one["detail"])
        if not one["can"]:
            note = words._(REASONS.get(one["reason"], REASONS["told"]), what=note)
        told.append(Told(title, bool(one["can"]), note))
    return sorted(told, key=lambda item: item.can)


def needs_of(limits: Mapping[str, int], *, policy: bool) -> tuple[str, ...]:
    """Abilities that a guest with these limits, and with a security policy or without, asks of its host."""
    disk, network = (any(limits.get(name) for name in kind.__struct_fields__) for kind in (DiskLimits, NetworkLimits))
    asked = ((DISK_LIMITS, disk), (NETWORK_LIMITS, network), (PACKET_FILTER, policy))
    return tuple(name for name, wanted in asked if wanted)


def unfit(cell: Mapping[str, Any] | None, names: Collection[str], words: Words) -> list[Told]:
    """Those of the abilities that the cell's host is known to lack."""
    return tell([one for one in (cell or {}).get("abilities", ()) if one["name"] in names and not one["can"]], words)


def nowhere(cells: Iterable[Mapping[str, Any]], words: Words) -> dict[str, str]:
    """What no cell of these can do, with the reason of one of them; nothing while one has told nothing."""
    told = list(cells)
    lacks = [{one["name"] for one in cell.get("abilities", ()) if not one["can"]} for cell in told]
    names = set.intersection(*lacks) if lacks else set()
    return {name: missing(told[0], name, words) for name in sorted(names)}


def missing(cell: Mapping[str, Any] | None, name: str, words: Words) -> str:
    """Why a cell can't; empty when it can, or nothing is known."""
    known = (one for one in (cell or {}).get("abilities", ()) if one["name"] == name and not one["can"])
    return next((item.note for item in tell(known, words)), "")
