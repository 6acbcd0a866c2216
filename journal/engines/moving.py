"""Moving a restored journal from files into a database: the way from any engine to another is a backup and its restore.

Invariant: the folder's journal is either still the files or wholly in the database; a database that holds a journal is never
added to. The lines are the same bytes, so snapshots and everything derived from them go on counting.
"""

import contextlib
import shutil
import tomllib
from pathlib import Path

import msgspec

from nano.domain.errors import Conflict, Invalid
from nano.journal.disk import RealDisk
from nano.journal.engines.marks import MARK_FILE
from nano.journal.engines.opening import database_of
from nano.journal.engines.settings import EngineSettings
from nano.journal.epoch import NAME as EPOCH
from nano.journal.epoch import read_epoch
from nano.journal.horizon import beginning
from nano.journal.line import NO_HASH, line_decoder
from nano.journal.log import Log
from nano.journal.segments import SegmentScan, decode_block, list_segments


class _Settings(msgspec.Struct, frozen=True):
    """The rest of a node's settings does not matter here."""

    journal: EngineSettings = EngineSettings()


def read_engine_settings(file: Path) -> EngineSettings:
    """``[journal]`` of a node's settings. Raises Invalid(settings_invalid)."""
    try:
        return msgspec.convert(tomllib.loads(file.read_text()), _Settings).journal
    except (OSError, UnicodeDecodeError, tomllib.TOMLDecodeError, msgspec.ValidationError) as error:
        raise Invalid(
            f"{file}: {error}.", code="settings_invalid", hint="Name a node's settings, as config/core.toml."
        ) from error


def move_in(journal: Path, settings: EngineSettings, *, owner: str) -> None:
    """Put the log of the restored, closed ``journal`` where the settings say. ``owner`` is the node's name. Raises
    Conflict(database_not_empty, journal_not_from_its_beginning), JournalError, JournalDamaged, OSError; then the
    journal is still in files."""
    from nano.journal.engines.log import DatabaseLog

    disk, draft = RealDisk(), journal.with_name(".engine.part")
    if beginning(disk, journal / "commits").position:
        raise Conflict(
            "This journal is not all there: its oldest segments were dropped.",
            code="journal_not_from_its_beginning",
            hint="Keep it in files, or restore an older backup that has them all.",
        )
    log = DatabaseLog(draft, database_of(settings, journal, disk), settings, disk=disk, owner=owner)
    try:
        _fill(log, journal)
        disk.rename(draft / MARK_FILE, journal / MARK_FILE)
        disk.sync_folder(journal)
    finally:
        log.close()
        shutil.rmtree(draft, ignore_errors=True)
    shutil.rmtree(journal / "commits")
    with contextlib.suppress(FileNotFoundError):
        disk.remove(journal / EPOCH)
    disk.sync_folder(journal)


def _fill(log: Log, journal: Path) -> None:
    decoder, previous = line_decoder(), NO_HASH
    log.open()
    if log.epoch > 1:
        raise Conflict(
            "That database holds a journal already.",
            code="database_not_empty",
            hint="Name a new database or schema in [journal].",
        )
    for _ in log.replay(decoder):
        raise AssertionError("a database that was opened for the first time has no lines")
    for segment in list_segments(log.disk, journal / "commits"):
        scan = SegmentScan(log.disk, segment.path, previous)
        for block in scan.blocks():
            lines = decode_block(decoder, block)
            log.append(block.data, lines[0].position, lines[-1].last, lines[-1].hash.encode())
        previous = scan.hash
    log.epoch = max(log.epoch, read_epoch(log.disk, journal))
    log.try_writing()  # leaves the epoch there, above which the next opening begins
