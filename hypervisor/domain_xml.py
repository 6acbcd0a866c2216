"""A guest's libvirt domain, as a pure function of its spec and of the cell it is on.

Choices are the product's (nano-behaviour §5) unless a comment says why they differ. Held by golden files
(tests/golden/domain_xml). It does not talk to libvirt and does not decide whether a host can run the result.
"""

from dataclasses import dataclass
from pathlib import PurePath
from typing import ClassVar, Final, NamedTuple
from xml.etree import ElementTree as ET

import msgspec

from nano.domain.machine import DiskLimits, MachineSpec, NetworkLimits, Priority
from nano.hypervisor.devices import (
    AgentChannel,
    Balloon,
    BridgedInterface,
    ClipboardChannel,
    Console,
    Controller,
    Disk,
    Graphics,
    Inbound,
    Input,
    MediaDrive,
    Outbound,
    RandomSource,
    SeedDrive,
    SerialConsole,
    Video,
)
from nano.hypervisor.guard import guarded_tap
from nano.hypervisor.metadata import NAMESPACE, Mark, spec_digest
from nano.hypervisor.packet_filter import FilterKind, filter_name, tap_name
from nano.hypervisor.xml_fields import XmlElement, at, printable, render

CPU_PERIOD_US: Final = 1_000_000
TCG_CACHE_MIB: Final = (
    32  # each guest's translation buffer: 174 MB for a 96 MiB guest instead of 236, boot 0.3 s longer
)
CORES_A_SOCKET_MAX: Final = 32
DISK_PREFIX: Final = {"scsi": "sd", "sata": "sd", "ide": "hd", "virtio": "vd"}
IDE_PLACES: Final = 4


class CpuShare(NamedTuple):
    """Weight against other guests, and what each core may use of every second in microseconds (0 = all of it). The
    product's "high" quota equals its period, which limits nothing, and is left out."""

    shares: int
    quota: int


CPU_SHARES: Final[dict[Priority, CpuShare]] = {
    "high": CpuShare(2000, 0),
    "medium": CpuShare(1000, 500_000),
    "low": CpuShare(500, 250_000),
}


class Place(msgspec.Struct, frozen=True):
    """What a cell adds to a spec. ``bridge`` "" means no network interface; ``virt_type`` qemu is emulation.

    ``bandwidth``: the kernel can limit network interfaces; a domain that asks for it where it can't would not start.
    ``filter``: by what packets are filtered. Where nothing can, a guest with a policy does not start: it would be open.
    ``clipboard``: QEMU can join the guest's with the display's, and still move such a guest.
    ``guarded``: guests are kept from posing as others, by the names of their interfaces.
    """

    virt_type: str  # kvm | qemu | test
    volumes: PurePath
    bridge: str = ""
    cell: str = ""
    zone: str = ""
    machine: str = "pc"
    bandwidth: bool = True
    filter: FilterKind = "nwfilter"
    clipboard: bool = False
    guarded: bool = False
    emulator: str = "/usr/bin/qemu-system-x86_64"

    def tap(self, mac: str) -> str:
        """Of the host's end of an interface; empty where libvirt may choose."""
        if self.filter == "nftables":
            return tap_name(mac)
        return guarded_tap(self.cell, mac) if self.guarded else ""


class Topology(NamedTuple):
    sockets: int
    cores: int
    threads: int


