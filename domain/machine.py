"""What a guest is made of: the part of its description that a hypervisor host needs, and nothing about who owns it.

``MachineSpec`` is shared by the guest (Core's intent), the domain (the Cell's record of what it did) and the
renderer of domain XML. All sizes are bytes.
"""

from typing import Literal

import msgspec

from nano.domain.security import SecurityPolicy

MEBI = 1 << 20
GIBI = 1 << 30

CORES_MAX = 255  # what libvirt allows on the machine type "pc"
MEMORY_MIN = 32 * MEBI
MEMORY_MAX = 4096 * GIBI
DISK_MIN = 1 * MEBI
DISK_MAX = 64 * 1024 * GIBI
DISKS_MAX = 16
VOLUME_NUMBERS = 100  # a volume's number has two digits
NICS_MAX = 8
RATE_MIN = 1 << 10  # bytes a second; the kernel's queues count in KiB
RATE_MAX = 1 << 40
OPERATIONS_MAX = 10**9

Priority = Literal["high", "medium", "low"]
PRIORITIES: tuple[Priority, ...] = ("high", "medium", "low")


HARDWARE_MODELS: dict[str, tuple[str, ...]] = {
    "disk": ("scsi", "virtio", "sata", "ide"),
    "network": ("virtio", "e1000", "rtl8139"),
    "display": ("vga", "cirrus", "qxl", "virtio", "none"),
    "usb": ("nec-xhci", ""),
    "tablet": ("usb", "virtio", ""),
}


class Hardware(msgspec.Struct, frozen=True, gc=False):
    """Virtual hardware models (nano-behaviour §5, default template "CentOS 7": virtio-scsi disks, virtio net, VGA)."""

    disk: str = "scsi"
    network: str = "virtio"
    display: str = "vga"
    usb: str = "nec-xhci"
    tablet: str = "usb"


class DiskLimits(msgspec.Struct, frozen=True, kw_only=True, gc=False):
    """What each disk of a guest may do in a second; bytes and operations, 0 = no limit."""

    read_bytes: int = 0
    write_bytes: int = 0
    read_operations: int = 0
    write_operations: int = 0


class NetworkLimits(msgspec.Struct, frozen=True, kw_only=True, gc=False):
    """What each network interface of a guest may take in and send out in a second, in bytes; 0 = no limit."""

    receive_bytes: int = 0
    send_bytes: int = 0


class MachineSpec(msgspec.Struct, frozen=True, kw_only=True, gc=False, omit_defaults=True):
    """One virtual machine. ``disks[0]`` is the system disk, cloned from ``image`` (an image id) or blank when that is empty.

    ``cores_max`` and ``memory_max`` are how far a running guest can grow; 0 = not beyond what it has.
    Fields with their defaults are not written: a field added later leaves journals and digests as they are.
    """

    name: str
    cores: int
    memory: int
    disks: tuple[int, ...]
    mac: str  # "52:54:00:xx:xx:xx"
    image: str = ""
    linked: bool = False  # the system disk holds only what differs from the image, which must stay
    autostart: bool = False
    hardware: Hardware = Hardware()
    priority: Priority = "high"
    disk_limits: DiskLimits = DiskLimits()
    network_limits: NetworkLimits = NetworkLimits()
    volumes: tuple[int, ...] = ()  # the number in each disk's file name; empty = 0, 1, 2 …
    more_macs: tuple[str, ...] = ()  # of network interfaces beyond the first
    media: str = ""  # id of the media image in its drive
    cores_max: int = 0
    memory_max: int = 0
    seed: bool = False  # it has a cloud-init seed in a drive of its own
    security: SecurityPolicy | None = None  # what its network interfaces let through; None = everything
    unguarded: bool = False  # it may send as other machines, as a router does
    own_addresses: tuple[str, ...] = ()  # given to it when it was made; where the host can it sends from no others

    @property
    def volume_numbers(self) -> tuple[int, ...]:
        return self.volumes or tuple(range(len(self.disks)))

    def free_volume(self) -> int:
        """A volume number that none of its disks has. The highest one more first, so that none comes again soon."""
        taken = self.volume_numbers
        after = max(taken) + 1
        return after if after < VOLUME_NUMBERS else next(n for n in range(VOLUME_NUMBERS) if n not in taken)

    @property
    def macs(self) -> tuple[str, ...]:
        return (self.mac, *self.more_macs)

    @property
    def disk_total(self) -> int:
        return sum(self.disks)
