"""A cell process's connection to its simulated machine: calls take time, fail, time out, and end with the process.

``SimulatedHost`` is the machine and outlives processes. Invariant: after ``end`` no call has an effect; of a call under
way at that moment the effect is there or not, and volumes that were being made are left half made, as they are when a
process is killed. A call that "hangs" ends with ``hypervisor_timeout`` as the real driver's do, with or without effect.
"""

import socket
from collections import Counter
from collections.abc import AsyncIterator, Awaitable, Callable, Mapping
from pathlib import Path
from random import Random
from typing import Final, TypeVar

import anyio

from nano.domain.errors import DeadlineExceeded, HostError
from nano.domain.machine import MachineSpec
from nano.hypervisor.changes import Changes
from nano.hypervisor.compaction import Compactor
from nano.hypervisor.host import (
    HYPERVISOR_TIMEOUT,
    HYPERVISOR_UNREACHABLE,
    AgentReport,
    Capabilities,
    DomainEvent,
    DomainView,
    HostSample,
    Progress,
)
from nano.hypervisor.insider import Insider
from nano.hypervisor.monitor import Monitor
from nano.hypervisor.packet_filter import PacketFilters
from nano.hypervisor.simulated import SimulatedHost
from nano.hypervisor.simulated_changes import SimulatedChanges
from nano.hypervisor.simulated_snapshots import SimulatedSnapshots
from nano.tools.simulator.host_changes import ConnectedChanges
from nano.tools.simulator.host_compaction import ConnectedCompactor
from nano.tools.simulator.host_filters import ConnectedFilters
from nano.tools.simulator.host_insider import ConnectedInsider
from nano.tools.simulator.host_live_moves import ConnectedLiveMoves
from nano.tools.simulator.host_monitor import ConnectedMonitor
from nano.tools.simulator.host_moves import ConnectedMoves, ConnectedStorage
from nano.tools.simulator.host_ports import ConnectedPorts
from nano.tools.simulator.host_snapshots import ConnectedSnapshots

T = TypeVar("T")

TIMEOUT_S: Final = 30.0
LATENCY_S: Final = (0.0005, 0.02)


class Trouble:
    """What goes wrong with a machine's hypervisor; shared by the connections that follow one another."""

    def __init__(self, random: Random) -> None:
        self.random = random
        self.failing = 0.0  # share of calls that fail
        self.hanging = 0.0
        self.counts: Counter[str] = Counter()

    def calm(self) -> None:
        self.failing = self.hanging = 0.0


