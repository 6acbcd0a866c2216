"""Blocking libvirt calls that change a running domain, in the manner of ``libvirt_api``: typed, errors translated.

All of them change only the running domain; what it is at its next start is its definition's, which comes first.
"""

import time
from collections.abc import Callable
from typing import Any, Final
from xml.etree import ElementTree as ET

import libvirt

from nano.domain.errors import HostError
from nano.domain.machine import DiskLimits
from nano.hypervisor.domain_xml import CPU_PERIOD_US, disk_device, interface_device, media_drive, rates
from nano.hypervisor.host import DOMAIN_WRONG_STATE
from nano.hypervisor.libvirt_api import UNSUPPORTED, Connection, translated
from nano.hypervisor.metadata import NAMESPACE, PREFIX
from nano.hypervisor.shape import Act, Difference, DiskShape, NicShape, Shape, shape_of
from nano.hypervisor.xml_fields import render

LIVE: Final = libvirt.VIR_DOMAIN_AFFECT_LIVE
CONFIG: Final = libvirt.VIR_DOMAIN_AFFECT_CONFIG
AGENT_LIMIT_S: Final = 5
AGENT_TRIES: Final = 6
AGENT_PAUSE_S: Final = 0.5
KEEPS_DEVICE: Final = "guest_keeps_device"


def defined_shape(connection: Connection, uuid: str) -> Shape:
    with translated("Reading the definition"):
        flags = libvirt.VIR_DOMAIN_XML_INACTIVE
        return shape_of(str(connection.domain(uuid).XMLDesc(flags)))


def running_shape(connection: Connection, uuid: str) -> Shape | None:
    """None when it does not run."""
    with translated("Reading the running domain"):
        domain = connection.domain(uuid)
        return shape_of(str(domain.XMLDesc(0))) if domain.isActive() else None


def follow(connection: Connection, uuid: str, difference: Difference) -> None:
    """Let the running domain follow a difference. Raises HostError where it can't."""
    with translated(f"Changing the running domain ({difference.field})"):
        _ACTS[difference.act](connection.domain(uuid), difference.value)


def resize_disk(connection: Connection, uuid: str, path: str, size: int) -> None:
    """Let a running guest see its disk as large as ``size`` bytes."""
    with translated("Growing the disk"):
        connection.domain(uuid).blockResize(path, size, libvirt.VIR_DOMAIN_BLOCK_RESIZE_BYTES)


def _title(domain: Any, wanted: Shape) -> None:
    domain.setMetadata(libvirt.VIR_DOMAIN_METADATA_TITLE, wanted.title, None, None, LIVE)
    mark = domain.metadata(libvirt.VIR_DOMAIN_METADATA_ELEMENT, NAMESPACE, CONFIG)
    domain.setMetadata(libvirt.VIR_DOMAIN_METADATA_ELEMENT, mark, PREFIX, NAMESPACE, LIVE)


def _cores(domain: Any, wanted: Shape) -> None:
    """Many systems take a plugged core into use by themselves; the others are asked to by their agent, if there is one. A
    system finds a core a moment after it was plugged, and nothing tells when; so the agent is asked a few times."""
    domain.setVcpusFlags(wanted.cores, LIVE)
    domain.agentSetResponseTimeout(AGENT_LIMIT_S, 0)
    for _ in range(AGENT_TRIES):
        try:
            domain.setVcpusFlags(wanted.cores, libvirt.VIR_DOMAIN_VCPU_GUEST)
        except libvirt.libvirtError as error:
            if error.get_error_code() in (libvirt.VIR_ERR_AGENT_UNRESPONSIVE, libvirt.VIR_ERR_AGENT_UNSYNCED):
                return
            time.sleep(AGENT_PAUSE_S)
        else:
            return


def _memory(domain: Any, wanted: Shape) -> None:
    """By the balloon, which only a guest with a driver for it follows; such a one tells of its memory every few seconds."""
    if not domain.memoryStats().get("last_update"):
        raise HostError(
            "The guest has no balloon driver that answers.", code=UNSUPPORTED, hint="It takes effect at its next start."
        )
    domain.setMemoryFlags(wanted.memory >> 10, LIVE)


