"""Abilities: what a cell's host can do beyond running a guest, as probes of it found, and which of them a guest needs.

Why: kernels, QEMU and file systems differ from host to host. What a host can't do is known before anything is asked of it,
is told with the reason, and nothing is placed where it could not be. Of a cell that has told nothing (an older one, or one
that has not been heard yet) nothing is held against it. Reasons are words of a small set, so that a portal can say them in
its reader's language; ``detail`` is technical and said as it is.
"""

from collections.abc import Callable, Collection, Iterable
from typing import TYPE_CHECKING, Final, Literal

import msgspec

from nano.domain.machine import DiskLimits, MachineSpec, NetworkLimits

if TYPE_CHECKING:
    from nano.domain.zone import Zone

ABILITY_MISSING: Final = "ability_missing"  # code of a refusal
NAMED_MAX: Final = 10

Reason = Literal["", "kernel", "program", "qemu", "file_system", "unsafe", "not_allowed", "setting", "told"]


class Ability(msgspec.Struct, frozen=True, gc=False):
    """``reason`` is empty when it can; ``detail`` says what is missing, or by what it can."""

    name: str
    can: bool
    reason: Reason = ""
    detail: str = ""

    @property
    def why_not(self) -> str:
        """In words that continue "because"; empty when it can."""
        return "" if self.can else REASONS[self.reason].format(self.detail)


REASONS: Final[dict[Reason, str]] = {
    "": "no reason was told",
    "kernel": "its kernel lacks {}",
    "program": "{} is not installed",
    "qemu": "its QEMU lacks {}",
    "file_system": "the file system of its volumes is {}",
    "unsafe": "it is not safe with {}",
    "not_allowed": "it may not: {}",
    "setting": "its settings have no {}",
    "told": "{}",
}

KVM: Final = "kvm"
DISK_LIMITS: Final = "disk_limits"
NETWORK_LIMITS: Final = "network_limits"
PACKET_FILTER: Final = "packet_filter"
ANTI_SPOOFING: Final = "anti_spoofing"
PLUG: Final = "plug"
UNPLUG: Final = "unplug"
UNPLUG_CORES: Final = "unplug_cores"
BALLOON: Final = "balloon"
GUEST_AGENT: Final = "guest_agent"
CLIPBOARD: Final = "clipboard"
MEMORY_SNAPSHOTS: Final = "memory_snapshots"
LIVE_MIGRATION: Final = "live_migration"
REFLINK: Final = "reflink"
NFS: Final = "nfs"
VNC: Final = "vnc"

CAN: Final[dict[str, str]] = {  # in the order in which they are told; "it can …"
    KVM: "run guests on the processor itself",
    DISK_LIMITS: "limit disks",
    NETWORK_LIMITS: "limit network interfaces",
    PACKET_FILTER: "filter packets",
    ANTI_SPOOFING: "keep guests from posing as other machines",
    PLUG: "plug cores, disks and network interfaces into running guests",
    UNPLUG: "take disks and network interfaces out of running guests",
    UNPLUG_CORES: "take cores out of running guests",
    BALLOON: "change the memory of running guests",
    GUEST_AGENT: "talk to agents inside guests",
    CLIPBOARD: "share the clipboard of guests with their consoles",
    MEMORY_SNAPSHOTS: "keep a running guest's memory in a snapshot",
    LIVE_MIGRATION: "move running guests",
    REFLINK: "copy disks without their blocks",
    NFS: "mount NFS",
    VNC: "let VNC viewers in",
}

_NEEDS: Final[dict[str, Callable[[MachineSpec], object]]] = {
    DISK_LIMITS: lambda spec: spec.disk_limits != DiskLimits() and spec.disk_limits,
    NETWORK_LIMITS: lambda spec: spec.network_limits != NetworkLimits() and spec.network_limits,
    PACKET_FILTER: lambda spec: spec.security or False,
}
"""What of a spec asks for an ability, and False where nothing does."""


def needed(spec: MachineSpec, before: MachineSpec | None = None) -> tuple[str, ...]:
    """Abilities that a host must have for the guest; with ``before``, only those that a change asks for anew."""
    return tuple(
        name for name, asks in _NEEDS.items() if (asked := asks(spec)) and (before is None or asked != asks(before))
    )


def lacking(known: Iterable[Ability], names: Collection[str]) -> tuple[str, ...]:
    """Those of the names that are known not to be there."""
    return tuple(one.name for one in known if one.name in names and not one.can)


def why_unfit(known: Iterable[Ability], names: Collection[str]) -> str:
    """ "it can't limit network interfaces (its kernel lacks sfq)"; empty when nothing that is known is missing."""
    lacks = [one for one in known if one.name in names and not one.can]
    return " and ".join(f"it can't {CAN.get(one.name, one.name)} ({one.why_not})" for one in lacks)


def in_words(names: Iterable[str]) -> str:
    return " and ".join(CAN.get(name, name) for name in names)


def who_can(zone: "Zone", names: Collection[str]) -> str:
    """Where to go with what a cell can't do."""
    able = [cell.name for cell in zone.cells() if cell.pool and not why_unfit(cell.abilities, names)]
    if not able:
        return "No cell of this zone can. Leave it out, or mend the host and probe its cell again."
    return f"Leave it out, or use a cell that can: {', '.join(sorted(able)[:NAMED_MAX])}."
