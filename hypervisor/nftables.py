"""``PacketFilters`` by nftables, where libvirt filters no packets: a table of the bridge family for each guest.

A table is written to a file, checked, and replaced in one transaction of the kernel: the new set is in force, or the last one
is. Interfaces are known beforehand by names of ours (``tap_name``), so a table is there before its guest starts, and the
files bring all of them back after the host was restarted. Connection tracking is not used, because not every kernel has it for
bridges: of TCP only what opens a connection is asked about, and the table itself remembers to whom a guest sent UDP.
"""

import contextlib
import ipaddress
import logging
import os
import subprocess
from collections.abc import Iterator
from pathlib import Path
from typing import Final

from nano.domain.errors import DiskFull, HostError
from nano.domain.machine import MachineSpec
from nano.domain.security import SecurityPolicy, SecurityRule
from nano.hypervisor.blocking_calls import BlockingCalls
from nano.hypervisor.packet_filter import filter_name, guest_of, tap_name

log = logging.getLogger("nano.hypervisor")

LIMIT_S: Final = 20.0
FLOWS_MAX: Final = 65536  # that one guest has under way; the answers to more pass only as rules say
FLOW_KEPT: Final = "3m"
FLOW: Final = {4: "ip daddr . ip saddr", 6: "ip6 daddr . ip6 saddr"}  # as the guest sends it
ANSWER: Final = {4: "ip saddr . ip daddr", 6: "ip6 saddr . ip6 daddr"}
KINDS: Final = {4: "ipv4_addr", 6: "ipv6_addr"}
IP: Final = {4: "ip", 6: "ip6"}
ICMP: Final = {4: "icmp", 6: "ipv6-icmp"}
"""How nft writes the number of the protocol."""
ERRORS: Final = {
    4: "icmp type { destination-unreachable, time-exceeded, parameter-problem, echo-reply }",
    6: "icmpv6 type { destination-unreachable, packet-too-big, time-exceeded, parameter-problem, echo-reply }",
}
NEIGHBOURS: Final = "icmpv6 type { mld-listener-query, nd-router-advert, nd-neighbor-solicit, nd-neighbor-advert }"


def table_text(guest_id: str, spec: MachineSpec) -> str:
    """The whole table, as nft reads it. Pure."""
    assert spec.security is not None
    policy = spec.security
    lines = [f"table bridge {filter_name(guest_id)} {{"]
    for version in (4, 6):
        lines += [
            f"  set flows{version} {{",
            f"    type {KINDS[version]} . {KINDS[version]} . inet_service . inet_service",
            f"    size {FLOWS_MAX}; flags dynamic,timeout; timeout {FLOW_KEPT};",
            "  }",
        ]
    lines += ["  chain sent {", "    type filter hook prerouting priority -200; policy accept;"]
    if not spec.unguarded:
        lines += [f'    iifname "{tap_name(mac)}" ether saddr != {mac} drop' for mac in spec.macs]
    lines += [f'    iifname "{tap_name(mac)}" jump checked' for mac in spec.macs]
    checked = (*(() if spec.unguarded else _own(policy, spec.macs)), *_sent())
    lines += ["  }", "  chain checked {", *(f"    {line}" for line in checked), "  }"]
    lines += ["  chain coming {", "    type filter hook postrouting priority 200; policy accept;"]
    lines += [f'    oifname "{tap_name(mac)}" jump rules' for mac in spec.macs]
    lines += ["  }", "  chain rules {", *(f"    {line}" for line in _coming(policy)), "  }", "}"]
    return "\n".join(lines) + "\n"


def _own(policy: SecurityPolicy, macs: tuple[str, ...]) -> Iterator[str]:
    yield f"ether type arp arp saddr ether != {{ {', '.join(macs)} }} drop"
    if policy.addresses:
        given = {4: ["0.0.0.0"], 6: ["fe80::/10", "::"]}  # noqa: S104  sources while one asks for an address
        for text in policy.addresses:
            given[ipaddress.ip_address(text).version].append(text)
        yield f"ether type arp arp saddr ip != {{ {', '.join(given[4])} }} drop"
        yield f"ether type ip ip saddr != {{ {', '.join(given[4])} }} drop"
        yield f"ether type ip6 ip6 saddr != {{ {', '.join(given[6])} }} drop"
        yield "ether type != { arp, ip, ip6, 0x8035 } drop"


def _sent() -> Iterator[str]:
    for version in (4, 6):
        flow = f"{FLOW[version]} . udp dport . udp sport"
        yield f"ether type {IP[version]} update @flows{version} {{ {flow} }}"


