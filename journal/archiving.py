"""Archiving: sealed segments that are no longer among the newest are compressed, aside, while the log goes on.

The archive is written under another name, synced, read back and compared with the seal's digest, renamed, its folder
synced; only then is the plain segment removed. Invariants: at every moment, crashes included, the segment is there whole
in one form or both (then the plain one counts, and the next round ends what was begun); a segment that is not what its
seal says is left as it is.

One round at a time. It needs no lock: a sealed segment is never written to. It does not know when (``archive_schedule``).
"""

import contextlib
import logging
from collections.abc import Iterator
from hashlib import sha256
from pathlib import Path

from nano.domain.errors import JournalDamaged
from nano.journal.archive import FRAME_BYTES, archive_path, compressed, is_archive, text_digest
from nano.journal.disk import Disk, append_all
from nano.journal.segments import Seal, damaged, list_segments, read_seal, seal_path

log = logging.getLogger("nano.journal")


def archive_segments(disk: Disk, commits: Path, plain: int) -> int:
    """Archive what is sealed and not among the newest ``plain`` sealed segments; how many were. Raises OSError,
    JournalDamaged (that segment, and those after it, stay as they are)."""
    done = 0
    for segment in list_segments(disk, commits)[: -1 - plain]:
        if is_archive(segment.path):
            continue
        seal = read_seal(disk, seal_path(segment.path))
        if seal is None:  # the next start writes it
            break
        _archive(disk, segment.path, seal)
        done += 1
    return done


def _archive(disk: Disk, plain: Path, seal: Seal) -> None:
    target = archive_path(plain)
    if not _is_whole(disk, target, seal):
        draft = plain.with_name(plain.name + ".new.zst")
        try:
            _write(disk, plain, draft, seal)
            if not _is_whole(disk, draft, seal):
                raise damaged(draft, 0, "it does not read back as it was written; the plain segment is kept")
        except BaseException:
            with contextlib.suppress(OSError):
                disk.remove(draft)
            raise
        disk.rename(draft, target)
    disk.sync_folder(plain.parent)
    disk.remove(plain)
    disk.sync_folder(plain.parent)
    log.info("journal.segment_archived file=%s bytes=%d of=%d", target.name, disk.size(target), seal.size)


def _write(disk: Disk, plain: Path, draft: Path, seal: Seal) -> None:
    """Compress it, while its digest is taken again. Raises JournalDamaged for a segment that is not what was sealed."""
    digest = sha256()

    def texts() -> Iterator[bytes]:
        offset = 0
        while text := disk.read(plain, offset, FRAME_BYTES):
            digest.update(text)
            offset += len(text)
            yield text

    handle = disk.open(draft, create=True)
    try:
        disk.truncate(handle, 0)
        for piece in compressed(texts()):
            append_all(disk, handle, piece)
        disk.fdatasync(handle)
    finally:
        disk.close(handle)
    if digest.hexdigest() != seal.digest:
        raise damaged(plain, 0, "it is not what its seal says")


def _is_whole(disk: Disk, archive: Path, seal: Seal) -> bool:
    try:
        return text_digest(disk, archive) == seal.digest
    except (FileNotFoundError, JournalDamaged):
        return False
