"""Shape: the part of a domain that a change can reach, read from its XML; and what differs between two of them.

Both sides of a comparison are read from XML, the domain's own and the one that would be rendered for a spec, so nothing is
a difference only because libvirt spells it another way. Pure: whoever asks decides what to do about a difference. Used for
changes of a guest, and to tell a domain that drifted from its journal.
"""

from collections.abc import Iterator
from typing import Any, Final, Literal, NamedTuple
from xml.etree import ElementTree as ET

from nano.domain.errors import HostError
from nano.domain.machine import DiskLimits, NetworkLimits
from nano.hypervisor.devices import MEDIA_TARGET
from nano.hypervisor.guard import GUARDED
from nano.hypervisor.pieces import Piece, pieces_of, unlike

TAP_PREFIX: Final = "nt"  # of packet_filter.tap_name; libvirt's own are vnet0, vnet1 …
HOT_BUSES: Final = ("scsi", "virtio")  # QEMU plugs these while the guest runs

Act = Literal[
    "title", "cores", "memory", "cpu", "attach_disk", "detach_disk", "disk_limits", "attach_nic", "detach_nic",
    "network_limits", "media", "filter", "restart",
]  # fmt: skip


class DiskShape(NamedTuple):
    source: str
    target: str
    bus: str
    limits: DiskLimits


class NicShape(NamedTuple):
    mac: str
    bridge: str
    model: str
    limits: NetworkLimits  # whole KiB
    filter: str = ""  # the libvirt filter it refers to
    tap: str = ""  # the host's end, where a policy's filter knows it by name
    guarded: str = ""  # the host's end, where only the guard does: of no other weight, so it is no difference


class Shape(NamedTuple):
    """Memory in bytes. ``quota`` in microseconds of a period of one second, 0 = none. ``media``: the file in its drive."""

    title: str
    digest: str
    cores: int
    cores_most: int
    memory: int
    memory_most: int
    shares: int
    quota: int
    disks: tuple[DiskShape, ...]
    nics: tuple[NicShape, ...]
    media: str
    pieces: tuple[Piece, ...]
    security: str = ""  # what its packet filter is; not part of its XML


class Difference(NamedTuple):
    """``field`` of the spec; ``act`` makes a running domain follow, when ``live``; ``value`` is what to make of it: a
    DiskShape, a NicShape, or the whole wanted Shape."""

    field: str
    act: Act
    live: bool
    value: Any


def differences(now: Shape, wanted: Shape) -> tuple[Difference, ...]:
    """What has to be done to a running domain, things that are added before things that go."""
    return (*_size(now, wanted), *_disks(now, wanted), *_nics(now, wanted), *_media(now, wanted), *_pieces(now, wanted))


def _size(now: Shape, wanted: Shape) -> Iterator[Difference]:
    if (now.title, now.digest) != (wanted.title, wanted.digest):
        yield Difference("name", "title", True, wanted)
    if now.cores != wanted.cores:
        # Taking a core away from a running QEMU 7.2 has killed it (hypervisor-notes §2), so that waits.
        yield Difference("cores", "cores", now.cores < wanted.cores <= now.cores_most, wanted)
    if now.cores_most != wanted.cores_most and (now.cores_most, wanted.cores_most) != (now.cores, wanted.cores):
        yield Difference("cores_max", "restart", False, wanted)
    if now.memory != wanted.memory:
        yield Difference("memory", "memory", wanted.memory <= now.memory_most, wanted)
    if now.memory_most != wanted.memory_most and (now.memory_most, wanted.memory_most) != (now.memory, wanted.memory):
        yield Difference("memory_max", "restart", False, wanted)
    if (now.shares, now.quota) != (wanted.shares, wanted.quota):
        yield Difference("priority", "cpu", True, wanted)


def _disks(now: Shape, wanted: Shape) -> Iterator[Difference]:
    """A disk is known by its file. Its place among the others may differ until the next start."""
    has = {disk.source: disk for disk in now.disks}
    taken = {disk.target for disk in now.disks}
    for disk in wanted.disks:
        if disk.source not in has:
            free = disk if disk.target not in taken else disk._replace(target=_free_target(disk.target, taken))
            taken.add(free.target)
            yield Difference("disks", "attach_disk", disk.bus in HOT_BUSES, free)
        elif disk.limits != (held := has[disk.source]).limits:
            yield Difference("disk_limits", "disk_limits", True, held._replace(limits=disk.limits))
    stays = {disk.source for disk in wanted.disks}
    for disk in now.disks:
        if disk.source not in stays:
            yield Difference("disks", "detach_disk", disk.bus in HOT_BUSES, disk)


