"""A guest's libvirt domain, as a pure function of its spec and of the cell it is on.

Choices are the product's (nano-behaviour §5) unless a comment says why they differ. Held by golden files
(tests/golden/domain_xml). It does not talk to libvirt and does not decide whether a host can run the result.
"""

from dataclasses import dataclass
from pathlib import PurePath
from typing import ClassVar, Final, NamedTuple
from xml.etree import ElementTree as ET

import msgspec

from nano.domain.machine import MachineSpec
from nano.hypervisor.devices import (
    AgentChannel,
    Balloon,
    BridgedInterface,
    Console,
    Controller,
    Disk,
    Graphics,
    Input,
    MediaDrive,
    RandomSource,
    SerialConsole,
    Video,
)
from nano.hypervisor.metadata import NAMESPACE, Mark, spec_digest
from nano.hypervisor.xml_fields import XmlElement, at, printable, render

CPU_SHARES_HIGH: Final = 2000
TCG_CACHE_MIB: Final = (
    32  # each guest's translation buffer: 174 MB for a 96 MiB guest instead of 236, boot 0.3 s longer
)
CORES_A_SOCKET_MAX: Final = 32
DISK_PREFIX: Final = {"scsi": "sd", "sata": "sd", "ide": "hd", "virtio": "vd"}
IDE_PLACES: Final = 4


class Place(msgspec.Struct, frozen=True):
    """What a cell adds to a spec. ``bridge`` "" means no network interface; ``virt_type`` qemu is emulation."""

    virt_type: str  # kvm | qemu | test
    volumes: PurePath
    bridge: str = ""
    cell: str = ""
    zone: str = ""
    machine: str = "pc"
    emulator: str = "/usr/bin/qemu-system-x86_64"


class Topology(NamedTuple):
    sockets: int
    cores: int
    threads: int


@dataclass(frozen=True, kw_only=True)
class Domain(XmlElement):
    """The outer element. A quota is left out: the product's "high" quota equals its period, which limits nothing."""

    tag: ClassVar[str] = "domain"
    type: str = at("@type")
    name: str = at("name")
    uuid: str = at("uuid")
    title: str = at("title")
    mark: ET.Element = at("metadata")  # noqa: RUF009
    memory_unit: str = at("memory/@unit", "KiB")
    memory: int = at("memory")
    vcpu: int = at("vcpu")
    shares: int = at("cputune/shares", CPU_SHARES_HIGH)
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


def domain_xml(guest_id: str, spec: MachineSpec, place: Place) -> str:
    """The whole definition of the guest's domain."""
    topology = topology_of(spec.cores)
    emulated = place.virt_type == "qemu"
    return render(
        Domain(
            type=place.virt_type,
            name=domain_name(guest_id),
            uuid=guest_id,
            title=spec.name,
            mark=mark_element(Mark(spec_digest(spec), place.cell, place.zone)),
            memory=spec.memory >> 10,
            vcpu=spec.cores,
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


def _devices(guest_id: str, spec: MachineSpec, place: Place) -> tuple[XmlElement, ...]:
    hardware = spec.hardware
    devices: list[XmlElement] = [MediaDrive()]
    targets = disk_targets(hardware.disk, len(spec.disks))
    for number, (target, bus) in zip(spec.volume_numbers, targets, strict=True):
        devices.append(Disk(source=str(place.volumes / volume_name(guest_id, number)), target=target, bus=bus))
    devices.append(Controller(type="pci", model="pci-root"))
    if hardware.disk == "scsi":
        devices.append(Controller(type="scsi", model="virtio-scsi"))
    if hardware.usb:
        devices.append(Controller(type="usb", model=hardware.usb))
    elif hardware.tablet != "usb":
        devices.append(Controller(type="usb", model="none"))  # else libvirt adds one that nothing uses
    if place.bridge:
        devices += [BridgedInterface(mac=mac, bridge=place.bridge, model=hardware.network) for mac in spec.macs]
    devices += [SerialConsole(), Console(), AgentChannel()]
    if hardware.tablet:
        devices.append(Input(bus=hardware.tablet))
    devices += [Graphics(), Video(model=hardware.display), Balloon(), RandomSource()]
    return tuple(devices)
