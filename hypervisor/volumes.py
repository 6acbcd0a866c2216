"""The files of a host's guests, in one folder: a qcow2 for each disk, what is in the media drive, the cloud-init seed.

Invariants: a file under its final name is complete (it is made as ``….part`` and renamed when whole and on disk), and
an existing one is never overwritten: making what exists succeeds and leaves it as it is. What a failed or cancelled
call made is removed before the failure is told. Files here are named by ``volume_name``; others are never touched.

A blank qcow2 of a given size is the same bytes each time, so qemu-img makes the first of a size and its few clusters
are written again for the next: 0.3 ms instead of 8 ms (qemu-img) or 9 ms (libvirt's storage driver, which runs it too).
"""

import collections
import contextlib
import errno
import functools
import logging
import os
import re
import shutil
import struct
from collections.abc import Collection, Iterator, Mapping
from pathlib import Path
from typing import Final, NamedTuple

import anyio

from nano.domain.errors import DiskFull, HostError
from nano.domain.machine import MachineSpec
from nano.hypervisor.blocking_calls import BlockingCalls
from nano.hypervisor.domain_xml import media_name, seed_name, volume_name
from nano.hypervisor.host import INVALID_GUEST_ID, Progress
from nano.hypervisor.qcow2_header import backing_file, snapshot_names
from nano.hypervisor.qemu_img import QemuImg

log = logging.getLogger("nano.hypervisor")

COPIES_MAX: Final = 2  # at once; more only make each other slower
BLANK_SIZES_MAX: Final = 64
BLANK_LENGTH_MAX: Final = 1 << 20  # a longer blank file (a disk of many TiB) is not worth keeping
MEDIA_LIMIT_S: Final = 600.0  # to copy it, where the cache is on another file system
CLUSTER: Final = 1 << 16
PART: Final = ".part"
QCOW2_HEAD: Final = struct.Struct(">4sIQIIQ")  # magic, version, backing file's place and length, cluster bits, size
_GUEST: Final = re.compile(r"[0-9a-f]{8}(?:-[0-9a-f]{4}){3}-[0-9a-f]{12}")
_VOLUME: Final = re.compile(rf"({_GUEST.pattern})_(?:\d{{1,2}}\.qcow2|(?:{_GUEST.pattern}|seed)\.iso)(\.part)?")


class Blank(NamedTuple):
    """A blank volume as its non-zero clusters (offset, bytes) and its length."""

    clusters: tuple[tuple[int, bytes], ...]
    length: int


