"""The machine under a ``SimulatedHost``: its domains, its files, its faults, and what happens behind a cell's back.

Invariants: no background task (what is due happens when somebody asks or listens), no real time, no randomness but the
seed's. Faults for tests: ``fail_next``, ``hang_next``, ``disk_capacity``, ``lose_connection``, ``stop_behind``, ``crash``,
``pause_behind``, ``vanish``, ``add_foreign``.
"""

import collections
import dataclasses
import random
import socket
from collections.abc import Awaitable, Callable
from typing import Final

import anyio
import anyio.lowlevel
import msgspec

from nano.domain.ability import Ability
from nano.domain.errors import DiskFull, HostError, NanoError
from nano.domain.machine import GIBI, MachineSpec
from nano.hypervisor.guard import Claim
from nano.hypervisor.host import (
    DOMAIN_FOREIGN,
    DOMAIN_MISSING,
    DOMAIN_WRONG_STATE,
    HYPERVISOR_UNREACHABLE,
    Capabilities,
    DomainEvent,
    Running,
)
from nano.hypervisor.simulated_events import SimulatedEvents
from nano.hypervisor.simulated_ports import MemoryChannel, SimulatedListening

CALLS_KEPT: Final = 10_000


@dataclasses.dataclass
class SimulatedSnapshot:
    """What a domain was; ``kept`` bytes of memory lie in its first volume."""

    spec: MachineSpec
    live: MachineSpec | None
    state: Running
    note: str
    content: str
    kept: int


@dataclasses.dataclass
class SimulatedDomain:
    """``spec`` is its definition, ``live`` what it runs as, ``note`` a word kept with its definition, ``content`` what is on its
    disks."""

    spec: MachineSpec
    live: MachineSpec | None = None
    state: Running = "stopped"
    started_at: float = 0.0
    boots: int = 0  # counts starts and restarts; what is due for an earlier one is void
    note: str = ""
    content: str = ""
    passwords: dict[str, str] = dataclasses.field(default_factory=dict)  # that its agent has set, by account
    frozen: bool = False  # its file systems, by its agent
    snapshots: dict[str, SimulatedSnapshot] = dataclasses.field(default_factory=dict)


