"""Storage: the folder of a host's volumes as something that other hosts may see too, as an NFS export mounted by each.

Two folders are one storage when the same id is in them: it is drawn once, when a folder is first used, and kept beside the
volumes. An id can be copied with its folder, so whatever leans on two cells having one storage proves it first: one of them
leaves a word that was thought of only this once, and the other finds it. A path says nothing. Nor does a file say whose it is:
the journals do.
"""

import contextlib
import os
import re
import secrets
from pathlib import Path
from typing import Final, Protocol

from nano.domain.errors import HostError
from nano.domain.machine import MachineSpec
from nano.hypervisor.blocking_calls import BlockingCalls
from nano.hypervisor.domain_xml import file_names
from nano.hypervisor.qcow2_header import backing_file
from nano.hypervisor.volumes import disk_full, require_guest_id, sync_folder

MARK: Final = ".nano-storage"
WORD_MAX: Final = 200  # bytes
_ID: Final = re.compile(r"[0-9a-f]{32}")


class Storage(Protocol):
    """All are safe to repeat. Failures are HostError, DiskFull, DeadlineExceeded."""

    async def announce(self, guest_id: str, word: str) -> None:
        """Leave this word beside the guest's files, for whoever sees the same storage."""
        ...

    async def announced(self, guest_id: str) -> str:
        """The word that somebody has left; "" when there is none."""
        ...

    async def withdraw(self, guest_id: str) -> None:
        """Take the word away."""
        ...

    async def lacking(self, guest_id: str, spec: MachineSpec) -> list[str]:
        """Names of the guest's files, and of images that they lean on, which are not on this storage."""
        ...


class FolderStorage:
    def __init__(self, folder: Path, calls: BlockingCalls) -> None:
        self._folder = folder
        self._calls = calls

    async def announce(self, guest_id: str, word: str) -> None:
        path = self._word(guest_id)

        def write() -> None:
            with disk_full(self._folder):
                _write(path, word.encode())

        await self._calls.run(write, what="Announcing a guest")

    async def announced(self, guest_id: str) -> str:
        path = self._word(guest_id)

        def read() -> str:
            with disk_full(self._folder), contextlib.suppress(FileNotFoundError):
                return _read(path)
            return ""

        return await self._calls.run(read, what="Looking for an announced guest")

    async def withdraw(self, guest_id: str) -> None:
        path = self._word(guest_id)

        def remove() -> None:
            with disk_full(self._folder):
                path.unlink(missing_ok=True)

        await self._calls.run(remove, what="Withdrawing an announced guest")

    async def lacking(self, guest_id: str, spec: MachineSpec) -> list[str]:
        names = sorted(file_names(require_guest_id(guest_id), spec))

        def look() -> list[str]:
            with disk_full(self._folder):
                return [lack for name in names if (lack := self._lack(name))]

        return await self._calls.run(look, what="Looking for a guest's files")

    def _lack(self, name: str) -> str:
        """A file that is named by a whole path may be another one elsewhere, so only a name below the folder counts."""
        path = self._folder / name
        if not path.is_file():
            return name
        leans_on = Path(backing_file(path)) if path.suffix == ".qcow2" else Path()
        if leans_on.is_absolute() or ".." in leans_on.parts:
            return str(leans_on)
        return "" if (self._folder / leans_on).exists() else str(leans_on)

    def _word(self, guest_id: str) -> Path:
        return self._folder / f".{require_guest_id(guest_id)}.moves"


def storage_id(folder: Path) -> str:
    """The id of what this folder is, drawn now if it has none. Blocking; raises HostError."""
    mark = folder / MARK
    with disk_full(folder):
        if not mark.exists():
            part = folder / f"{MARK}.{secrets.token_hex(8)}"
            _write(part, secrets.token_hex(16).encode())
            try:
                with contextlib.suppress(FileExistsError):  # another host was quicker
                    os.link(part, mark)
            finally:
                part.unlink()
            sync_folder(folder)
        found = _read(mark)
    if not _ID.fullmatch(found):
        raise HostError(
            f"{mark} does not hold the id of a storage.",
            code="volume_failed",
            hint="Restore the file from a backup, or remove it while no cell uses the folder: another id is drawn then.",
        )
    return found


def _write(path: Path, data: bytes) -> None:
    with open(path, "wb") as file:
        file.write(data)
        file.flush()
        os.fsync(file.fileno())


def _read(path: Path) -> str:
    with open(path, "rb") as file:
        return file.read(WORD_MAX).decode(errors="replace").strip()
