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
from datetime import UTC, datetime
from hashlib import sha256
from pathlib import Path
from typing import Final

import msgspec

from nano.domain.errors import Conflict, Invalid, JournalDamaged, Unknown
from nano.journal.disk import Disk, RealDisk, is_file
from nano.journal.engines.opening import journal_disk
from nano.journal.epoch import NAME as EPOCH
from nano.journal.epoch import epoch_text, read_epoch
from nano.journal.log_copy import LogCopy, write_file
from nano.journal.owner import journal_id, write_owner
from nano.journal.segments import damaged, file_digest
from nano.journal.small_files import UNREADABLE
from nano.journal.snapshots import list_snapshots
from nano.journal.verify import Progress, no_progress, verify

FORMAT: Final = 1
JOURNAL: Final = Path("data") / "journal"
CARD: Final = Path("data") / "node.json"
MANIFEST: Final = "manifest.json"
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


def backup(
    node: Path,
    target: Path,
    *,
    now: datetime,
    position: int | None = None,
    disk: Disk = DISK,
    progress: Progress = no_progress,
) -> Path:
    """Back up the journal of ``node`` (its folder; live or stopped) into a new folder in ``target``, which is returned.

    ``position`` is how far, at most: a running node gives what is durable; None = every whole line there is.
    Raises Unknown(no_journal), JournalDamaged, OSError; then nothing is left in ``target``.
    """
    with journal_disk(node / JOURNAL, seals=True, disk=disk) as source:
        if not source.list(node / JOURNAL / "commits"):
            raise Unknown(f"There is no journal in {node}.", code="no_journal", hint="Name a node's folder.")
        return _backup(source, node, disk, target, now, position, progress)


def _backup(
    source: Disk, node: Path, disk: Disk, target: Path, now: datetime, position: int | None, progress: Progress
) -> Path:
    disk.make_folder(target)
    before = newest_backup(target, disk)
    draft = target / f".{now.astimezone(UTC):%Y%m%dT%H%M%SZ}.part"
    disk.remove_folder(draft)
    try:
        copy = LogCopy(source, node / JOURNAL / "commits", disk, draft / JOURNAL / "commits", progress)
        copy.run(position, before and before / JOURNAL / "commits")
        _copy_snapshot(source, node / JOURNAL, disk, draft / JOURNAL, copy.position)
        if is_file(source, node / CARD):
            write_file(disk, draft / CARD, source.read(node / CARD))
        manifest = Manifest(
            backup=FORMAT,
            taken_at=now,
            position=copy.position,
            hash=copy.hash.decode(),
            epoch=_epoch(source, node / JOURNAL),
            files=tuple(_files(disk, draft, progress)),
        )
        text = msgspec.json.format(msgspec.json.encode(manifest.with_digest()), indent=1) + b"\n"
        write_file(disk, draft / MANIFEST, text)
        done = target / f"{now.astimezone(UTC):%Y%m%dT%H%M%SZ}-{copy.position:016d}"
        if disk.list(done):
            raise Conflict(f"{done} is there already.", code="backup_exists", hint="Try again in a second.")
        disk.rename(draft, done)
    except BaseException:
        _drop(disk, draft)
        raise
    disk.sync_folder(target)
    return done