class SimulatedMachine:
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
        self.now = now
        self.sleep = sleep
        self.random = random.Random(seed)  # noqa: S311  a simulation
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
        self.found: tuple[Ability, ...] = ()  # what the next look finds that it can do
        self.machine: dict[str, SimulatedDomain] = {}
        self.in_volumes: dict[str, dict[str, SimulatedSnapshot]] = {}  # snapshots of guests that have no domain now
        self.files: dict[str, int] = {}  # volume name -> bytes it takes
        self.sizes: dict[str, int] = {}  # finished volume's name -> bytes its guest sees
        self.words: dict[str, str] = {}  # guest id -> what was announced beside its files
        self.arriving: dict[str, bytes] = {}  # what there is of a volume that comes from another host
        self.in_force: dict[str, str] = {}  # guest id -> the packet filter in force
        self.guarded: dict[str, tuple[Claim, ...]] = {}  # guest id -> what its interfaces may send as
        self.expected: dict[str, MachineSpec] = {}  # guests that may come running from another host
        self.arrived: dict[str, SimulatedDomain] = {}  # and have; they wait to be defined
        self.open_ports: dict[tuple[str, int], SimulatedListening] = {}  # by address and port
        self.callers: list[MemoryChannel] = []  # who has connected to them
        self.taken_ports: set[int] = set()  # by something else on the host
        self.foreign: set[str] = set()
        self.calls: collections.deque[tuple[str, str]] = collections.deque(maxlen=CALLS_KEPT)
        self._faults: dict[str, collections.deque[NanoError | anyio.Event]] = collections.defaultdict(collections.deque)
        self._reachable = True
        self.stream = SimulatedEvents(now, sleep)
        self.peers: list[socket.socket] = []

    # ---- faults and what happens behind a cell's back

    def fail_next(self, method: str, error: NanoError, times: int = 1) -> None:
        """The next calls of ``method`` raise ``error`` (make_volumes after half of its work)."""
        self._faults[method].extend([error] * times)

    def hang_next(self, method: str) -> anyio.Event:
        """The next call of ``method`` never ends by itself; the event is set when it hangs."""
        reached = anyio.Event()
        self._faults[method].append(reached)
        return reached

    def lose_connection(self) -> None:
        """Calls fail and listeners end until ``restore_connection``; guests go on."""
        self._reachable = False
        self.stream.end_all()

    def restore_connection(self) -> None:
        self._reachable = True

    def stop_behind(self, guest_id: str, detail: str = "shutdown by guest") -> None:
        self.become(guest_id, "stopped", detail)

    def crash(self, guest_id: str) -> None:
        self.become(guest_id, "crashed", "emulator failed")

    def pause_behind(self, guest_id: str, detail: str = "disk error") -> None:
        self.become(guest_id, "paused", detail)

    def vanish(self, guest_id: str) -> None:
        """Somebody destroyed and undefined the domain; its volumes stay."""
        if self.machine[guest_id].state != "stopped":
            self.become(guest_id, "stopped", "destroyed")
        self.forget(guest_id)

    def forget(self, guest_id: str) -> None:
        """The domain is undefined; what its volumes hold stays in them."""
        self.in_volumes[guest_id] = self.machine.pop(guest_id).snapshots
        self.stream.tell(DomainEvent(guest_id, "undefined", detail="undefined"))

    def add_foreign(self, guest_id: str) -> None:
        """A domain of somebody else that happens to have this UUID."""
        self.foreign.add(guest_id)

    def share(self, other: "SimulatedMachine") -> None:
        """From now on both keep their volumes on the other's storage."""
        other.capabilities = msgspec.structs.replace(
            other.capabilities, storage=f"{other.random.getrandbits(128):032x}"
        )
        self.capabilities = msgspec.structs.replace(self.capabilities, storage=other.capabilities.storage)
        self.files, self.sizes, self.words = other.files, other.sizes, other.words
        self.in_volumes = other.in_volumes

    @property
    def disk_used(self) -> int:
        return sum(self.files.values())

    # ---- what the calls of a host are made of

    async def enter(self, method: str, guest_id: str = "") -> None:
        """What every call begins with: time may pass, what is due happens, and a fault set for it strikes."""
        self.calls.append((method, guest_id))
        await anyio.lowlevel.checkpoint()
        self.stream.settle()
        if not self._reachable:
            raise HostError("The simulated hypervisor does not answer.", code=HYPERVISOR_UNREACHABLE)
        if faults := self._faults[method]:
            fault = faults.popleft()
            if isinstance(fault, NanoError):
                raise fault
            fault.set()
            await anyio.sleep_forever()

    def take(self, name: str, size: int) -> None:
        if self.disk_used - self.files.get(name, 0) + size > self.disk_capacity:
            raise DiskFull(f"No space left for volume {name}.", hint="Free space on the host or choose another cell.")
        self.files[name] = size

    def drop(self, name: str) -> bool:
        """Whether there was such a volume, finished or not."""
        self.sizes.pop(name, None)
        self.arriving.pop(name, None)
        return self.files.pop(name, None) is not None

    def refuse_foreign(self, guest_id: str) -> None:
        if guest_id in self.foreign:
            raise HostError(f"Domain {guest_id} is not this cell's.", code=DOMAIN_FOREIGN, hint="It is left alone.")

    def ours(self, guest_id: str) -> SimulatedDomain:
        self.refuse_foreign(guest_id)
        if guest_id not in self.machine:
            raise HostError(f"There is no domain {guest_id}.", code=DOMAIN_MISSING, hint="Redefine the guest.")
        return self.machine[guest_id]

    def running(self, guest_id: str) -> SimulatedDomain:
        domain = self.ours(guest_id)
        if domain.state not in ("running", "paused"):
            raise HostError("The domain does not run.", code=DOMAIN_WRONG_STATE, hint="Start it first.")
        return domain

    def listens(self, domain: SimulatedDomain) -> bool:
        return self.blank_guests_boot or bool(domain.spec.image)

    def become(self, guest_id: str, state: Running, detail: str) -> None:
        domain = self.machine[guest_id]
        domain.state = state
        domain.live = domain.spec if state == "running" else domain.live if state == "paused" else None
        domain.frozen = domain.frozen and state == "paused"
        if state == "running":
            self.boot(guest_id, domain, detail)
        else:
            self.stream.tell(DomainEvent(guest_id, "state", state, detail=detail))

    def boot(self, guest_id: str, domain: SimulatedDomain, detail: str) -> None:
        domain.boots += 1
        domain.frozen = False
        domain.started_at = self.now()
        domain.state = "running"
        self.stream.tell(DomainEvent(guest_id, "state", "running", detail=detail))
        if self.listens(domain):
            boots = domain.boots
            self.stream.later(self.boot_s, lambda: self._agent_comes(guest_id, boots))

    def _agent_comes(self, guest_id: str, boots: int) -> None:
        if (domain := self.machine.get(guest_id)) and domain.boots == boots and domain.state == "running":
            self.stream.tell(DomainEvent(guest_id, "agent", "running", connected=True))

    def stop_if_same(self, guest_id: str, boots: int) -> None:
        if (domain := self.machine.get(guest_id)) and domain.boots == boots and domain.state == "running":
            self.become(guest_id, "stopped", "shutdown by guest")
