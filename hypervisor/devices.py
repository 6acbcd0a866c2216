"""The devices of a guest, each one small class mapped to its libvirt element (libvirt's formatdomain.html).

Defaults are the product's (nano-behaviour §5) except where a comment says why not. A class knows one element and
nothing about guests or hosts; ``domain_xml`` chooses which of them a guest gets.
"""

from dataclasses import dataclass
from typing import ClassVar, Final

from nano.hypervisor.xml_fields import XmlElement, at

MEDIA_TARGET: Final = "hda"
CLIPBOARD_CHANNEL: Final = "qemu-vdagent"


@dataclass(frozen=True, kw_only=True)
class Disk(XmlElement):
    """A qcow2 volume. ``discard`` lets a guest's fstrim give space back to the host."""

    tag: ClassVar[str] = "disk"
    type: str = at("@type", "file")
    device: str = at("@device", "disk")
    driver: str = at("driver/@name", "qemu")
    format: str = at("driver/@type", "qcow2")
    discard: str = at("driver/@discard", "unmap")
    source: str = at("source/@file")
    target: str = at("target/@dev")
    bus: str = at("target/@bus")
    read_bytes: int | None = at("iotune/read_bytes_sec", None)
    write_bytes: int | None = at("iotune/write_bytes_sec", None)
    read_operations: int | None = at("iotune/read_iops_sec", None)
    write_operations: int | None = at("iotune/write_iops_sec", None)


@dataclass(frozen=True, kw_only=True)
class MediaDrive(XmlElement):
    """The IDE drive every guest has, empty or not, so that media can be put in without a restart.

    A file that is gone leaves the drive empty: a snapshot with memory remembers media that was ejected since.
    """

    tag: ClassVar[str] = "disk"
    type: str = at("@type", "file")
    device: str = at("@device", "cdrom")
    driver: str = at("driver/@name", "qemu")
    format: str = at("driver/@type", "raw")
    source: str = at("source/@file", "")
    missing: str = at("source/@startupPolicy", "")
    target: str = at("target/@dev", MEDIA_TARGET)
    bus: str = at("target/@bus", "ide")
    readonly: bool = at("readonly", True)


@dataclass(frozen=True, kw_only=True)
class SeedDrive(XmlElement):
    """The drive with the guest's cloud-init seed."""

    tag: ClassVar[str] = "disk"
    type: str = at("@type", "file")
    device: str = at("@device", "cdrom")
    driver: str = at("driver/@name", "qemu")
    format: str = at("driver/@type", "raw")
    source: str = at("source/@file")
    target: str = at("target/@dev")
    bus: str = at("target/@bus")
    readonly: bool = at("readonly", True)


@dataclass(frozen=True, kw_only=True)
class Controller(XmlElement):
    tag: ClassVar[str] = "controller"
    type: str = at("@type")
    index: int = at("@index", 0)
    model: str = at("@model", "")


@dataclass(frozen=True, kw_only=True)
class BridgedInterface(XmlElement):
    tag: ClassVar[str] = "interface"
    type: str = at("@type", "bridge")
    mac: str = at("mac/@address")
    bridge: str = at("source/@bridge")
    tap: str = at("target/@dev", "")
    model: str = at("model/@type")
    filter: str = at("filterref/@filter", "")
    limits: tuple[XmlElement, ...] = at("bandwidth", ())


@dataclass(frozen=True, kw_only=True)
class Inbound(XmlElement):
    """What comes to the guest, in KiB a second; peak and burst as the product sets them."""

    tag: ClassVar[str] = "inbound"
    average: int = at("@average")
    peak: int = at("@peak")
    burst: int = at("@burst")


@dataclass(frozen=True, kw_only=True)
class Outbound(Inbound):
    """What the guest sends."""

    tag: ClassVar[str] = "outbound"


@dataclass(frozen=True, kw_only=True)
class SerialConsole(XmlElement):
    tag: ClassVar[str] = "serial"
    type: str = at("@type", "pty")
    target: str = at("target/@type", "isa-serial")
    port: int = at("target/@port", 0)


@dataclass(frozen=True, kw_only=True)
class Console(XmlElement):
    tag: ClassVar[str] = "console"
    type: str = at("@type", "pty")
    target: str = at("target/@type", "serial")
    port: int = at("target/@port", 0)


@dataclass(frozen=True, kw_only=True)
class AgentChannel(XmlElement):
    tag: ClassVar[str] = "channel"
    type: str = at("@type", "unix")
    target: str = at("target/@type", "virtio")
    name: str = at("target/@name", "org.qemu.guest_agent.0")


@dataclass(frozen=True, kw_only=True)
class ClipboardChannel(XmlElement):
    """Where a guest's spice-vdagent finds QEMU, which joins its clipboard to that of the VNC display's viewers."""

    tag: ClassVar[str] = "channel"
    type: str = at("@type", CLIPBOARD_CHANNEL)
    copypaste: str = at("source/clipboard/@copypaste", "yes")
    target: str = at("target/@type", "virtio")
    name: str = at("target/@name", "com.redhat.spice.0")


@dataclass(frozen=True, kw_only=True)
class Input(XmlElement):
    tag: ClassVar[str] = "input"
    type: str = at("@type", "tablet")
    bus: str = at("@bus")


@dataclass(frozen=True, kw_only=True)
class Graphics(XmlElement):
    """A VNC display that listens nowhere: libvirt hands out connected sockets to it (virDomainOpenGraphicsFD).

    The product listens on 0.0.0.0 with a password; here there is no port to find and no password to keep.
    """

    tag: ClassVar[str] = "graphics"
    type: str = at("@type", "vnc")
    listen: str = at("listen/@type", "none")


@dataclass(frozen=True, kw_only=True)
class Video(XmlElement):
    tag: ClassVar[str] = "video"
    model: str = at("model/@type")


@dataclass(frozen=True, kw_only=True)
class Balloon(XmlElement):
    """``stats_period`` in seconds: how often the guest's driver reports its memory."""

    tag: ClassVar[str] = "memballoon"
    model: str = at("@model", "virtio")
    stats_period: int = at("stats/@period", 2)


@dataclass(frozen=True, kw_only=True)
class RandomSource(XmlElement):
    """Without it a fresh guest under emulation waits for entropy while it makes its host keys."""

    tag: ClassVar[str] = "rng"
    model: str = at("@model", "virtio")
    backend: str = at("backend/@model", "random")
    source: str = at("backend", "/dev/urandom")
