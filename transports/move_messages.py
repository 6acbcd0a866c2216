"""What is said of guests that move to another cell (decisions 41 and 45): Core's orders to both ends, and what the source asks of
the destination's door. The rules of ``messages`` hold here too."""

from nano.domain.machine import MachineSpec
from nano.transports.messages import GuestOrder, Message


class ReceiveDomain(GuestOrder, frozen=True, tag="domain.receive"):
    """Open a door for the files of a guest that is to move here, to the cell whose key has this fingerprint, for so long;
    for a guest that comes running, with ``live``. Answered with the door's address for detail. ``storage``: its files are
    on this storage already, which both cells have; then a door is opened only for one that comes running. ``pending``: the
    fields of the spec that wait for its next start."""

    spec: MachineSpec
    peer: str
    patience_s: float
    live: bool = False
    storage: str = ""
    pending: tuple[str, ...] = ()


class SendDomain(GuestOrder, frozen=True, tag="domain.send"):
    """Send the files of a guest that is off to the cell at this address, whose key has this fingerprint; with ``live`` hand
    the running guest over, which is gone from here when this is answered. Its files stay where they are when there is an
    ``announced`` word, which the destination has left beside them."""

    address: str
    peer: str
    live: bool = False
    announced: str = ""


class DiscardDomain(GuestOrder, frozen=True, tag="domain.discard"):
    """Remove what has arrived of a guest, if your journal says that it was to come. Files that were there before are not its."""


class ReleaseDomain(GuestOrder, frozen=True, tag="domain.release"):
    """Undefine a guest that is off and moves to another cell; its volumes stay until it is removed, or are the other
    cell's from now on, where both have the storage."""

    shared: bool = False


class AdoptDomain(GuestOrder, frozen=True, tag="domain.adopt"):
    """Define a guest whose files have arrived here: it is yours from now on. With ``live`` it waits here, and is to go on.
    ``secret`` and ``sealed``: of its VNC access, as in ``OpenVnc``; empty when it has none."""

    live: bool = False
    secret: str = ""
    sealed: str = ""


class PutPiece(Message, frozen=True, tag="move.piece"):
    """The next bytes of a file of the guest that the door is for: ``data``, or so many ``zeros``."""

    number: int
    offset: int
    data: bytes = b""
    zeros: int = 0


class AskBerth(Message, frozen=True, tag="move.ask_berth"):
    """Make room for the disks of the running guest that is about to come."""


class BerthIs(Message, frozen=True, tag="move.berth"):
    """``berth``: what the hypervisor's part at the source has to know, by name."""

    berth: dict[str, str]


class OpenChannel(Message, frozen=True, tag="move.channel"):
    """A pipe to one of the sockets by which the destination's hypervisor takes the guest over."""

    name: str


class GoOn(Message, frozen=True, tag="move.go_on"):
    """The source has nothing of the guest any more: let it run."""


class KeepFile(Message, frozen=True, tag="move.keep"):
    """All of the file was sent."""

    number: int
    length: int
    sha256: str
