"""The ``Host`` protocol: everything a Cell asks of a hypervisor, and the values that pass.

Drivers: ``libvirt_host.LibvirtHost`` (any libvirt URI) and ``simulated.SimulatedHost`` (deterministic, virtual
time, faults). Both pass ``tests/contract/test_host.py``. Every action is idempotent: asking for what is already so
succeeds. Failures are ``HostError`` (or ``DiskFull``, ``DeadlineExceeded``), never a driver's own exception.
A host touches only domains that carry Nano's metadata element, and only volumes below its own folder.

Domains are named ``nano-<guest id>``, their libvirt UUID is the guest id, the guest's name is the ``<title>``.
Volumes are ``<guest id>_<n>.qcow2`` (n from ``MachineSpec.volume_numbers``).
"""

import socket
from collections.abc import AsyncIterator, Callable, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Final, Literal, Protocol

import msgspec

from nano.domain.ability import Ability
from nano.domain.machine import MachineSpec

if TYPE_CHECKING:
    from nano.hypervisor.changes import Changes
    from nano.hypervisor.compaction import Compactor
    from nano.hypervisor.insider import Insider
    from nano.hypervisor.live_moves import LiveMoves
    from nano.hypervisor.monitor import Monitor
    from nano.hypervisor.moves import Moves
    from nano.hypervisor.packet_filter import PacketFilters
    from nano.hypervisor.ports import Ports
    from nano.hypervisor.snapshots import Snapshots
    from nano.hypervisor.storage import Storage

Running = Literal["stopped", "running", "paused", "crashed"]
Progress = Callable[[int], None]  # percent 0..100

# Codes of HostError that callers act on; the others are told to people.
DOMAIN_MISSING: Final = "domain_missing"  # there is no such domain: redefine it
DOMAIN_WRONG_STATE: Final = "domain_wrong_state"  # it runs, or does not, against what the action needs
DOMAIN_FOREIGN: Final = "domain_foreign"  # a domain of that UUID exists without our mark, or is another cell's
HYPERVISOR_UNREACHABLE: Final = "hypervisor_unreachable"  # libvirtd does not answer: try again later
HYPERVISOR_TIMEOUT: Final = "hypervisor_timeout"  # of DeadlineExceeded: the call may still take effect
INVALID_GUEST_ID: Final = "invalid_guest_id"


class Capabilities(msgspec.Struct, frozen=True):
    """What this host is and can do. ``virt_note`` says in a sentence why virt_type is what it is; of ``abilities`` that
    nobody probed nothing is known, and nothing held against it. ``storage``: what its volumes are on (``storage``)."""

    virt_type: Literal["kvm", "qemu"]
    virt_note: str
    cores: int
    memory: int  # bytes
    hypervisor: str  # "libvirt 9.0.0, QEMU 7.2.22"
    bridge: str
    architecture: str = "x86_64"
    abilities: tuple[Ability, ...] = ()
    storage: str = ""

    def why_not(self, name: str) -> str:
        """In words that continue "because"; empty for an ability that it has, or that is not known."""
        return next((one.why_not for one in self.abilities if one.name == name), "")


class DomainView(msgspec.Struct, frozen=True):
    """One of Nano's domains as the hypervisor has it now."""

    guest_id: str
    state: Running
    spec_digest: str  # digest of the MachineSpec it was defined from, kept in the metadata element


class DomainEvent(msgspec.Struct, frozen=True):
    """The hypervisor said so. ``undefined`` = the domain is gone; ``agent`` = its guest agent came or went."""

    guest_id: str
    kind: Literal["state", "undefined", "agent"]
    state: Running = "stopped"
    connected: bool = False
    detail: str = ""  # "shutdown by guest", "destroyed", "crashed", …


class GuestSample(msgspec.Struct, frozen=True):
    """Counters since the domain started; rates are computed by the reader. Bytes and nanoseconds."""

    guest_id: str
    cpu_time_ns: int
    memory_used: int
    read_bytes: int
    write_bytes: int
    receive_bytes: int
    send_bytes: int


