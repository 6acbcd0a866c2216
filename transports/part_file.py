"""PartFile: a file that arrives in pieces, from a network, and is either whole and checked or not there.

Bytes go to ``<target>.part``; the digest is taken as they come, and what is there from an earlier attempt is read back into
it. Only when length and SHA-256 are right is the file synced and given its name. What was there before (``resumed``) need
not be what was written then, because nobody had synced it: only the digest can tell. Blocking: called where the workers
are, one call at a time; one holder per file (file lock). Memory is one chunk.
"""

import errno
import hashlib
from pathlib import Path
from typing import Final

from nano.domain.errors import Conflict, DiskFull, Failure, NanoError
from nano.journal.disk import append_all
from nano.transports.files import Files

PART: Final = ".part"
SETTLE_BYTES: Final = 64 << 20  # after so many the disk is asked to begin, so that the sync at the end is short


class PartFile:
    """Opened when made. Raises Conflict(transfer_running), DiskFull, Failure(image_unwritable)."""

    def __init__(self, files: Files, target: Path, size: int) -> None:
        self.size = size
        self.done = 0
        self.resumed = False
        self._disk = files.disk
        self._chunk_bytes = files.chunk_bytes
        self._target = target
        self._path = target.with_name(target.name + PART)
        self._digest = hashlib.sha256()
        self._file = self._lock = -1
        try:
            self._disk.make_folder(target.parent)
            self._lock = self._disk.lock(self._path)
            self._file = self._disk.open(self._path, create=True)
            self._read_back()
            room = files.free(target.parent)
        except BlockingIOError as error:
            raise Conflict(
                f"{target.name} is being fetched already.", code="transfer_running", hint="Wait for that transfer."
            ) from error
        except OSError as error:
            self.close(keep=False)
            raise self._refusal(error) from error
        if room < size - self.done:
            self.close(keep=False)
            raise self._full(room)

    @property
    def sha256(self) -> str:
        """Of what is there."""
        return self._digest.hexdigest()

    def restart(self) -> None:
        """From the first byte."""
        try:
            self._disk.truncate(self._file, 0)
        except OSError as error:
            raise self._refusal(error) from error
        self._digest = hashlib.sha256()
        self.done = 0
        self.resumed = False

    def write(self, chunk: bytes | bytearray | memoryview) -> None:
        """Raises Failure(image_damaged, image_unwritable), DiskFull."""
        if self.done + len(chunk) > self.size:
            raise Failure(
                f"More is sent than the {self.size} bytes that were announced.", code="image_damaged", size=self.size
            )
        before, after = self.done, self.done + len(chunk)
        try:
            append_all(self._disk, self._file, bytes(chunk))
            if before // SETTLE_BYTES != after // SETTLE_BYTES:
                self._disk.settle(self._file, before - before % SETTLE_BYTES, SETTLE_BYTES)
        except OSError as error:
            raise self._refusal(error) from error
        self._digest.update(chunk)
        self.done = after

    def complete(self, sha256: str) -> None:
        """Give it its name. Raises Failure(image_damaged) when it is not what was announced, Failure(image_unwritable)."""
        if self.done != self.size or self._digest.hexdigest() != sha256:
            raise Failure(
                "The image arrived damaged: its digest is not the recorded one.",
                code="image_damaged",
                hint="Send it again; if it stays so, the file has changed where it comes from.",
                expected=sha256,
                found=self._digest.hexdigest(),
            )
        try:
            self._disk.fdatasync(self._file)
            self._disk.rename(self._path, self._target)
            self._disk.sync_folder(self._target.parent)
        except OSError as error:
            raise self._refusal(error) from error

    def close(self, *, keep: bool) -> None:
        """Unless it was completed, the part stays for the next attempt or goes."""
        try:
            if not keep:
                self._disk.remove(self._path)
        except OSError:
            return  # it is gone, or what is left of it will be looked at again
        finally:
            for handle in (self._file, self._lock):
                if handle >= 0:
                    self._disk.close(handle)
            self._file = self._lock = -1

    def _read_back(self) -> None:
        """What an earlier attempt has left; more than the whole is not ours."""
        if self._disk.size(self._path) > self.size:
            self.restart()
        while chunk := self._disk.read(self._path, self.done, self._chunk_bytes):
            self._digest.update(chunk)
            self.done += len(chunk)
        self.resumed = self.done > 0

    def _refusal(self, error: OSError) -> NanoError:
        if error.errno in (errno.ENOSPC, errno.EDQUOT):
            return self._full(0)
        return Failure(f"{self._path} can't be written: {error.strerror}.", code="image_unwritable")

    def _full(self, room: int) -> DiskFull:
        return DiskFull(
            f"No room for {self._target.name}: {self.size} bytes needed, {room} free.",
            hint="Free some space in the storage pool, or add a disk.",
            size=self.size,
            free=room,
        )
