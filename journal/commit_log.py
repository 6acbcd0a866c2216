"""The commit log: the one file format in which facts are kept, and the rules for surviving a crash.

Invariants. Lines are only ever appended, whole batches at a time; a batch counts when ``fdatasync`` has returned.
One process writes (file lock), and every opening has a higher epoch, kept in ``epoch`` and on every line.

What a disk may do, and the answer:
    torn last line or batch         cut at opening, noted in ``repairs.jsonl`` and in the log of the node (``torn``)
    anything else out of order      JournalDamaged with file and byte; nothing is touched
    write fails or is short         taken back (truncate + sync), DiskFull or JournalError; the log stays usable
    sync fails, or taking back does the log is poisoned: no more appends; a restart takes what it can read, and writes
                                    the newest batch once more before anything is built on it

It does not know events, decisions or event loops: ``ledger`` gives it text. Calls are not thread-safe; one thread
appends. Readers use ``segments`` up to each segment's ``size``, which is only moved when bytes are durable.
"""

import contextlib
import logging
from collections.abc import Callable, Generator, Iterator
from datetime import datetime
from pathlib import Path
from typing import Any, Final

import msgspec

from nano.domain.errors import DiskFull, JournalDamaged, JournalError
from nano.journal.anchor import Anchor, find_anchor
from nano.journal.archive import text_size
from nano.journal.disk import Disk, RealDisk, append_all, append_record, replace_file
from nano.journal.epoch import read_epoch, write_epoch
from nano.journal.horizon import NEVER, THE_BEGINNING, Limits, adopt, beginning
from nano.journal.line import BEGINNING, NO_HASH, Line, format_time
from nano.journal.mark import Mark, read_mark
from nano.journal.owner import Owner, check_owner, journal_id, read_owner, write_owner
from nano.journal.reader import READ_BYTES, L, read_lines
from nano.journal.refusing import disk_refusal
from nano.journal.sealed import SealedTexts
from nano.journal.segments import (
    SEGMENT_BYTES_MAX,
    Block,
    Seal,
    Segment,
    SegmentScan,
    Signer,
    damaged,
    decode_block,
    file_digest,
    list_segments,
    read_seal,
    seal_path,
    segment_path,
    write_seal,
)

log = logging.getLogger("nano.journal")

TORN_SHOWN_MAX: Final = 4096
TRIAL_BYTES: Final = 64 << 10


