"""Checks a whole journal folder: is it what was written, and do all its parts say the same?

Read-only and lock-free, so it may run beside a live node. It checks the hash chain, positions, times, epochs, that
each resource's versions count up from 1, seals (digest, last position and hash, signature when a key is given), that
every resource journal says what the commit log says, and that every snapshot has each bit as it was written and the
hash that the log has at its position. It names file and byte of the first thing that is wrong; damage of a snapshot or of
the mark of the resource journals only when the log itself is whole.

A live node's tail is still growing: a last line without newline is counted as ``pending``, and resource journals may
lag behind the log. Neither is damage.
"""

from collections.abc import Callable
from hashlib import sha256
from pathlib import Path

import msgspec

from nano.domain.errors import JournalDamaged
from nano.journal.disk import Disk, RealDisk
from nano.journal.epoch import read_epoch
from nano.journal.line import NO_HASH, Line, RawLine, line_decoder
from nano.journal.resource_files import derive, read_tail, resource_path
from nano.journal.resource_journals import Mark, read_mark
from nano.journal.segments import (
    Block,
    Seal,
    Segment,
    SegmentScan,
    damaged,
    decode_block,
    list_segments,
    read_seal,
    seal_path,
)
from nano.journal.snapshot_text import Unusable, whole_header
from nano.journal.snapshots import list_snapshots

CheckSignature = Callable[[bytes, bytes, str], bool]
"""(signature, signed bytes, key id) → whether the signature is good."""


class Report(msgspec.Struct, frozen=True, kw_only=True):
    """What was found whole. ``damage`` is None, or the first thing that is not."""

    position: int
    lines: int
    resources: int
    segments: int
    seals: int
    resource_rows: int
    snapshots: int = 0
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


def verify(folder: Path, *, disk: Disk | None = None, check_signature: CheckSignature | None = None) -> Report:
    """Report on ``folder`` (a node's ``data/journal``). Raises OSError when it can't be read."""
    work = _Verification(folder, disk or RealDisk(), check_signature)
    damage = None
    try:
        work.run()
    except JournalDamaged as error:
        damage = Damage(str(error.context["file"]), int(error.context["byte"]), error.message, error.hint)
    return Report(
        position=work.position,
        lines=work.lines,
        resources=len(work.versions),
        segments=work.segments,
        seals=work.seals,
        resource_rows=work.rows,
        snapshots=work.snapshots,
        pending_bytes=work.pending,
        hash=work.hash.decode(),
        damage=damage,
    )


