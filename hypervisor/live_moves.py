"""LiveMoves: a running guest handed from one host to another, with its memory and its local disks (decision 41), or with
its memory alone where both hosts have the storage that its disks are on (``in_place``, decision 45).

The hypervisor of the source does it, peer to peer; all that the two say to each other goes through channels that the cells
carry between them, so no host listens to the network. Invariants: the guest arrives paused, and goes on only when its source has
nothing of it any more; when ``move`` raises, the guest is at the source as it was, or ``gone`` says otherwise, also after a
restart.
"""

from collections.abc import Awaitable, Callable
from typing import Protocol
from xml.etree import ElementTree as ET

import msgspec

from nano.domain.machine import MachineSpec
from nano.hypervisor.host import Progress
from nano.hypervisor.metadata import NAMESPACE
from nano.hypervisor.socket_channel import Channel

CHANNELS = ("hypervisor", "memory", "disks")

Relay = Callable[[str, Channel], Awaitable[None]]
"""Carry bytes between this and the destination's channel of that name, until either ends."""


class Berth(msgspec.Struct, frozen=True):
    """What its destination has prepared. ``token`` names the sockets of this one move; ``definition`` is the whole XML."""

    token: str
    volumes: str
    bridge: str
    cell: str
    definition: str


class LiveMoves(Protocol):
    """Failures are HostError, DiskFull, DeadlineExceeded."""

    async def expect(self, guest_id: str, spec: MachineSpec, *, in_place: bool) -> Berth:
        """Destination: make room for its disks, and say how it is to look here."""
        ...

    async def channel(self, token: str, name: str) -> Channel:
        """Destination: one of CHANNELS."""
        ...

    async def move(
        self, guest_id: str, berth: Berth, relay: Relay, progress: Progress, *, in_place: bool
    ) -> float | None:
        """Source: hand the running guest over. Cancelling takes it back. Seconds for which it has stood still when this
        returns, None if that was not seen."""
        ...

    async def gone(self, guest_id: str) -> bool:
        """Source: end what a move has left under way. Whether the guest is the destination's."""
        ...


def as_there(running: str, berth: Berth) -> str:
    """The running domain's XML with what differs at its destination: where its files are, its bridge and what filters its
    packets, whose it is."""
    root = ET.fromstring(running)  # noqa: S314  from our own hypervisor
    for disk in root.iterfind("devices/disk"):
        for chain in disk.findall("backingStore"):
            disk.remove(chain)  # a copy is whole, and of a disk in place it is looked for anew
        source = disk.find("source")
        if source is not None and (file := source.get("file")):
            source.set("file", f"{berth.volumes}/{file.rpartition('/')[2]}")
    for source in root.iterfind("devices/interface/source"):
        if source.get("bridge"):
            source.set("bridge", berth.bridge)
    _filter_as_there(root, berth)
    mark = root.find(f"metadata/{{{NAMESPACE}}}guest")
    if mark is not None and berth.cell:
        mark.set("cell", berth.cell)
    return ET.tostring(root, encoding="unicode")


def _filter_as_there(root: ET.Element, berth: Berth) -> None:
    """Hosts filter by different means, so each interface names its own filter, or the tap that is known to it."""
    wanted = {_mac(one): one for one in ET.fromstring(berth.definition).iterfind("devices/interface")}  # noqa: S314
    for interface in root.iterfind("devices/interface"):
        for tag in ("filterref", "target"):
            for element in interface.findall(tag):
                interface.remove(element)
            there = wanted.get(_mac(interface))
            if there is not None:
                interface.extend(there.findall(tag))


def _mac(interface: ET.Element) -> str:
    mac = interface.find("mac")
    return mac.get("address", "") if mac is not None else ""
