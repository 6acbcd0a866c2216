"""A machine to pull the plug of: a guest under emulation that keeps a journal on a disk of its own.

Its initrd holds busybox, the kernel's modules for a virtual disk and ext4, this very Python, and exactly the files of it that
``journaling`` was seen to load; so what runs inside is the code that is tested. The disk is a ``VolatileDisk`` behind NBD.
Nothing is installed and no root is needed: kernel and busybox are the packages of the tiny guest image.

The guest is never asked to stop: it is killed.
"""

import os
import py_compile
import re
import shutil
import subprocess
import sys
from collections.abc import Iterable
from pathlib import Path
from typing import Final

from nano.tools.guest_image import packages, trees
from nano.tools.guest_image.builder import cache_folder
from nano.tools.testbed import journaling

MEMORY_MIB: Final = 256
WANTED: Final = ("linux-image", "linux-modules", "busybox")
WARM_UP: Final = 900  # commands, so that segments are sealed and snapshots written while what is loaded is noted
DISK_MIB: Final = 48

INIT: Final = """\
#!/bin/sh
/bin/busybox --install -s /bin
export PATH=/bin
mount -t proc proc /proc
mount -t sysfs sysfs /sys
mount -t devtmpfs dev /dev
for module in crc32c_generic virtio_pci virtio_blk ext4; do modprobe $module; done
mount -t ext4 /dev/vda /disk || echo "THE DISK DOES NOT MOUNT"
stty -F /dev/ttyS1 raw -echo
export {environment}
{python} -m nano.tools.testbed.journaling /disk /dev/ttyS1
echo "THE JOURNAL ENDED: $?"
sleep 1000
"""


def build(folder: Path) -> tuple[Path, Path]:
    """Kernel and initrd, made in ``folder`` (which should be empty). Raises Failure when apt can't give the packages."""
    cache = cache_folder() / "packages"
    wanted = [package for package in packages.resolve() if package.file.startswith(WANTED)]
    packages.fetch(wanted, cache, _quiet)
    unpacked, tree, initrd = folder / "packages", folder / "tree", folder / "initrd"
    packages.unpack(wanted, cache, unpacked, _quiet)
    for name in ("bin", "dev", "proc", "sys", "disk", "tmp"):
        (tree / name).mkdir(parents=True)
    busybox = trees.locate(unpacked, "bin/busybox")
    shutil.copy2(busybox, tree / "bin" / "busybox")
    (tree / "bin" / "sh").symlink_to("busybox")
    trees.install_modules(unpacked, tree)
    init = tree / "init"
    init.write_text(INIT.format(environment=_install_python(tree, folder / "warm-up"), python=_python()))
    init.chmod(0o755)
    _pack(tree, initrd)
    return trees.kernel(unpacked), initrd


def make_disk(path: Path) -> None:
    """An empty ext4 with the distribution's own defaults, all of it written now, so that nothing is left for later."""
    with path.open("wb") as stream:
        stream.truncate(DISK_MIB << 20)
    path_of_tools = os.environ["PATH"] + ":/usr/sbin:/sbin"
    options = ["-E", "lazy_itable_init=0,lazy_journal_init=0"]
    subprocess.run(
        ["mke2fs", "-q", "-t", "ext4", *options, path], check=True, env={**os.environ, "PATH": path_of_tools}
    )


def command(kernel: Path, initrd: Path, disk: Path, acknowledged: Path, console: Path) -> list[str]:
    """The QEMU of it: ``disk`` is the socket of its NBD, ``acknowledged`` a socket to listen on for what it says."""
    return [
        *(
            "qemu-system-x86_64",
            "-accel",
            "tcg",
            "-cpu",
            "max",
            "-m",
            str(MEMORY_MIB),
            "-nodefaults",
            "-display",
            "none",
        ),
        *("-kernel", str(kernel), "-initrd", str(initrd), "-append", "console=ttyS0 panic=-1 quiet", "-no-reboot"),
        *("-drive", f"file=nbd+unix:///?socket={disk},format=raw,if=virtio,cache=writeback"),
        *("-chardev", f"file,id=console,path={console}", "-serial", "chardev:console"),
        *("-chardev", f"socket,id=said,path={acknowledged}", "-serial", "chardev:said"),
    ]


def _quiet(*_: object) -> None:
    pass


def _python() -> str:
    return str(Path(sys.executable).resolve())


def _install_python(tree: Path, folder: Path) -> str:
    """Copy the interpreter, and what it loads to do the work; the environment in which it finds that."""
    work = [sys.executable, "-m", journaling.__name__, str(folder), str(folder.with_suffix(".out"))]
    warm_up = [*work, "--commands", str(WARM_UP), "--loaded"]
    done = subprocess.run(warm_up, capture_output=True, text=True, check=True)
    sources = [Path(line) for line in done.stdout.splitlines()]
    rooms = {source.parent for source in sources if source.parent.parent.name == "nano"}
    for room in rooms:  # a snapshot knows the code that made it by the whole room
        sources += room.glob("*.py")
    sources.append(Path(journaling.__file__))
    for source in set(sources):
        _install(source, tree)
    for library in _libraries([Path(_python()), *(source for source in sources if source.suffix == ".so")]):
        _copy(library, tree)
    _copy(Path(_python()), tree)
    places = {str(_root_of(source)) for source in sources if "site-packages" in source.parts or "nano" in source.parts}
    return f"PYTHONHOME={sys.base_prefix} PYTHONPATH={':'.join(sorted(places))} PYTHONDONTWRITEBYTECODE=1"


def _root_of(source: Path) -> Path:
    """The folder from which a module of ours, or of a library, is imported."""
    parts = source.parts
    if "site-packages" in parts:
        return Path(*parts[: parts.index("site-packages") + 1])
    return Path(*parts[: len(parts) - parts[::-1].index("nano") - 1])


def _install(source: Path, tree: Path) -> None:
    """One file of a module; Python's own text with its byte code, which emulation would take seconds to make."""
    target = _copy(source, tree)
    if source.suffix == ".py":
        code = target.parent / "__pycache__" / f"{source.stem}.{sys.implementation.cache_tag}.pyc"
        py_compile.compile(
            str(source), str(code), str(source), doraise=True,
            invalidation_mode=py_compile.PycInvalidationMode.UNCHECKED_HASH,
        )  # fmt: skip


def _copy(source: Path, tree: Path) -> Path:
    target = tree / source.relative_to("/")
    target.parent.mkdir(parents=True, exist_ok=True)
    shutil.copy(source, target)
    return target


def _libraries(programs: Iterable[Path]) -> set[Path]:
    """Shared libraries they are linked with, the loader included."""
    told = subprocess.run(["ldd", *programs], capture_output=True, text=True, check=True).stdout
    return {Path(name) for name in re.findall(r"(/\S+) \(0x", told)}


def _pack(tree: Path, target: Path) -> None:
    names = "\0".join(str(path.relative_to(tree)) for path in sorted(tree.rglob("*")))
    pack = ["cpio", "--quiet", "--null", "-o", "-H", "newc", "-R", "0:0"]
    with target.open("wb") as stream:
        subprocess.run(pack, cwd=tree, input=names.encode(), stdout=stream, check=True)