def _nics(now: Shape, wanted: Shape) -> Iterator[Difference]:
    has = {nic.mac: nic for nic in now.nics}
    for nic in wanted.nics:
        if nic.mac not in has:
            yield Difference("more_macs", "attach_nic", True, nic)
        elif nic.limits != has[nic.mac].limits:
            yield Difference("network_limits", "network_limits", True, nic)
        if nic.mac in has and (nic.filter, nic.tap) != (has[nic.mac].filter, has[nic.mac].tap):
            yield Difference("security", "filter", nic.tap == has[nic.mac].tap, nic)
    stays = {nic.mac for nic in wanted.nics}
    yield from (Difference("more_macs", "detach_nic", True, nic) for nic in now.nics if nic.mac not in stays)


def _pieces(now: Shape, wanted: Shape) -> Iterator[Difference]:
    if next(unlike(now.pieces, wanted.pieces), None) is not None:
        yield Difference("hardware", "restart", False, wanted)


def _media(now: Shape, wanted: Shape) -> Iterator[Difference]:
    if now.media != wanted.media:
        yield Difference("media", "media", True, wanted)


def _free_target(target: str, taken: set[str]) -> str:
    letters = (f"{target[:2]}{chr(ord('a') + n)}" for n in range(26))
    return next(free for free in letters if free not in taken)


def shape_of(xml: str) -> Shape:
    """Raises HostError(domain_unreadable)."""
    try:
        if "<!DOCTYPE" in xml:
            raise ValueError("it has a document type")
        root = ET.fromstring(xml)  # noqa: S314  libvirt's own, and a document type is refused above
        mark = root.find("metadata/{urn:nano:guest:1}guest")
        memory_most, memory = _kib(root, "memory"), _kib(root, "currentMemory")
        cores_most = int(root.findtext("vcpu", "1"))
        cores = root.find("vcpu")
        quota = int(root.findtext("cputune/quota", "0"))
        return Shape(
            title=root.findtext("title", ""),
            digest=mark.get("digest", "") if mark is not None else "",
            cores=int(cores.get("current", cores_most)) if cores is not None else cores_most,
            cores_most=cores_most,
            memory=memory or memory_most,
            memory_most=memory_most,
            shares=int(root.findtext("cputune/shares", "0")),
            quota=max(0, quota),
            disks=tuple(_disk(disk) for disk in root.findall("devices/disk") if disk.get("device", "disk") == "disk"),
            nics=tuple(_nic(nic) for nic in root.findall("devices/interface")),
            media=_get(root.find(f"devices/disk[@device='cdrom']/target[@dev='{MEDIA_TARGET}']/../source"), "file"),
            pieces=pieces_of(root),
        )
    except (ET.ParseError, ValueError) as error:
        raise HostError(f"The domain's XML can't be read: {error}", code="domain_unreadable") from None


def _kib(root: ET.Element, name: str) -> int:
    """Bytes; Nano writes KiB and libvirt tells KiB."""
    return int(root.findtext(name, "0")) << 10


def _disk(disk: ET.Element) -> DiskShape:
    def limit(name: str) -> int:
        return int(disk.findtext(f"iotune/{name}", "0"))

    source, target = disk.find("source"), disk.find("target")
    limits = DiskLimits(
        read_bytes=limit("read_bytes_sec"),
        write_bytes=limit("write_bytes_sec"),
        read_operations=limit("read_iops_sec"),
        write_operations=limit("write_iops_sec"),
    )
    return DiskShape(_get(source, "file"), _get(target, "dev"), _get(target, "bus"), limits)


def _nic(nic: ET.Element) -> NicShape:
    def limit(way: str) -> int:
        return int(_get(nic.find(f"bandwidth/{way}"), "average") or 0) << 10

    limits = NetworkLimits(receive_bytes=limit("inbound"), send_bytes=limit("outbound"))
    mac, bridge, model = nic.find("mac"), nic.find("source"), nic.find("model")
    tap = _get(nic.find("target"), "dev")
    return NicShape(
        mac=_get(mac, "address"),
        bridge=_get(bridge, "bridge"),
        model=_get(model, "type"),
        limits=limits,
        filter=_get(nic.find("filterref"), "filter"),
        tap=tap if tap.startswith(TAP_PREFIX) else "",
        guarded=tap if tap.startswith(GUARDED) else "",
    )


def _get(node: ET.Element | None, name: str) -> str:
    return node.get(name, "") if node is not None else ""
