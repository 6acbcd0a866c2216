"""The guest's two file trees, laid out from unpacked packages and ``files/``: the root file system and the initrd.

The root holds busybox, the guest agent, a few tools, exactly the libraries these name, and the modules of virtual
hardware. The initrd holds busybox and the modules it takes to reach the root.
"""

import shutil
import subprocess
from pathlib import Path
from typing import Final

from nano.domain.errors import Failure

FILES: Final = Path(__file__).parent / "files"
LIBRARIES: Final = Path("lib/x86_64-linux-gnu")
PROGRAMS: Final = (
    *("usr/sbin/qemu-ga", "usr/sbin/dropbear", "usr/bin/dropbearkey", "sbin/blkid"),
    *("sbin/mke2fs", "sbin/resize2fs", "sbin/e2fsck", "sbin/dumpe2fs", "sbin/tune2fs"),
)
# Opened by name while running, so no program's header names them.
OPENED_LATER: Final = ("libgcc_s.so.1", "libresolv.so.2", "libnss_files.so.2")
# What QEMU may present as hardware, and what these modules use. Those a kernel has built in are simply not found.
MODULES: Final = (
    *("button", "evdev", "virtio", "virtio_ring", "virtio_pci_modern_dev", "virtio_pci_legacy_dev", "virtio_pci"),
    *("virtio_blk", "virtio_net", "virtio_console", "virtio_balloon", "virtio_rng", "virtio_scsi", "rng_core"),
    *("scsi_common", "scsi_mod", "libata", "ata_generic", "ata_piix", "ahci", "libahci", "sd_mod", "cdrom", "sr_mod"),
    *("e1000", "e1000e", "8139cp", "mii", "net_failover", "failover", "ptp", "pps_core", "loop", "i6300esb"),
    *("isofs", "fat", "vfat", "nls_cp437", "nls_ascii", "ext4", "jbd2", "mbcache", "crc16", "libcrc32c"),
    *("crc32c_generic", "crc32c_intel", "crct10dif_common", "crct10dif_pclmul", "crc_t10dif", "t10_pi"),
    *("crc64", "crc64_rocksoft", "crc64_rocksoft_generic"),
)
NOT_TO_REACH_ROOT: Final = ("kernel/drivers/net", "kernel/drivers/char", "kernel/drivers/input")


def make_root(packages: Path, root: Path) -> None:
    """The root file system below ``root``, from the unpacked ``packages``."""
    folders = "bin sbin usr/bin usr/sbin lib64 etc/dropbear proc sys dev run tmp root mnt var/log var/lib/cloud"
    for name in (*folders.split(), str(LIBRARIES)):
        (root / name).mkdir(parents=True, exist_ok=True)
    _install_busybox(packages, root)
    for name in PROGRAMS:
        _replace(locate(packages, name), root / name)
    (root / "sbin/mkfs.ext4").symlink_to("mke2fs")
    (root / "sbin/shutdown").symlink_to("../usr/sbin/shutdown")
    (root / "etc/mtab").symlink_to("/proc/mounts")
    _install_libraries(packages, root)
    copy_files("root", root)
    (root / "etc/shadow").chmod(0o600)
    install_modules(packages, root)


def make_initrd(packages: Path, root: Path, initrd: Path) -> None:
    """The initrd's tree below ``initrd``; its modules are those of ``root`` without network and consoles."""
    for name in ("bin", "dev", "proc", "sys", "newroot", "lib"):
        (initrd / name).mkdir(parents=True, exist_ok=True)
    busybox = locate(packages, "bin/busybox")
    shutil.copy2(busybox, initrd / "bin/busybox")
    (initrd / "bin/sh").symlink_to("busybox")
    copy_files("initrd", initrd)
    shutil.copytree(root / "lib/modules", initrd / "lib/modules")
    version = kernel_version(packages)
    for name in NOT_TO_REACH_ROOT:
        shutil.rmtree(initrd / "lib/modules" / version / name, ignore_errors=True)
    subprocess.run([busybox, "depmod", "-b", initrd, version], check=True)


