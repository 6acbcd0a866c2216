"""Finding a place in the log without reading all of it: lines by position, and the anchor where a start may begin.

Lines begin with their position, so a segment can be searched by halves. An *anchor* is the end of a line whose hash is
known from elsewhere (a snapshot): from there on the chain is checked as ever. Invariant: an anchor is only given when
the text at that place says this position and this hash, the lines just before it (up to 16 KiB) follow one another, and
every older segment is there, sealed, as long as its seal says, and begins with a line that follows the one that the
seal before it names. What else stands in those is not read again: that is what ``verify`` is for.

It repairs nothing and raises nothing about damage: without an anchor a start reads everything, and that names it.
"""

import re
from collections.abc import Iterator
from datetime import datetime
from pathlib import Path
from typing import Final, NamedTuple

import msgspec

from nano.domain.errors import JournalDamaged
from nano.journal.archive import read_text, text_size
from nano.journal.disk import Disk
from nano.journal.horizon import Beginning, beginning
from nano.journal.line import check_chain
from nano.journal.segments import INDEX_BYTES, Segment, list_segments, read_seal, seal_path
from nano.journal.small_files import UNREADABLE

_POSITION: Final = re.compile(rb'\{"position":(\d{1,18}),')
_HEAD_BYTES: Final = 32
_STEP_BYTES: Final = 64 << 10


class NoAnchor(Exception):
    """The log does not say what was expected at that place; the message is the reason, in words."""


class Anchor(NamedTuple):
    """``offset`` is the byte after the line, in the segment that starts at ``first``."""

    position: int
    hash: bytes
    time: datetime
    epoch: int
    first: int
    offset: int


class _Head(msgspec.Struct, frozen=True):
    """What matters here of a line."""

    position: int
    time: datetime
    epoch: int
    events: tuple[msgspec.Raw, ...]
    hash: str

    @property
    def last(self) -> int:
        return self.position + len(self.events) - 1


_heads = msgspec.json.Decoder(_Head)


def offset_near(disk: Disk, segment: Segment, position: int) -> int:
    """Offset of a line at or before the one that holds ``position``; at most some INDEX_BYTES and a line before it."""
    if not segment.unread or (segment.index and segment.index[0] <= position):
        return segment.offset_near(position)
    return _search(disk, segment.path, segment.unread, position)


def find_anchor(disk: Disk, commits: Path, position: int, head: bytes, *, check_older: bool = True) -> Anchor:
    """The end of the line that ends with ``position`` and has the hash ``head``. Raises NoAnchor, OSError.

    ``check_older`` is for a start: on a running node a seal may be about to be written.
    """
    try:
        return _find(disk, commits, position, head, check_older=check_older)
    except JournalDamaged as error:
        raise NoAnchor(error.message) from error


def _find(disk: Disk, commits: Path, position: int, head: bytes, *, check_older: bool) -> Anchor:
    segments = list_segments(disk, commits)
    begins = beginning(disk, commits)
    if segments and position == begins.position > 0:
        if head != begins.hash:
            raise NoAnchor(f"the journal begins after position {position}, with another hash")
        return Anchor(*begins, segments[0].first, 0)
    older = [segment for segment in segments if segment.first <= position]
    if not older:
        raise NoAnchor(f"the log holds nothing up to position {position}")
    last = older[-1]
    if check_older:
        _check_older(disk, segments, len(older) - 1, begins)
    size, seen = text_size(disk, last.path), False
    for line, end in _lines_from(disk, last.path, _search(disk, last.path, size, position), size):
        if line.last > position:
            break
        if line.last == position:
            if line.hash.encode() == head:
                return Anchor(position, head, line.time, line.epoch, last.first, end)
            seen = True
    if seen:
        raise NoAnchor(f"the line at position {position} of {last.path.name} has another hash")
    raise NoAnchor(f"the log has no line that ends at position {position}")


def _check_older(disk: Disk, segments: list[Segment], count: int, begins: Beginning) -> None:
    """Every segment before the one with the anchor is there, as long as its seal says, and followed by the next."""
    following, head = begins.position + 1, begins.hash
    for segment in segments[: count + 1]:
        if segment.first != following:
            raise NoAnchor(f"{segment.path.name} should start at position {following}")
        size = text_size(disk, segment.path)
        next(_lines_from(disk, segment.path, 0, min(size, _STEP_BYTES), head), None)
        if segment is segments[count]:
            return
        seal = read_seal(disk, seal_path(segment.path))
        if seal is None:
            raise NoAnchor(f"{segment.path.name} has no seal")
        if (seal.first, seal.size) != (segment.first, size):
            raise NoAnchor(f"{segment.path.name} is not what its seal says")
        following, head = seal.last + 1, seal.last_hash.encode()


def _search(disk: Disk, path: Path, size: int, position: int) -> int:
    """The same as ``offset_near``, by halves of the file. A text that is no line moves the search to earlier ones."""
    low, high = 0, size
    while high - low > INDEX_BYTES:
        middle = (low + high) // 2
        start = _next_line(disk, path, middle, high)
        found = _POSITION.match(read_text(disk, path, start, _HEAD_BYTES)) if start < high else None
        if found is not None and int(found[1]) <= position:
            low = start
        else:
            high = middle
    return low


def _next_line(disk: Disk, path: Path, offset: int, end: int) -> int:
    """Where the first line that begins after ``offset`` begins; ``end`` when none does before it."""
    while offset < end:
        data = read_text(disk, path, offset, min(4096, end - offset))
        cut = data.find(b"\n")
        if cut >= 0:
            return offset + cut + 1
        if not data:
            break
        offset += len(data)
    return end


def _lines_from(disk: Disk, path: Path, offset: int, size: int, previous: bytes = b"") -> Iterator[tuple[_Head, int]]:
    """Lines from ``offset`` on, which is the start of one, with the offset after each; ``previous`` is the hash of the
    line before, where it is known."""
    rest, read_to = b"", offset
    while read_to < size and (data := read_text(disk, path, read_to, min(_STEP_BYTES, size - read_to))):
        read_to += len(data)
        *texts, rest = (rest + data).split(b"\n")
        for text in texts:
            try:
                line = _heads.decode(text)
            except UNREADABLE as error:
                raise NoAnchor(f"{path.name}, byte {offset}, is no line") from error
            if previous and not check_chain(previous, [text])[1]:
                raise NoAnchor(f"{path.name}, byte {offset}, does not follow the line before it")
            previous = line.hash.encode()
            offset += len(text) + 1
            yield line, offset
