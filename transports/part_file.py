"""PartFile: a file that arrives in pieces, from a network, and is either whole and checked or not there.

Bytes go to ``<target>.part``; the digest is taken as they come, and what is there from an earlier attempt is read back into
it. Only when length and SHA-256 are right is the file synced and given its name. Blocking: called in worker threads, one
call at a time; one holder per file (file lock). Memory is one chunk.
"""

import errno
import fcntl
import hashlib
import os
import shutil
from pathlib import Path
from typing import BinaryIO, Final

from nano.domain.errors import Conflict, DiskFull, Failure

CHUNK_BYTES: Final = 1 << 20
PART: Final = ".part"
SETTLE_BYTES: Final = 64 << 20  # after so many the disk is asked to begin, so that the sync at the end is short


class PartFile:
    def __init__(self, file: BinaryIO, target: Path, path: Path, size: int) -> None:
        self._file = file
        self._target = target
        self._path = path
        self._digest = hashlib.sha256()
        self.size = size
        self.done = 0

    @classmethod
    def open(cls, target: Path, size: int) -> "PartFile":
        """Raises Conflict(transfer_running), DiskFull."""
        path = target.with_name(target.name + PART)
        path.parent.mkdir(parents=True, exist_ok=True)
        file = path.open("a+b")
        try:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError as error:
            file.close()
            raise Conflict(
                f"{target.name} is being fetched already.", code="transfer_running", hint="Wait for that transfer."
            ) from error
        part = cls(file, target, path, size)
        part._read_back()
        free = shutil.disk_usage(path.parent).free
        if free < size - part.done:
            part.close(keep=False)
            raise _full(target, size, free)
        return part

    def _read_back(self) -> None:
        """What an earlier attempt has left; more than the whole is not ours."""
        if self._file.seek(0, os.SEEK_END) > self.size:
            self.restart()
            return
        self._file.seek(0)
        while chunk := self._file.read(CHUNK_BYTES):
            self._digest.update(chunk)
            self.done += len(chunk)

    def restart(self) -> None:
        self._file.seek(0)
        self._file.truncate(0)
        self._digest = hashlib.sha256()
        self.done = 0

    def write(self, chunk: "memoryview | bytes | bytearray") -> None:
        """Raises Failure(image_damaged, image_unwritable), DiskFull."""
        if self.done + len(chunk) > self.size:
            raise Failure(
                f"More is sent than the {self.size} bytes that were announced.", code="image_damaged", size=self.size
            )
        try:
            self._file.write(chunk)
            self._file.flush()
        except OSError as error:
            if error.errno in (errno.ENOSPC, errno.EDQUOT):
                raise _full(self._target, self.size, shutil.disk_usage(self._path.parent).free) from error
            raise Failure(f"{self._path} can't be written: {error.strerror}.", code="image_unwritable") from error
        self._digest.update(chunk)
        before, self.done = self.done, self.done + len(chunk)
        if before // SETTLE_BYTES != self.done // SETTLE_BYTES:
            os.posix_fadvise(self._file.fileno(), before - before % SETTLE_BYTES, SETTLE_BYTES, os.POSIX_FADV_DONTNEED)

    def complete(self, sha256: str) -> None:
        """Give it its name. Raises Failure(image_damaged) when it is not what was announced."""
        if self.done != self.size or self._digest.hexdigest() != sha256:
            raise Failure(
                "The image arrived damaged: its digest is not the recorded one.",
                code="image_damaged",
                hint="Send it again; if it stays so, the file has changed where it comes from.",
                expected=sha256,
                found=self._digest.hexdigest(),
            )
        os.fsync(self._file.fileno())
        self._path.replace(self._target)
        sync_folder(self._target.parent)

    def close(self, *, keep: bool) -> None:
        """Unless it was completed, the part stays for the next attempt or goes."""
        if not keep:
            self._path.unlink(missing_ok=True)
        self._file.close()


def sync_folder(folder: Path) -> None:
    descriptor = os.open(folder, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def _full(target: Path, size: int, free: int) -> DiskFull:
    return DiskFull(
        f"No room for {target.name}: {size} bytes needed, {free} free.",
        hint="Free some space in the storage pool, or add a disk.",
        size=size,
        free=free,
    )
