"""PostgreSQL as a log's database, by the library's module ``eventsourcing.postgres`` (``pip install nano-cloud[postgres]``).

The writer holds an advisory lock, named after the schema, on a connection of its own; when that connection is gone (a
restart of the server) it takes the lock again before it writes on. A server that would acknowledge what is not durable
(``fsync`` or ``synchronous_commit`` off) is refused.

The library tries an insert again by itself when a connection is lost, so nobody could tell any more whether an earlier
try got through: here each is tried once, and ``log`` decides.
"""

import hashlib
import select
import time
from collections.abc import Sequence
from typing import Any, Final

import psycopg
import psycopg_pool
from eventsourcing.persistence import ApplicationRecorder, IntegrityError, Notification, PersistenceError, StoredEvent
from eventsourcing.postgres import PostgresApplicationRecorder, PostgresFactory

from nano.domain.errors import JournalError
from nano.journal.engines.database import Fault
from nano.journal.engines.settings import EngineSettings

PATIENCE_S: Final = 15
"""How long one waits for a connection: a restart of the server, or its standby taking over."""
LOCK_WAIT_S: Final = 3
"""The server may need a moment to see that a process is gone."""
HELD_S: Final = 10.0
"""How often the lock's connection is tried; that the server has closed it is seen at once."""
_REFUSED: Final = ("22", "25", "28", "3D", "3F", "40", "42", "53", "54", "55", "57014", "57P03")
"""Classes of SQLSTATE, and codes, after which nothing of the transaction is there."""
_DISK_FULL: Final = "53100"


class OneTry(PostgresApplicationRecorder):
    """The library's recorder without its tries again."""

    def insert_events(self, stored_events: Sequence[StoredEvent], **kwargs: Any) -> Sequence[int] | None:
        found: Sequence[int] | None = _insert(self, stored_events, **kwargs)
        return found

    def select_events(self, *arguments: Any, **kwargs: Any) -> Sequence[StoredEvent]:
        found: Sequence[StoredEvent] = _events(self, *arguments, **kwargs)
        return found

    def select_notifications(self, *arguments: Any, **kwargs: Any) -> Sequence[Notification]:
        found: Sequence[Notification] = _notifications(self, *arguments, **kwargs)
        return found

    def max_notification_id(self) -> int | None:
        found: int | None = _last(self)
        return found


_once: Any = PostgresApplicationRecorder
_insert = _once.insert_events.__wrapped__
_events = _once.select_events.__wrapped__
_notifications = _once.select_notifications.__wrapped__
_last = _once.max_notification_id.__wrapped__