def _coming(policy: SecurityPolicy) -> Iterator[str]:
    if not policy.rules and policy.default == "accept":
        return
    yield "tcp flags & (syn | ack) != syn accept"
    yield "ether type ip ip frag-off & 0x1fff != 0 accept"  # the rest of a packet whose first part was let through
    for version in (4, 6):
        yield f"ether type {IP[version]} {ANSWER[version]} . udp sport . udp dport @flows{version} accept"
        yield f"ether type {IP[version]} {ERRORS[version]} accept"
    if policy.default == "drop":
        yield "ether type vlan drop"
        yield "ether type ip udp sport 67 udp dport 68 accept"
        yield "ether type ip6 udp sport 547 udp dport 546 accept"
        yield f"ether type ip6 {NEIGHBOURS} accept"
    for rule in policy.rules:
        yield from _packets(rule)
    if policy.default == "drop":
        yield "ether type { ip, ip6 } drop"


def _packets(rule: SecurityRule) -> Iterator[str]:
    versions = (ipaddress.ip_network(rule.source).version,) if rule.source else (4, 6)
    for version in versions:
        parts = [f"ether type {IP[version]}"]
        if rule.source:
            parts.append(f"{IP[version]} saddr {rule.source}")
        if rule.protocol != "any":
            parts.append(f"meta l4proto {ICMP[version] if rule.protocol == 'icmp' else rule.protocol}")
        if rule.port:
            parts.append(f"th dport {rule.port}" + (f"-{rule.last_port}" if rule.last_port else ""))
        yield f"{' '.join(parts)} {rule.action}"


class NftFilters:
    """``folder`` keeps the tables; only ours are there."""

    def __init__(self, calls: BlockingCalls, folder: Path, program: str = "nft") -> None:
        self._calls = calls
        self._folder = folder
        self._program = program

    def wanted(self, guest_id: str, spec: MachineSpec) -> str:
        return table_text(guest_id, spec) if spec.security is not None else ""

    async def found(self, guest_id: str) -> str:
        """The file's, when the kernel has the table."""
        return await self._calls.run(lambda: self._read(guest_id), what="Reading the packet filter")

    async def put(self, guest_id: str, spec: MachineSpec) -> None:
        text = table_text(guest_id, spec)
        await self._calls.run(lambda: self._put(guest_id, text), what="Putting the packet filter in place")

    async def drop(self, guest_id: str) -> bool:
        return await self._calls.run(lambda: self._drop(guest_id), what="Removing the packet filter")

    async def guests(self) -> list[str]:
        return await self._calls.run(self._known, what="Listing packet filters")

    async def restore(self) -> None:
        """Every table that a restart of the host took along."""
        await self._calls.run(self._restore, what="Putting the packet filters in place")

    def _path(self, guest_id: str) -> Path:
        return self._folder / f"{filter_name(guest_id)}.nft"

    def _read(self, guest_id: str) -> str:
        with contextlib.suppress(FileNotFoundError):
            text = self._path(guest_id).read_text()
            return text if self._has(guest_id) else ""
        return ""

    def _has(self, guest_id: str) -> bool:
        return self._run(["list", "table", "bridge", filter_name(guest_id)]).returncode == 0

    def _put(self, guest_id: str, text: str) -> None:
        """The kernel first: it is what can refuse. Without the file the table is put in place once more, by whoever asked."""
        self._load(guest_id, text)
        path = self._path(guest_id)
        new = path.with_suffix(".new")
        try:
            self._folder.mkdir(parents=True, exist_ok=True)
            with open(new, "w") as file:
                file.write(text)
                file.flush()
                os.fsync(file.fileno())
            new.rename(path)
        except OSError as error:
            raise DiskFull(f"The packet filter can't be kept: {error}.", hint="Free space on the host.") from error

    def _load(self, guest_id: str, text: str) -> None:
        name = filter_name(guest_id)
        done = self._run(["-f", "-"], f"table bridge {name}\ndelete table bridge {name}\n{text}")
        if done.returncode != 0:
            raise HostError(f"nftables refused the rules: {done.stderr.strip()[-300:]}", code="filter_refused")

    def _drop(self, guest_id: str) -> bool:
        there = self._has(guest_id)
        if there:
            self._run(["delete", "table", "bridge", filter_name(guest_id)])
        kept = self._path(guest_id).exists()
        self._path(guest_id).unlink(missing_ok=True)
        return there or kept

    def _known(self) -> list[str]:
        files = {guest for path in self._folder.glob("*.nft") if (guest := guest_of(path.stem)) is not None}
        return sorted(files)

    def _restore(self) -> None:
        for guest_id in self._known():
            if not self._has(guest_id):
                self._load(guest_id, self._path(guest_id).read_text())
                log.info("packet filter put back guest=%s", guest_id)

    def _run(self, words: list[str], text: str = "") -> subprocess.CompletedProcess[str]:
        try:
            return subprocess.run(
                [self._program, *words], input=text, capture_output=True, text=True, timeout=LIMIT_S, check=False
            )
        except (OSError, subprocess.TimeoutExpired) as error:
            raise HostError(f"nft can't be run: {error}", code="filter_refused", hint="Look at the host.") from error
