"""Build the tiny guest image, or find that the cache holds it already.

The cache keeps images under the digest of what they are made of: ``tiny-<builder>-<packages>.qcow2``. The builder's
part is this package's own source; the packages' part is apt's answer, names with digests. An image never changes under
its name: it is made under another one and renamed, because guests may be running on it.

One build runs at a time (lock in the cache folder). It does not register the image with Core.
"""

import contextlib
import fcntl
import hashlib
import os
import shutil
import subprocess
import tempfile
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Final

from nano.domain.errors import DiskFull, Failure
from nano.tools.guest_image import disk, packages, trees

SIZE: Final = (
    64 << 20
)  # bytes, so that the smallest disks people ask for will do; on a larger one the root grows at boot
SCRATCH_BYTES: Final = 1 << 30  # unpacked packages and the raw disk, generously
IMAGES_KEPT: Final = 2

Progress = Callable[[str, int, int], None]  # step in words, done, of how many


def cache_folder() -> Path:
    """$XDG_CACHE_HOME/nano, or ~/.cache/nano."""
    return Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache") / "nano"


def ensure_image(cache: Path, progress: Progress, *, check_packages: bool = False) -> Path:
    """The image in the cache, built when this builder has made none (or, with ``check_packages``, when apt has newer
    packages). Takes about 15 s, and the time to download 20 MB once. Raises Failure, DiskFull."""
    cache.mkdir(parents=True, exist_ok=True)
    with _locked(cache):
        made = cached_image(cache)
        if made and not check_packages:
            return made
        progress("Asking apt for the guest's packages", 0, 1)
        try:
            wanted = packages.resolve()
        except Failure:
            if made:
                return made  # without apt's lists nobody can tell that it is old
            raise
        target = cache / f"tiny-{builder_digest()}-{_digest(package.digest.encode() for package in wanted)}.qcow2"
        if not target.exists():
            for left in cache.glob("build-*"):  # of a build that was killed: we hold the lock, so nobody works there
                shutil.rmtree(left)
            _require_tools()
            _require_space(cache)
            _build(wanted, cache, target, progress)
            _forget_old(cache)
        return target


def cached_image(cache: Path) -> Path | None:
    """The newest image this very builder made, if any. Asks nobody."""
    made = sorted(cache.glob(f"tiny-{builder_digest()}-*.qcow2"), key=lambda path: path.stat().st_mtime)
    return made[-1] if made else None


def builder_digest() -> str:
    """12 hex digits over all that decides how packages become an image."""
    sources = sorted(path for path in Path(__file__).parent.rglob("*") if path.is_file() and path.suffix != ".pyc")
    return _digest(
        str(path.relative_to(Path(__file__).parent)).encode() + b"\0" + path.read_bytes() for path in sources
    )


def _build(wanted: list[packages.Package], cache: Path, target: Path, progress: Progress) -> None:
    steps = 2 * len(wanted) + 4
    done = 0

    def step(text: str) -> None:
        nonlocal done
        progress(text, done, steps)
        done += 1

    try:
        with tempfile.TemporaryDirectory(prefix="build-", dir=cache) as folder:
            scratch = Path(folder)
            step("Fetching packages")
            packages.fetch(wanted, cache / "packages", lambda name: step(f"Fetched {name}"))
            done = len(wanted)
            packages.unpack(wanted, cache / "packages", scratch / "packages", lambda name: step(f"Unpacked {name}"))
            step("Laying out the root file system")
            trees.make_root(scratch / "packages", scratch / "root")
            trees.make_initrd(scratch / "packages", scratch / "root", scratch / "initrd")
            disk.pack_initrd(scratch / "initrd", scratch / "initrd.gz")
            step("Making the disk")
            kernel = trees.kernel(scratch / "packages")
            disk.make_disk(kernel, scratch / "initrd.gz", scratch / "root", scratch / "disk.raw", SIZE)
            step("Compressing the image")
            disk.to_qcow2(scratch / "disk.raw", scratch / "image.qcow2")
            (scratch / "image.qcow2").rename(target)
            progress("The image is ready", steps, steps)
    except subprocess.CalledProcessError as error:
        said = (error.stderr or b"").decode(errors="replace").strip()[-300:]
        raise Failure(
            f"{error.cmd[0]} failed with exit code {error.returncode} while building the tiny guest. {said}".strip(),
            code="image_build_failed",
            hint="Run python -m nano.tools.guest_image to see what it prints.",
        ) from error


def _require_tools() -> None:
    needed = (
        "apt-get",
        "apt-cache",
        "dpkg-deb",
        "cpio",
        "fakeroot",
        "mke2fs",
        "mkfs.vfat",
        "mcopy",
        "syslinux",
        "objdump",
    )
    path = os.environ.get("PATH", "") + ":/usr/sbin:/sbin"
    missing = [name for name in (*needed, "strip", "qemu-img", "zstd") if not shutil.which(name, path=path)]
    if missing or not disk.BOOT_CODE.exists():
        raise Failure(
            f"The guest image builder lacks {', '.join(missing) or disk.BOOT_CODE}.",
            code="image_build_failed",
            hint="scripts/up installs what it needs (packages_image in scripts/setup.sh).",
        )


def _require_space(cache: Path) -> None:
    free = shutil.disk_usage(cache).free
    if free < SCRATCH_BYTES:
        raise DiskFull(
            f"Building the guest image takes up to {SCRATCH_BYTES >> 20} MiB in {cache}, and {free >> 20} MiB are free.",
            hint="Make room, or point XDG_CACHE_HOME to another disk.",
        )


def _forget_old(cache: Path) -> None:
    """Keep the newest few. An old one that a guest still runs on lives on: QEMU has it open."""
    made = sorted(cache.glob("tiny-*.qcow2"), key=lambda path: path.stat().st_mtime, reverse=True)
    for path in made[IMAGES_KEPT:]:
        path.unlink()


def _digest(parts: Iterator[bytes]) -> str:
    whole = hashlib.sha256()
    for part in parts:
        whole.update(hashlib.sha256(part).digest())
    return whole.hexdigest()[:12]


@contextlib.contextmanager
def _locked(cache: Path) -> Iterator[None]:
    with (cache / "lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        yield
