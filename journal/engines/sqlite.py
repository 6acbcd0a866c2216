"""SQLite as a log's database, by the library's module ``eventsourcing.sqlite``: one file, in WAL mode, synced at each commit.

The writer is the one who holds the lock on ``<file>.lock``. A reader opens the file for reading only; a file that nobody
has open, and that was closed well, is read without leaving anything beside it (after a kill, SQLite notes in ``-shm`` who reads).
"""

import sqlite3
from pathlib import Path
from typing import Final

from eventsourcing.persistence import ApplicationRecorder, IntegrityError, PersistenceError
from eventsourcing.sqlite import SQLiteFactory

from nano.domain.errors import JournalError
from nano.journal.disk import Disk
from nano.journal.engines.database import Fault

_PRIMARY: Final = 0xFF  # of SQLite's extended codes
_REFUSED: Final = frozenset(
    {
        sqlite3.SQLITE_ERROR,
        sqlite3.SQLITE_PERM,
        sqlite3.SQLITE_BUSY,
        sqlite3.SQLITE_LOCKED,
        sqlite3.SQLITE_NOMEM,
        sqlite3.SQLITE_READONLY,
        sqlite3.SQLITE_CANTOPEN,
        sqlite3.SQLITE_TOOBIG,
        sqlite3.SQLITE_AUTH,
    }
)


class SQLiteDatabase:
    def __init__(self, file: Path, disk: Disk) -> None:
        self.name = f"the database {file}"
        self.errors: tuple[type[Exception], ...] = (PersistenceError, sqlite3.Error)
        self._file = file
        self._disk = disk
        self._lock: int | None = None
        self._factory: SQLiteFactory | None = None
        self._recorder: ApplicationRecorder | None = None

    @property
    def recorder(self) -> ApplicationRecorder:
        if self._recorder is None:
            raise JournalError("The journal is not open.", hint="Start the node again.")
        return self._recorder

    def open(self, *, writer: bool) -> None:
        if writer:
            self._disk.make_folder(self._file.parent)
            try:
                self._lock = self._disk.lock(self._file.with_name(self._file.name + ".lock"))
            except BlockingIOError as error:
                raise JournalError(
                    f"Another process is writing the journal in {self.name}.",
                    code="journal_locked",
                    hint="Stop the other node, or give this one a database of its own.",
                ) from error
            if not self._file.exists():
                self._disk.close(self._disk.open(self._file, create=True))  # readable by the owner only
        self._factory = SQLiteFactory(sqlite_environment(self._name(writer), writer=writer))
        self._recorder = self._factory.application_recorder()

    def hold(self) -> None:
        """The lock ends with the process."""

    def fault(self, error: Exception) -> Fault:
        if isinstance(error, IntegrityError | sqlite3.IntegrityError):
            return "taken"
        cause: BaseException | None = error
        while cause is not None and not isinstance(cause, sqlite3.Error):
            cause = cause.__cause__
        code = getattr(cause, "sqlite_errorcode", sqlite3.SQLITE_INTERNAL) & _PRIMARY
        if code == sqlite3.SQLITE_FULL:
            return "full"
        return "refused" if code in _REFUSED else "unknown"

    def close(self) -> None:
        if self._factory is not None:
            self._factory.close()
        self._factory = self._recorder = None
        if self._lock is not None:
            self._disk.close(self._lock)
            self._lock = None

    def _name(self, writer: bool) -> str:
        if writer:
            return str(self._file)
        left = self._file.with_name(self._file.name + "-wal").exists()
        return f"{self._file.as_uri()}?{'mode=ro' if left else 'immutable=1'}"


def sqlite_environment(name: str, *, writer: bool = True) -> dict[str, str]:
    """How the library's module is set up."""
    return {"SQLITE_DBNAME": name, "ORIGINATOR_ID_TYPE": "text", "CREATE_TABLE": "yes" if writer else "no"}