class HostSample(msgspec.Struct, frozen=True):
    """The host now. ``cpu_percent`` is of all cores together, 0..100; sizes in bytes; counters since boot."""

    cpu_percent: float
    memory_total: int
    memory_available: int
    disk_total: int
    disk_available: int
    read_bytes: int
    write_bytes: int
    receive_bytes: int
    send_bytes: int
    uptime_s: float
    guests: tuple[GuestSample, ...] = ()


class AgentReport(msgspec.Struct, frozen=True):
    """An answer of the guest agent. Its texts come from inside the guest: never trusted, bounded by the driver."""

    hostname: str
    addresses: tuple[str, ...]


class Host(Protocol):
    @property
    def capabilities(self) -> Capabilities: ...

    @property
    def changes(self) -> "Changes": ...

    @property
    def compactor(self) -> "Compactor": ...

    @property
    def insider(self) -> "Insider": ...

    @property
    def filters(self) -> "PacketFilters": ...

    @property
    def monitor(self) -> "Monitor": ...

    @property
    def ports(self) -> "Ports": ...

    @property
    def snapshots(self) -> "Snapshots": ...

    @property
    def moves(self) -> "Moves": ...

    @property
    def live_moves(self) -> "LiveMoves": ...

    @property
    def storage(self) -> "Storage": ...

    async def domains(self) -> list[DomainView]: ...

    async def make_volumes(self, guest_id: str, spec: MachineSpec, image: Path | None, progress: Progress) -> None:
        """Create every disk of the spec; disk 0 is a full copy of ``image`` (qcow2), or leans on it where the spec is
        linked, grown to its size. On failure or cancellation, what this call made is removed again. Raises DiskFull,
        HostError."""
        ...

    async def copy_disk(self, guest_id: str, number: int, target: Path, progress: Progress) -> None:
        """A volume of a guest that is off, as one whole qcow2 file. Raises DiskFull, HostError."""
        ...

    async def make_seed(self, guest_id: str, texts: Mapping[str, str]) -> None:
        """Make its cloud-init seed of these files, by name; removed with its volumes. Raises DiskFull, HostError."""
        ...

    async def define(self, guest_id: str, spec: MachineSpec) -> None:
        """With its packet filter, when it has a security policy. Raises HostError(ability_missing)."""
        ...

    async def start(self, guest_id: str) -> None: ...

    async def shutdown(self, guest_id: str) -> None:
        """Ask the guest to power off (ACPI); returns when asked, the state event tells when done."""
        ...

    async def destroy(self, guest_id: str) -> None:
        """Power off at once."""
        ...

    async def reboot(self, guest_id: str) -> None: ...

    async def reset(self, guest_id: str) -> None: ...

    async def undefine(self, guest_id: str) -> None:
        """With its packet filter."""
        ...

    async def remove_volumes(self, guest_id: str) -> list[str]:
        """Names of the volume files removed."""
        ...

    async def volumes(self) -> list[str]:
        """Guest ids that own at least one volume file here."""
        ...

    async def volume_files(self) -> list[str]:
        """Names of the volume files here, each once; one that is not finished by the name it is to get."""
        ...

    async def probe(self) -> None:
        """Look once more what this host can do; ``capabilities`` tells it from then on. Raises HostError."""
        ...

    async def sample(self) -> HostSample: ...

    async def agent(self, guest_id: str) -> AgentReport | None:
        """None when no agent answers within two seconds."""
        ...

    async def console(self, guest_id: str) -> socket.socket:
        """A connected stream socket speaking RFB with the guest's display."""
        ...

    async def serial(self, guest_id: str) -> socket.socket:
        """A connected stream socket with the bytes of the guest's first serial port. Raises HostError (console_busy)."""
        ...

    def events(self) -> AsyncIterator[DomainEvent]:
        """Everything from the moment of the call on. Ends when the connection to the hypervisor is lost."""
        ...

    async def close(self) -> None: ...
