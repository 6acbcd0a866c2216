"""A bootable disk of a kernel, an initrd and a root tree, made with ordinary tools on ordinary files.

    sector 0             MBR: syslinux' boot code and two partitions
    sector 2048          FAT16: syslinux, kernel, initrd
    after it to the end  ext4, label tinyroot: last, so that it can grow with the disk

Identifiers and times inside are fixed, so a rebuild from the same packages differs as little as the tools allow.
"""

import gzip
import os
import struct
import subprocess
from pathlib import Path
from typing import Final

from nano.tools.guest_image.trees import FILES

SECTOR: Final = 512
MIB: Final = 1 << 20
FIRST_SECTOR: Final = 2048  # 1 MiB: the usual alignment
BOOT_CODE: Final = Path("/usr/lib/syslinux/mbr/mbr.bin")
EPOCH: Final = 1767225600  # 2026-01-01T00:00:00Z: the time of every file in the image
UUID: Final = "74696e79-0000-4000-8000-000000000001"
HASH_SEED: Final = "74696e79-0000-4000-8000-000000000002"


def pack_initrd(tree: Path, target: Path) -> None:
    """The tree as a gzipped cpio archive, owned by root, in a fixed order."""
    set_times(tree)
    names = "\0".join(sorted(str(path.relative_to(tree)) for path in tree.rglob("*")))
    command = ["cpio", "--quiet", "--null", "-o", "-H", "newc", "-R", "0:0", "--reproducible"]
    archive = subprocess.run(command, cwd=tree, input=names.encode(), capture_output=True, check=True).stdout
    target.write_bytes(gzip.compress(archive, compresslevel=9, mtime=0))


def set_times(tree: Path) -> None:
    for path in (tree, *tree.rglob("*")):
        os.utime(path, (EPOCH, EPOCH), follow_symlinks=False)


def make_disk(kernel: Path, initrd: Path, root: Path, raw: Path, size: int) -> None:
    """The raw disk of ``size`` bytes at ``raw``. Files beside it are scratch."""
    boot = raw.with_suffix(".boot")
    boot_size = ((kernel.stat().st_size + initrd.stat().st_size) // MIB + 4) * MIB
    _make_boot(kernel, initrd, boot, boot_size)
    root_start = FIRST_SECTOR * SECTOR + boot_size
    partition = raw.with_suffix(".root")
    _make_root(root, partition, size - root_start)
    with raw.open("wb") as disk:
        disk.truncate(size)
        disk.write(BOOT_CODE.read_bytes()[:440])
        disk.seek(440)
        disk.write(_partition_table(boot_size // SECTOR, size // SECTOR))
    for source, start in ((boot, FIRST_SECTOR * SECTOR), (partition, root_start)):
        place = [f"of={raw}", "bs=1M", "oflag=seek_bytes", f"seek={start}", "conv=notrunc,sparse"]
        subprocess.run(["dd", f"if={source}", *place, "status=none"], check=True)


def to_qcow2(raw: Path, target: Path) -> None:
    subprocess.run(["qemu-img", "convert", "-c", "-O", "qcow2", raw, target], check=True)


def _make_boot(kernel: Path, initrd: Path, target: Path, size: int) -> None:
    target.unlink(missing_ok=True)
    with target.open("wb") as stream:
        stream.truncate(size)
    subprocess.run(
        ["mkfs.vfat", "-F", "16", "-n", "TINYBOOT", "-i", "7469abcd", "--invariant", target],
        check=True,
        stdout=subprocess.DEVNULL,
    )
    for source, name in ((kernel, "vmlinuz"), (initrd, "initrd"), (FILES / "boot/syslinux.cfg", "syslinux.cfg")):
        subprocess.run(["mcopy", "-i", target, source, f"::{name}"], check=True, stdout=subprocess.DEVNULL)
    subprocess.run(["syslinux", "--install", target], check=True, stdout=subprocess.DEVNULL)


def _make_root(tree: Path, target: Path, size: int) -> None:
    """fakeroot, because mke2fs copies owners. No journal: the guest is small and short-lived."""
    set_times(tree)
    with target.open("wb") as stream:
        stream.truncate(size)
    options = f"lazy_itable_init=0,root_owner=0:0,hash_seed={HASH_SEED}"
    features = ["-O", "^has_journal,^metadata_csum_seed", "-E", options, "-m", "0", "-b", "1024"]
    command = ["mke2fs", "-q", "-t", "ext4", "-L", "tinyroot", "-U", UUID, *features, "-d", str(tree), str(target)]
    script = 'chown -R 0:0 "$1" && shift && exec "$@"'
    subprocess.run(
        ["fakeroot", "sh", "-c", script, "sh", str(tree), *command],
        check=True,
        env={**os.environ, "PATH": "/usr/sbin:/sbin:" + os.environ["PATH"], "E2FSPROGS_FAKE_TIME": str(EPOCH)},
    )


def _partition_table(boot_sectors: int, disk_sectors: int) -> bytes:
    """From byte 440 on: disk identifier, four entries (only linear addresses count), end mark."""

    def entry(active: int, kind: int, start: int, count: int) -> bytes:
        return struct.pack("<BBBBBBBBII", active, 0xFE, 0xFF, 0xFF, kind, 0xFE, 0xFF, 0xFF, start, count)

    root_start = FIRST_SECTOR + boot_sectors
    entries = entry(0x80, 0x06, FIRST_SECTOR, boot_sectors) + entry(0, 0x83, root_start, disk_sectors - root_start)
    return struct.pack("<IH", 0x74696E79, 0) + entries + bytes(32) + b"\x55\xaa"
