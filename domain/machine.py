"""What a guest is made of: the part of its description that a hypervisor host needs, and nothing about who owns it.

``MachineSpec`` is shared by the guest (Core's intent), the domain (the Cell's record of what it did) and the
renderer of domain XML. All sizes are bytes.
"""

import msgspec

MEBI = 1 << 20
GIBI = 1 << 30

CORES_MAX = 255  # what libvirt allows on the machine type "pc"
MEMORY_MIN = 32 * MEBI
MEMORY_MAX = 4096 * GIBI
DISK_MIN = 1 * MEBI
DISK_MAX = 64 * 1024 * GIBI
DISKS_MAX = 16


HARDWARE_MODELS: dict[str, tuple[str, ...]] = {
    "disk": ("scsi", "virtio", "sata", "ide"),
    "network": ("virtio", "e1000", "rtl8139"),
    "display": ("vga", "cirrus", "qxl", "virtio", "none"),
    "usb": ("nec-xhci", ""),
    "tablet": ("usb", "virtio", ""),
}


class Hardware(msgspec.Struct, frozen=True):
    """Virtual hardware models (nano-behaviour §5, default template "CentOS 7": virtio-scsi disks, virtio net, VGA)."""

    disk: str = "scsi"
    network: str = "virtio"
    display: str = "vga"
    usb: str = "nec-xhci"
    tablet: str = "usb"


class MachineSpec(msgspec.Struct, frozen=True, kw_only=True):
    """One virtual machine. ``disks[0]`` is the system disk, cloned from ``image`` (an image id) or blank when that is empty."""

    name: str
    cores: int
    memory: int
    disks: tuple[int, ...]
    mac: str  # "52:54:00:xx:xx:xx"
    image: str = ""
    autostart: bool = False
    hardware: Hardware = Hardware()

    @property
    def disk_total(self) -> int:
        return sum(self.disks)
