"""A log that is kept in a database, seen as the files it would be: for what reads the files of a journal (backups, nano-replay).

Below ``commits`` there seem to be segments of about 64 MiB, cut at the same lines each time; everything else is what the disk
has. Invariant: nothing is written, and a line reads as the very bytes that were appended. Seals are made up for who asks
(``seals``): they say what the segment is now, and nobody signed them.
"""

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Final, NamedTuple

import msgspec

from nano.domain.errors import JournalError
from nano.journal.disk import RealDisk
from nano.journal.engines.database import Database
from nano.journal.engines.rows import LINE, LOG, PAGE_MAX, Head, RowScan, epoch_of, head_of
from nano.journal.epoch import NAME as EPOCH
from nano.journal.epoch import epoch_text
from nano.journal.line import HASH_TAIL
from nano.journal.segments import SEGMENT_BYTES_MAX, Seal, file_digest, segment_path
from nano.journal.small_files import with_check

_NEAR: Final = 256  # rows that are read rather than searched
READ_ON_BYTES: Final = 1 << 20
"""So far after the line that was read last, one reads on from there."""


class _Piece(NamedTuple):
    """A segment: its first position, the bytes of the log before it."""

    first: int
    begin: int


class DatabaseView(RealDisk):
    """``journal`` is the journal's folder. Opened at first use; ``leave`` it in the end."""

    segment_bytes = SEGMENT_BYTES_MAX

    def __init__(self, journal: Path, database: Database, *, seals: bool = False) -> None:
        self._commits = journal / "commits"
        self._database = database
        self._seals = seals
        self._open = False
        self._pieces: list[_Piece] = []
        self._cursor = (0, 1)  # bytes of the log before a line, and its row

    def leave(self) -> None:
        """Let go of the database. May be called twice."""
        self._database.close()
        self._open = False

    def list(self, folder: Path) -> list[str]:
        if folder != self._commits:
            return super().list(folder)
        self._find_pieces()
        return [segment_path(self._commits, piece.first).name for piece in self._pieces]

    def size(self, path: Path) -> int:
        if path.parent != self._commits:
            return super().size(path)
        begin, end = self._span(path)
        return end - begin

    def read(self, path: Path, offset: int = 0, size: int = -1) -> bytes:
        if path == self._commits.with_name(EPOCH):
            with self._asking():
                last = self._database.recorder.select_events(LOG, desc=True, limit=1)
            return epoch_text(epoch_of(self._database.name, last[0]) if last else 0)
        if path.parent != self._commits:
            return super().read(path, offset, size)
        if path.suffix == ".seal":
            return self._seal(path)
        begin, end = self._span(path)
        begin += offset
        if size >= 0:
            end = min(end, begin + size)
        return self._text(begin, end) if begin < end else b""

    # ------------------------------------------------------------------ segments

    def _span(self, path: Path) -> tuple[int, int]:
        """Where in the log a segment begins and ends. Raises FileNotFoundError."""
        end = self._find_pieces()
        for number, piece in enumerate(self._pieces):
            if segment_path(self._commits, piece.first) == path:
                return piece.begin, self._pieces[number + 1].begin if number + 1 < len(self._pieces) else end
        raise FileNotFoundError(str(path))

    def _find_pieces(self) -> int:
        """Look for segments that have come since; how many bytes the log has."""
        with self._asking():
            end = self._end()
            while end:
                border = self._pieces[-1].begin + self.segment_bytes if self._pieces else 0
                found = self._line_from(border) if border < end else None
                if found is None:
                    break
                self._pieces.append(_Piece(found[1].position, found[1].offset))
        return end

    def _seal(self, path: Path) -> bytes:
        segment = path.with_suffix(".jsonl")
        begin, end = self._span(segment)
        if not self._seals or begin == self._pieces[-1].begin:
            raise FileNotFoundError(str(path))
        following = next(piece for piece in self._pieces if piece.begin == end)
        tail = self._text(end - HASH_TAIL - 1, end)
        seal = Seal(
            first=int(segment.stem),
            last=following.first - 1,
            size=end - begin,
            digest=file_digest(self, segment),
            last_hash=tail[-67:-3].decode(),
        )
        return with_check(msgspec.json.encode(seal))

    # ------------------------------------------------------------------ rows

    def _text(self, begin: int, end: int) -> bytes:
        """The bytes of the log from one offset to another."""
        found: list[bytes] = []
        with self._asking():
            at = None
            for block in RowScan(self._database.recorder, self._database.name, self._row_at(begin)).blocks(PAGE_MAX):
                for one in block:
                    if at is None:
                        at = one.head.offset
                    if one.head.offset >= end:
                        break
                    self._cursor = one.head.offset, one.id
                    found.append(one.text)
                if block[-1].head.offset + block[-1].head.size >= end:
                    break
        skipped = begin - (at or 0)
        return b"".join(found)[skipped : skipped + end - begin]

    def _row_at(self, offset: int) -> int:
        """The row of a line at or before this offset: the one that was read last, or one found by halves."""
        if self._cursor[0] <= offset < self._cursor[0] + READ_ON_BYTES:
            return self._cursor[1]
        low, high = 1, self._database.recorder.max_notification_id() or 1
        while high - low > _NEAR:
            middle = (low + high) // 2
            found = self._line_after(middle)
            if found is not None and found[0] < high and found[1].offset <= offset:
                low = found[0]
            else:
                high = middle
        return low

    def _line_from(self, offset: int) -> tuple[int, Head] | None:
        """The first line that begins at this offset or after it."""
        row = self._row_at(offset) - 1
        while (found := self._line_after(row + 1)) is not None:
            if found[1].offset >= offset:
                return found
            row = found[0]
        return None

    def _line_after(self, row: int) -> tuple[int, Head] | None:
        rows = self._database.recorder.select_notifications(row, 1, topics=[LINE])
        return (rows[0].id, head_of(self._database.name, rows[0])) if rows else None

    def _end(self) -> int:
        """How many bytes the log has: notes of openings may stand behind the last line."""
        place: int | None = None
        while found := self._database.recorder.select_events(LOG, lte=place, desc=True, limit=8):
            for row in found:
                if row.topic == LINE:
                    head = head_of(self._database.name, row)
                    return head.offset + head.size
            place = found[-1].originator_version - 1
        return 0

    @contextmanager
    def _asking(self) -> Iterator[None]:
        """Open it at first use; what it says no to is a JournalError."""
        try:
            if not self._open:
                self._database.open(writer=False)
                self._open = True
            yield
        except self._database.errors as error:
            raise JournalError(
                f"{self._database.name} could not be read: {' '.join(str(error).split())}",
                hint="Check that the database runs, and that you may read it.",
            ) from error
