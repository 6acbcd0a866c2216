"""ImageTools: what is done to whole image files: looked at, digested, converted. A port, because qemu-img is a program.

Invariant: a converted file has its name only when it is whole and synced.
"""

import hashlib
from collections.abc import Callable
from pathlib import Path
from typing import Final, Protocol

import anyio.from_thread

from nano.core.image_check import Inspection, check_media, check_raw, inspect, unreadable
from nano.core.work import Cancelled
from nano.domain.errors import HostError
from nano.hypervisor.qemu_img import QemuImg
from nano.transports.files import FILES, Files

MADE: Final = ".made"  # being converted

Tell = Callable[[int], None]
"""Percent done."""


class ImageTools(Protocol):
    async def inspect(self, path: Path) -> Inspection:
        """A disk image. Raises Invalid, HostError."""
        ...

    async def check_media(self, path: Path) -> Inspection:
        """A disc. Raises Invalid."""
        ...

    async def digest(self, path: Path, size: int, tell: Tell, stopped: Callable[[], bool]) -> str:
        """SHA-256, hex. Raises Cancelled, Invalid(image_unreadable)."""
        ...

    async def convert(self, raw: Path, path: Path, tell: Tell) -> None:
        """Make a qcow2 file of a raw disk. Raises Invalid, HostError, DiskFull."""
        ...


class QemuTools:
    """By qemu-img, in worker threads."""

    def __init__(self, files: Files = FILES) -> None:
        self._files = files

    async def inspect(self, path: Path) -> Inspection:
        return await inspect(path)

    async def check_media(self, path: Path) -> Inspection:
        return await check_media(path)

    async def digest(self, path: Path, size: int, tell: Tell, stopped: Callable[[], bool]) -> str:
        def told(percent: int) -> None:
            anyio.from_thread.run_sync(tell, percent)

        try:
            return await self._files.workers.run(self._digest, path, size, told, stopped)
        except OSError as error:
            raise unreadable(path, error) from error

    async def convert(self, raw: Path, path: Path, tell: Tell) -> None:
        await check_raw(raw)
        made = path.with_name(path.name + MADE)
        await QemuImg().copy(raw, made, tell, format="raw")
        try:
            await self._files.workers.run(self._settle, made, path)
        except OSError as error:
            raise HostError(f"{path} can't be written: {error.strerror}.", code="image_unwritable") from error

    def _digest(self, path: Path, size: int, tell: Tell, stopped: Callable[[], bool]) -> str:
        digest, done = hashlib.sha256(), 0
        while chunk := self._files.disk.read(path, done, self._files.chunk_bytes):
            if stopped():
                raise Cancelled("The task was cancelled.")
            digest.update(chunk)
            done += len(chunk)
            tell(min(99, done * 100 // max(1, size)))
        return digest.hexdigest()

    def _settle(self, made: Path, path: Path) -> None:
        disk = self._files.disk
        handle = disk.open(made)
        try:
            disk.fdatasync(handle)
        finally:
            disk.close(handle)
        disk.rename(made, path)
        disk.sync_folder(path.parent)
