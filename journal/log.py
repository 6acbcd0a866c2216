"""What a ledger needs of the log that it writes: the few things that are the same whatever keeps the lines.

A log is a sequence of lines (``journal.line``), each a transaction, chained by hash. ``CommitLog`` keeps them as files of
JSON, the default; ``journal.database`` as rows of a database. Invariants of every log: what ``append`` has taken is
durable; one process writes, and each opening has a higher epoch; replaying gives the very bytes that were appended.

``folder`` and ``disk`` are the node's, for what is derived from the log (resource journals, snapshots) and lies beside it.
"""

from collections.abc import Generator, Iterator
from datetime import datetime
from pathlib import Path
from typing import Any, Protocol

import msgspec

from nano.domain.errors import DiskFull, JournalDamaged, JournalError
from nano.journal.anchor import Anchor
from nano.journal.disk import Disk
from nano.journal.horizon import Beginning
from nano.journal.line import Line
from nano.journal.reader import READ_BYTES, L
from nano.journal.segments import Signer


class Log(Protocol):
    """Open it, exhaust ``replay``, then append. One thread appends; ``lines`` may be called from others meanwhile."""

    folder: Path
    disk: Disk
    position: int
    hash: bytes
    time: datetime
    epoch: int
    poisoned: JournalError | None
    signer: Signer | None
    begins: Beginning
    """What comes before the first line there is: nothing, unless old ones were dropped (``horizon``)."""

    def open(self) -> None:
        """Become the one writer, with a new epoch. Raises JournalError(journal_locked), DiskFull, JournalError."""
        ...

    def replay(
        self, decoder: msgspec.json.Decoder[Line[Any]], anchor: Anchor | None = None
    ) -> Generator[list[Line[Any]], None, None]:
        """Every line (with an anchor: every one after it), in lists, checked. When it ends, the log is ready for appends.
        Raises JournalDamaged and JournalError; then nothing was changed and the log is closed."""
        ...

    def append(self, data: bytes, first: int, last: int, digest: bytes) -> None:
        """Make whole lines durable, all or none. ``first`` is the first line's position, ``last`` the last event's,
        ``digest`` the last line's hash. Raises DiskFull or JournalError (nothing was added), or JournalError(journal_poisoned):
        whether they were added is unknown until a restart."""
        ...

    def try_writing(self) -> None:
        """Whether appends would work again, tried without one. Raises DiskFull or JournalError when not."""
        ...

    def lines(
        self, decoder: "msgspec.json.Decoder[L]", after: int, *, read_bytes: int = READ_BYTES
    ) -> Iterator[list[L]]:
        """Durable lines that hold a position above ``after``, in order, in lists of about ``read_bytes`` of text.
        Raises OSError, JournalError."""
        ...

    def anchor(self, position: int, head: bytes, *, check_older: bool = True) -> Anchor:
        """The end of the line that ends with ``position`` and has the hash ``head``. Raises NoAnchor, OSError."""
        ...

    def damage(self, number: int, why: str) -> JournalDamaged:
        """The error that names the place of a line in the list that ``replay`` gave last."""
        ...

    def refusal(self, error: OSError, action: str) -> DiskFull | JournalError:
        """What a disk error means. ``action`` is open, read, repair or write."""
        ...

    def close(self) -> None:
        """Let others write. May be called twice."""
        ...