class Volumes:
    def __init__(self, folder: Path, calls: BlockingCalls, qemu_img: QemuImg | None = None) -> None:
        self.folder = folder
        self._calls = calls
        self.qemu_img = qemu_img or QemuImg()
        self._copies = anyio.CapacityLimiter(COPIES_MAX)
        self._blanks: collections.OrderedDict[int, Blank] = collections.OrderedDict()

    async def make(
        self,
        guest_id: str,
        spec: MachineSpec,
        image: Path | None,
        progress: Progress,
        numbers: Collection[int] | None = None,
    ) -> None:
        """All disks of the spec, or those of these ``numbers``. Raises DiskFull, HostError, DeadlineExceeded; then nothing
        of this call is left."""
        paths = {
            index: self.folder / volume_name(require_guest_id(guest_id), n)
            for index, n in enumerate(spec.volume_numbers)
            if numbers is None or n in numbers
        }
        made: list[Path] = []
        try:
            with disk_full(self.folder):
                for index, path in await self._calls.run(
                    lambda: _absent(self.folder, paths), what="Looking for volumes"
                ):
                    part = path.with_name(path.name + PART)
                    made.append(part)
                    if index == 0 and image is not None and spec.linked:
                        await self._link(image, part, spec.disks[0])
                    elif index == 0 and image is not None:
                        await self._clone(image, part, spec.disks[0], progress)
                    else:
                        await self._blank(part, spec.disks[index])
                    await self._calls.run(functools.partial(settle, part, path), what="Keeping the volume")
                    made.append(path)
        except BaseException:
            with anyio.CancelScope(shield=True):
                await self._calls.run(lambda: _remove(made), what="Removing unfinished volumes")
            raise
        progress(100)

    async def make_seed(self, guest_id: str, texts: Mapping[str, str]) -> None:
        """The guest's cloud-init seed; one that is there is replaced. Raises DiskFull, HostError."""
        path = self.folder / seed_name(require_guest_id(guest_id))

        def write() -> None:
            from nano.hypervisor.seed import seed_iso  # few guests have one

            with disk_full(self.folder):
                _write_secret(path.with_name(path.name + PART), path, seed_iso(texts))

        await self._calls.run(write, what="Making the seed")

    async def remove(self, guest_id: str) -> list[str]:
        """Names of the files removed, finished or not."""
        require_guest_id(guest_id)
        return await self._calls.run(lambda: _remove(self._files(guest_id)), what="Removing volumes")

    async def drop(self, guest_id: str, numbers: Collection[int]) -> list[str]:
        """Those of a guest's volumes; names of the files removed, finished or not."""
        return await self.drop_files(guest_id, [volume_name(require_guest_id(guest_id), number) for number in numbers])

    async def drop_files(self, guest_id: str, names: Collection[str]) -> list[str]:
        """Those of a guest's files, of whatever kind; names of the files removed, finished or not."""

        def these() -> list[Path]:
            return [path for path in self._files(guest_id) if path.name.removesuffix(PART) in names]

        return await self._calls.run(lambda: _remove(these()), what="Removing volumes")

    async def sizes(self, guest_id: str) -> dict[int, int]:
        """Number -> bytes that the guest sees, of every finished volume; also while it runs."""
        require_guest_id(guest_id)

        def read() -> dict[int, int]:
            whole = (path for path in self._files(guest_id) if path.suffix == ".qcow2")
            with disk_full(self.folder):
                return {int(path.stem.rpartition("_")[2]): _virtual_size(path) for path in whole}

        return await self._calls.run(read, what="Reading the sizes of volumes")

    async def media(self, guest_id: str) -> set[str]:
        """Ids of the media images whose files the guest has."""
        files = await self._calls.run(lambda: self._media_files(require_guest_id(guest_id)), what="Looking for media")
        return {path.stem.rpartition("_")[2] for path in files if path.suffix != PART}

    async def put_media(self, guest_id: str, media: str, file: Path) -> None:
        """Give the guest this file under a name of its own: a link where that can be, so that whatever becomes of the
        cache's name, what is in a drive stays. Raises DiskFull, HostError."""
        path = self.folder / media_name(require_guest_id(guest_id), require_guest_id(media))
        with disk_full(self.folder):
            await self._calls.run(lambda: _put(file, path), what="Giving the guest its media", deadline_s=MEDIA_LIMIT_S)

    async def drop_media(self, guest_id: str, keep: str) -> list[str]:
        """Remove what the guest has of media, finished or not, but for this one; names of the files."""
        kept = media_name(require_guest_id(guest_id), keep)
        return await self._calls.run(
            lambda: _remove([path for path in self._media_files(guest_id) if path.name != kept]), what="Removing media"
        )

    def _media_files(self, guest_id: str) -> list[Path]:
        whole = [(path, path.name.removesuffix(PART)) for path in self._files(guest_id)]
        return [path for path, name in whole if name.endswith(".iso") and name != seed_name(guest_id)]

    async def snapshots(self, guest_id: str) -> dict[int, frozenset[str]]:
        """Number -> names of the snapshots inside it, of every finished volume; also while it runs."""
        require_guest_id(guest_id)

        def read() -> dict[int, frozenset[str]]:
            whole = (path for path in self._files(guest_id) if path.suffix == ".qcow2")
            with disk_full(self.folder):
                return {int(path.stem.rpartition("_")[2]): frozenset(_snapshots(path)) for path in whole}

        return await self._calls.run(read, what="Reading the snapshots in volumes")

    async def resize(self, guest_id: str, number: int, size: int) -> None:
        """Grow or cut a volume of a guest that is off. What lies behind the new end is lost."""
        path = self.folder / volume_name(require_guest_id(guest_id), number)
        with disk_full(self.folder):
            now = await self._calls.run(lambda: _virtual_size(path), what="Reading the size of a volume")
            await self.qemu_img.resize(path, size, shrink=size < now)

    async def copy(self, guest_id: str, number: int, target: Path, progress: Progress) -> None:
        """A volume of a guest that is off, with all that it leans on, as one file."""
        path = self.folder / volume_name(require_guest_id(guest_id), number)
        with disk_full(self.folder):
            async with self._copies:
                await self.qemu_img.copy(path, target, progress)

    async def copy_into(self, path: Path, part: Path, progress: Progress, backing: str) -> None:
        """A volume without its empty blocks, leaning on the same file. Raises DiskFull, HostError, DeadlineExceeded."""
        async with self._copies:
            await self.qemu_img.copy(path, part, progress, backing=backing)

    async def owners(self) -> list[str]:
        return await self._calls.run(lambda: sorted({guest for guest, _ in self._all()}), what="Listing volumes")

    async def names(self) -> list[str]:
        """Of every volume, each once; an unfinished one by the name it is to get."""

        def read() -> list[str]:
            return sorted({path.name.removesuffix(PART) for _, path in self._all()})

        return await self._calls.run(read, what="Listing volumes")

    def _files(self, guest_id: str) -> list[Path]:
        return [path for guest, path in self._all() if guest == guest_id]

    def _all(self) -> Iterator[tuple[str, Path]]:
        if self.folder.is_dir():
            for entry in sorted(os.listdir(self.folder)):
                if match := _VOLUME.fullmatch(entry):
                    yield match[1], self.folder / entry

    async def _link(self, image: Path, part: Path, size: int) -> None:
        await self._require_fitting(image, size)
        await self.qemu_img.link(image, part, size)

    async def _clone(self, image: Path, part: Path, size: int, progress: Progress) -> None:
        virtual_size = await self._require_fitting(image, size)
        async with self._copies:
            await self.qemu_img.copy(image, part, progress)
        if virtual_size < size:
            await self.qemu_img.resize(part, size)

    async def _require_fitting(self, image: Path, size: int) -> int:
        """The size of the disk in the image, which is whole in itself and fits. Raises HostError."""
        if not image.is_absolute():  # qemu-img takes "nbd:…" or "json:…" for more than a file name
            raise HostError(f"The image {image.name} is not named by an absolute path.", code="image_unreadable")
        info = await self.qemu_img.info(image)
        if info.refers_elsewhere:
            raise HostError(
                "The image refers to another file and can't be cloned.",
                code="image_not_independent",
                hint="Flatten it first: qemu-img convert -O qcow2 OLD NEW.",
            )
        if info.virtual_size > size:
            raise HostError(
                f"The image is a disk of {info.virtual_size} bytes and does not fit into {size}.",
                code="image_too_large",
                hint="Ask for a larger system disk.",
                image_size=info.virtual_size,
                disk_size=size,
            )
        return info.virtual_size

    async def _blank(self, part: Path, size: int) -> None:
        if (blank := self._blanks.get(size)) is not None:
            self._blanks.move_to_end(size)
            await self._calls.run(lambda: _write_blank(part, blank), what="Making a blank volume")
            return
        await self.qemu_img.create(part, size)
        read = await self._calls.run(lambda: _read_blank(part), what="Reading a blank volume")
        if read is not None:
            self._blanks[size] = read
            while len(self._blanks) > BLANK_SIZES_MAX:
                self._blanks.popitem(last=False)