class CommitLog:
    """Open it, exhaust ``replay``, then append.

    ``folder`` is a node's ``data/journal``. ``clock`` gives aware UTC times (only for notes about repairs). ``limits``: what was
    prepared to be dropped under these is dropped at the opening.
    """

    def __init__(
        self,
        folder: Path,
        *,
        clock: Callable[[], datetime],
        disk: Disk | None = None,
        signer: Signer | None = None,
        limits: Limits = NEVER,
        segment_bytes_max: int = SEGMENT_BYTES_MAX,
    ) -> None:
        self.folder = folder
        self.disk: Disk = disk or RealDisk()
        self.segments: list[Segment] = []
        self.position = 0
        self.hash = NO_HASH
        self.time = BEGINNING
        self.epoch = 0
        self.poisoned: JournalError | None = None
        self._clock = clock
        self.signer = signer
        self._limits = limits
        self._segment_bytes_max = segment_bytes_max
        self._commits = folder / "commits"
        self._lock: int | None = None
        self._handle: int | None = None
        self._block: Block | None = None
        self.begins = THE_BEGINNING
        self._owner: Owner | None = None
        self._batch_at = 0  # where the newest batch begins in the newest segment, as found at opening

    def open(self) -> None:
        """Take the lock and a new epoch. Raises JournalError(journal_locked), DiskFull, JournalError."""
        try:
            self.disk.make_folder(self._commits)
            try:
                self._lock = self.disk.lock(self.folder / "lock")
            except BlockingIOError as error:
                raise JournalError(
                    f"Another process is writing the journal {self.folder}.",
                    code="journal_locked",
                    hint="Stop the other node, or give this one a state folder of its own.",
                    file=str(self.folder / "lock"),
                ) from error
            if self.signer is not None:
                self._owner = check_owner(self.disk, self.folder, self.signer.key_id)
            adopt(self.disk, self._commits, self._limits)
            self.begins = beginning(self.disk, self._commits)
            self.epoch = read_epoch(self.disk, self.folder) + 1
        except OSError as error:
            self.close()
            raise self.refusal(error, "open") from error
        except JournalError:
            self.close()
            raise

    def replay(
        self, decoder: msgspec.json.Decoder[Line[Any]], anchor: Anchor | None = None
    ) -> Generator[list[Line[Any]], None, None]:
        """Every line, in lists, checked: chain, positions, time, epoch, seals. When it ends, the log is ready for appends.

        With an anchor only the lines after it are read. A segment that is all what this node sealed is not followed line by
        line (``sealed``). Raises JournalDamaged (file and byte) and JournalError; then
        no line was changed and the lock is let go.
        """
        try:
            yield from self._replay(decoder, anchor)
            self._begin()
        except OSError as error:
            self.close()
            raise self.refusal(error, "open") from error
        except BaseException:
            self.close()
            raise

    def append(self, data: bytes, first: int, last: int, digest: bytes) -> None:
        """Make whole lines durable. ``first`` is the first line's position, ``last`` the last event's, ``digest``
        the last line's hash. Raises DiskFull or JournalError (nothing was added), or JournalError(journal_poisoned)."""
        if self.poisoned is not None:
            raise self.poisoned
        if self._handle is None:
            raise JournalError("The journal is not open.", hint="Start the node again.")
        segment = self.segments[-1]
        if segment.size + len(data) > self._segment_bytes_max and first > segment.first and segment.size:
            segment = self._roll(first)
        try:
            append_all(self.disk, self._handle, data)
        except OSError as error:
            self._take_back(error)
        try:
            self.disk.fdatasync(self._handle)
        except OSError as error:
            raise self._poison(error, "a sync of the journal failed") from error
        segment.note(first, segment.size)
        segment.size += len(data)
        self.position = last
        self.hash = digest
        if first == 1:
            self._claim()

    def try_writing(self) -> None:
        """Whether the disk takes bytes, tried on a file beside the log. Raises DiskFull or JournalError when not."""
        path = self.folder / "trial"
        try:
            try:
                replace_file(self.disk, path, bytes(TRIAL_BYTES))
            finally:
                for left in (path, path.with_name(path.name + ".new")):
                    with contextlib.suppress(FileNotFoundError):
                        self.disk.remove(left)
        except OSError as error:
            raise self.refusal(error, "write") from error

    def lines(
        self, decoder: "msgspec.json.Decoder[L]", after: int, *, read_bytes: int = READ_BYTES
    ) -> Iterator[list[L]]:
        """Durable lines that hold a position above ``after``, in order, in lists. Raises OSError, JournalDamaged."""
        return read_lines(self.disk, self.segments, decoder, after, read_bytes=read_bytes)

    def anchor(self, position: int, head: bytes, *, check_older: bool = True) -> Anchor:
        """See ``find_anchor``."""
        return find_anchor(self.disk, self._commits, position, head, check_older=check_older)

    def damage(self, number: int, why: str) -> JournalDamaged:
        """Names file and byte of a line in the list that ``replay`` gave last."""
        assert self._block is not None
        return damaged(self._block.path, self._block.offset_of(number), why)

    def close(self) -> None:
        """Let go of the file and the lock. May be called twice."""
        for handle in (self._handle, self._lock):
            if handle is not None:
                self.disk.close(handle)
        self._handle = self._lock = None

    # ------------------------------------------------------------------ opening

    def _replay(self, decoder: msgspec.json.Decoder[Line[Any]], anchor: Anchor | None) -> Iterator[list[Line[Any]]]:
        top_epoch, self.poisoned = self.epoch, None
        self.position, self.hash, self.time, self.epoch = self.begins = beginning(self.disk, self._commits)
        self.segments = list_segments(self.disk, self._commits)
        if anchor is not None:
            self.position, self.hash, self.time, self.epoch = anchor[:4]
        from_start = [segment for segment in self.segments[:-1] if segment.first > self.position]
        sealed = SealedTexts(self.disk, from_start, self.signer)
        for segment in self.segments:
            newest = segment is self.segments[-1]
            self._batch_at = 0
            if anchor is not None and segment.first < anchor.first:
                segment.size = segment.unread = text_size(self.disk, segment.path)
                continue
            if anchor is not None and segment.first == anchor.first:
                segment.unread = self._batch_at = anchor.offset
            elif segment.first != self.position + 1:
                raise damaged(segment.path, 0, f"it should start at position {self.position + 1}")
            text = sealed.take(segment)
            scan = SegmentScan(self.disk, segment.path, self.hash, start=segment.unread, sealed=text)
            yield from self._replay_segment(segment, scan, decoder, as_sealed=text is not None)
            self.hash = scan.hash
            segment.size = scan.end
            if newest:
                if scan.torn:
                    self._cut(segment, scan)
            elif scan.torn:  # only the newest may be torn
                raise damaged(segment.path, scan.end, "the last line is cut short, and a newer segment exists")
            else:
                self._check_seal(segment, scan)
        self.epoch = max(top_epoch, self.epoch + 1)
        self._block = None

    def _replay_segment(
        self, segment: Segment, scan: SegmentScan, decoder: msgspec.json.Decoder[Line[Any]], *, as_sealed: bool
    ) -> Iterator[list[Line[Any]]]:
        """``as_sealed``: these lines were found in order when they were written, so each block's first is enough."""
        for block in scan.blocks():
            self._block = block
            lines = decode_block(decoder, block)
            position, epoch, time = self.position + 1, self.epoch, self.time
            for number, line in enumerate((lines[0],) if as_sealed else lines):
                if line.position != position or line.epoch < epoch or line.time < time:
                    raise self.damage(number, "position, epoch or time is out of order")
                position += len(line.events)
                epoch, time = line.epoch, line.time
            if as_sealed:
                position, epoch, time = lines[-1].last + 1, lines[-1].epoch, lines[-1].time
            else:
                begins = next((number for number in reversed(range(len(lines))) if not lines[number].joined), None)
                if begins is not None:
                    self._batch_at = block.offset_of(begins)
            segment.note(lines[0].position, block.offset)
            self.position, self.epoch, self.time = position - 1, epoch, time
            yield lines

    def _cut(self, segment: Segment, scan: SegmentScan) -> None:
        """A write was cut short by a crash: it was never acknowledged. Note it first, then cut it."""
        note = {
            "time": format_time(self._clock()),
            "kind": "journal.torn_tail_cut",
            "file": segment.path.name,
            "byte": scan.end,
            "bytes": len(scan.torn),
            "text": scan.torn[:TORN_SHOWN_MAX].decode(errors="replace"),
        }
        try:
            append_record(self.disk, self.folder / "repairs.jsonl", msgspec.json.encode(note) + b"\n")
            handle = self.disk.open(segment.path)
            try:
                self.disk.truncate(handle, scan.end)
                self.disk.fdatasync(handle)
            finally:
                self.disk.close(handle)
        except OSError as error:
            raise self.refusal(error, "repair") from error
        log.warning("journal.torn_tail_cut file=%s byte=%d bytes=%d", segment.path.name, scan.end, len(scan.torn))

    def _check_seal(self, segment: Segment, scan: SegmentScan) -> None:
        seal = read_seal(self.disk, seal_path(segment.path))
        if seal is None:  # a crash came between leaving the segment and sealing it
            self._seal(segment, scan.hash)
        elif (seal.last_hash, seal.last, seal.size) != (scan.hash.decode(), self.position, scan.end):
            raise damaged(segment.path, 0, "it is not what its seal says")

    def _begin(self) -> None:
        if not self.segments:
            first = self.begins.position + 1
            self.segments.append(Segment(segment_path(self._commits, first), first))
        segment, start = self.segments[-1], self._batch_at
        self._refuse_loss(segment)
        write_epoch(self.disk, self.folder, self.epoch)
        self._handle = self.disk.open(segment.path, create=True)
        # The newest batch may have been read from the cache only: a process was killed before its sync, or the sync
        # failed and the kernel calls the pages clean all the same. Syncing does not help against that, writing does.
        newest = self.disk.read(segment.path, start, segment.size - start)
        self.disk.overwrite(segment.path, start, newest)
        self.disk.sync_folder(self._commits)
        if self.position:
            self._claim()

    def _refuse_loss(self, segment: Segment) -> None:
        """Whole lines that are gone from the end leave a log that is whole in itself; but what was made of them is there."""
        mark = read_mark(self.disk, self.folder / "resources") or Mark()
        known = max(mark.synced, mark.written if mark.boot == self.disk.boot_id() else 0)
        if known > self.position:
            raise JournalDamaged(
                f"The journal has lost its end: {segment.path}, byte {segment.size}: it ends with position {self.position}, "
                f"and the resource journals tell of durable facts up to {known}.",
                code="journal_cut_short",
                hint="Nothing was changed. Restore the newest backup into a new folder; or, to go on without what is lost, "
                "remove data/journal/resources: it is made anew.",
                file=str(segment.path),
                byte=segment.size,
            )

    def _claim(self) -> None:
        """Say whose journal this is, once there is one. What can't be written now is written at the next opening."""
        if self.signer is None or (self._owner is not None and self._owner.key):
            return
        try:
            write_owner(self.disk, self.folder, journal_id(self.disk, self._commits) or "", self.signer)
            self._owner = read_owner(self.disk, self.folder)
        except Exception as error:  # noqa: BLE001 (as with seals)
            log.warning("journal.owner_postponed error=%s", error)

    # ------------------------------------------------------------------ writing

    def _roll(self, first: int) -> Segment:
        """Start a new segment at ``first`` and seal the one before."""
        old = self.segments[-1]
        new = Segment(segment_path(self._commits, first), first)
        try:
            handle = self.disk.open(new.path, create=True)
        except OSError as error:
            raise self.refusal(error, "write") from error
        try:
            self.disk.sync_folder(self._commits)
        except OSError as error:
            self.disk.close(handle)
            raise self._poison(error, "a sync of the journal's folder failed") from error
        if self._handle is not None:
            self.disk.close(self._handle)
        self._handle = handle
        self.segments.append(new)
        self._seal(old, self.hash)
        return new

    def _seal(self, segment: Segment, last_hash: bytes) -> None:
        """A seal that can't be written now is written at the next opening: the facts themselves are safe."""
        try:
            seal = Seal(
                first=segment.first,
                last=self.position,
                size=segment.size,
                digest=file_digest(self.disk, segment.path),
                last_hash=last_hash.decode(),
            )
            write_seal(self.disk, seal_path(segment.path), seal, self.signer)
        except Exception as error:  # noqa: BLE001 (a signer may fail in its own way)
            log.warning("journal.seal_postponed file=%s error=%s", segment.path.name, error)

    def _take_back(self, error: OSError) -> None:
        """Undo a write that failed or went in partly, and report it."""
        assert self._handle is not None
        try:
            if self.disk.size(self.segments[-1].path) == self.segments[-1].size:
                raise self.refusal(error, "write") from error  # nothing went in (so it is on a read-only file system)
            self.disk.truncate(self._handle, self.segments[-1].size)
            self.disk.fdatasync(self._handle)
        except OSError as second:
            raise self._poison(second, "a failed write could not be taken back") from error
        raise self.refusal(error, "write") from error

    def _poison(self, error: OSError, what: str) -> JournalError:
        self.poisoned = JournalError(
            f"The journal takes no more facts: {what} ({error}).",
            code="journal_poisoned",
            hint="Check the disk and its kernel messages, then restart the node: it reads back what the disk kept.",
            file=str(self.segments[-1].path),
        )
        log.error("journal.poisoned file=%s error=%s", self.segments[-1].path.name, error)
        return self.poisoned

    def refusal(self, error: OSError, action: str) -> DiskFull | JournalError:
        """What a disk error means: DiskFull, or JournalError. ``action`` is open, read, repair or write."""
        return disk_refusal(self.folder, error, action)