class _Verification:
    def __init__(self, folder: Path, disk: Disk, check_signature: CheckSignature | None) -> None:
        self.position = self.lines = self.segments = self.seals = self.rows = self.pending = self.snapshots = 0
        self.hash = NO_HASH
        self.versions: dict[str, int] = {}
        self._folder = folder
        self._disk = disk
        self._check_signature = check_signature
        self._lines = line_decoder()
        self._raw = msgspec.json.Decoder(RawLine)
        self._before: Line[msgspec.Raw] | None = None
        self._resources = folder / "resources"
        self._offsets: dict[str, int] = {}  # how far each resource journal was compared
        self._end: tuple[Path, int] | None = None
        self._heads: dict[int, tuple[Path, str]] = {}  # what snapshots say: position -> file, hash of its line
        self._noted: list[JournalDamaged] = []
        self._behind: set[str] = set()  # resource journals that end before the log does

    def run(self) -> None:
        commits = self._folder / "commits"
        self._read_snapshots()
        mark = self._read_mark()
        written = mark.written if mark.boot == self._disk.boot_id() else mark.synced
        segments = list_segments(self._disk, commits)
        for number, segment in enumerate(segments):
            scan = SegmentScan(self._disk, segment.path, self.hash)
            if segment.first != self.position + 1:
                raise damaged(segment.path, 0, f"it should start at position {self.position + 1}")
            digest = sha256()
            for block in scan.blocks():
                digest.update(block.data)
                self._check_block(block)
                self._compare(block, written)
                self.hash = scan.hash
            self.segments += 1
            if number < len(segments) - 1:
                if scan.torn:
                    raise damaged(segment.path, scan.end, "the last line is cut short, and a newer segment exists")
                self._check_seal(segment, scan, digest.hexdigest())
            else:
                self.pending = len(scan.torn)
                self._end = (segment.path, scan.end + self.pending)
        self._check_rest()
        self._check_epoch()
        for position, (path, _) in self._heads.items():
            if position > self.position:
                self._note(path, "it is of a position that the commit log does not have")
        if self._noted:
            raise self._noted[0]

    def _note(self, path: Path, why: str) -> None:
        """Damage of something derived: told when the log itself was found whole."""
        self._noted.append(damaged(path, 0, why))

    def _check_epoch(self) -> None:
        epoch = read_epoch(self._disk, self._folder)
        if self._before is not None and 0 < epoch < self._before.epoch:
            raise damaged(self._folder / "epoch", 0, "it is behind the commit log")

    def _read_mark(self) -> Mark:
        mark = read_mark(self._disk, self._resources)
        if mark is None:
            self._note(self._resources / ".mark", "it is not what was written")
        return mark or Mark()

    def _read_snapshots(self) -> None:
        """Every bit of theirs as written; what they say of the log is compared on the way. Older formats are passed over."""
        for position, path in list_snapshots(self._disk, self._folder / "snapshots"):
            try:
                header = whole_header(self._disk.read(path))
            except FileNotFoundError:  # a live node keeps the last few
                continue
            except Unusable as error:
                self._note(path, str(error))
                continue
            if header is None:
                continue
            if header.position == position:
                self._heads[position] = (path, header.hash)
                self.snapshots += 1
            else:
                self._note(path, f"it is one of position {header.position}")

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
            self.position += len(line.events)
            head = self._heads.get(self.position)
            if head is not None and line.events and head[1] != line.hash:
                self._note(head[0], f"it is of another journal: position {self.position} has another hash in it")
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
        if self._check_signature is not None:
            try:
                signature = bytes.fromhex(seal.signature)
            except ValueError:
                signature = b""
            if not signature or not self._check_signature(signature, seal.signed_bytes(), seal.key):
                raise damaged(path, 0, "its signature is missing or wrong")
        self.seals += 1

    # ------------------------------------------------------------------ resource journals

    def _compare(self, block: Block, written: int) -> None:
        """What this stretch of the log says about each resource must stand in its journal."""
        for resource, rows in derive(self._raw.decode_lines(block.data)).items():
            if resource in self._behind:
                continue
            path = resource_path(self._resources, resource)
            expected = b"".join(rows.texts)
            offset = self._offsets.get(resource, 0)
            try:
                found = self._disk.read(path, offset, len(expected))
            except FileNotFoundError:
                found = b""
            if found != expected:
                self._explain(path, offset, expected, found, written)
                self._behind.add(resource)
            self._offsets[resource] = offset + len(found)
            self.rows += len(rows.texts)

    def _explain(self, path: Path, offset: int, expected: bytes, found: bytes, written: int) -> None:
        """Damage, unless the file's writer had not claimed that row: after a loss of power anything may stand there."""
        same = next((n for n, (a, b) in enumerate(zip(expected, found, strict=False)) if a != b), len(found))
        if self._claims(expected, same, written):
            if same < len(found):
                raise damaged(path, offset + same, "it does not say what the commit log says")
            raise damaged(path, offset + same, "rows are missing that the commit log has")

    @staticmethod
    def _claims(expected: bytes, same: int, written: int) -> bool:
        """Whether the row in which the texts part was said to be written."""
        start = expected.rfind(b"\n", 0, same) + 1
        row = msgspec.json.decode(expected[start : expected.index(b"\n", start)])
        return int(row["position"]) <= written

    def _check_rest(self) -> None:
        """Nothing may stand in resource journals that the log does not have, except what came meanwhile."""
        for kind in self._disk.list(self._resources):
            if kind.startswith("."):
                continue
            for name in self._disk.list(self._resources / kind):
                resource = f"{kind}/{name.removesuffix('.jsonl')}"
                path = self._resources / kind / name
                compared = self._offsets.get(resource, 0)
                if resource in self._behind or self._disk.size(path) <= compared:
                    continue  # one that was behind may have been caught up meanwhile
                tail = read_tail(self._disk, path)
                if tail is None or (compared < tail.end and (tail.position <= self.position or not self._has_grown())):
                    raise damaged(path, compared, "it says more than the commit log")

    def _has_grown(self) -> bool:
        """Whether a live node wrote on while this was running."""
        if self._end is None or len(list_segments(self._disk, self._folder / "commits")) > self.segments:
            return True
        path, size = self._end
        return self._disk.size(path) > size
