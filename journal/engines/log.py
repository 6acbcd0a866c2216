"""The log of a ledger in a database: a batch of lines is one transaction of a recorder of the ``eventsourcing`` library.

Invariants. What the database has committed is durable; a line is there with all of its events or not at all. Lines,
notes of openings and places that were given up are numbered together without gaps, and the database itself gives each
number once: a writer that another has followed gets no further, whatever became of its lock.

What a database may do, and the answer:
    there is no room, it refuses         DiskFull or JournalError; nothing was added, the log stays usable
    there is no connection for a while   waited for (as long as the database's settings say), then JournalError
    it fails in the middle               the place of the lines is taken by a note that keeps them out, and they are tried
                                         again; where even that is impossible the log is poisoned until a restart
    another writer has come              poisoned: what that one wrote is not known here
    rows are changed, gone or added      JournalDamaged with the row, at the next replay

It does not know which database it is: ``database`` says what there has to be.
"""

import logging
import secrets
from array import array
from bisect import bisect_right
from collections.abc import Callable, Generator, Iterator, Sequence
from pathlib import Path
from typing import Any, Final

import msgspec
from eventsourcing.persistence import StoredEvent

from nano.domain.errors import DiskFull, JournalDamaged, JournalError
from nano.journal.anchor import Anchor, NoAnchor
from nano.journal.disk import Disk
from nano.journal.engines.database import Database
from nano.journal.engines.marks import Mark, read_mark, write_mark
from nano.journal.engines.rows import (
    LINE,
    LOG,
    PAGE_FIRST,
    PAGE_MAX,
    Opened,
    RowScan,
    Void,
    Written,
    damaged_row,
    epoch_of,
    head_of,
    note,
    opened_of,
    split,
    stored,
)
from nano.journal.engines.settings import EngineSettings
from nano.journal.horizon import THE_BEGINNING
from nano.journal.line import BEGINNING, NO_HASH, Line
from nano.journal.reader import READ_BYTES, L
from nano.journal.refusing import disk_refusal
from nano.journal.segments import Signer
from nano.journal.small_files import UNREADABLE

log = logging.getLogger("nano.journal")

INDEX_POSITIONS: Final = 256
TRIES: Final = 3


