"""What nodes say to each other over a link. Control messages only: images travel over HTTPS.

Every message is a tagged frozen struct, encoded as JSON by msgspec. ``command_id`` is the idempotency key: a cell
that gets the same one twice answers from its journal. Deadlines are seconds from receipt, so clocks need not agree.
"""

from typing import Any, Literal

import msgspec

from nano.domain.ability import Ability
from nano.domain.alarm import Alarm
from nano.domain.backup_state import BackupState
from nano.domain.facts import Event
from nano.domain.inside import Inside
from nano.domain.inspection import Inspection
from nano.domain.machine import MachineSpec
from nano.domain.snapshot import Snapshot


class Message(msgspec.Struct, frozen=True, tag_field="type"):
    """Base of all messages."""


class Hello(Message, frozen=True, tag="hello"):
    """First message of the connecting end. ``join_token`` is a one-time token, empty when none was given."""

    name: str
    kind: str
    domain: str
    version: str
    epoch: int = 0
    join_token: str = ""


class Welcome(Message, frozen=True, tag="welcome"):
    """The acceptor's answer. ``approved`` False: known and waiting; only Hello is served until an administrator adds it.
    With an approval come the certificate issued for the other end's key by the domain's CA, and that CA's (both PEM)."""

    name: str
    domain: str
    version: str
    epoch: int
    approved: bool
    certificate: str = ""
    authority: str = ""


class Ok(Message, frozen=True, tag="ok"):
    """Done. ``position`` is the sender's journal position that contains the outcome (0 = nothing was journaled)."""

    position: int = 0
    detail: str = ""


class Refused(Message, frozen=True, tag="refused"):
    """A NanoError on its way to the other end (raised there again by the link)."""

    kind: str  # class name in domain/errors.py
    code: str
    message: str
    hint: str = ""
    context: dict[str, Any] = {}


class Ping(Message, frozen=True, tag="ping"):
    sent_at_s: float


class ImageSource(msgspec.Struct, frozen=True):
    """Where a cell gets an image: an HTTPS address of Core's image service, its size and its digest. ``path`` is Core's own
    file, for a cell on the same machine, which believes it only by its digest."""

    image_id: str
    url: str
    size: int
    sha256: str
    format: str = "qcow2"
    path: str = ""


class GuestOrder(Message, frozen=True):
    """Base of what a cell carries out on one guest: journaled before and after, answered once for each command id."""

    command_id: str
    guest_id: str


class CreateDomain(GuestOrder, frozen=True, tag="domain.create"):
    """``seed``: the texts of its cloud-init seed by file name, secrets in clear; never journaled."""

    spec: MachineSpec
    source: ImageSource | None = None
    seed: dict[str, str] = {}


class RemoveDomain(GuestOrder, frozen=True, tag="domain.remove"):
    """Take away its domain, whatever of it is there, and its ``files``, unless another cell has them now."""

    files: bool = True


class PowerDomain(GuestOrder, frozen=True, tag="domain.power"):
    """action: start | stop | force_stop | reboot | force_reboot. Answered when the action was carried out by the
    hypervisor; for ``stop`` that is when the guest is off or ``timeout_s`` has passed (DeadlineExceeded)."""

    action: str
    timeout_s: float = 120.0


class RedefineDomain(GuestOrder, frozen=True, tag="domain.redefine"):
    """Define the domain again as the cell's journal has it."""


class ChangeDomain(GuestOrder, frozen=True, tag="domain.change"):
    """Make it what this spec says, or leave it as it was. ``source``: what a new system disk is cloned from; ``media``:
    what is put into its drive."""

    spec: MachineSpec
    source: ImageSource | None = None
    media: ImageSource | None = None


class SetGuestPassword(GuestOrder, frozen=True, tag="domain.password"):
    """Have its agent set the password of an account. The password is in clear here and nowhere else; never journaled."""

    user: str
    password: str


class CompactVolume(GuestOrder, frozen=True, tag="domain.compact"):
    """Give back what this volume takes and its guest does not use. Answered with the bytes given back for detail."""

    number: int


class OpenVnc(GuestOrder, frozen=True, tag="domain.open_vnc"):
    """Let VNC viewers in with this secret, and with no other, while the guest runs. It is in clear here and nowhere else: what
    is journaled is ``sealed``, which only Core opens, and what the cell itself seals."""

    secret: str
    sealed: str


class CloseVnc(GuestOrder, frozen=True, tag="domain.close_vnc"):
    """Let no VNC viewer in any more."""


class SendDisk(GuestOrder, frozen=True, tag="domain.send_disk"):
    """Send the system disk of a guest that is off, as one whole qcow2 file, to this address of Core's image service.
    Answered with its SHA-256 for detail."""

    url: str


class RepairDomain(GuestOrder, frozen=True, tag="domain.repair"):
    """Make it what the cell's journal says it is, as far as that is safe."""


