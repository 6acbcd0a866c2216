"""Guard: keeps guests from posing as other machines, for all guests of a cell at once, with a policy or without.

One table of nftables, whose sets know which MAC belongs to which interface, and which address where a guest was given one. So a
packet is asked the same few questions whether there is one guest or a thousand, and a start costs some milliseconds. The
table is always written whole, in one transaction of the kernel, from what this process holds; what that is comes
from the cell's journal, so nothing is kept in files. Interfaces are known beforehand by names of ours. Whatever is in no set
passes: a guest that began before there was a guard, one that is to have none, and everything that is not Nano's.
"""

import hashlib
import ipaddress
import logging
import subprocess
import threading
from collections.abc import Callable, Iterable, Mapping
from typing import Final, NamedTuple

from nano.domain.errors import HostError
from nano.domain.machine import MachineSpec
from nano.hypervisor.blocking_calls import BlockingCalls

log = logging.getLogger("nano.hypervisor")

LIMIT_S: Final = 20.0
GUARDED: Final = "ng"  # what the names of guarded interfaces begin with
ASKING: Final = "0.0.0.0"  # noqa: S104  the source of a request for an address
LOCAL: Final = "{ ::, fe80::/10 }"


class Claim(NamedTuple):
    """What one interface may send as. ``addresses``: empty = any; of a family of which none is given, any too."""

    tap: str
    mac: str
    addresses: tuple[str, ...]


def guarded_tap(cell: str, mac: str) -> str:
    """Of the host's end of an interface: 15 letters at most, and another one for each cell of a host that has two."""
    return GUARDED + hashlib.sha256(f"{cell}/{mac}".encode()).hexdigest()[:12]


def claims_of(spec: MachineSpec, tap: Callable[[str], str]) -> tuple[Claim, ...]:
    """Nothing of a guest that may pose as others. What a second interface uses nobody has said."""
    if spec.unguarded:
        return ()
    addresses = spec.own_addresses if not spec.more_macs else ()
    return tuple(Claim(tap(mac), mac, addresses) for mac in spec.macs)


def guard_text(name: str, claims: Iterable[Claim]) -> str:
    """The table that replaces the one of this name, as nft reads it; none when nobody is guarded. Pure."""
    held = sorted(claims)
    taps = [f'"{claim.tap}"' for claim in held]
    macs = [f'"{claim.tap}" . {claim.mac}' for claim in held]
    bound: dict[int, list[str]] = {4: [], 6: []}
    own: dict[int, list[str]] = {4: [], 6: []}
    for claim in held:
        for version, text in sorted((ipaddress.ip_address(text).version, text) for text in claim.addresses):
            if f'"{claim.tap}"' not in bound[version]:
                bound[version].append(f'"{claim.tap}"')
            own[version].append(f'"{claim.tap}" . {text}')
    own[4] += [f"{tap} . {ASKING}" for tap in bound[4]]
    gone = [f"table bridge {name}", f"delete table bridge {name}"]
    if not held:
        return "\n".join([*gone, ""])
    return "\n".join(
        [
            *gone,
            f"table bridge {name} {{",
            *_set("taps", "ifname", taps),
            *_set("macs", "ifname . ether_addr", macs),
            *_set("bound4", "ifname", bound[4]),
            *_set("addresses4", "ifname . ipv4_addr", own[4]),
            *_set("bound6", "ifname", bound[6]),
            *_set("addresses6", "ifname . ipv6_addr", own[6]),
            "  chain sent {",
            "    type filter hook prerouting priority -210; policy accept;",
            "    iifname @taps iifname . ether saddr != @macs drop",
            "    iifname @taps ether type arp iifname . arp saddr ether != @macs drop",
            "    iifname @bound4 ether type arp iifname . arp saddr ip != @addresses4 drop",
            "    iifname @bound4 ether type ip iifname . ip saddr != @addresses4 drop",
            f"    iifname @bound6 ether type ip6 ip6 saddr != {LOCAL} iifname . ip6 saddr != @addresses6 drop",
            "  }",
            "}",
            "",
        ]
    )


def _set(name: str, kind: str, elements: list[str]) -> list[str]:
    filled = f" elements = {{ {', '.join(elements)} }};" if elements else ""
    return [f"  set {name} {{ type {kind};{filled} }}"]


def table_of(cell: str) -> str:
    return f"nano-guard-{cell}"


def remove_guard(cell: str, program: str = "nft") -> bool:
    """Of a cell that is no more; whether there was one. Blocks."""
    try:
        done = subprocess.run(
            [program, "delete", "table", "bridge", table_of(cell)], capture_output=True, timeout=LIMIT_S, check=False
        )
    except (OSError, subprocess.TimeoutExpired):
        return False  # a host without nftables has none
    return done.returncode == 0


class NftGuard:
    """``tap`` names the host's end of the interface that has a MAC."""

    def __init__(self, calls: BlockingCalls, cell: str, tap: Callable[[str], str], program: str = "nft") -> None:
        self.table = table_of(cell)
        self._calls = calls
        self._tap = tap
        self._program = program
        self._lock = threading.Lock()
        self._held: dict[str, tuple[Claim, ...]] = {}

    async def put(self, specs: Mapping[str, MachineSpec], *, only: bool = False) -> None:
        """These guests as they are now, and with ``only`` no others. Raises HostError."""
        claims = {guest_id: claims_of(spec, self._tap) for guest_id, spec in specs.items()}
        await self._calls.run(lambda: self._put(claims, only), what="Guarding network interfaces")

    async def drop(self, guest_id: str) -> None:
        await self._calls.run(lambda: self._put({guest_id: ()}, False), what="Guarding network interfaces")

    async def look(self) -> None:
        """Put the table back where somebody has removed it."""
        await self._calls.run(self._look, what="Looking at the guard of network interfaces")

    def _put(self, claims: Mapping[str, tuple[Claim, ...]], only: bool) -> None:
        with self._lock:
            before = self._held
            held = {} if only else dict(before)
            for guest_id, one in claims.items():
                held.pop(guest_id, None)
                if one:
                    held[guest_id] = one
            self._held = held  # also after a failure: the next one writes it whole
            if only or held != before:
                self._load()

    def _look(self) -> None:
        with self._lock:
            if self._held and self._run(["list", "table", "bridge", self.table]).returncode != 0:
                log.warning("guard of network interfaces was gone and is put back table=%s", self.table)
                self._load()

    def _load(self) -> None:
        text = guard_text(self.table, (claim for one in self._held.values() for claim in one))
        done = self._run(["-f", "-"], text)
        if done.returncode != 0:
            raise HostError(f"nftables refused the guard: {done.stderr.strip()[-300:]}", code="filter_refused")

    def _run(self, words: list[str], text: str = "") -> subprocess.CompletedProcess[str]:
        try:
            return subprocess.run(
                [self._program, *words], input=text, capture_output=True, text=True, timeout=LIMIT_S, check=False
            )
        except (OSError, subprocess.TimeoutExpired) as error:
            raise HostError(f"nft can't be run: {error}", code="filter_refused", hint="Look at the host.") from error