def copy_files(name: str, into: Path) -> None:
    """What ``files/<name>`` holds; scripts (by their first line) become executable."""
    for source in sorted((FILES / name).rglob("*")):
        if source.is_file():
            target = into / source.relative_to(FILES / name)
            target.parent.mkdir(parents=True, exist_ok=True)
            shutil.copyfile(source, target)
            target.chmod(0o755 if source.read_bytes().startswith(b"#!") else 0o644)


def kernel_version(packages: Path) -> str:
    return kernel(packages).name.removeprefix("vmlinuz-")


def kernel(packages: Path) -> Path:
    """The kernel's file among the unpacked packages."""
    found = sorted((packages / "boot").glob("vmlinuz-*"))
    if len(found) != 1:
        raise Failure(f"The packages hold {len(found)} kernels, not one.", code="image_build_failed")
    return found[0]


def _install_busybox(packages: Path, root: Path) -> None:
    busybox = locate(packages, "bin/busybox")
    shutil.copy2(busybox, root / "bin/busybox")
    applets = subprocess.run([busybox, "--list"], capture_output=True, text=True, check=True).stdout.split()
    for applet in applets:
        if applet not in ("busybox", "mke2fs"):  # the real mke2fs knows ext4
            (root / "bin" / applet).symlink_to("/bin/busybox")
    (root / "sbin/init").symlink_to("/bin/busybox")


def _install_libraries(packages: Path, root: Path) -> None:
    """Follow what programs and libraries name as needed, until nothing new is named."""
    wanted = [*OPENED_LATER, *(name for program in PROGRAMS for name in _needed(root / program))]
    while wanted:
        name = wanted.pop()
        target = root / LIBRARIES / name
        if not target.exists():
            shutil.copyfile(locate(packages, str(LIBRARIES / name)), target)
            target.chmod(0o755)
            wanted += _needed(target)
    (root / "lib64/ld-linux-x86-64.so.2").symlink_to("../lib/x86_64-linux-gnu/ld-linux-x86-64.so.2")


def _needed(binary: Path) -> list[str]:
    printed = subprocess.run(["objdump", "-p", binary], capture_output=True, text=True, check=True).stdout
    return [line.split()[1] for line in printed.splitlines() if line.lstrip().startswith("NEEDED")]


def install_modules(packages: Path, root: Path) -> None:
    version = kernel_version(packages)
    source = locate(packages, f"lib/modules/{version}")
    target = root / "lib/modules" / version
    target.mkdir(parents=True)
    wanted = set(MODULES)
    for module in sorted(source.rglob("*.ko*")):
        if module.name.split(".ko")[0].replace("-", "_") in wanted:
            _copy_module(module, target / module.relative_to(source))
    for name in ("modules.builtin", "modules.order", "modules.builtin.modinfo"):
        if (source / name).exists():
            shutil.copyfile(source / name, target / name)
    subprocess.run([locate(packages, "bin/busybox"), "depmod", "-b", root, version], check=True)


def _copy_module(module: Path, target: Path) -> None:
    """Plain and without debug information: busybox reads no compressed modules."""
    target.parent.mkdir(parents=True, exist_ok=True)
    plain = target.parent / (module.name.split(".ko")[0] + ".ko")
    unpackers = {".zst": "zstd", ".xz": "xz", ".gz": "gzip"}
    if unpacker := unpackers.get(module.suffix):
        with plain.open("wb") as stream:
            subprocess.run([unpacker, "-dcq", module], stdout=stream, check=True)
    else:
        shutil.copyfile(module, plain)
    subprocess.run(["strip", "--strip-debug", plain], check=True, stderr=subprocess.DEVNULL)


def locate(packages: Path, name: str) -> Path:
    """A file by its classic place; distributions have moved /bin, /sbin and /lib below /usr."""
    plain = name.removeprefix("usr/")
    for candidate in (packages / plain, packages / "usr" / plain):
        if candidate.exists():
            return candidate
    if plain.startswith("sbin/"):
        return locate(packages, plain[1:])
    raise Failure(
        f"The tiny guest needs {name}, and no package has it.",
        code="image_build_failed",
        hint="Add its package to tools/guest_image/packages.py.",
    )


def _replace(source: Path, target: Path) -> None:
    """Copy a program; a link of busybox at that place gives way."""
    target.unlink(missing_ok=True)
    shutil.copyfile(source, target)
    target.chmod(0o755)