class RemoveFile(GuestOrder, frozen=True, tag="file.remove"):
    """Remove a file that bears the guest's id and that the guest does not have."""

    file: str


class RemoveFilter(GuestOrder, frozen=True, tag="filter.remove"):
    """Remove the packet filter of a guest that is not yours."""


class ProbeHost(Message, frozen=True, tag="host.probe"):
    """Look once more what your host can do."""


class AbilitiesAre(Message, frozen=True, tag="host.abilities"):
    abilities: tuple[Ability, ...]


class AskInspection(Message, frozen=True, tag="inspection.ask"):
    """Look at everything of Nano's on your host, and tell what is not as your journal says. ``elsewhere``: guests of other
    cells, whose files are on your storage."""

    elsewhere: tuple[str, ...] = ()


class InspectionIs(Message, frozen=True, tag="inspection.is"):
    found: Inspection


class MakeSnapshot(GuestOrder, frozen=True, tag="domain.snapshot"):
    """Keep what it is now under the snapshot's id; with its memory when it is on."""

    snapshot: Snapshot


class RestoreSnapshot(GuestOrder, frozen=True, tag="domain.restore_snapshot"):
    """Make its disks and memory what they were; what it is made of stays as the cell's journal has it."""

    snapshot: Snapshot


class DropSnapshot(GuestOrder, frozen=True, tag="domain.drop_snapshot"):
    """Forget it, and free what only it needed."""

    snapshot: Snapshot


class RemoveSnapshot(GuestOrder, frozen=True, tag="domain.remove_snapshot"):
    """Remove a snapshot that the cell's journal does not have from the guest's volumes."""

    snapshot_id: str


class AskProgress(Message, frozen=True, tag="progress.ask"):
    command_id: str


class ProgressIs(Message, frozen=True, tag="progress.is"):
    """percent 0..100 of the running command, step in words; percent -1 = not known here."""

    percent: int
    step: str = ""


class KeepImages(Message, frozen=True, tag="image.keep"):
    """These are the images there are, by digest: whatever else was fetched may go."""

    digests: tuple[str, ...]


class CancelCommand(Message, frozen=True, tag="command.cancel"):
    command_id: str


Port = Literal["display", "serial"]


class OpenConsole(Message, frozen=True, tag="console.open"):
    """``port``: its display (RFB), or its first serial port (bytes of a terminal)."""

    guest_id: str
    port: Port = "display"


class AskScreen(Message, frozen=True, tag="screen.ask"):
    """What the guest's first screen shows now."""

    guest_id: str


class AskInside(Message, frozen=True, tag="inside.ask"):
    """What the guest's agent says of its system."""

    guest_id: str


class InsideIs(Message, frozen=True, tag="inside.is"):
    inside: Inside


class ScreenIs(Message, frozen=True, tag="screen.is"):
    png: bytes


class FollowLog(Message, frozen=True, tag="log.follow"):
    """Send every fact after this position of your journal, then those to come, with heartbeats between, and with
    ``health`` also how you are (an older Core does not ask, and would not understand). ``mark`` is what was told with that
    position: where it is another now, this is no longer the journal that was read, and it is refused (``journal_diverged``)."""

    after: int
    health: bool = False
    mark: str = ""


class LoggedFact(msgspec.Struct, frozen=True):
    position: int
    at: str
    actor: str
    command_id: str
    resource: str
    version: int
    event: msgspec.Raw  # one tagged event of the sender's schema


class LogBatch(Message, frozen=True, tag="log.batch"):
    """Facts of whole transactions, in order. ``head`` is the sender's last position when this was sent; ``mark`` is the hash of
    the line that ends with the last of the facts (none from an older sender)."""

    head: int
    facts: list[LoggedFact]
    mark: str = ""


class GuestRates(msgspec.Struct, frozen=True):
    """One running guest over the last two seconds. Rates in bytes/s, cpu in percent of its cores, memory in bytes."""

    guest_id: str
    cpu_percent: float
    memory_used: int
    read_rate: int
    write_rate: int
    receive_rate: int
    send_rate: int


class Heartbeat(Message, frozen=True, tag="heartbeat"):
    """Every two seconds: the host's load. Never journaled."""

    cores: int
    cpu_percent: float
    memory_total: int
    memory_available: int
    disk_total: int
    disk_available: int
    read_rate: int
    write_rate: int
    receive_rate: int
    send_rate: int
    uptime_s: float
    virt_type: str
    virt_note: str
    hypervisor: str
    abilities: tuple[Ability, ...] = ()
    storage: str = ""
    guests: tuple[GuestRates, ...] = ()


class HealthIs(Message, frozen=True, tag="health.is"):
    """The sender's alarms and backups as they are now; sent when asked for and whenever they change. Never journaled."""

    alarms: tuple[Alarm, ...] = ()
    backup: BackupState = BackupState()


__all__ = [
    name
    for name, value in list(globals().items())
    if isinstance(value, type) and issubclass(value, msgspec.Struct) and value is not Event
]