def _cpu(domain: Any, wanted: Shape) -> None:
    scheduled = {"cpu_shares": wanted.shares, "vcpu_period": CPU_PERIOD_US, "vcpu_quota": wanted.quota or -1}
    domain.setSchedulerParametersFlags(scheduled, LIVE)


def _disk_limits(domain: Any, disk: DiskShape) -> None:
    limits: DiskLimits = disk.limits
    tuned = {
        "read_bytes_sec": limits.read_bytes,
        "write_bytes_sec": limits.write_bytes,
        "read_iops_sec": limits.read_operations,
        "write_iops_sec": limits.write_operations,
    }
    domain.setBlockIoTune(disk.target, tuned, LIVE)


def _attach_disk(domain: Any, disk: DiskShape) -> None:
    xml = render(disk_device(disk.source, disk.target, disk.bus, disk.limits))
    domain.attachDeviceFlags(xml, LIVE)


def _detach_disk(domain: Any, disk: DiskShape) -> None:
    _detach(domain, "disk", "source", "file", disk.source)


def _attach_nic(domain: Any, nic: NicShape) -> None:
    device = interface_device(nic.mac, nic.bridge, nic.model, nic.limits, nic.filter, nic.tap or nic.guarded)
    domain.attachDeviceFlags(render(device), LIVE)


def _detach_nic(domain: Any, nic: NicShape) -> None:
    _detach(domain, "interface", "mac", "address", nic.mac)


def _filter(domain: Any, nic: NicShape) -> None:
    """Refer to the filter, or to none any more; everything else of the interface stays as libvirt has it."""
    held = _device(domain, "interface", "mac", "address", nic.mac)
    if held is None:
        raise HostError(f"The domain has no interface {nic.mac}.", code=DOMAIN_WRONG_STATE, hint="Try again.")
    for reference in held.findall("filterref"):
        held.remove(reference)
    if nic.filter:
        held.append(ET.Element("filterref", filter=nic.filter))
    domain.updateDeviceFlags(ET.tostring(held, encoding="unicode"), LIVE)


def _network_limits(domain: Any, nic: NicShape) -> None:
    shaped: dict[str, int] = {}
    for way, limit in (("inbound", nic.limits.receive_bytes), ("outbound", nic.limits.send_bytes)):
        numbers = rates(limit) if limit else {"average": 0, "peak": 0, "burst": 0}
        shaped |= {f"{way}.{name}": value for name, value in numbers.items()}
    domain.setInterfaceParameters(nic.mac, shaped, LIVE)


def _media(domain: Any, wanted: Shape) -> None:
    """First as a person presses the button; a guest that keeps the tray locked has it opened nevertheless."""
    xml = render(media_drive(wanted.media))
    try:
        domain.updateDeviceFlags(xml, LIVE)
    except libvirt.libvirtError:
        domain.updateDeviceFlags(xml, LIVE | libvirt.VIR_DOMAIN_DEVICE_MODIFY_FORCE)


def _detach(domain: Any, kind: str, child: str, attribute: str, value: str) -> None:
    """libvirt waits some seconds for the guest to let go of it and says nothing when it does not; so it is looked at."""

    held = _device(domain, kind, child, attribute, value)
    if held is None:
        return
    domain.detachDeviceFlags(ET.tostring(held, encoding="unicode"), LIVE)
    if _device(domain, kind, child, attribute, value) is not None:
        raise HostError(
            "The guest does not let go of the device.",
            code=KEEPS_DEVICE,
            hint="Stop using it inside the guest, or stop the guest first.",
        )


def _device(domain: Any, kind: str, child: str, attribute: str, value: str) -> ET.Element | None:
    root = ET.fromstring(domain.XMLDesc(0))  # noqa: S314  libvirt's own
    found = (one for one in root.findall(f"devices/{kind}") if one.find(f"{child}[@{attribute}]") is not None)
    return next((one for one in found if one.find(child).get(attribute) == value), None)  # type: ignore[union-attr]


_ACTS: Final[dict[Act, Callable[[Any, Any], None]]] = {
    "title": _title,
    "cores": _cores,
    "memory": _memory,
    "cpu": _cpu,
    "disk_limits": _disk_limits,
    "attach_disk": _attach_disk,
    "detach_disk": _detach_disk,
    "attach_nic": _attach_nic,
    "detach_nic": _detach_nic,
    "network_limits": _network_limits,
    "media": _media,
    "filter": _filter,
}
