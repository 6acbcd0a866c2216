"""Reading a commit log without owning it: by the node itself (history, followers) and by tools on a live folder.

Readers take no lock and change nothing. A log may grow while it is read; whatever has no newline yet is not there yet.
``read_lines`` trusts the text that the writer checked at its start, and checks the chain in what a start from a snapshot did not
read; ``JournalReader`` checks the chain as it goes.
"""

from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any, Final, Protocol, TypeVar

import msgspec

from nano.domain.facts import Fact
from nano.journal.anchor import offset_near
from nano.journal.archive import read_text
from nano.journal.disk import Disk, RealDisk
from nano.journal.horizon import beginning
from nano.journal.line import HASH_END, NO_HASH, Line, check_chain, line_decoder
from nano.journal.segments import Segment, SegmentScan, damaged, decode_block, list_segments

READ_BYTES: Final = 256 << 10

LineDecoder = msgspec.json.Decoder[Line[Any]]


class Positioned(Protocol):
    @property
    def position(self) -> int: ...

    @property
    def last(self) -> int: ...


L = TypeVar("L", bound=Positioned)


def read_lines(
    disk: Disk,
    segments: Sequence[Segment],
    decoder: msgspec.json.Decoder[L],
    after: int,
    *,
    read_bytes: int = READ_BYTES,
) -> Iterator[list[L]]:
    """Durable lines that hold a position above ``after``, in order, in lists.

    ``segments`` are those of an open log: their ``size`` bounds what is read, their index finds the place.
    Raises JournalDamaged.
    """
    known = [(segment, segment.size) for segment in segments]
    for number, (segment, size) in enumerate(known):
        if number + 1 < len(known) and known[number + 1][0].first <= after + 1:
            continue
        start = offset_near(disk, segment, after + 1)
        previous = _hash_before(disk, known, number, start) if start < segment.unread else b""
        for offset, text in _texts(disk, segment.path, start, size, read_bytes):
            if offset < segment.unread:
                previous = _follow(segment.path, offset, text, previous)
            lines = decoder.decode_lines(text)
            if lines[0].position <= after:
                lines = [line for line in lines if line.last > after]
            yield lines


def _hash_before(disk: Disk, known: list[tuple[Segment, int]], number: int, offset: int) -> bytes:
    """What the line at this offset of a segment has to follow: the hash at the end of the one before it."""
    segment, end = known[number][0], offset
    if offset == 0:
        if number == 0:
            return beginning(disk, segment.path.parent).hash
        segment, end = known[number - 1]
    return read_text(disk, segment.path, max(0, end - HASH_END), HASH_END)[:-3]


def _follow(path: Path, offset: int, text: bytes, previous: bytes) -> bytes:
    """The last hash of these lines. Raises JournalDamaged at the first that does not follow."""
    lines = text[:-1].split(b"\n")
    previous, followed = check_chain(previous, lines)
    if followed < len(lines):
        wrong = offset + sum(map(len, lines[:followed])) + followed
        raise damaged(path, wrong, "the line does not follow the one before it")
    return previous


def _texts(disk: Disk, path: Path, offset: int, end: int, read_bytes: int) -> Iterator[tuple[int, bytes]]:
    """Whole lines from ``offset`` to ``end``, about ``read_bytes`` at a time, with the offset of the first of them."""
    rest = b""
    while offset < end:
        data = read_text(disk, path, offset, min(read_bytes, end - offset))
        if not data:
            raise damaged(path, offset, "the file is shorter than it was")
        offset += len(data)
        cut = data.rfind(b"\n") + 1
        if cut:
            yield offset - len(data) - len(rest), rest + data[:cut]
            rest = data[cut:]
        else:
            rest += data


def facts_of(line: Line[Any]) -> list[Fact]:
    return [
        Fact(
            line.position + number, line.time, line.actor, line.command, line.cause, entry.resource, entry.version,
            entry.event,
        )
        for number, entry in enumerate(line.events)
    ]  # fmt: skip


class JournalReader:
    """A journal folder as a tool sees it: read-only, lock-free, tolerant of a growing tail.

    ``lines()`` may be called again to continue where the last call ended. Without event types, events stay raw JSON.
    """

    def __init__(self, folder: Path, event_types: tuple[type, ...] = (), *, disk: Disk | None = None) -> None:
        self.folder = folder
        self.position = 0
        self.hash = NO_HASH
        self.path = folder
        self.offset = 0
        self._disk: Disk = disk or RealDisk()
        self._decoder: LineDecoder = line_decoder(event_types)
        self._first = 0  # of the segment that is being read
        self._resume = 0

    def lines(self) -> Iterator[Line[Any]]:
        """Every further whole line. ``path`` and ``offset`` name the one just given. Raises JournalDamaged."""
        commits = self.folder / "commits"
        if self.position == 0:
            self.position, self.hash = beginning(self._disk, commits)[:2]
        segments = list_segments(self._disk, commits)
        for number, segment in enumerate(segments):
            newest = number == len(segments) - 1
            if segment.first != self._first:
                if segment.first <= self.position:
                    continue  # read by an earlier call
                if segment.first != self.position + 1:
                    raise damaged(segment.path, 0, f"it should start at position {self.position + 1}")
                self._first, self._resume = segment.first, 0
            self.path = segment.path  # it may have been archived since
            yield from self._segment_lines(newest)

    def facts(self) -> Iterator[Fact]:
        for line in self.lines():
            yield from facts_of(line)

    def _segment_lines(self, newest: bool) -> Iterator[Line[Any]]:
        scan = SegmentScan(self._disk, self.path, self.hash, start=self._resume)
        for block in scan.blocks():
            offset = block.offset
            for text, line in zip(block.lines, decode_block(self._decoder, block), strict=True):
                self.offset = offset
                if line.position != self.position + 1:
                    raise damaged(self.path, offset, f"it should have position {self.position + 1}")
                self.position += len(line.events)
                self.hash = line.hash.encode()
                offset += len(text) + 1
                self._resume = offset
                yield line
        if scan.torn and not newest:
            raise damaged(self.path, scan.end, "the last line is cut short, and a newer segment exists")