def require_guest_id(guest_id: str) -> str:
    """The id itself. Raises HostError(code="invalid_guest_id"): it becomes a file name and a libvirt UUID."""
    if not _GUEST.fullmatch(guest_id):
        raise HostError(
            f"{guest_id[:64]!r} is not a guest id.", code=INVALID_GUEST_ID, hint="It is a UUID in lower case."
        )
    return guest_id


@contextlib.contextmanager
def disk_full(folder: Path) -> Iterator[None]:
    try:
        yield
    except OSError as error:
        if error.errno in (errno.ENOSPC, errno.EDQUOT):
            raise DiskFull(
                f"No space left in {folder}.", hint="Free space on the host or choose another cell."
            ) from None
        raise HostError(f"Volumes in {folder}: {error.strerror or error}", code="volume_failed") from None


def _absent(folder: Path, paths: dict[int, Path]) -> list[tuple[int, Path]]:
    """Disk index and path of the volumes that are not there yet."""
    folder.mkdir(parents=True, exist_ok=True)
    return [(index, path) for index, path in paths.items() if not path.exists()]


def _put(file: Path, path: Path) -> None:
    if path.exists():
        return
    part = path.with_name(path.name + PART)
    part.unlink(missing_ok=True)
    try:
        os.link(file, part)
    except OSError as error:
        if error.errno not in (errno.EXDEV, errno.EPERM, errno.EMLINK):
            raise
        try:
            shutil.copyfile(file, part)
        except BaseException:
            part.unlink(missing_ok=True)
            raise
    settle(part, path)


