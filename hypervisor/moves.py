"""Moves: a guest's files as another cell takes them over: read here, written there, kept when they are what they should be.

What arrives comes from another host and is trusted no more than an upload: a disk must be a whole qcow2 of the size the guest's
description says and lean on nothing, before QEMU ever opens it. Invariants: a file gets its final name only in ``keep``, and one
that is there is never overwritten; nothing of the sending side's files changes.
"""

import errno
import os
from collections.abc import Collection
from pathlib import Path
from typing import Final, Protocol

from nano.domain.errors import Failure, HostError
from nano.domain.machine import MachineSpec
from nano.hypervisor.blocking_calls import BlockingCalls
from nano.hypervisor.domain_xml import seed_name, volume_name
from nano.hypervisor.host import Progress
from nano.hypervisor.qcow2_header import backing_file, read_header
from nano.hypervisor.qemu_img import QemuImg
from nano.hypervisor.volumes import PART, Volumes, disk_full, require_guest_id, settle, sync_folder

SEED: Final = -1  # the number under which its cloud-init seed travels
SEED_MAX: Final = 4 << 20


class Moves(Protocol):
    """All are safe to repeat. Failures are HostError, DiskFull, DeadlineExceeded, Failure(code="image_damaged")."""

    async def lengths(self, guest_id: str, numbers: Collection[int], progress: Progress) -> dict[int, int]:
        """Of these files of a guest that is off: bytes to be read of each. A linked disk is made whole first."""
        ...

    async def read(self, guest_id: str, number: int, offset: int, count: int) -> bytes: ...

    async def forget(self, guest_id: str, spec: MachineSpec) -> None:
        """Remove what was made only to be sent."""
        ...

    async def put(self, guest_id: str, number: int, offset: int, data: bytes) -> None:
        """Bytes of a file that arrives; what lies between them stays zero."""
        ...

    async def keep(self, guest_id: str, spec: MachineSpec, number: int, length: int) -> None:
        """All of it is there, ``length`` bytes: it is looked at, and gets its name."""
        ...


class VolumeMoves:
    def __init__(self, volumes: Volumes, calls: BlockingCalls, qemu_img: QemuImg) -> None:
        self._folder = volumes.folder
        self._calls = calls
        self._qemu_img = qemu_img

    async def lengths(self, guest_id: str, numbers: Collection[int], progress: Progress) -> dict[int, int]:
        found = {}
        for number in numbers:
            path = self._path(guest_id, number)
            with disk_full(self._folder):
                if number != SEED and await self._leans(path):
                    path = path.with_name(path.name + PART)
                    await self._qemu_img.copy(self._path(guest_id, number), path, progress)
                found[number] = (await self._calls.run(path.stat, what="Looking at a disk")).st_size
        return found

    async def read(self, guest_id: str, number: int, offset: int, count: int) -> bytes:
        path = self._path(guest_id, number)
        whole = path.with_name(path.name + PART)

        def read() -> bytes:
            with disk_full(self._folder), open(whole if whole.exists() else path, "rb", buffering=0) as file:
                return os.pread(file.fileno(), count, offset)

        return await self._calls.run(read, what="Reading a disk")

    async def forget(self, guest_id: str, spec: MachineSpec) -> None:
        paths = [self._path(guest_id, number) for number in numbers_of(spec)]

        def remove() -> None:
            for path in paths:
                if path.exists():  # else it is a disk that is still arriving here
                    path.with_name(path.name + PART).unlink(missing_ok=True)

        await self._calls.run(remove, what="Removing copies of disks")

    async def put(self, guest_id: str, number: int, offset: int, data: bytes) -> None:
        path = self._path(guest_id, number)
        part = path.with_name(path.name + PART)

        def write() -> None:
            self._folder.mkdir(parents=True, exist_ok=True)
            with disk_full(self._folder):
                descriptor = os.open(part, os.O_WRONLY | os.O_CREAT | os.O_NOFOLLOW, 0o600)
                try:
                    if os.pwrite(descriptor, data, offset) != len(data):
                        raise OSError(errno.ENOSPC, "short write")
                finally:
                    os.close(descriptor)

        await self._calls.run(write, what="Writing a disk")

    async def keep(self, guest_id: str, spec: MachineSpec, number: int, length: int) -> None:
        path = self._path(guest_id, number)
        part = path.with_name(path.name + PART)
        if await self._calls.run(path.exists, what="Looking for a disk"):
            raise HostError(f"Volume {path.name} is there already.", code="volume_failed")
        with disk_full(self._folder):
            await self._calls.run(lambda: os.truncate(part, length), what="Keeping a disk")
            if number == SEED:
                await self._calls.run(lambda: _rename(part, path), what="Keeping a seed")
                return
            await self._check(part, spec.disks[spec.volume_numbers.index(number)])
            await self._calls.run(lambda: settle(part, path), what="Keeping a disk")

    async def _leans(self, path: Path) -> bool:
        return await self._calls.run(lambda: bool(backing_file(path)), what="Reading a disk")

    async def _check(self, part: Path, size: int) -> None:
        header = await self._calls.run(lambda: read_header(part), what="Reading a disk")
        if header is None or header.size != size or header.backing_offset or header.encrypted:
            raise damaged("is not a disk of its size that stands by itself")
        if (info := await self._qemu_img.info(part)).refers_elsewhere or info.virtual_size != size:
            raise damaged("refers to another file")
        try:
            await self._qemu_img.check(part)
        except HostError as error:
            raise damaged(error.message) from None

    def _path(self, guest_id: str, number: int) -> Path:
        name = seed_name(guest_id) if number == SEED else volume_name(guest_id, number)
        require_guest_id(guest_id)
        return self._folder / name


def numbers_of(spec: MachineSpec) -> tuple[int, ...]:
    """Of all its files, its cloud-init seed included."""
    return (*spec.volume_numbers, SEED) if spec.seed else spec.volume_numbers


def damaged(why: str) -> Failure:
    return Failure(
        f"A disk that came from the other cell {why}.", code="image_damaged", hint="Look at the disk at its source."
    )


def _rename(part: Path, path: Path) -> None:
    part.replace(path)
    sync_folder(path.parent)
