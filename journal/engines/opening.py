"""The log that a node's settings ask for. The default, files of JSON, loads nothing of the databases.

Invariant: a folder's journal is where it was. Settings that name another engine than the one that has it are refused, so a
node can't begin anew, with nothing, beside its own past.
"""

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from datetime import datetime
from pathlib import Path
from typing import TYPE_CHECKING

from nano.domain.errors import Invalid, JournalError
from nano.journal.commit_log import CommitLog
from nano.journal.disk import Disk, RealDisk
from nano.journal.engines.marks import read_mark
from nano.journal.engines.settings import EngineSettings
from nano.journal.horizon import NEVER, Limits
from nano.journal.log import Log
from nano.journal.segments import Signer

if TYPE_CHECKING:
    from nano.journal.engines.database import Database


def log_for(
    settings: EngineSettings,
    folder: Path,
    *,
    clock: Callable[[], datetime],
    owner: str,
    disk: Disk | None = None,
    signer: Signer | None = None,
    limits: Limits = NEVER,
) -> Log:
    """Made, not opened: that is the ledger's work. ``folder`` is a node's ``data/journal``, ``owner`` its
    name. Raises JournalError(journal_elsewhere), Invalid(engine_not_installed), JournalDamaged."""
    disk = disk or RealDisk()
    mark = read_mark(disk, folder)
    kept = mark.settings.engine if mark else "json" if disk.list(folder / "commits") else settings.engine
    if kept != settings.engine:
        raise JournalError(
            f"The journal of {folder} is kept by the engine {kept}, the settings say {settings.engine}.",
            code="journal_elsewhere",
            hint=f"Set [journal] engine to {kept}; or move the journal: nano-replay backup, then restore --settings.",
        )
    if settings.engine == "json":
        return CommitLog(folder, clock=clock, disk=disk, signer=signer, limits=limits)
    from nano.journal.engines.log import DatabaseLog

    return DatabaseLog(folder, database_of(settings, folder, disk), settings, disk=disk, owner=owner)


def database_of(settings: EngineSettings, folder: Path, disk: Disk) -> "Database":
    """The one that the settings name, closed. ``folder`` is the journal's. Raises Invalid(engine_not_installed)."""
    if settings.engine == "sqlite":
        from nano.journal.engines.sqlite import SQLiteDatabase

        return SQLiteDatabase((folder / (settings.file or "journal.db")).absolute(), disk)
    try:
        from nano.journal.engines.postgres import PostgresDatabase
    except ImportError as error:
        raise Invalid(
            f"The engine postgres needs a package that is not installed ({error}).",
            code="engine_not_installed",
            hint="Install it beside Nano: pip install nano-cloud[postgres].",
        ) from error
    return PostgresDatabase(settings)


@contextmanager
def journal_disk(journal: Path, *, seals: bool = False, disk: Disk | None = None) -> Iterator[Disk]:
    """The disk by which the files of a journal are read, for reading only: where a database has the log, it seems to be
    files (``view``). Raises JournalDamaged, Invalid(engine_not_installed)."""
    disk = disk or RealDisk()
    mark = read_mark(disk, journal)
    if mark is None:
        yield disk
        return
    from nano.journal.engines.view import DatabaseView

    view = DatabaseView(journal, database_of(mark.settings, journal, disk), seals=seals)
    try:
        yield view
    finally:
        view.leave()