@dataclass(frozen=True, kw_only=True)
class Domain(XmlElement):
    """The outer element. ``current_memory`` and ``current_vcpu`` are there when the guest can grow while it runs."""

    tag: ClassVar[str] = "domain"
    type: str = at("@type")
    name: str = at("name")
    uuid: str = at("uuid")
    title: str = at("title")
    mark: ET.Element = at("metadata")  # noqa: RUF009
    memory_unit: str = at("memory/@unit", "KiB")
    memory: int = at("memory")
    current_memory_unit: str = at("currentMemory/@unit", "")
    current_memory: int | None = at("currentMemory", None)
    vcpu: int = at("vcpu")
    current_vcpu: int | None = at("vcpu/@current", None)
    shares: int = at("cputune/shares")
    period: int | None = at("cputune/period", None)
    quota: int | None = at("cputune/quota", None)
    arch: str = at("os/type/@arch", "x86_64")
    machine: str = at("os/type/@machine")
    os_type: str = at("os/type", "hvm")
    boot: tuple["Boot", ...] = at("os")
    acpi: bool = at("features/acpi", True)
    apic: bool = at("features/apic", True)
    pae: bool = at("features/pae", True)
    tcg_cache_unit: str = at("features/tcg/tb-cache/@unit", "")
    tcg_cache: int | None = at("features/tcg/tb-cache", None)
    sockets: int = at("cpu/topology/@sockets")
    cores: int = at("cpu/topology/@cores")
    threads: int = at("cpu/topology/@threads")
    clock: str = at("clock/@offset", "utc")
    on_poweroff: str = at("on_poweroff", "destroy")
    on_reboot: str = at("on_reboot", "restart")
    on_crash: str = at("on_crash", "restart")
    sleep_to_memory: str = at("pm/suspend-to-mem/@enabled", "no")
    sleep_to_disk: str = at("pm/suspend-to-disk/@enabled", "no")
    emulator: str = at("devices/emulator")
    devices: tuple[XmlElement, ...] = at("devices")


@dataclass(frozen=True, kw_only=True)
class Boot(XmlElement):
    tag: ClassVar[str] = "boot"
    dev: str = at("@dev")


def domain_name(guest_id: str) -> str:
    return f"nano-{guest_id}"


def volume_name(guest_id: str, number: int) -> str:
    return f"{guest_id}_{number}.qcow2"


def seed_name(guest_id: str) -> str:
    return f"{guest_id}_seed.iso"


def media_name(guest_id: str, media: str) -> str:
    """A guest has its own name for the file in its drive; ``media`` is the id of the media image."""
    return f"{guest_id}_{media}.iso"


def file_names(guest_id: str, spec: MachineSpec) -> set[str]:
    """Of all that a guest of this spec has on its host, beside its domain."""
    names = {volume_name(guest_id, number) for number in spec.volume_numbers}
    names |= {media_name(guest_id, spec.media)} if spec.media else set()
    return names | ({seed_name(guest_id)} if spec.seed else set())


def domain_xml(guest_id: str, spec: MachineSpec, place: Place) -> str:
    """The whole definition of the guest's domain."""
    cores_most, memory_most = max(spec.cores, spec.cores_max), max(spec.memory, spec.memory_max)
    topology = topology_of(cores_most)
    shares, quota = CPU_SHARES[spec.priority]
    emulated = place.virt_type == "qemu"
    return render(
        Domain(
            type=place.virt_type,
            name=domain_name(guest_id),
            uuid=guest_id,
            title=spec.name,
            mark=mark_element(Mark(spec_digest(spec), place.cell, place.zone)),
            memory=memory_most >> 10,
            current_memory_unit="KiB" if memory_most > spec.memory else "",
            current_memory=spec.memory >> 10 if memory_most > spec.memory else None,
            vcpu=cores_most,
            current_vcpu=spec.cores if cores_most > spec.cores else None,
            shares=shares,
            period=CPU_PERIOD_US if quota else None,
            quota=quota or None,
            machine=place.machine,
            boot=(Boot(dev="cdrom"), Boot(dev="hd")),
            tcg_cache_unit="MiB" if emulated else "",
            tcg_cache=TCG_CACHE_MIB if emulated else None,
            sockets=topology.sockets,
            cores=topology.cores,
            threads=topology.threads,
            emulator=place.emulator,
            devices=_devices(guest_id, spec, place),
        )
    )


