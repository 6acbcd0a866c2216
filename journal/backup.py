"""Backups: a copy of a node's journal up to a position, with a manifest, from which any earlier position can be restored.

    TARGET/20261121T051800Z-0000000001000000/manifest.json         what is here: position, hash, size and SHA-256 of each file
                                             data/node.json        whose journal it is
                                             data/journal/commits  segments and seals, up to whole transactions
                                             data/journal/snapshots  the newest one, so that a restored node starts quickly

It is laid out like a node's folder, so whatever reads a journal reads a backup. Sealed segments never change: one that the
backup before already has is linked, not copied. Invariants: a backup has its name only after it was written, synced, read
back and compared; a restore writes into a folder without data only, and gives its result the name of a journal only after
it passed ``verify``. Keys (``config``, ``data/receipts.key``) are not in a backup: keep those apart.
"""

import contextlib
import os
import shutil
from datetime import UTC, datetime
from hashlib import sha256
from pathlib import Path
from typing import Final

import msgspec

from nano.domain.errors import Conflict, Invalid, JournalDamaged, Unknown
from nano.journal.archive import SCAN_BYTES, is_archive, text_digest, text_size
from nano.journal.disk import Disk, RealDisk, append_all
from nano.journal.engines.opening import journal_disk
from nano.journal.epoch import NAME as EPOCH
from nano.journal.epoch import epoch_text, read_epoch
from nano.journal.horizon import before_horizon, copy_horizon
from nano.journal.line import NO_HASH, line_decoder
from nano.journal.owner import journal_id, write_owner
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
from nano.journal.small_files import UNREADABLE
from nano.journal.snapshots import list_snapshots
from nano.journal.verify import Progress, no_progress, verify

FORMAT: Final = 1
JOURNAL: Final = Path("data") / "journal"
CARD: Final = Path("data") / "node.json"
DISK: Final = RealDisk()


