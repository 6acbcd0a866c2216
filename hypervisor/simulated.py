"""A ``Host`` that is only memory: for tests, for the simulator, for drills. Its time is given to it.

Why: a zone of a hundred cells must run in one process in milliseconds, fail where a test says so, and do the same again
from the same seed. The object is the *machine*, not the connection: a test keeps it while cells come and go, and
``close`` only ends listeners.

It obeys the same contract as ``LibvirtHost`` (tests/contract/test_host.py) with the same codes. Its time, its faults and what
happens behind a cell's back are ``simulated_machine``'s.
"""

import socket
import struct
from collections.abc import AsyncIterator, Collection, Mapping
from pathlib import Path
from typing import Final

import anyio
import anyio.lowlevel
import msgspec

from nano.domain.errors import HostError
from nano.domain.machine import MachineSpec
from nano.hypervisor.changes import Changes
from nano.hypervisor.domain_xml import seed_name, volume_name
from nano.hypervisor.host import (
    DOMAIN_WRONG_STATE,
    AgentReport,
    DomainEvent,
    DomainView,
    GuestSample,
    HostSample,
    Progress,
)
from nano.hypervisor.metadata import spec_digest
from nano.hypervisor.simulated_changes import SimulatedChanges
from nano.hypervisor.simulated_compaction import SimulatedCompactor
from nano.hypervisor.simulated_filters import SimulatedFilters
from nano.hypervisor.simulated_insider import SimulatedInsider
from nano.hypervisor.simulated_live_moves import SimulatedLiveMoves
from nano.hypervisor.simulated_machine import SimulatedDomain, SimulatedMachine
from nano.hypervisor.simulated_monitor import SimulatedMonitor
from nano.hypervisor.simulated_moves import SimulatedMoves
from nano.hypervisor.simulated_ports import SimulatedPorts
from nano.hypervisor.simulated_snapshots import SimulatedSnapshots
from nano.hypervisor.simulated_storage import SimulatedStorage
from nano.hypervisor.volumes import require_guest_id

BLANK_BYTES: Final = 196_624  # what a blank 1 GiB qcow2 of qemu-img takes
SEED_BYTES: Final = 60 << 10
DISPLAY: Final = (  # all that a display without a password says to a viewer that only listens (RFC 6143, 7.1 to 7.3)
    b"RFB 003.008\n\1\1\0\0\0\0"
    + struct.pack(">HHBBBBHHHBBBxxx", 320, 200, 32, 24, 0, 1, 255, 255, 255, 16, 8, 0)
    + struct.pack(">I9s", 9, b"simulated")
)
PROMPT: Final = b"login: "