def topology_of(cores: int) -> Topology:
    """Two threads a core where that divides, more sockets above 32 cores each: valid for every count.

    The product refuses odd counts; here those have one thread a core.
    """
    threads = 2 if cores % 2 == 0 else 1
    units = cores // threads
    for sockets in (1, 2, 4, 8):
        if units % sockets == 0 and units // sockets <= CORES_A_SOCKET_MAX:
            return Topology(sockets, units // sockets, threads)
    return Topology(1, units, threads)


def mark_element(mark: Mark) -> ET.Element:
    element = ET.Element(f"{{{NAMESPACE}}}guest")
    for name, value in (("digest", mark.digest), ("cell", mark.cell), ("zone", mark.zone)):
        if value:
            element.set(name, printable(value))
    return element


def disk_targets(bus: str, count: int) -> list[tuple[str, str]]:
    """(device name, bus) of each disk. IDE has four places and the media drive holds the first, so what does not fit
    goes to SATA, which a guest with IDE disks only meets from its fourth disk on."""
    if bus != "ide":
        return [(f"{DISK_PREFIX[bus]}{chr(ord('a') + n)}", bus) for n in range(count)]
    places = [(f"hd{chr(ord('a') + n)}", "ide") for n in range(1, min(count + 1, IDE_PLACES))]
    return places + [(f"sd{chr(ord('a') + n)}", "sata") for n in range(count - len(places))]


def disk_device(source: str, target: str, bus: str, limits: DiskLimits) -> Disk:
    return Disk(
        source=source,
        target=target,
        bus=bus,
        read_bytes=limits.read_bytes or None,
        write_bytes=limits.write_bytes or None,
        read_operations=limits.read_operations or None,
        write_operations=limits.write_operations or None,
    )


def media_drive(source: str) -> MediaDrive:
    return MediaDrive(source=source, missing="optional" if source else "")


def interface_device(
    mac: str, bridge: str, model: str, limits: NetworkLimits, filter_ref: str = "", tap: str = ""
) -> BridgedInterface:
    asked = ((Inbound, limits.receive_bytes), (Outbound, limits.send_bytes))
    shaped = tuple(kind(**rates(limit)) for kind, limit in asked if limit)
    return BridgedInterface(mac=mac, bridge=bridge, model=model, limits=shaped, filter=filter_ref, tap=tap)


def rates(limit: int) -> dict[str, int]:
    """A limit in bytes a second as libvirt's three numbers, in KiB (nano-behaviour §5)."""
    average = max(1, limit >> 10)
    return {"average": average, "peak": 2 * average, "burst": average}


def _devices(guest_id: str, spec: MachineSpec, place: Place) -> tuple[XmlElement, ...]:
    hardware = spec.hardware
    devices: list[XmlElement] = [
        media_drive(str(place.volumes / media_name(guest_id, spec.media)) if spec.media else "")
    ]
    targets = disk_targets(hardware.disk, len(spec.disks))
    for number, (target, bus) in zip(spec.volume_numbers, targets, strict=True):
        devices.append(disk_device(str(place.volumes / volume_name(guest_id, number)), target, bus, spec.disk_limits))
    if spec.seed:  # beside the media drive, unless a disk is there
        target, bus = ("sdz", "sata") if hardware.disk == "ide" else ("hdb", "ide")
        devices.append(SeedDrive(source=str(place.volumes / seed_name(guest_id)), target=target, bus=bus))
    devices.append(Controller(type="pci", model="pci-root"))
    if hardware.disk == "scsi":
        devices.append(Controller(type="scsi", model="virtio-scsi"))
    if hardware.usb:
        devices.append(Controller(type="usb", model=hardware.usb))
    elif hardware.tablet != "usb":
        devices.append(Controller(type="usb", model="none"))  # else libvirt adds one that nothing uses
    if place.bridge:
        limits = spec.network_limits if place.bandwidth else NetworkLimits()
        filter_ref = filter_name(guest_id) if spec.security is not None and place.filter == "nwfilter" else ""
        for mac in spec.macs:
            devices.append(interface_device(mac, place.bridge, hardware.network, limits, filter_ref, place.tap(mac)))
    devices += [SerialConsole(), Console(), AgentChannel()]
    if place.clipboard:
        devices.append(ClipboardChannel())
    if hardware.tablet:
        devices.append(Input(bus=hardware.tablet))
    devices += [Graphics(), Video(model=hardware.display), Balloon(), RandomSource()]
    return tuple(devices)
