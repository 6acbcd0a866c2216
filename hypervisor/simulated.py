"""A ``Host`` that is only memory: for tests, for the simulator, for drills. Its time is given to it.

Why: a zone of a hundred cells must run in one process in milliseconds, fail where a test says so, and do the same again
from the same seed. The object is the *machine*, not the connection: a test keeps it while cells come and go, and
``close`` only ends listeners.

Invariants: no background task (what is due happens when somebody asks or listens), no real time, no randomness but the
seed's. It obeys the same contract as ``LibvirtHost`` (tests/contract/test_host.py) with the same codes.

Faults for tests: ``fail_next``, ``hang_next``, ``disk_capacity``, ``lose_connection``, and the things that happen behind
a cell's back: ``stop_behind``, ``crash``, ``pause_behind``, ``vanish``, ``add_foreign``.
"""

import collections
import dataclasses
import random
import socket
from collections.abc import AsyncIterator, Awaitable, Callable
from pathlib import Path
from typing import Final, Literal

import anyio
import anyio.lowlevel

from nano.domain.errors import DiskFull, HostError, NanoError
from nano.domain.machine import GIBI, MachineSpec
from nano.hypervisor.domain_xml import volume_name
from nano.hypervisor.host import (
    DOMAIN_FOREIGN,
    DOMAIN_MISSING,
    DOMAIN_WRONG_STATE,
    HYPERVISOR_UNREACHABLE,
    AgentReport,
    Capabilities,
    DomainEvent,
    DomainView,
    GuestSample,
    HostSample,
    Progress,
    Running,
)
from nano.hypervisor.metadata import spec_digest
from nano.hypervisor.simulated_events import SimulatedEvents
from nano.hypervisor.volumes import require_guest_id

BLANK_BYTES: Final = 196_624  # what a blank 1 GiB qcow2 of qemu-img takes
CALLS_KEPT: Final = 10_000
BANNER: Final = b"RFB 003.008\n"

Method = Literal[
    "domains", "make_volumes", "define", "start", "shutdown", "destroy", "reboot", "reset", "undefine",
    "remove_volumes", "volumes", "sample", "agent", "console",
]  # fmt: skip


@dataclasses.dataclass
class SimulatedDomain:
    spec: MachineSpec
    state: Running = "stopped"
    started_at: float = 0.0
    boots: int = 0  # counts starts and restarts; what is due for an earlier one is void


