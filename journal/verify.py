"""Checks a whole journal folder: is it what was written, and do all its parts say the same?

Read-only and lock-free, so it may run beside a live node. It checks the hash chain, positions, times, epochs, that
each resource's versions count up from 1, seals (digest, last position and hash, signature when a key is given), that
every resource journal says what the commit log says (``verify_resources``), and that every snapshot is what the log folds
to (``verify_snapshots``). It names file and byte of the first thing that is wrong; damage of a snapshot or of the mark of
the resource journals only when the log itself is whole.

A live node's tail is still growing: a last line without newline is counted as ``pending``, and resource journals may
lag behind the log. Neither is damage.
"""

from collections.abc import Callable, Iterator
from functools import partial
from hashlib import sha256
from pathlib import Path
from typing import Any, Protocol

import msgspec

from nano.domain.errors import JournalDamaged
from nano.domain.facts import Model
from nano.journal.archive import is_archive, require_whole, text_size
from nano.journal.disk import Disk, RealDisk
from nano.journal.epoch import read_epoch
from nano.journal.horizon import Horizon, beginning, read_base, read_horizon
from nano.journal.line import NO_HASH, Line, line_decoder
from nano.journal.mark import Mark, read_mark
from nano.journal.owner import NAME as OWNER
from nano.journal.owner import check_journal, check_owner, journal_id, read_owner
from nano.journal.segments import (
    HORIZON,
    Block,
    Seal,
    Segment,
    SegmentScan,
    damaged,
    decode_block,
    file_digest,
    list_segments,
    read_seal,
    seal_path,
)
from nano.journal.snapshot_text import Unusable, versions_in
from nano.journal.verify_resources import ResourceCheck
from nano.journal.verify_snapshots import SnapshotCheck

CheckSignature = Callable[[bytes, bytes, str], bool]
"""(signature, signed bytes, key id) → whether the signature is good."""
Progress = Callable[[str, int, int], None]
"""(what is being read, how much of it was, how much there is)."""


def no_progress(part: str, done: int, total: int) -> None:  # noqa: ARG001 (the shape of a Progress)
    return


class Report(msgspec.Struct, frozen=True, kw_only=True):
    """What was found whole. ``damage`` is None, or the first thing that is not."""

    position: int
    lines: int
    resources: int
    segments: int
    seals: int
    resource_rows: int
    snapshots: int = 0
    folded: int = 0
    """How many of the snapshots were compared with what the log folds to."""
    begins_after: int = 0
    """Positions up to this one are no longer there: what is checked of them are the seals that were kept."""
    dropped_segments: int = 0
    pending_bytes: int
    hash: str
    damage: "Damage | None" = None

    @property
    def whole(self) -> bool:
        return self.damage is None


class Damage(msgspec.Struct, frozen=True):
    file: str
    byte: int
    message: str
    hint: str
    position: int = 0
    resource: str = ""
    field: str = ""


def verify(
    folder: Path,
    *,
    disk: Disk | None = None,
    check_signature: CheckSignature | None = None,
    own_key: str = "",
    model: Model | None = None,
    progress: Progress = no_progress,
) -> Report:
    """Report on ``folder`` (a node's ``data/journal``). With a ``model``, an empty one of the node's kind, events must be
    known and snapshots are compared with what the log folds to; with ``own_key`` it must be that node's journal. Raises
    OSError when it can't be read."""
    work = _Verification(folder, disk or RealDisk(), check_signature, own_key, model, progress)
    damage = None
    try:
        work.begin()
        work.run()
    except JournalDamaged as error:
        context = error.context
        told = {name: context[name] for name in ("position", "resource", "field") if name in context}
        damage = Damage(str(context["file"]), int(context["byte"]), error.message, error.hint, **told)
    return Report(
        position=work.position,
        lines=work.lines,
        resources=len(work.versions),
        segments=work.segments,
        seals=work.seals,
        resource_rows=work.resources.rows,
        snapshots=work.snapshots.whole,
        folded=work.snapshots.folded,
        begins_after=work.begins_after,
        dropped_segments=work.dropped,
        pending_bytes=work.pending,
        hash=work.hash.decode(),
        damage=damage,
    )