def _virtual_size(path: Path) -> int:
    """From the header: QEMU keeps a running guest's file locked against ``qemu-img info``, and this is one number."""
    with open(path, "rb") as file:
        head = file.read(QCOW2_HEAD.size)
    if len(head) < QCOW2_HEAD.size or not head.startswith(b"QFI\xfb"):
        raise HostError(f"{path.name} is no qcow2 file.", code="volume_failed", hint="Restore it from a backup.")
    return int(QCOW2_HEAD.unpack(head)[-1])


def _snapshots(path: Path) -> list[str]:
    try:
        return snapshot_names(path)
    except ValueError as error:
        raise HostError(f"{error}.", code="volume_failed", hint="Restore it from a backup.") from None


def settle(part: Path, path: Path) -> None:
    """Give a whole volume its name. link(2) refuses an existing name where rename(2) would replace it."""
    descriptor = os.open(part, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
    os.link(part, path)
    part.unlink()
    sync_folder(path.parent)


def _write_secret(part: Path, path: Path, data: bytes) -> None:
    """A whole file for this user alone; libvirt gives it to QEMU while the guest runs."""
    try:
        with os.fdopen(os.open(part, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600), "wb") as file:
            file.write(data)
            file.flush()
            os.fsync(file.fileno())
        part.replace(path)
    except BaseException:
        part.unlink(missing_ok=True)
        raise
    sync_folder(path.parent)


def sync_folder(folder: Path) -> None:
    descriptor = os.open(folder, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def backing_files(folder: Path) -> set[str]:
    """What the volumes in this folder lean on. Blocking; raises OSError."""
    found = (backing_file(path) for path in folder.glob("*.qcow2*")) if folder.is_dir() else iter(())
    return {str(folder / name) for name in found if name}


def _remove(paths: list[Path]) -> list[str]:
    removed = []
    for path in paths:
        with contextlib.suppress(FileNotFoundError):
            path.unlink()
            removed.append(path.name)
    if removed:
        sync_folder(paths[0].parent)
    return removed


def _read_blank(path: Path) -> Blank | None:
    if path.stat().st_size > BLANK_LENGTH_MAX:
        return None
    data = path.read_bytes()
    cut = ((start, data[start : start + CLUSTER]) for start in range(0, len(data), CLUSTER))
    return Blank(tuple((start, piece.rstrip(b"\0")) for start, piece in cut if any(piece)), len(data))


def _write_blank(path: Path, blank: Blank) -> None:
    with open(path, "wb", buffering=0) as file:
        file.truncate(blank.length)
        for start, piece in blank.clusters:
            if os.pwrite(file.fileno(), piece, start) != len(piece):
                raise OSError(errno.ENOSPC, "short write")
