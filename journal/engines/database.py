"""What a database has to offer so that a log can be kept in it: a recorder of the library, one writer, and its faults named.

Everything that differs between SQLite and PostgreSQL is behind this; what does not is in ``log``.
"""

from typing import Literal, Protocol

from eventsourcing.persistence import ApplicationRecorder

Fault = Literal["taken", "full", "refused", "away", "unknown"]
"""Why an insert failed. ``taken``: such a row is there already. ``full``: no room. ``refused``: the database said no, and
nothing was inserted. ``away``: there was no connection, nothing was sent. ``unknown``: it may or may not be inserted."""


class Database(Protocol):
    """Made closed. ``name`` says in messages which one it is."""

    name: str

    @property
    def recorder(self) -> ApplicationRecorder:
        """Its own threads may use it at once. Only while open."""
        ...

    @property
    def errors(self) -> tuple[type[Exception], ...]:
        """What its recorder may raise."""
        ...

    def open(self, *, writer: bool) -> None:
        """Connect. The writer also makes the tables, and is the only one. Raises JournalError(journal_locked, …)."""
        ...

    def hold(self) -> None:
        """Still the only writer? Cheap. Raises JournalError(journal_locked) when another has become it, and ``errors``."""
        ...

    def fault(self, error: Exception) -> Fault:
        """What one of ``errors`` means for an insert."""
        ...

    def close(self) -> None:
        """May be called twice."""
        ...