class BackupFile(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    path: str
    size: int
    digest: str


class Manifest(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """``epoch`` is the highest the node had taken when this was made, ``digest`` is over all the other fields."""

    backup: int
    taken_at: datetime
    position: int
    hash: str
    epoch: int
    files: tuple[BackupFile, ...]
    digest: str = ""

    def with_digest(self) -> "Manifest":
        text = msgspec.json.encode(msgspec.structs.replace(self, digest=""))
        return msgspec.structs.replace(self, digest=sha256(text).hexdigest())


class _End:
    """How far copying a log came. ``moved`` is told of its bytes, of which there are ``size``."""

    def __init__(self, size: int, progress: Progress) -> None:
        self.position, self.hash = 0, NO_HASH
        self._size, self._progress, self._done = size, progress, 0

    def moved(self, size: int) -> None:
        self._done += size
        self._progress("log", self._done, self._size)


def backup(
    node: Path, target: Path, *, now: datetime, position: int | None = None, progress: Progress = no_progress
) -> Path:
    """Back up the journal of ``node`` (its folder; live or stopped) into a new folder in ``target``, which is returned.

    ``position`` is how far, at most: a running node gives what is durable; None = every whole line there is.
    Raises Unknown(no_journal), JournalDamaged, OSError; then nothing is left in ``target``.
    """
    with journal_disk(node / JOURNAL, seals=True) as source:
        missing = [folder for folder in (target, *target.parents) if not folder.exists()]
        try:
            return _backup(source, node, target, now, position, progress)
        except BaseException:
            _remove_empty(missing)
            raise


def _backup(source: Disk, node: Path, target: Path, now: datetime, position: int | None, progress: Progress) -> Path:
    commits = node / JOURNAL / "commits"
    if not source.list(commits):
        raise Unknown(f"There is no journal in {node}.", code="no_journal", hint="Name a node's folder.")
    DISK.make_folder(target)
    before = newest_backup(target)
    draft = target / f".{now.astimezone(UTC):%Y%m%dT%H%M%SZ}.part"
    shutil.rmtree(draft, ignore_errors=True)
    try:
        into = draft / JOURNAL / "commits"
        end = _copy_log(source, commits, into, position, before and before / JOURNAL / "commits", progress)
        _copy_snapshot(node / JOURNAL, draft / JOURNAL, end.position)
        if (node / CARD).exists():
            _write(draft / CARD, (node / CARD).read_bytes())
        manifest = Manifest(
            backup=FORMAT,
            taken_at=now,
            position=end.position,
            hash=end.hash.decode(),
            epoch=_epoch(source, node / JOURNAL),
            files=tuple(_files(draft, progress=progress)),
        )
        _write(
            draft / "manifest.json", msgspec.json.format(msgspec.json.encode(manifest.with_digest()), indent=1) + b"\n"
        )
        done = target / f"{now.astimezone(UTC):%Y%m%dT%H%M%SZ}-{end.position:016d}"
        if done.exists():
            raise Conflict(f"{done} is there already.", code="backup_exists", hint="Try again in a second.")
        draft.rename(done)
    except BaseException:
        shutil.rmtree(draft, ignore_errors=True)
        raise
    DISK.sync_folder(target)
    return done


def restore(source: Path, into: Path, *, at: int | None = None, progress: Progress = no_progress) -> int:
    """Make the journal of a backup that of the node folder ``into``; the position it then has.

    ``at``: not beyond this position; a transaction that reaches beyond it is left out whole. Raises
    Conflict(folder_not_empty), Invalid(invalid_position), Unknown(no_backup), JournalDamaged (the backup is not what its
    manifest says), OSError; then nothing of the journal is left in ``into``.
    """
    manifest = check_backup(source, progress)
    if at is not None and not 0 <= at <= manifest.position:
        raise Invalid(
            f"Position {at} is not in this backup.",
            code="invalid_position",
            hint=f"It holds positions up to {manifest.position}.",
            field="at",
        )
    if any(name != CARD.name for name in DISK.list(into / "data")) or DISK.list(into / "run"):
        raise Conflict(
            f"{into} is in use: a node runs there, or has left its data.",
            code="folder_not_empty",
            hint="Restore into a new folder, or stop the node and move its data away first.",
        )
    missing = [folder for folder in (into / "data", into, *into.parents) if not folder.exists()]
    draft = into / "data" / ".journal.part"
    try:
        end = _copy_log(DISK, source / JOURNAL / "commits", draft / "commits", at, None, progress)
        if at is None and (end.position, end.hash.decode()) != (manifest.position, manifest.hash):
            raise damaged(source / "manifest.json", 0, f"it promises position {manifest.position}, not {end.position}")
        _copy_snapshot(source / JOURNAL, draft, end.position)
        _write(draft / EPOCH, epoch_text(manifest.epoch))
        write_owner(DISK, draft, journal_id(DISK, draft / "commits") or "", None)
        report = verify(draft, progress=lambda part, done, total: progress(f"{part}, read back", done, total))
        if report.damage is not None:
            raise damaged(Path(report.damage.file), report.damage.byte, report.damage.message)
        if (source / CARD).exists():
            _write(into / CARD, (source / CARD).read_bytes())
        draft.rename(into / JOURNAL)
    except BaseException:
        shutil.rmtree(draft, ignore_errors=True)
        _remove_empty(missing)
        raise
    DISK.sync_folder(into / "data")
    return end.position


def check_backup(source: Path, progress: Progress = no_progress) -> Manifest:
    """Every file is there as the manifest says. Raises Unknown(no_backup), JournalDamaged."""
    manifest = read_manifest(source)
    for number, file in enumerate(manifest.files, start=1):
        progress("files of the backup", number, len(manifest.files))
        path = source / file.path
        if not path.is_file() or path.stat().st_size != file.size or file_digest(DISK, path) != file.digest:
            raise damaged(path, 0, "it is not what the manifest of this backup says")
    known = {file.path for file in manifest.files}
    for found in _files(source, digests=False):
        if found.path not in known and found.path != "manifest.json":
            raise damaged(source / found.path, 0, "the manifest of this backup does not have it")
    return manifest


def read_manifest(source: Path) -> Manifest:
    """Raises Unknown(no_backup), JournalDamaged."""
    path = source / "manifest.json"
    try:
        manifest = msgspec.json.decode(path.read_bytes(), type=Manifest)
    except (FileNotFoundError, NotADirectoryError) as error:
        raise Unknown(
            f"{source} is no backup.", code="no_backup", hint="Name the folder with manifest.json."
        ) from error
    except UNREADABLE as error:
        raise damaged(path, 0, f"it is no manifest of a backup ({error})") from error
    if manifest.backup != FORMAT:
        raise damaged(path, 0, f"it has format {manifest.backup}, this version reads {FORMAT}")
    if manifest != manifest.with_digest():
        raise damaged(path, 0, "it was changed: its digest does not fit")
    return manifest


def list_backups(target: Path) -> list[Path]:
    """Oldest first, by name; nothing is said about what is in them."""
    return [
        target / name
        for name in DISK.list(target)
        if not name.startswith(".") and (target / name / "manifest.json").exists()
    ]


def newest_backup(target: Path) -> Path | None:
    return next(reversed(list_backups(target)), None)


# ------------------------------------------------------------------ copying


def _copy_log(
    disk: Disk, commits: Path, into: Path, position: int | None, before: Path | None, progress: Progress
) -> _End:
    """Copy whole transactions up to ``position``, checking the chain and what was written. Raises JournalDamaged."""
    segments = [one for one in list_segments(disk, commits) if position is None or one.first <= position]
    end = _End(sum(text_size(disk, segment.path) for segment in segments), progress)
    DISK.make_folder(into)
    begins = copy_horizon(disk, commits, into)
    if position is not None and position < begins.position:
        raise before_horizon(begins)
    end.position, end.hash = begins[:2]
    for number, segment in enumerate(segments):
        if segment.first != end.position + 1:
            raise damaged(segment.path, 0, f"it should start at position {end.position + 1}")
        sealed = read_seal(disk, seal_path(segment.path)) if number + 1 < len(segments) else None
        if sealed is not None and before is not None and _link(segment, sealed.digest, before, into):
            end.position, end.hash = sealed.last, sealed.last_hash.encode()
            end.moved(sealed.size)
        else:
            if sealed is not None and is_archive(segment.path):
                digest = _copy_archive(segment, into, end)
            else:
                digest = _copy_segment(disk, segment, into, position, end)
            if sealed is not None and digest != sealed.digest:
                raise damaged(segment.path, 0, "it is not what its seal says")
        seal = seal_path(segment.path)
        if sealed is not None and seal.is_file():  # the newest one goes on growing; those of a database are no files
            _write(into / seal.name, seal.read_bytes())
    DISK.sync_folder(into)
    return end


def _link(segment: Segment, digest: str, before: Path, into: Path) -> bool:
    """Take a sealed segment over from the backup before, where that has the very same. Whether it did."""
    known = before / segment.path.name
    if not known.exists() or text_digest(DISK, known) != digest:
        return False
    try:
        os.link(known, into / segment.path.name)
    except OSError:  # a file system without links
        return False
    return True


def _copy_segment(disk: Disk, segment: Segment, into: Path, position: int | None, end: _End) -> str:
    """Its SHA-256. Raises JournalDamaged: for the source, and for a copy that does not read back."""
    scan = SegmentScan(disk, segment.path, end.hash)
    digest, target, decoder = sha256(), segment_path(into, segment.first), line_decoder()
    handle = DISK.open(target, create=True)
    try:
        for block in scan.blocks():
            data, lines = block.data, decode_block(decoder, block)
            if position is not None and lines[-1].last > position:
                lines = [line for line in lines if line.last <= position]
                data = data[: block.offset_of(len(lines)) - block.offset]
            append_all(DISK, handle, data)
            digest.update(data)
            end.moved(len(block.data))
            if lines:
                end.position, end.hash = lines[-1].last, lines[-1].hash.encode()
            if len(data) < len(block.data):
                break
        DISK.fdatasync(handle)
    finally:
        DISK.close(handle)
    if file_digest(DISK, target) != digest.hexdigest():
        raise JournalDamaged(
            f"{target} does not read back as it was written.",
            hint="Check that disk; the journal itself is whole.",
            file=str(target),
            byte=0,
        )
    return digest.hexdigest()


def _copy_archive(segment: Segment, into: Path, end: _End) -> str:
    """The same for one that is archived: as it is, then read back whole. SHA-256 of its text."""
    target, digest, decoder = into / segment.path.name, sha256(), line_decoder()
    handle, offset = DISK.open(target, create=True), 0
    try:
        while data := DISK.read(segment.path, offset, SCAN_BYTES):
            append_all(DISK, handle, data)
            offset += len(data)
        DISK.fdatasync(handle)
    finally:
        DISK.close(handle)
    for block in SegmentScan(DISK, target, end.hash).blocks():
        digest.update(block.data)
        end.moved(len(block.data))
        last = decode_block(decoder, block)[-1]
        end.position, end.hash = last.last, last.hash.encode()
    return digest.hexdigest()


def _copy_snapshot(journal: Path, into: Path, position: int) -> None:
    """The newest up to the position; a start that can't use it does without."""
    usable = [path for at, path in list_snapshots(DISK, journal / "snapshots") if at <= position]
    if usable:
        try:
            data = DISK.read(usable[-1])
        except FileNotFoundError:  # a newer one came meanwhile
            return
        _write(into / "snapshots" / usable[-1].name, data)


def _write(path: Path, data: bytes) -> None:
    DISK.make_folder(path.parent)
    handle = DISK.open(path, create=True)
    try:
        DISK.truncate(handle, 0)
        for start in range(0, len(data), SCAN_BYTES):
            append_all(DISK, handle, data[start : start + SCAN_BYTES])
        DISK.fdatasync(handle)
    finally:
        DISK.close(handle)
    DISK.sync_folder(path.parent)


def _files(folder: Path, *, digests: bool = True, progress: Progress = no_progress) -> list[BackupFile]:
    paths = sorted(path for path in folder.rglob("*") if path.is_file())
    found = []
    for number, path in enumerate(paths, start=1):
        progress("files, read back", number, len(paths))
        digest = file_digest(DISK, path) if digests else ""
        found.append(BackupFile(str(path.relative_to(folder)), path.stat().st_size, digest))
    return found


def _remove_empty(folders: list[Path]) -> None:
    """Those that were made for what did not come about, the innermost first."""
    for folder in folders:
        with contextlib.suppress(OSError):
            folder.rmdir()


def _epoch(disk: Disk, journal: Path) -> int:
    try:
        return read_epoch(disk, journal)
    except JournalDamaged:
        return 0
