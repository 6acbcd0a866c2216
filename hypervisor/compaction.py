"""Compactor: gives back what a guest's volumes take and the guest does not use. A part of ``Host`` with drivers of its own.

A volume of a domain that is off is copied without its empty blocks beside itself, leaning on what it leaned on, and takes its
own name by one rename when it is whole and on disk: until then the old one is what the guest has. What was not finished is
removed by ``tidy``, also after a crash. A domain that runs is trimmed by its agent, which punches holes into the volumes.
"""

import os
from pathlib import Path
from typing import Final, Protocol

import anyio

from nano.domain.errors import HostError
from nano.hypervisor.blocking_calls import BlockingCalls
from nano.hypervisor.domain_xml import volume_name
from nano.hypervisor.host import Progress
from nano.hypervisor.insider import Insider
from nano.hypervisor.own_domains import INACTIVE, OwnDomains
from nano.hypervisor.qcow2_header import backing_file, read_header, snapshot_names
from nano.hypervisor.volumes import PART, Volumes, disk_full, require_guest_id, sync_folder

KEEP_LIMIT_S: Final = 600.0  # to have what was copied on disk


class Compactor(Protocol):
    async def compact(self, guest_id: str, number: int, progress: Progress) -> int:
        """Bytes given back. Of a domain that is off, by the volume of this number; of a running one, by all. Raises DiskFull,
        HostError (volume_has_snapshots, agent_silent, agent_refused, domain_…), DeadlineExceeded; then nothing is left."""
        ...

    async def tidy(self, guest_id: str, number: int) -> None:
        """Remove what an interrupted compaction has left."""
        ...


class VolumeCompactor:
    def __init__(self, own: OwnDomains, calls: BlockingCalls, volumes: Volumes, insider: Insider) -> None:
        self._own = own
        self._calls = calls
        self._volumes = volumes
        self._insider = insider

    async def compact(self, guest_id: str, number: int, progress: Progress) -> int:
        if (await self._own.get(guest_id)).state in INACTIVE:
            return await self._rewrite(guest_id, number, progress)
        before = await self._taken(guest_id)
        await self._insider.trim(guest_id)
        return max(0, before - await self._taken(guest_id))

    async def tidy(self, guest_id: str, number: int) -> None:
        part = self._part(guest_id, number)
        await self._calls.run(lambda: part.unlink(missing_ok=True), what="Removing an unfinished volume")

    async def _rewrite(self, guest_id: str, number: int, progress: Progress) -> int:
        part = self._part(guest_id, number)
        path = part.with_name(part.name.removesuffix(PART))
        try:
            with disk_full(self._volumes.folder):
                backing = await self._calls.run(lambda: _leans_on(path), what="Reading a volume")
                part.unlink(missing_ok=True)
                await self._volumes.copy_into(path, part, progress, backing)
                freed = await self._calls.run(
                    lambda: _settled(part, path), what="Writing the volume", deadline_s=KEEP_LIMIT_S
                )
                await self._calls.run(lambda: _replace(part, path, freed), what="Keeping the volume")
                return freed
        except BaseException:
            with anyio.CancelScope(shield=True):
                await self.tidy(guest_id, number)
            raise

    async def _taken(self, guest_id: str) -> int:
        """Bytes on disk of all of its volumes."""

        def read() -> int:
            files = self._volumes.folder.glob(f"{require_guest_id(guest_id)}_*.qcow2")
            return sum(_used(path) for path in files)

        with disk_full(self._volumes.folder):
            return await self._calls.run(read, what="Reading the sizes of volumes")

    def _part(self, guest_id: str, number: int) -> Path:
        return self._volumes.folder / (volume_name(require_guest_id(guest_id), number) + PART)


def _leans_on(path: Path) -> str:
    """The file that the volume leans on, empty for none. Raises HostError for a volume that can't be written anew."""
    try:
        names = snapshot_names(path)
    except ValueError as error:
        raise HostError(f"{error}.", code="volume_failed", hint="Restore it from a backup.") from None
    if names:
        raise HostError(
            f"{path.name} has snapshots inside it, which would be lost.",
            code="volume_has_snapshots",
            hint="Delete the snapshots first, or compact it while the guest runs.",
        )
    backing = backing_file(path)
    if backing and not Path(backing).is_absolute():
        raise HostError(f"{path.name} leans on a file that is not named by its path.", code="volume_failed")
    return backing


def _settled(part: Path, path: Path) -> int:
    """Bytes that it will give back. It is on disk then, and its owner's."""
    old = path.stat()
    if _size(part) != _size(path):
        raise HostError(f"The copy of {path.name} has another size.", code="volume_failed")
    descriptor = os.open(part, os.O_RDONLY)
    try:
        os.fsync(descriptor)
        freed = old.st_blocks * 512 - os.fstat(descriptor).st_blocks * 512
        os.fchmod(descriptor, old.st_mode & 0o777)
        os.fchown(descriptor, old.st_uid, old.st_gid)
    finally:
        os.close(descriptor)
    return max(0, freed)


def _replace(part: Path, path: Path, freed: int) -> None:
    """Where there is nothing to win, the old one stays."""
    if not freed:
        part.unlink()
        return
    part.replace(path)
    sync_folder(path.parent)


def _size(path: Path) -> int:
    header = read_header(path)
    return header.size if header is not None else -1


def _used(path: Path) -> int:
    return path.stat().st_blocks * 512
