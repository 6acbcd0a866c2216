"""Looking at a file that somebody wants to be an image, without trusting it.

First our own few bytes (``qcow2_header``), then ``qemu-img`` with the format stated, and with limits. What is not plain
qcow2, or leans on another file (backing file, external data file), is refused: a guest could read the host's files through
it. A raw disk may hold anything, except the head of another format: that is somebody's mistake, or somebody's trick.
"""

import stat
from pathlib import Path
from typing import Final, Literal

import anyio
import anyio.to_thread
import msgspec

from nano.domain.errors import HostError, Invalid
from nano.domain.machine import DISK_MAX
from nano.hypervisor import qcow2_header as qcow2
from nano.hypervisor.qemu_img import QemuImg, QemuImgLimits

LIMITS: Final = QemuImgLimits(memory=1 << 30, cpu_s=20, quick_s=20.0, copy_s=60.0)
L1_ENTRIES_MAX: Final = 1 << 22  # QEMU's own limit: 32 MiB of them
SECTOR: Final = 512
_HEAD_BYTES: Final = 4096
_FOREIGN: Final = {  # what other formats begin with, and their names
    b"QFI\xfb": "qcow2",
    b"KDMV": "VMDK",
    b"COWD": "VMDK",
    b"# Disk DescriptorFile": "VMDK descriptor",
    b"vhdxfile": "VHDX",
    b"conectix": "VPC",
    b"cxsparse": "VPC",
    b"QED\0": "QED",
    b"LUKS\xba\xbe": "LUKS",
    b"WithoutFreeSpace": "Parallels",
    b"WithouFreSpacExt": "Parallels",
    b"OOOO SCSI": "cloop",
}
_VDI_AT: Final = 0x40
_VDI: Final = b"\x7f\x10\xda\xbe"
_VOLUME_AT: Final = 16 * 2048  # volume descriptors of a disc begin behind 16 sectors (ECMA-119 §6.2.1)
_DISC: Final = (b"CD001", b"BEA01", b"NSR02", b"NSR03")


class Inspection(msgspec.Struct, frozen=True):
    """``format`` is what the file is kept as. Sizes in bytes."""

    format: Literal["qcow2", "iso"]
    size: int
    virtual_size: int


async def inspect(path: Path) -> Inspection:
    """A qcow2 file, whole and self-contained; its digest is taken elsewhere. Raises Invalid, HostError."""
    size = await _plain_file(path)
    header = await anyio.to_thread.run_sync(qcow2.read_header, path)
    if header is None:
        raise Invalid(
            f"{path.name} is not a whole qcow2 image.", code="image_not_qcow2", hint="Convert it to qcow2 first."
        )
    _judge(path, header)
    qemu_img = QemuImg(LIMITS)
    try:
        info = await qemu_img.info(path)
        if info.refers_elsewhere:
            raise _leaning(path)
        await qemu_img.check(path)
    except HostError as error:
        if error.code == "image_tool_missing":
            raise
        raise Invalid(
            f"{path.name} is not a whole qcow2 image: {error.message}",
            code="image_not_qcow2",
            hint="Convert it to qcow2 first, or fetch it again.",
        ) from error
    if not 0 < info.virtual_size <= DISK_MAX:
        raise _absurd(path, info.virtual_size)
    return Inspection("qcow2", size, info.virtual_size)


async def check_raw(path: Path) -> int:
    """The size of a raw disk that begins as no other format does. Raises Invalid."""
    size = await _plain_file(path)
    head = await anyio.to_thread.run_sync(_read, path, 0, _HEAD_BYTES)
    foreign = next((name for magic, name in _FOREIGN.items() if head.startswith(magic)), "")
    if head[_VDI_AT:].startswith(_VDI):
        foreign = "VDI"
    if foreign:
        raise Invalid(
            f"{path.name} begins as a {foreign} file, it is no raw disk.",
            code="image_not_raw",
            hint="Convert it to qcow2 first: qemu-img convert -O qcow2 OLD NEW.",
        )
    if not 0 < size <= DISK_MAX or size % SECTOR:
        raise Invalid(
            f"{path.name} has {size} bytes.",
            code="image_size_absurd",
            hint="A raw disk has whole sectors of 512 bytes.",
        )
    return size


async def check_media(path: Path) -> Inspection:
    """A disc: ISO 9660 or UDF. Raises Invalid."""
    size = await _plain_file(path)
    found = await anyio.to_thread.run_sync(_read, path, _VOLUME_AT, 2048)
    if found[1:6] not in _DISC:
        raise Invalid(
            f"{path.name} is no ISO 9660 or UDF disc.",
            code="media_not_iso",
            hint="Upload disks of guests as disk images.",
        )
    return Inspection("iso", size, size)


def _judge(path: Path, header: qcow2.Qcow2Header) -> None:
    if header.backing_offset or header.features & qcow2.EXTERNAL_DATA:
        raise _leaning(path)
    if not 0 < header.size <= DISK_MAX or header.l1_entries > L1_ENTRIES_MAX:
        raise _absurd(path, header.size)
    sound = header.version in (2, 3) and 9 <= header.cluster_bits <= 21 and not header.features & ~qcow2.KNOWN
    if not sound or header.features & qcow2.CORRUPT:
        raise Invalid(
            f"{path.name} is a qcow2 file that can't be read, or is marked as damaged.",
            code="image_not_qcow2",
            hint="Repair it, or convert it anew.",
        )
    if header.encrypted:
        raise Invalid(
            f"{path.name} is encrypted.", code="image_encrypted", hint="Convert it to a plain qcow2 file first."
        )


async def _plain_file(path: Path) -> int:
    try:
        found = await anyio.Path(path).lstat()
    except OSError as error:
        raise unreadable(path, error) from error
    if not stat.S_ISREG(found.st_mode):
        raise Invalid(
            f"{path} is not a plain file.",
            code="image_not_a_file",
            hint="Give the file itself, not a link or a device.",
        )
    return found.st_size


def unreadable(path: Path, error: OSError) -> Invalid:
    return Invalid(
        f"{path}: {error.strerror}.", code="image_unreadable", hint="Give the path of a file on Core's machine."
    )


def _read(path: Path, offset: int, count: int) -> bytes:
    with path.open("rb") as file:
        file.seek(offset)
        return file.read(count)


def _leaning(path: Path) -> Invalid:
    return Invalid(
        f"{path.name} leans on another file.",
        code="image_not_self_contained",
        hint="Convert it to one whole qcow2 file first.",
    )


def _absurd(path: Path, size: int) -> Invalid:
    return Invalid(f"{path.name} says its disk has {size} bytes.", code="image_size_absurd")