class DatabaseLog:
    """``folder`` is a node's ``data/journal``, ``owner`` the node's name; another node's journal is refused."""

    def __init__(self, folder: Path, database: Database, settings: EngineSettings, *, disk: Disk, owner: str) -> None:
        self.folder = folder
        self.disk = disk
        self.position = 0
        self.hash = NO_HASH
        self.begins = THE_BEGINNING
        self.signer: Signer | None = None
        self.time = BEGINNING
        self.epoch = 0
        self.poisoned: JournalError | None = None
        self._database = database
        self._settings = settings
        self._owner = owner
        self._lock: int | None = None
        self._ready = False
        self._place = 0
        self._offset = 0
        self._index: array[int] = array("Q")  # positions
        self._ids: array[int] = array("Q")  # the rows of lines that begin with these positions
        self._block: list[Written] = []

    # ------------------------------------------------------------------ opening

    def open(self) -> None:
        """Raises JournalError(journal_locked, journal_elsewhere, …), JournalDamaged, DiskFull."""
        try:
            self._take_folder()
            self._database.open(writer=True)
            self._begin()
        except OSError as error:
            self.close()
            raise self.refusal(error, "open") from error
        except self._database.errors as error:
            self.close()
            raise self._refusal(error, "open") from error
        except BaseException:
            self.close()
            raise

    def _take_folder(self) -> None:
        self.disk.make_folder(self.folder)
        try:
            self._lock = self.disk.lock(self.folder / "lock")
        except BlockingIOError as error:
            raise JournalError(
                f"Another process is writing the journal {self.folder}.",
                code="journal_locked",
                hint="Stop the other node, or give this one a state folder of its own.",
                file=str(self.folder / "lock"),
            ) from error

    def _begin(self) -> None:
        """Find out whose journal this is, and take the next epoch."""
        recorder, mark = self._database.recorder, read_mark(self.disk, self.folder)
        first = recorder.select_events(LOG, lte=1)
        last = recorder.select_events(LOG, desc=True, limit=1)
        name = self._database.name
        begun = opened_of(name, first[0]) if first else Opened(0, secrets.token_hex(8), self._owner)
        epoch = epoch_of(name, last[0]) if last else 0
        self._check(begun, mark, empty=not first)
        self._place = last[0].originator_version if last else 0
        self.epoch, self.poisoned = epoch + 1, None
        recorder.insert_events([note(Opened(self.epoch, begun.journal, begun.owner), self._place + 1)])
        self._place += 1
        write_mark(self.disk, self.folder, Mark(begun.journal, self._settings))

    def _check(self, begun: Opened, mark: Mark | None, *, empty: bool) -> None:
        name = self._database.name
        if mark is not None and mark.journal != begun.journal:
            what = "holds no journal" if empty else "holds another journal"
            raise JournalError(
                f"{name} {what}, and not the one of {self.folder}.",
                code="journal_elsewhere",
                hint="Correct [journal] in the settings, or restore the journal from a backup into a new folder.",
            )
        if mark is None and begun.owner != self._owner:
            raise JournalError(
                f"{name} holds the journal of {begun.owner}, this node is {self._owner}.",
                code="journal_elsewhere",
                hint="Give each node a database (or schema) of its own; a node moves with its whole folder.",
            )

    def replay(
        self, decoder: "msgspec.json.Decoder[Line[Any]]", anchor: Anchor | None = None
    ) -> Generator[list[Line[Any]], None, None]:
        """Raises JournalDamaged (with the row) and JournalError; then the log is closed."""
        try:
            yield from self._replay(decoder, anchor)
            self._ready = True
        except self._database.errors as error:
            self.close()
            raise self._refusal(error, "open") from error
        except BaseException:
            self.close()
            raise

    def _replay(self, decoder: "msgspec.json.Decoder[Line[Any]]", anchor: Anchor | None) -> Iterator[list[Line[Any]]]:
        self.position, self.hash, self.time, before = 0, NO_HASH, BEGINNING, 0
        del self._index[:], self._ids[:]
        if anchor is not None:
            self.position, self.hash, self.time, before = anchor[:4]
        scan = self._scan(1 if anchor is None else anchor.offset)
        for block in scan.blocks():
            self._block = [one for one in block if one.head.position > self.position]
            if (
                anchor is not None
                and block[0].head.last == anchor.position
                and block[0].head.hash.encode() != anchor.hash
            ):
                raise scan.damage(block[0].id, "it changed while it was read")
            if not self._block:
                continue
            lines = self._decoded(decoder, self._block)
            for number, line in enumerate(lines):
                if line.epoch < before or line.epoch > self.epoch or line.time < self.time:
                    raise self.damage(number, "epoch or time is out of order")
                before, self.time = line.epoch, line.time
                self._note(line.position, self._block[number].id)
            self.position, self.hash = lines[-1].last, lines[-1].hash.encode()
            yield lines
        if scan.place != self._place:
            raise scan.damage(scan.id, f"it should have place {self._place} in the log")
        self._offset = scan.offset
        self._block = []

    def _scan(self, begin: int) -> RowScan:
        return RowScan(self._database.recorder, self._database.name, begin)

    def _decoded(self, decoder: "msgspec.json.Decoder[L]", block: list[Written]) -> list[L]:
        try:
            return decoder.decode_lines(b"".join([one.text for one in block]))
        except UNREADABLE as error:
            for one in block:
                try:
                    decoder.decode(one.text)
                except UNREADABLE as wrong:
                    raise JournalDamaged(
                        f"{self._database.name}, row {one.id}, is a line that this version can't read: {wrong}.",
                        code="journal_unreadable",
                        hint="Use the version of Nano that wrote it, or a newer one.",
                        file=self._database.name,
                        byte=one.id,
                    ) from error
            raise

    def damage(self, number: int, why: str) -> JournalDamaged:
        return damaged_row(self._database.name, self._block[number].id, why)

    # ------------------------------------------------------------------ writing

    def append(self, data: bytes, first: int, last: int, digest: bytes) -> None:
        if self.poisoned is not None:
            raise self.poisoned
        if not self._ready:
            raise JournalError("The journal is not open.", hint="Start the node again.")
        pending = split(data, self._offset, self.hash)
        ids = self._put(lambda place: stored(pending, place))
        self._place += len(pending)
        if ids:
            self._note(first, ids[0])
        self._offset += len(data)
        self.position, self.hash = last, digest

    def try_writing(self) -> None:
        self._put(lambda place: [self._void(place)])
        self._place += 1

    def _put(self, rows_at: Callable[[int], list[StoredEvent]]) -> Sequence[int] | None:
        """Insert rows at the next place: their ids, None where they are not known. Raises DiskFull, JournalError."""
        database = self._database
        for _ in range(TRIES):
            self._hold()
            rows = rows_at(self._place + 1)
            try:
                return database.recorder.insert_events(rows)
            except database.errors as error:
                fault = database.fault(error)
                if fault in ("full", "refused", "away"):
                    raise self._refusal(error, "write") from error
                if self._is_there(rows[0], error):
                    return None
                if fault == "taken":
                    raise self._poison(error, "another writer has come") from error
                self._keep_out(rows[0], error)
        raise self._poison(None, "the database failed again and again")

    def _hold(self) -> None:
        try:
            self._database.hold()
        except JournalError as error:
            raise self._poison(error, "another writer has come") from error
        except self._database.errors as error:
            raise self._refusal(error, "write") from error

    def _keep_out(self, row: StoredEvent, error: Exception) -> None:
        """It is not known whether the row comes yet: take its place, then it can't. Returns when it did not come."""
        try:
            self._database.recorder.insert_events([self._void(self._place + 1)])
        except self._database.errors as second:
            if self._database.fault(second) != "taken" or not self._is_there(row, second):
                raise self._poison(error, "whether a write got through is not known") from error
            return  # it came after all: the next try finds it
        self._place += 1

    def _is_there(self, row: StoredEvent, error: Exception) -> bool:
        """Whether this very row is in the database."""
        place = row.originator_version
        try:
            found = self._database.recorder.select_events(LOG, gt=place - 1, lte=place)
        except self._database.errors as second:
            raise self._poison(error, f"whether a write got through is not known ({second})") from error
        return bool(found) and (found[0].topic, bytes(found[0].state)) == (row.topic, row.state)

    def _void(self, place: int) -> StoredEvent:
        return note(Void(self.epoch), place)

    # ------------------------------------------------------------------ reading

    def lines(
        self, decoder: "msgspec.json.Decoder[L]", after: int, *, read_bytes: int = READ_BYTES
    ) -> Iterator[list[L]]:
        """Raises JournalError, JournalDamaged."""
        last = self.position
        if after >= last:
            return
        try:
            for block in self._scan(self._near(after + 1)).blocks(PAGE_FIRST if read_bytes <= READ_BYTES else PAGE_MAX):
                wanted = [one for one in block if after < one.head.last <= last]
                if wanted:
                    yield self._decoded(decoder, wanted)
                if block[-1].head.last >= last:
                    return
        except self._database.errors as error:
            raise self._refusal(error, "read") from error

    def anchor(self, position: int, head: bytes, *, check_older: bool = True) -> Anchor:  # noqa: ARG002 (no files)
        try:
            for block in self._scan(self._near(position)).blocks():
                for one in block:
                    if one.head.last == position and one.head.hash.encode() == head:
                        line = _anchors.decode(one.text)
                        return Anchor(position, head, line.time, line.epoch, 1, one.id)
                if block[-1].head.last > position:
                    break
        except JournalDamaged as error:
            raise NoAnchor(error.message) from error
        except self._database.errors as error:
            raise NoAnchor(_said(error)) from error
        raise NoAnchor(f"the log has no such line at position {position}")

    def _note(self, position: int, row: int) -> None:
        if not self._index or position - self._index[-1] >= INDEX_POSITIONS:
            self._ids.append(row)  # first: other threads look into the index
            self._index.append(position)

    def _near(self, position: int) -> int:
        """The row of a line at or before the one that holds the position, or 1."""
        number = bisect_right(self._index, position)
        if number:
            return self._ids[number - 1]
        recorder = self._database.recorder
        low, high = 1, (self._ids[0] if self._ids else recorder.max_notification_id() or 1)
        while high - low > INDEX_POSITIONS:
            middle = (low + high) // 2
            found = recorder.select_notifications(middle, 1, stop=high, topics=[LINE])
            if found and found[0].id < high and head_of(self._database.name, found[0]).position <= position:
                low = found[0].id
            else:
                high = middle
        return low

    # ------------------------------------------------------------------ trouble

    def refusal(self, error: OSError, action: str) -> DiskFull | JournalError:
        return disk_refusal(self.folder, error, action)

    def _refusal(self, error: Exception, action: str) -> DiskFull | JournalError:
        if self._database.fault(error) == "full":
            return DiskFull(
                f"No room in {self._database.name} to {action} the journal.",
                hint="Make room for the database; the node goes on by itself.",
            )
        return JournalError(
            f"{self._database.name} could not be used to {action} the journal: {_said(error)}.",
            code="journal_write_failed" if action == "write" else "journal_unavailable",
            hint="Check that the database runs, and what its own log says.",
        )

    def _poison(self, error: Exception | None, what: str) -> JournalError:
        self.poisoned = JournalError(
            f"The journal takes no more facts: {what}{f' ({_said(error)})' if error else ''}.",
            code="journal_poisoned",
            hint="Check the database, then restart the node: it reads back what the database kept.",
        )
        log.error("journal.poisoned database=%s reason=%s", self._database.name, what)
        return self.poisoned

    def close(self) -> None:
        self._ready = False
        self._database.close()
        if self._lock is not None:
            self.disk.close(self._lock)
            self._lock = None


_anchors: Final = msgspec.json.Decoder(Line[msgspec.Raw])


def _said(error: Exception) -> str:
    """On one line, without the full stop that databases end with."""
    return " ".join(str(error).split()).rstrip(".")