class PostgresDatabase:
    def __init__(self, settings: EngineSettings) -> None:
        self.name = f"the database {settings.database} (schema {settings.schema}) on {settings.host}"
        self.errors: tuple[type[Exception], ...] = (PersistenceError, psycopg.Error)
        self._settings = settings
        self._lock: psycopg.Connection[Any] | None = None
        self._held_at = 0.0
        self._factory: PostgresFactory | None = None
        self._recorder: ApplicationRecorder | None = None

    @property
    def recorder(self) -> ApplicationRecorder:
        if self._recorder is None:
            raise JournalError("The journal is not open.", hint="Start the node again.")
        return self._recorder

    def open(self, *, writer: bool) -> None:
        with self._connect() as probe:  # so that a wrong address is told at once, and as what it is
            if writer:
                self._require_durable(probe)
        if writer:
            self._take_lock()
        self._factory = PostgresFactory(postgres_environment(self._settings, writer=writer))
        self._recorder = self._factory.application_recorder()

    def hold(self) -> None:
        lock = self._lock
        assert lock is not None
        if time.monotonic() - self._held_at < HELD_S and not lock.closed and not _has_news(lock):
            return
        try:
            lock.execute("SELECT 1")
            self._held_at = time.monotonic()
        except psycopg.OperationalError:
            self._take_lock()

    def fault(self, error: Exception) -> Fault:
        cause: BaseException | None = error
        while cause is not None and not isinstance(cause, psycopg.Error):
            cause = cause.__cause__
        if isinstance(error, IntegrityError) or isinstance(cause, psycopg.IntegrityError):
            return "taken"
        if isinstance(cause, psycopg_pool.PoolTimeout | psycopg_pool.PoolClosed):
            return "away"
        state = (cause.sqlstate if isinstance(cause, psycopg.Error) else None) or ""
        if state == _DISK_FULL:
            return "full"
        return "refused" if state.startswith(_REFUSED) else "unknown"

    def close(self) -> None:
        if self._factory is not None:
            self._factory.close()
        self._factory = self._recorder = None
        if self._lock is not None:
            self._lock.close()
            self._lock = None

    # ------------------------------------------------------------------ the lock

    def _connect(self) -> "psycopg.Connection[Any]":
        settings = self._settings
        return psycopg.connect(
            host=settings.host,
            port=settings.port,
            dbname=settings.database,
            user=settings.user,
            password=settings.password(),
            connect_timeout=PATIENCE_S,
            autocommit=True,
            application_name="nano",
        )

    def _take_lock(self) -> None:
        if self._lock is not None:
            self._lock.close()
        self._lock = lock = self._connect()
        # of a writer whose machine is gone, the server lets go after half a minute
        lock.execute("SET tcp_keepalives_idle = 10")
        lock.execute("SET tcp_keepalives_interval = 5")
        lock.execute("SET tcp_keepalives_count = 4")
        lock.execute(f"SET lock_timeout = '{LOCK_WAIT_S}s'")
        try:
            lock.execute("SELECT pg_advisory_lock(%s)", (_lock_number(self._settings.schema),))
        except psycopg.errors.LockNotAvailable as error:
            raise JournalError(
                f"Another process is writing the journal in {self.name}.",
                code="journal_locked",
                hint="Stop the other node, or give this one a database (or schema) of its own.",
            ) from error
        self._held_at = time.monotonic()

    def _require_durable(self, connection: "psycopg.Connection[Any]") -> None:
        for name in ("fsync", "synchronous_commit"):
            found = connection.execute("SELECT current_setting(%s)", (name,)).fetchone()
            if found and found[0] == "off":
                raise JournalError(
                    f"{self.name} has {name} off: it would acknowledge what a crash can take away.",
                    code="database_not_durable",
                    hint=f"Set {name} = on for this server, database and user.",
                )


def _has_news(connection: "psycopg.Connection[Any]") -> bool:
    """The server has said something unasked: that it is gone, most often."""
    return bool(select.select([connection.fileno()], [], [], 0)[0])


def _lock_number(schema: str) -> int:
    """Locks are numbers, one set for each database."""
    return int.from_bytes(hashlib.sha256(b"nano journal\0" + schema.encode()).digest()[:8], signed=True)


def postgres_environment(settings: EngineSettings, *, writer: bool = True) -> dict[str, str]:
    """How the library's module is set up."""
    return {
        "POSTGRES_HOST": settings.host,
        "POSTGRES_PORT": str(settings.port),
        "POSTGRES_DBNAME": settings.database,
        "POSTGRES_USER": settings.user,
        "POSTGRES_PASSWORD": settings.password(),
        "POSTGRES_SCHEMA": settings.schema,
        "POSTGRES_CONNECT_TIMEOUT": str(PATIENCE_S),
        "POSTGRES_POOL_SIZE": "2",
        "POSTGRES_MAX_OVERFLOW": "4",
        "POSTGRES_PRE_PING": "yes",
        "POSTGRES_LOCK_TIMEOUT": str(PATIENCE_S),
        "ORIGINATOR_ID_TYPE": "text",
        "APPLICATION_RECORDER_TOPIC": "nano.journal.engines.postgres:OneTry",
        "CREATE_TABLE": "yes" if writer else "no",
    }