class SimulatedHost(SimulatedMachine):
    """The calls of ``Host`` on that machine."""

    @property
    def changes(self) -> Changes:
        return Changes(SimulatedChanges(self), self.capabilities.why_not)

    @property
    def compactor(self) -> SimulatedCompactor:
        return SimulatedCompactor(self)

    @property
    def insider(self) -> SimulatedInsider:
        return SimulatedInsider(self)

    @property
    def filters(self) -> SimulatedFilters:
        return SimulatedFilters(self)

    @property
    def monitor(self) -> SimulatedMonitor:
        return SimulatedMonitor(self)

    @property
    def live_moves(self) -> SimulatedLiveMoves:
        return SimulatedLiveMoves(self)

    @property
    def storage(self) -> SimulatedStorage:
        return SimulatedStorage(self)

    @property
    def moves(self) -> SimulatedMoves:
        return SimulatedMoves(self)

    @property
    def ports(self) -> SimulatedPorts:
        return SimulatedPorts(self)

    @property
    def snapshots(self) -> SimulatedSnapshots:
        return SimulatedSnapshots(self)

    async def domains(self) -> list[DomainView]:
        await self.enter("domains")
        every = {**self.arrived, **self.machine}
        return [DomainView(guest, domain.state, spec_digest(domain.spec)) for guest, domain in every.items()]

    async def make_volumes(
        self,
        guest_id: str,
        spec: MachineSpec,
        image: Path | None,
        progress: Progress,
        numbers: Collection[int] | None = None,
    ) -> None:
        made: list[str] = []
        try:
            for index, number in enumerate(spec.volume_numbers):
                name = volume_name(require_guest_id(guest_id), number)
                if name in self.sizes or (numbers is not None and number not in numbers):
                    continue
                made.append(name)
                if index == 0 and image is not None:
                    await self._clone(name, _length(image, spec.disks[0]), progress)
                else:
                    self.take(name, min(BLANK_BYTES, spec.disks[index]))
                self.sizes[name] = spec.disks[index]
            await self.enter("make_volumes", guest_id)
        except BaseException:
            for name in made:
                self.drop(name)
            raise
        progress(100)

    async def copy_disk(self, guest_id: str, number: int, target: Path, progress: Progress) -> None:
        """An empty disk of the same size: what a simulated guest wrote is not remembered."""
        await self.enter("copy_disk", guest_id)
        await anyio.Path(target).write_bytes(_empty_qcow2(self.sizes[volume_name(require_guest_id(guest_id), number)]))
        progress(100)

    async def make_seed(self, guest_id: str, texts: Mapping[str, str]) -> None:
        name = seed_name(require_guest_id(guest_id))
        await self.enter("make_seed", guest_id)
        self.take(name, SEED_BYTES + sum(map(len, texts.values())))

    async def define(self, guest_id: str, spec: MachineSpec) -> None:
        require_guest_id(guest_id)
        await self.enter("define", guest_id)
        self.refuse_foreign(guest_id)
        self.expected.pop(guest_id, None)
        if spec.security is not None:
            await self.filters.put(guest_id, spec)
        if (domain := self.machine.get(guest_id)) is None:
            made = SimulatedDomain(spec, snapshots=self.in_volumes.pop(guest_id, {}))
            self.machine[guest_id] = self.arrived.pop(guest_id, made)
        else:
            domain.spec, domain.note = spec, ""

    async def start(self, guest_id: str) -> None:
        await self.enter("start", guest_id)
        domain = self.ours(guest_id)
        if domain.state == "paused":
            domain.state = "running"
            self.stream.tell(DomainEvent(guest_id, "state", "running", detail="resumed"))
        elif domain.state != "running":
            missing = [name for n in domain.spec.volume_numbers if (name := volume_name(guest_id, n)) not in self.files]
            if missing:
                raise HostError(f"Starting the domain: no volume {missing[0]}.", code="hypervisor_error")
            self.become(guest_id, "running", "started")

    async def shutdown(self, guest_id: str) -> None:
        await self.enter("shutdown", guest_id)
        domain = self.ours(guest_id)
        if domain.state == "running" and self.listens(domain):
            boots = domain.boots
            self.stream.later(self.shutdown_s, lambda: self.stop_if_same(guest_id, boots))

    async def destroy(self, guest_id: str) -> None:
        await self.enter("destroy", guest_id)
        self.refuse_foreign(guest_id)
        if guest_id in self.machine and self.machine[guest_id].state in ("running", "paused"):
            self.become(guest_id, "stopped", "destroyed")

    async def reboot(self, guest_id: str) -> None:
        await self.enter("reboot", guest_id)
        domain = self.running(guest_id)
        if self.listens(domain):
            self.boot(guest_id, domain, "rebooted")

    async def reset(self, guest_id: str) -> None:
        await self.enter("reset", guest_id)
        self.boot(guest_id, self.running(guest_id), "rebooted")

    async def undefine(self, guest_id: str) -> None:
        await self.enter("undefine", guest_id)
        self.refuse_foreign(guest_id)
        domain = self.machine.get(guest_id)
        if domain is None:
            self.arrived.pop(guest_id, None)
            await self.filters.drop(guest_id)
            return
        if domain.state in ("running", "paused"):
            raise HostError("A running domain can't be undefined.", code=DOMAIN_WRONG_STATE, hint="Stop it first.")
        self.forget(guest_id)
        await self.filters.drop(guest_id)

    async def remove_volumes(self, guest_id: str) -> list[str]:
        require_guest_id(guest_id)
        await self.enter("remove_volumes", guest_id)
        self.expected.pop(guest_id, None)
        self.arrived.pop(guest_id, None)
        names = sorted(name for name in self.files if name.startswith(f"{guest_id}_"))
        for name in names:
            self.drop(name)
        self.in_volumes.pop(guest_id, None)
        return names

    async def volumes(self) -> list[str]:
        await self.enter("volumes")
        return sorted({name.rpartition("_")[0] for name in self.files})

    async def volume_files(self) -> list[str]:
        await self.enter("volume_files")
        return sorted(self.files)

    async def probe(self) -> None:
        """``found`` is what a look finds."""
        await self.enter("probe")
        self.capabilities = msgspec.structs.replace(self.capabilities, abilities=self.found)

    async def sample(self) -> HostSample:
        await self.enter("sample")
        now = self.now()
        guests = tuple(
            _grown(guest, domain, now - domain.started_at)
            for guest, domain in self.machine.items()
            if domain.state in ("running", "paused")
        )
        used = sum(guest.memory_used for guest in guests)
        return HostSample(
            cpu_percent=min(100.0, 5.0 * len(guests) + self.random.random()),
            memory_total=self.capabilities.memory,
            memory_available=max(0, self.capabilities.memory - used),
            disk_total=self.disk_capacity,
            disk_available=max(0, self.disk_capacity - self.disk_used),
            read_bytes=sum(guest.read_bytes for guest in guests),
            write_bytes=sum(guest.write_bytes for guest in guests),
            receive_bytes=sum(guest.receive_bytes for guest in guests),
            send_bytes=sum(guest.send_bytes for guest in guests),
            uptime_s=max(0.0, now),
            guests=guests,
        )

    async def agent(self, guest_id: str) -> AgentReport | None:
        await self.enter("agent", guest_id)
        domain = self.ours(guest_id)
        if domain.state != "running" or not self.listens(domain) or self.now() < domain.started_at + self.boot_s:
            return None
        last = bytes.fromhex(domain.spec.mac.replace(":", ""))[-3:] if domain.spec.mac else b"\0\0\1"
        return AgentReport(domain.spec.name, (f"10.{last[0]}.{last[1]}.{last[2]}",))

    async def console(self, guest_id: str) -> socket.socket:
        await self.enter("console", guest_id)
        return self._plugged(guest_id, DISPLAY)

    async def serial(self, guest_id: str) -> socket.socket:
        await self.enter("serial", guest_id)
        return self._plugged(guest_id, PROMPT)

    def _plugged(self, guest_id: str, greeting: bytes) -> socket.socket:
        self.running(guest_id)
        ours, peer = socket.socketpair()
        peer.sendall(greeting)
        self.peers.append(peer)
        return ours

    def events(self) -> AsyncIterator[DomainEvent]:
        return self.stream.listen()

    async def close(self) -> None:
        """End listeners and consoles. The machine goes on; the same object serves the next cell process."""
        self.stream.end_all()
        for listening in list(self.open_ports.values()):
            await listening.aclose()
        while self.callers:
            await self.callers.pop().aclose()
        while self.peers:
            self.peers.pop().close()
        await anyio.lowlevel.checkpoint()

    async def _clone(self, name: str, size: int, progress: Progress) -> None:
        for percent in range(0, 100, 10):
            progress(percent)
            await self.sleep(self.copy_s / 10)
            self.take(name, size * (percent + 10) // 100)


def _length(image: Path, size: int) -> int:
    try:
        return min(image.stat().st_size, size)
    except OSError:
        return size // 10  # a test's image need not exist


def _grown(guest_id: str, domain: SimulatedDomain, age_s: float) -> GuestSample:
    """Counters that only depend on how long the guest has run: 10 % of a core, 1 MiB/s in, half of that out."""
    mebis = max(0, int(age_s))
    return GuestSample(
        guest_id=guest_id,
        cpu_time_ns=int(max(0.0, age_s) * 1e8),
        memory_used=domain.spec.memory // 2,
        read_bytes=mebis << 20,
        write_bytes=mebis << 19,
        receive_bytes=mebis << 20,
        send_bytes=mebis << 19,
    )


def _empty_qcow2(size: int) -> bytes:
    """Version 2, clusters of 64 KiB: head, refcount table, one refcount block, L1 table (QEMU docs/interop/qcow2)."""
    cluster = 1 << 16
    tables = -(-size // (cluster * (cluster // 8)))
    head = struct.pack(">4sIQIIQIIQQIIQ", b"QFI\xfb", 2, 0, 0, 16, size, 0, tables, 3 * cluster, cluster, 1, 0, 0)
    parts = (head, struct.pack(">Q", 2 * cluster), struct.pack(">4H", 1, 1, 1, 1), b"")
    return b"".join(part.ljust(cluster, b"\0") for part in parts)