class SimulatedHost:
    def __init__(
        self,
        *,
        now: Callable[[], float] = anyio.current_time,
        sleep: Callable[[float], Awaitable[None]] = anyio.sleep,
        seed: int = 0,
        cores: int = 8,
        memory: int = 16 * GIBI,
        disk_capacity: int = 256 * GIBI,
        copy_s: float = 1.0,
        boot_s: float = 5.0,
        shutdown_s: float = 4.0,
        blank_guests_boot: bool = True,
        cell: str = "",
    ) -> None:
        """``now`` and ``sleep`` are one clock in seconds. ``copy_s``: cloning an image; ``boot_s``: start to agent;
        ``shutdown_s``: request to off. ``blank_guests_boot``: False makes guests without an image deaf, as they are."""
        self._now = now
        self._sleep = sleep
        self._random = random.Random(seed)  # noqa: S311  a simulation
        self.disk_capacity = disk_capacity
        self.copy_s = copy_s
        self.boot_s = boot_s
        self.shutdown_s = shutdown_s
        self.blank_guests_boot = blank_guests_boot
        self.capabilities = Capabilities(
            virt_type="qemu",
            virt_note="Simulated.",
            cores=cores,
            memory=memory,
            hypervisor=f"simulated{' ' + cell if cell else ''}",
            bridge="",
        )
        self.machine: dict[str, SimulatedDomain] = {}
        self.files: dict[str, int] = {}  # volume name -> bytes it takes
        self.foreign: set[str] = set()
        self.calls: collections.deque[tuple[str, str]] = collections.deque(maxlen=CALLS_KEPT)
        self._faults: dict[str, collections.deque[NanoError | None]] = collections.defaultdict(collections.deque)
        self._reachable = True
        self._events = SimulatedEvents(now, sleep)
        self._peers: list[socket.socket] = []

    # ---- faults and what happens behind a cell's back

    def fail_next(self, method: Method, error: NanoError, times: int = 1) -> None:
        """The next calls of ``method`` raise ``error`` (make_volumes after half of its work)."""
        self._faults[method].extend([error] * times)

    def hang_next(self, method: Method) -> None:
        """The next call of ``method`` never ends by itself."""
        self._faults[method].append(None)

    def lose_connection(self) -> None:
        """Calls fail and listeners end until ``restore_connection``; guests go on."""
        self._reachable = False
        self._events.end_all()

    def restore_connection(self) -> None:
        self._reachable = True

    def stop_behind(self, guest_id: str, detail: str = "shutdown by guest") -> None:
        self._become(guest_id, "stopped", detail)

    def crash(self, guest_id: str) -> None:
        self._become(guest_id, "crashed", "emulator failed")

    def pause_behind(self, guest_id: str, detail: str = "disk error") -> None:
        self._become(guest_id, "paused", detail)

    def vanish(self, guest_id: str) -> None:
        """Somebody destroyed and undefined the domain; its volumes stay."""
        if self.machine[guest_id].state != "stopped":
            self._become(guest_id, "stopped", "destroyed")
        del self.machine[guest_id]
        self._events.tell(DomainEvent(guest_id, "undefined", detail="undefined"))

    def add_foreign(self, guest_id: str) -> None:
        """A domain of somebody else that happens to have this UUID."""
        self.foreign.add(guest_id)

    @property
    def disk_used(self) -> int:
        return sum(self.files.values())

    # ---- Host

    async def domains(self) -> list[DomainView]:
        await self._enter("domains")
        return [DomainView(guest, domain.state, spec_digest(domain.spec)) for guest, domain in self.machine.items()]

    async def make_volumes(self, guest_id: str, spec: MachineSpec, image: Path | None, progress: Progress) -> None:
        names = [volume_name(require_guest_id(guest_id), n) for n in range(len(spec.disks))]
        made: list[str] = []
        try:
            for index, name in enumerate(names):
                if name in self.files:
                    continue
                made.append(name)
                if index == 0 and image is not None:
                    await self._clone(name, _length(image, spec.disks[0]), progress)
                else:
                    self._take(name, min(BLANK_BYTES, spec.disks[index]))
            await self._enter("make_volumes", guest_id)
        except BaseException:
            for name in made:
                self.files.pop(name, None)
            raise
        progress(100)

    async def define(self, guest_id: str, spec: MachineSpec) -> None:
        require_guest_id(guest_id)
        await self._enter("define", guest_id)
        self._refuse_foreign(guest_id)
        if (domain := self.machine.get(guest_id)) is None:
            self.machine[guest_id] = SimulatedDomain(spec)
        else:
            domain.spec = spec

    async def start(self, guest_id: str) -> None:
        await self._enter("start", guest_id)
        domain = self._ours(guest_id)
        if domain.state == "paused":
            domain.state = "running"
            self._events.tell(DomainEvent(guest_id, "state", "running", detail="resumed"))
        elif domain.state != "running":
            missing = [
                name for n in range(len(domain.spec.disks)) if (name := volume_name(guest_id, n)) not in self.files
            ]
            if missing:
                raise HostError(f"Starting the domain: no volume {missing[0]}.", code="hypervisor_error")
            self._become(guest_id, "running", "started")

    async def shutdown(self, guest_id: str) -> None:
        await self._enter("shutdown", guest_id)
        domain = self._ours(guest_id)
        if domain.state == "running" and self._listens(domain):
            boots = domain.boots
            self._events.later(self.shutdown_s, lambda: self._stop_if_same(guest_id, boots))

    async def destroy(self, guest_id: str) -> None:
        await self._enter("destroy", guest_id)
        self._refuse_foreign(guest_id)
        if guest_id in self.machine and self.machine[guest_id].state in ("running", "paused"):
            self._become(guest_id, "stopped", "destroyed")

    async def reboot(self, guest_id: str) -> None:
        await self._enter("reboot", guest_id)
        domain = self._running(guest_id)
        if self._listens(domain):
            self._boot(guest_id, domain, "rebooted")

    async def reset(self, guest_id: str) -> None:
        await self._enter("reset", guest_id)
        self._boot(guest_id, self._running(guest_id), "rebooted")

    async def undefine(self, guest_id: str) -> None:
        await self._enter("undefine", guest_id)
        self._refuse_foreign(guest_id)
        domain = self.machine.get(guest_id)
        if domain is None:
            return
        if domain.state in ("running", "paused"):
            raise HostError("A running domain can't be undefined.", code=DOMAIN_WRONG_STATE, hint="Stop it first.")
        del self.machine[guest_id]
        self._events.tell(DomainEvent(guest_id, "undefined", detail="undefined"))

    async def remove_volumes(self, guest_id: str) -> list[str]:
        require_guest_id(guest_id)
        await self._enter("remove_volumes", guest_id)
        names = sorted(name for name in self.files if name.startswith(f"{guest_id}_"))
        for name in names:
            del self.files[name]
        return names

    async def volumes(self) -> list[str]:
        await self._enter("volumes")
        return sorted({name.rpartition("_")[0] for name in self.files})

    async def sample(self) -> HostSample:
        await self._enter("sample")
        now = self._now()
        guests = tuple(
            _grown(guest, domain, now - domain.started_at)
            for guest, domain in self.machine.items()
            if domain.state in ("running", "paused")
        )
        used = sum(guest.memory_used for guest in guests)
        return HostSample(
            cpu_percent=min(100.0, 5.0 * len(guests) + self._random.random()),
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
        await self._enter("agent", guest_id)
        domain = self._ours(guest_id)
        if domain.state != "running" or not self._listens(domain) or self._now() < domain.started_at + self.boot_s:
            return None
        last = bytes.fromhex(domain.spec.mac.replace(":", ""))[-3:] if domain.spec.mac else b"\0\0\1"
        return AgentReport(domain.spec.name, (f"10.{last[0]}.{last[1]}.{last[2]}",))

    async def console(self, guest_id: str) -> socket.socket:
        await self._enter("console", guest_id)
        self._running(guest_id)
        ours, peer = socket.socketpair()
        peer.sendall(BANNER)
        self._peers.append(peer)
        return ours

    def events(self) -> AsyncIterator[DomainEvent]:
        return self._events.listen()

    async def close(self) -> None:
        """End listeners and consoles. The machine goes on; the same object serves the next cell process."""
        self._events.end_all()
        while self._peers:
            self._peers.pop().close()
        await anyio.lowlevel.checkpoint()

    # ---- inside

    async def _enter(self, method: Method, guest_id: str = "") -> None:
        """What every call begins with: time may pass, what is due happens, and a fault set for it strikes."""
        self.calls.append((method, guest_id))
        await anyio.lowlevel.checkpoint()
        self._events.settle()
        if not self._reachable:
            raise HostError("The simulated hypervisor does not answer.", code=HYPERVISOR_UNREACHABLE)
        if faults := self._faults[method]:
            fault = faults.popleft()
            if fault is None:
                await anyio.sleep_forever()
            else:
                raise fault

    async def _clone(self, name: str, size: int, progress: Progress) -> None:
        for percent in range(0, 100, 10):
            progress(percent)
            await self._sleep(self.copy_s / 10)
            self._take(name, size * (percent + 10) // 100)

    def _take(self, name: str, size: int) -> None:
        if self.disk_used - self.files.get(name, 0) + size > self.disk_capacity:
            raise DiskFull(f"No space left for volume {name}.", hint="Free space on the host or choose another cell.")
        self.files[name] = size

    def _refuse_foreign(self, guest_id: str) -> None:
        if guest_id in self.foreign:
            raise HostError(f"Domain {guest_id} is not this cell's.", code=DOMAIN_FOREIGN, hint="It is left alone.")

    def _ours(self, guest_id: str) -> SimulatedDomain:
        self._refuse_foreign(guest_id)
        if guest_id not in self.machine:
            raise HostError(f"There is no domain {guest_id}.", code=DOMAIN_MISSING, hint="Redefine the guest.")
        return self.machine[guest_id]

    def _running(self, guest_id: str) -> SimulatedDomain:
        domain = self._ours(guest_id)
        if domain.state not in ("running", "paused"):
            raise HostError("The domain does not run.", code=DOMAIN_WRONG_STATE, hint="Start it first.")
        return domain

    def _listens(self, domain: SimulatedDomain) -> bool:
        return self.blank_guests_boot or bool(domain.spec.image)

    def _become(self, guest_id: str, state: Running, detail: str) -> None:
        domain = self.machine[guest_id]
        domain.state = state
        if state == "running":
            self._boot(guest_id, domain, detail)
        else:
            self._events.tell(DomainEvent(guest_id, "state", state, detail=detail))

    def _boot(self, guest_id: str, domain: SimulatedDomain, detail: str) -> None:
        domain.boots += 1
        domain.started_at = self._now()
        domain.state = "running"
        self._events.tell(DomainEvent(guest_id, "state", "running", detail=detail))
        if self._listens(domain):
            boots = domain.boots
            self._events.later(self.boot_s, lambda: self._agent_comes(guest_id, boots))

    def _agent_comes(self, guest_id: str, boots: int) -> None:
        if (domain := self.machine.get(guest_id)) and domain.boots == boots and domain.state == "running":
            self._events.tell(DomainEvent(guest_id, "agent", "running", connected=True))

    def _stop_if_same(self, guest_id: str, boots: int) -> None:
        if (domain := self.machine.get(guest_id)) and domain.boots == boots and domain.state == "running":
            self._become(guest_id, "stopped", "shutdown by guest")


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
