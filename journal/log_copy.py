"""Copying a log into a backup, or back: whole transactions up to a position, every line followed, every copy read back.

Sealed segments never change: one that the backup before has, byte for byte, is linked and not copied, and an archived one is
copied as it is. Invariant: what is there in the end says what the source says up to ``position``, whose line has ``hash``.
It does not give the copy its name (``backup``).
"""

from hashlib import sha256
from pathlib import Path

from nano.domain.errors import JournalDamaged
from nano.journal.archive import SCAN_BYTES, is_archive, text_digest, text_size
from nano.journal.disk import Disk, append_all, is_file
from nano.journal.horizon import before_horizon, copy_horizon
from nano.journal.line import NO_HASH, line_decoder
from nano.journal.segments import (
    Segment,
    SegmentScan,
    damaged,
    decode_block,
    file_digest,
    list_segments,
    read_seal,
    seal_path,
    segment_path,
)
from nano.journal.verify import Progress


class LogCopy:
    """From ``commits`` on the disk ``source`` to ``into`` on ``disk``."""

    def __init__(self, source: Disk, commits: Path, disk: Disk, into: Path, progress: Progress) -> None:
        self.position, self.hash = 0, NO_HASH
        self._source = source
        self._commits = commits
        self._disk = disk
        self._into = into
        self._progress = progress
        self._size = self._done = 0

    def run(self, position: int | None, before: Path | None = None) -> None:
        """Up to ``position``, or all there is; ``before`` is where the backup before has its segments. Raises JournalDamaged,
        Invalid(before_horizon), OSError."""
        source, disk = self._source, self._disk
        segments = [one for one in list_segments(source, self._commits) if position is None or one.first <= position]
        self._size = sum(text_size(source, segment.path) for segment in segments)
        disk.make_folder(self._into)
        begins = copy_horizon(source, self._commits, disk, self._into)
        if position is not None and position < begins.position:
            raise before_horizon(begins)
        self.position, self.hash = begins[:2]
        named = set(source.list(self._commits))
        for number, segment in enumerate(segments):
            if segment.first != self.position + 1:
                raise damaged(segment.path, 0, f"it should start at position {self.position + 1}")
            path = seal_path(segment.path)
            sealed = read_seal(source, path) if number + 1 < len(segments) else None  # the newest one goes on growing
            if sealed is not None and before is not None and self._link(segment, sealed.digest, before):
                self.position, self.hash = sealed.last, sealed.last_hash.encode()
                self._moved(sealed.size)
            else:
                whole = sealed is not None and is_archive(segment.path)
                digest = self._copy_archive(segment) if whole else self._copy_segment(segment, position)
                if sealed is not None and digest != sealed.digest:
                    raise damaged(segment.path, 0, "it is not what its seal says")
            if sealed is not None and path.name in named:  # those of a database's rows are made up and have no file
                write_file(disk, self._into / path.name, source.read(path))
        disk.sync_folder(self._into)

    def _moved(self, size: int) -> None:
        self._done += size
        self._progress("log", self._done, self._size)

    def _link(self, segment: Segment, digest: str, before: Path) -> bool:
        """Take a sealed segment over from the backup before, where that has the very same. Whether it did."""
        known = before / segment.path.name
        if not is_file(self._disk, known) or text_digest(self._disk, known) != digest:
            return False
        try:
            self._disk.link(known, self._into / segment.path.name)
        except OSError:  # a file system without links
            return False
        return True

    def _copy_segment(self, segment: Segment, position: int | None) -> str:
        """Its SHA-256. Raises JournalDamaged: for the source, and for a copy that does not read back."""
        disk, scan = self._disk, SegmentScan(self._source, segment.path, self.hash)
        digest, target, decoder = sha256(), segment_path(self._into, segment.first), line_decoder()
        handle = disk.open(target, create=True)
        try:
            for block in scan.blocks():
                data, lines = block.data, decode_block(decoder, block)
                if position is not None and lines[-1].last > position:
                    lines = [line for line in lines if line.last <= position]
                    data = data[: block.offset_of(len(lines)) - block.offset]
                append_all(disk, handle, data)
                digest.update(data)
                self._moved(len(block.data))
                if lines:
                    self.position, self.hash = lines[-1].last, lines[-1].hash.encode()
                if len(data) < len(block.data):
                    break
            disk.fdatasync(handle)
        finally:
            disk.close(handle)
        if file_digest(disk, target) != digest.hexdigest():
            raise JournalDamaged(
                f"{target} does not read back as it was written.",
                hint="Check that disk; the journal itself is whole.",
                file=str(target),
                byte=0,
            )
        return digest.hexdigest()

    def _copy_archive(self, segment: Segment) -> str:
        """The same for one that is archived: as it is, then read back whole. SHA-256 of its text."""
        disk, target, digest, decoder = self._disk, self._into / segment.path.name, sha256(), line_decoder()
        handle, offset = disk.open(target, create=True), 0
        try:
            while data := self._source.read(segment.path, offset, SCAN_BYTES):
                append_all(disk, handle, data)
                offset += len(data)
            disk.fdatasync(handle)
        finally:
            disk.close(handle)
        for block in SegmentScan(disk, target, self.hash).blocks():
            digest.update(block.data)
            self._moved(len(block.data))
            last = decode_block(decoder, block)[-1]
            self.position, self.hash = last.last, last.hash.encode()
        return digest.hexdigest()


def write_file(disk: Disk, path: Path, data: bytes) -> None:
    """A new file, durable with its name."""
    disk.make_folder(path.parent)
    handle = disk.open(path, create=True)
    try:
        disk.truncate(handle, 0)
        for start in range(0, len(data), SCAN_BYTES):
            append_all(disk, handle, data[start : start + SCAN_BYTES])
        disk.fdatasync(handle)
    finally:
        disk.close(handle)
    disk.sync_folder(path.parent)