class _Verification:
    def __init__(
        self,
        folder: Path,
        disk: Disk,
        check_signature: CheckSignature | None,
        own_key: str,
        model: Model | None,
        progress: Progress,
    ) -> None:
        self.position = self.lines = self.segments = self.seals = self.pending = 0
        self.hash = NO_HASH
        self.versions: dict[str, int] = {}
        self._folder = folder
        self._disk = disk
        self._check_signature = check_signature
        self._own_key = own_key
        self._progress = progress
        self._lines = line_decoder(model.rules.event_types() if model is not None else ())
        self._before: Line[Any] | None = None
        self._end: tuple[Path, int] | None = None
        self.begins_after = self.dropped = 0
        self.horizon: Horizon | None = None
        self._mark_is_whole = True
        self._model = model
        self.resources = ResourceCheck(disk, folder / "resources", 0)
        self.snapshots = SnapshotCheck(disk, folder / "none", None)

    def begin(self) -> None:
        """What is known before the log is read."""
        disk, folder, commits = self._disk, self._folder, self._folder / "commits"
        horizon = self.horizon = read_horizon(disk, commits)
        base = None
        if horizon is not None:
            base = read_base(disk, commits, horizon)
            self.position, self.hash = horizon.beginning()[:2]
            self.begins_after, self.dropped = horizon.position, len(horizon.seals)
            self.versions = versions_in(base)
        mark = read_mark(disk, folder / "resources")
        self._mark_is_whole = mark is not None
        mark = mark or Mark()
        claimed = mark.written if mark.boot == disk.boot_id() else mark.synced
        self.resources = ResourceCheck(disk, folder / "resources", claimed, self.position)
        try:
            self.snapshots = SnapshotCheck(disk, folder / "snapshots", self._model, base)
        except Unusable as error:
            assert horizon is not None
            raise damaged(horizon.base_paths(folder)[0], 0, f"it can't be used ({error})") from error

    def run(self) -> None:
        segments = list_segments(self._disk, self._folder / "commits")
        total = sum(text_size(self._disk, segment.path) for segment in segments)
        read = 0
        for number, segment in enumerate(segments):
            if is_archive(segment.path):
                require_whole(self._disk, segment.path)
            scan = SegmentScan(self._disk, segment.path, self.hash)
            if segment.first != self.position + 1:
                raise damaged(segment.path, 0, f"it should start at position {self.position + 1}")
            digest = sha256()
            for block in scan.blocks():
                digest.update(block.data)
                self._check_block(block)
                self.resources.take(block.data)
                self.hash = scan.hash
                read += len(block.data)
                self._progress("log", read, total)
            self.segments += 1
            if number < len(segments) - 1:
                if scan.torn:
                    raise damaged(segment.path, scan.end, "the last line is cut short, and a newer segment exists")
                self._check_seal(segment, scan, digest.hexdigest())
            else:
                self.pending = len(scan.torn)
                self._end = (segment.path, scan.end + self.pending)
        self._check_owner()
        if self.horizon is not None:
            self._check_horizon(self.horizon)
        self.resources.finish(self.position, self._has_grown, self._blocks, self._compared)
        self._check_epoch()
        if not self._mark_is_whole:
            raise damaged(self._folder / "resources" / ".mark", 0, "it is not what was written")
        self.snapshots.finish(self.position)

    def _compared(self, done: int, total: int) -> None:
        self._progress("resource journals", done, total)

    def _blocks(self) -> Iterator[Block]:
        """The log once more, as far as it was read."""
        previous, left = beginning(self._disk, self._folder / "commits").hash, self.lines
        for segment in list_segments(self._disk, self._folder / "commits"):
            scan = SegmentScan(self._disk, segment.path, previous)
            for block in scan.blocks():
                if len(block.lines) >= left:
                    yield block.until(left)
                    return
                yield block
                left -= len(block.lines)
            previous = scan.hash

    def _check_owner(self) -> None:
        owner = read_owner(self._disk, self._folder)
        if owner is None:
            return
        check_journal(self._folder, owner, journal_id(self._disk, self._folder / "commits"))
        if self._own_key:
            check_owner(self._disk, self._folder, self._own_key)
        if owner.key and self._check_signature is not None and not _is_signed(self._check_signature, owner):
            raise damaged(self._folder / OWNER, 0, "its signature is wrong")

    def _check_horizon(self, horizon: Horizon) -> None:
        """The chain across the gap: every seal of what is gone, and the anchor they lead to; both copies of the base."""
        path = self._folder / "commits" / HORIZON
        if self._check_signature is not None:
            for seal in horizon.seals:
                if not _is_signed(self._check_signature, seal):
                    raise damaged(
                        path, 0, f"the signature of the seal of positions {seal.first} to {seal.last} is wrong"
                    )
            if not _is_signed(self._check_signature, horizon):
                raise damaged(path, 0, "its signature is missing or wrong")
        for copy in horizon.base_paths(self._folder):
            try:
                whole = file_digest(self._disk, copy) == horizon.base
            except FileNotFoundError:
                whole = False
            if not whole:
                raise damaged(copy, 0, "it is not the base that the journal begins with; the other copy is whole")

    def _check_epoch(self) -> None:
        epoch = read_epoch(self._disk, self._folder)
        if self._before is not None and 0 < epoch < self._before.epoch:
            raise damaged(self._folder / "epoch", 0, "it is behind the commit log")

    def _check_block(self, block: Block) -> None:
        for number, line in enumerate(decode_block(self._lines, block)):
            before = self._before
            if line.position != self.position + 1:
                raise damaged(block.path, block.offset_of(number), f"it should have position {self.position + 1}")
            if before is not None and (line.time < before.time or line.epoch < before.epoch):
                raise damaged(
                    block.path, block.offset_of(number), "its time or epoch is before that of the line before"
                )
            for entry in line.events:
                version = self.versions.get(entry.resource, 0) + 1
                if entry.version != version:
                    raise damaged(
                        block.path, block.offset_of(number), f"{entry.resource} should have version {version}"
                    )
                self.versions[entry.resource] = version
            self.snapshots.take(line, partial(_place, block, number))
            self.position += len(line.events)
            self.lines += 1
            self._before = line

    def _check_seal(self, segment: Segment, scan: SegmentScan, digest: str) -> None:
        path = seal_path(segment.path)
        seal = read_seal(self._disk, path)
        if seal is None:  # a crash came before it; the next start writes it
            return
        is_so = Seal(
            first=segment.first,
            last=self.position,
            size=scan.end,
            digest=digest,
            last_hash=scan.hash.decode(),
        )
        if seal.signed_bytes() != is_so.signed_bytes():
            raise damaged(path, 0, "it does not fit its segment")
        if self._check_signature is not None and not _is_signed(self._check_signature, seal):
            raise damaged(path, 0, "its signature is missing or wrong")
        self.seals += 1

    def _has_grown(self) -> bool:
        """Whether a live node wrote on while this was running."""
        if self._end is None or len(list_segments(self._disk, self._folder / "commits")) > self.segments:
            return True
        path, size = self._end
        return self._disk.size(path) > size


class _Signed(Protocol):
    @property
    def key(self) -> str: ...

    @property
    def signature(self) -> str: ...

    def signed_bytes(self) -> bytes: ...


def _is_signed(check: CheckSignature, what: _Signed) -> bool:
    try:
        signature = bytes.fromhex(what.signature)
    except ValueError:
        signature = b""
    return bool(signature) and check(signature, what.signed_bytes(), what.key)


def _place(block: Block, number: int) -> tuple[Path, int]:
    return block.path, block.offset_of(number)