class HostConnection:
    """A ``Host``. ``check_image`` is called with every image that disks are cloned from."""

    def __init__(self, machine: SimulatedHost, trouble: Trouble, check_image: Callable[[Path], None]) -> None:
        self._check_image = check_image
        self._machine = machine
        self._trouble = trouble
        self._alive = True
        self._making: dict[str, dict[str, int]] = {}  # guest id -> its volumes when the process died

    def end(self) -> None:
        self._alive = False
        for guest_id, files in self._making.items():
            files.update({name: size for name, size in self._machine.files.items() if name.startswith(guest_id)})

    @property
    def capabilities(self) -> Capabilities:
        return self._machine.capabilities

    @property
    def changes(self) -> Changes:
        return Changes(ConnectedChanges(SimulatedChanges(self._machine), self._call), self.capabilities.why_not)

    @property
    def compactor(self) -> Compactor:
        return ConnectedCompactor(self._machine.compactor, self._call)

    @property
    def insider(self) -> Insider:
        return ConnectedInsider(self._machine.insider, self._call)

    @property
    def filters(self) -> PacketFilters:
        return ConnectedFilters(self._machine.filters, self._call)

    @property
    def monitor(self) -> Monitor:
        return ConnectedMonitor(self._machine.monitor, self._call)

    @property
    def storage(self) -> ConnectedStorage:
        return ConnectedStorage(self._machine.storage, self._call)

    @property
    def live_moves(self) -> ConnectedLiveMoves:
        return ConnectedLiveMoves(self._machine.live_moves, self._call)

    @property
    def moves(self) -> ConnectedMoves:
        return ConnectedMoves(self._machine.moves, self._call)

    @property
    def ports(self) -> ConnectedPorts:
        return ConnectedPorts(self._machine.ports, self._call)

    @property
    def snapshots(self) -> ConnectedSnapshots:
        return ConnectedSnapshots(SimulatedSnapshots(self._machine), self._call)

    async def domains(self) -> list[DomainView]:
        return await self._call(self._machine.domains)

    async def make_seed(self, guest_id: str, texts: Mapping[str, str]) -> None:
        await self._call(lambda: self._machine.make_seed(guest_id, texts))

    async def make_volumes(self, guest_id: str, spec: MachineSpec, image: Path | None, progress: Progress) -> None:
        if image is not None:
            self._check_image(image)
        left = self._making.setdefault(guest_id, {})
        try:
            await self._call(lambda: self._machine.make_volumes(guest_id, spec, image, progress))
            if image is not None:
                self._check_image(image)
        finally:
            self._making.pop(guest_id, None)
            if not self._alive:
                self._machine.files.update(left)

    async def define(self, guest_id: str, spec: MachineSpec) -> None:
        await self._call(lambda: self._machine.define(guest_id, spec))

    async def copy_disk(self, guest_id: str, number: int, target: Path, progress: Progress) -> None:
        await self._call(lambda: self._machine.copy_disk(guest_id, number, target, progress))

    async def start(self, guest_id: str) -> None:
        await self._call(lambda: self._machine.start(guest_id))

    async def shutdown(self, guest_id: str) -> None:
        await self._call(lambda: self._machine.shutdown(guest_id))

    async def destroy(self, guest_id: str) -> None:
        await self._call(lambda: self._machine.destroy(guest_id))

    async def reboot(self, guest_id: str) -> None:
        await self._call(lambda: self._machine.reboot(guest_id))

    async def reset(self, guest_id: str) -> None:
        await self._call(lambda: self._machine.reset(guest_id))

    async def undefine(self, guest_id: str) -> None:
        await self._call(lambda: self._machine.undefine(guest_id))

    async def remove_volumes(self, guest_id: str) -> list[str]:
        return await self._call(lambda: self._machine.remove_volumes(guest_id))

    async def volumes(self) -> list[str]:
        return await self._call(self._machine.volumes)

    async def volume_files(self) -> list[str]:
        return await self._call(self._machine.volume_files)

    async def probe(self) -> None:
        await self._call(self._machine.probe)

    async def sample(self) -> HostSample:
        """Every two seconds, so without a delay while nothing is wrong: nothing leans on how long it takes."""
        self._require()
        if self._trouble.failing or self._trouble.hanging:
            return await self._call(self._machine.sample)
        return await self._machine.sample()

    async def agent(self, guest_id: str) -> AgentReport | None:
        return await self._call(lambda: self._machine.agent(guest_id))

    async def console(self, guest_id: str) -> socket.socket:
        return await self._call(lambda: self._machine.console(guest_id))

    async def serial(self, guest_id: str) -> socket.socket:
        return await self._call(lambda: self._machine.serial(guest_id))

    def events(self) -> AsyncIterator[DomainEvent]:
        return self._machine.events()

    async def close(self) -> None:
        await self._machine.close()

    async def _call(self, work: Callable[[], Awaitable[T]]) -> T:
        random, trouble = self._trouble.random, self._trouble
        self._require()
        await anyio.sleep(random.uniform(*LATENCY_S))
        self._require()
        fate = random.random()
        if fate < trouble.hanging:
            trouble.counts["host.timeout"] += 1
            await anyio.sleep(TIMEOUT_S)
            self._require()
            if random.random() < 0.5:
                await work()
            raise DeadlineExceeded(
                "The simulated hypervisor took too long.", code=HYPERVISOR_TIMEOUT, hint="Look at the machine."
            )
        if fate < trouble.hanging + trouble.failing:
            trouble.counts["host.error"] += 1
            if random.random() < 0.3:
                await work()
            raise HostError("The simulated hypervisor failed.", code="hypervisor_error")
        result = await work()
        await anyio.sleep(random.uniform(*LATENCY_S))
        self._require()
        return result

    def _require(self) -> None:
        if not self._alive:
            raise HostError("The process that asks is dead.", code=HYPERVISOR_UNREACHABLE)
