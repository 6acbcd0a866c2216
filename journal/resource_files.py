"""What happened to one resource, as a file to read with cat and jq: ``resources/<kind>/<id>.jsonl``, one event a line.

    {"position":17,"time":"…","actor":"admin","command":"…","cause":"","version":3,"event":{"type":"guest.started",…}}

The text is derived from the commit log and from nothing else, so the same log always gives the same bytes. This
module knows the text and the files; when they are written is decided in ``resource_journals``.
"""

from collections.abc import Iterable
from datetime import datetime
from pathlib import Path
from typing import Any, Final, Generic, NamedTuple, TypeVar, Union

import msgspec

from nano.domain.facts import Fact
from nano.journal.disk import Disk, append_all
from nano.journal.line import RawLine
from nano.journal.small_files import UNREADABLE

E = TypeVar("E")

TAIL_BYTES: Final = 64 << 10


class Row(msgspec.Struct, Generic[E], frozen=True, gc=False):
    position: int
    time: str
    actor: str
    command: str
    cause: str
    version: int
    event: E


class Rows(NamedTuple):
    """Rows of one resource from one stretch of the log."""

    version: int  # version of the first
    texts: list[bytes]


class Tail(NamedTuple):
    """The last whole row of a file: its position and version (0, 0 when there is none), and the offset after it."""

    position: int
    version: int
    end: int
    size: int


class _Place(msgspec.Struct, frozen=True):
    position: int
    version: int


_encode = msgspec.json.Encoder().encode
_place_of = msgspec.json.Decoder(_Place).decode


def resource_path(resources: Path, resource: str) -> Path:
    return resources / f"{resource}.jsonl"


def derive(lines: Iterable[RawLine]) -> dict[str, Rows]:
    """Rows by resource, in order, newlines included."""
    found: dict[str, Rows] = {}
    for line in lines:
        for number, entry in enumerate(line.events):
            position = line.position + number
            row = Row(position, line.time, line.actor, line.command, line.cause, entry.version, entry.event)
            text = _encode(row) + b"\n"
            rows = found.get(entry.resource)
            if rows is None:
                found[entry.resource] = Rows(entry.version, [text])
            else:
                rows.texts.append(text)
    return found


def read_tail(disk: Disk, path: Path) -> Tail | None:
    """Where the file ends; None when it has to be made anew (its last whole line is no row)."""
    try:
        size = disk.size(path)
    except FileNotFoundError:
        return Tail(0, 0, 0, 0)
    start = max(0, size - TAIL_BYTES)
    data = disk.read(path, start)
    cut = data.rfind(b"\n")
    if cut < 0:
        return Tail(0, 0, 0, size) if start == 0 else None
    begin = data.rfind(b"\n", 0, cut) + 1
    if begin == 0 and start > 0:
        return None
    try:
        place = _place_of(data[begin:cut])
    except UNREADABLE:
        return None
    return Tail(place.position, place.version, start + cut + 1, size)


def end_of(disk: Disk, path: Path, position: int) -> int:
    """The offset after the rows up to a position, counted from the beginning as far as there are rows."""
    return _rows_up_to(disk, path, position)[0]


def _rows_up_to(disk: Disk, path: Path, position: int) -> tuple[int, bool]:
    """The offset after them, and whether a later row follows there: not at the end, nor where what follows is no row."""
    end, read_to, rest = 0, 0, b""
    while data := disk.read(path, read_to, TAIL_BYTES):
        read_to += len(data)
        *texts, rest = (rest + data).split(b"\n")
        for text in texts:
            try:
                if _place_of(text).position > position:
                    return end, True
            except UNREADABLE:
                return end, False
            end += len(text) + 1
    return end, False


def trim(disk: Disk, path: Path, position: int) -> None:
    """Leave out the rows up to a position; a file of which nothing is left goes. So does one that a loss of power left with
    a hole before the first row that stays: what the log still has of it is written anew. Raises OSError."""
    keep, more = _rows_up_to(disk, path, position)
    if not more:
        disk.remove(path)
        return
    if keep == 0:
        return
    draft = path.with_name(path.name + ".new")
    handle = disk.open(draft, create=True)
    try:
        disk.truncate(handle, 0)
        append_all(disk, handle, disk.read(path, keep))
    finally:
        disk.close(handle)
    disk.rename(draft, path)


def row_decoder(event_types: tuple[type, ...]) -> msgspec.json.Decoder[Row[Any]]:
    union: Any = Union[event_types] if event_types else msgspec.Raw  # noqa: UP007 (built from a tuple)
    return msgspec.json.Decoder(Row[union])


def read_facts(
    disk: Disk, resources: Path, resource: str, decoder: msgspec.json.Decoder[Row[Any]], after: int, limit: int
) -> list[Fact]:
    """Up to ``limit`` facts of the resource with a version above ``after``. Raises one of UNREADABLE."""
    try:
        data = disk.read(resource_path(resources, resource))
    except FileNotFoundError:
        return []
    texts = data.split(b"\n")[:-1]
    begins = _place_of(texts[0]).version - 1 if texts else 0  # rows of what was dropped are gone
    texts = texts[max(0, after - begins) :][:limit]
    rows = [decoder.decode(text) for text in texts]
    return [
        Fact(row.position, datetime.fromisoformat(row.time), row.actor, row.command, row.cause, resource, row.version, row.event)
        for row in rows
    ]  # fmt: skip