def restore(
    source: Path, into: Path, *, at: int | None = None, disk: Disk = DISK, progress: Progress = no_progress
) -> int:
    """Make the journal of a backup that of the node folder ``into``; the position it then has.

    ``at``: not beyond this position; a transaction that reaches beyond it is left out whole. Raises
    Conflict(folder_not_empty), Invalid(invalid_position), Unknown(no_backup), JournalDamaged (the backup is not what its
    manifest says), OSError; then nothing of the journal is left in ``into``.
    """
    manifest = check_backup(source, disk, progress)
    if at is not None and not 0 <= at <= manifest.position:
        raise Invalid(
            f"Position {at} is not in this backup.",
            code="invalid_position",
            hint=f"It holds positions up to {manifest.position}.",
            field="at",
        )
    if any(name != CARD.name for name in disk.list(into / "data")) or disk.list(into / "run"):
        raise Conflict(
            f"{into} is in use: a node runs there, or has left its data.",
            code="folder_not_empty",
            hint="Restore into a new folder, or stop the node and move its data away first.",
        )
    draft = into / "data" / ".journal.part"
    try:
        copy = LogCopy(disk, source / JOURNAL / "commits", disk, draft / "commits", progress)
        copy.run(at)
        if at is None and (copy.position, copy.hash.decode()) != (manifest.position, manifest.hash):
            raise damaged(source / MANIFEST, 0, f"it promises position {manifest.position}, not {copy.position}")
        _copy_snapshot(disk, source / JOURNAL, disk, draft, copy.position)
        write_file(disk, draft / EPOCH, epoch_text(manifest.epoch))
        write_owner(disk, draft, journal_id(disk, draft / "commits") or "", None)
        report = verify(
            draft, disk=disk, progress=lambda part, done, total: progress(f"{part}, read back", done, total)
        )
        if report.damage is not None:
            raise damaged(Path(report.damage.file), report.damage.byte, report.damage.message)
        if is_file(disk, source / CARD):
            write_file(disk, into / CARD, disk.read(source / CARD))
        disk.rename(draft, into / JOURNAL)
    except BaseException:
        _drop(disk, draft)
        raise
    disk.sync_folder(into / "data")
    return copy.position


def check_backup(source: Path, disk: Disk = DISK, progress: Progress = no_progress) -> Manifest:
    """Every file is there as the manifest says. Raises Unknown(no_backup), JournalDamaged."""
    manifest = read_manifest(source, disk)
    for number, file in enumerate(manifest.files, start=1):
        progress("files of the backup", number, len(manifest.files))
        path = source / file.path
        if not is_file(disk, path) or disk.size(path) != file.size or file_digest(disk, path) != file.digest:
            raise damaged(path, 0, "it is not what the manifest of this backup says")
    known = {source / file.path for file in manifest.files}
    for found in disk.walk(source):
        if found not in known and found != source / MANIFEST:
            raise damaged(found, 0, "the manifest of this backup does not have it")
    return manifest


def read_manifest(source: Path, disk: Disk = DISK) -> Manifest:
    """Raises Unknown(no_backup), JournalDamaged."""
    path = source / MANIFEST
    try:
        manifest = msgspec.json.decode(disk.read(path), type=Manifest)
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


def list_backups(target: Path, disk: Disk = DISK) -> list[Path]:
    """Oldest first, by name; nothing is said about what is in them."""
    return [
        target / name
        for name in disk.list(target)
        if not name.startswith(".") and is_file(disk, target / name / MANIFEST)
    ]


def newest_backup(target: Path, disk: Disk = DISK) -> Path | None:
    """The one with the most: by epoch and position, because clocks may have gone back, and a restored node too. Raises
    JournalDamaged for a manifest that can't be read."""

    def reach(backup: Path) -> tuple[int, int]:
        manifest = read_manifest(backup, disk)
        return manifest.epoch, manifest.position

    return max(list_backups(target, disk), key=reach, default=None)


def _copy_snapshot(source: Disk, journal: Path, disk: Disk, into: Path, position: int) -> None:
    """The newest up to the position; a start that can't use it does without."""
    usable = [path for at, path in list_snapshots(source, journal / "snapshots") if at <= position]
    if usable:
        try:
            data = source.read(usable[-1])
        except FileNotFoundError:  # a newer one came meanwhile
            return
        write_file(disk, into / "snapshots" / usable[-1].name, data)


def _files(disk: Disk, folder: Path, progress: Progress) -> list[BackupFile]:
    paths = disk.walk(folder)
    found = []
    for number, path in enumerate(paths, start=1):
        progress("files, read back", number, len(paths))
        found.append(BackupFile(str(path.relative_to(folder)), disk.size(path), file_digest(disk, path)))
    return found


def _drop(disk: Disk, draft: Path) -> None:
    with contextlib.suppress(OSError):  # what stands in the way is told by what made it fail
        disk.remove_folder(draft)


def _epoch(disk: Disk, journal: Path) -> int:
    try:
        return read_epoch(disk, journal)
    except JournalDamaged:
        return 0
