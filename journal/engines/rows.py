"""How lines of a log become stored events of the library, and the very same bytes again.

    originator_id   version              topic           state
    nano.log        1                    nano.opened     {"epoch":1,"journal":"…","owner":"Core_…"}
    nano.log        2                    nano.line       what the line says besides its events, and how many it has
    guest/3f0c…     1                    guest.created   the event as it stands on the line
    task/77a1…      4                    task.ended      …
    nano.log        3                    nano.line       …

What is under ``nano.log`` is numbered without gaps, whatever the database does with its own numbers: so of two writers
only one gets the next place, and a row that is gone is missed. The events of a line follow it at once, in its order, and
are inserted with it. A line is not kept as text, it is encoded again; its hash says whether the bytes are the same.

This module knows rows, not when they are written.
"""

from collections.abc import Iterator, Sequence
from typing import Annotated, Final, NamedTuple, TypeVar

import msgspec
from eventsourcing.persistence import ApplicationRecorder, Notification, StoredEvent
from msgspec.structs import replace

from nano.domain.errors import JournalDamaged
from nano.journal.line import NO_HASH, Body, Entry, encode_line
from nano.journal.small_files import UNREADABLE

LOG: Final = "nano.log"
OPENED: Final = "nano.opened"
LINE: Final = "nano.line"
VOID: Final = "nano.void"
PAGE_FIRST: Final = 64
PAGE_MAX: Final = 4_096
COUNT_MAX: Final = 1 << 20
"""More events than a line may hold, whose bytes are limited (``ledger``)."""
_Size = Annotated[int, msgspec.Meta(ge=0)]
T = TypeVar("T")


class Opened(msgspec.Struct, frozen=True):
    """A writer has begun. ``journal`` tells this journal from every other, ``owner`` is the node that made it."""

    epoch: int
    journal: str
    owner: str


class Void(msgspec.Struct, frozen=True):
    """A place that was taken so that nothing else can come there."""

    epoch: int


class Head(msgspec.Struct, frozen=True, gc=False):
    """``line`` is all that the line says besides its events and its hash; ``count`` is how many events it has, ``size`` how
    many bytes, ``offset`` how many bytes of text are before it in the log."""

    offset: _Size
    size: _Size
    count: Annotated[int, msgspec.Meta(ge=0, le=COUNT_MAX)]
    hash: str
    line: Body

    @property
    def position(self) -> int:
        return self.line.position

    @property
    def last(self) -> int:
        return self.line.position + self.count - 1


class _Whole(Body, frozen=True, kw_only=True, gc=False):
    events: tuple[Entry[msgspec.Raw], ...]
    hash: str


_SAID: Final = tuple(name for name in Body.__struct_fields__ if name != "events")


class _Tagged(msgspec.Struct, frozen=True):
    type: str


_encode = msgspec.json.Encoder().encode
_lines = msgspec.json.Decoder(_Whole)
_heads = msgspec.json.Decoder(Head)
_voids = msgspec.json.Decoder(Void)
_openings = msgspec.json.Decoder(Opened)
_tag_of = msgspec.json.Decoder(_Tagged).decode


class Pending(NamedTuple):
    """A line that has no place in the log yet."""

    head: Head
    events: list[StoredEvent]


def split(data: bytes, offset: int, previous: bytes) -> list[Pending]:
    """Rows of whole lines. Raises ValueError for a line that would not come back as it is."""
    found = []
    for bare in data[:-1].split(b"\n"):
        text = bare + b"\n"
        line = _lines.decode(text)
        said = Body(**{name: getattr(line, name) for name in _SAID})
        head = Head(offset, len(text), len(line.events), line.hash, said)
        again, previous = encode_line(previous, replace(said, events=line.events))
        if again != text:
            raise ValueError(f"the line at position {line.position} would not come back as it is")
        events = [
            StoredEvent(entry.resource, entry.version, _tag_of(entry.event).type, bytes(entry.event))
            for entry in line.events
        ]
        found.append(Pending(head, events))
        offset += len(text)
    return found


def stored(pending: Sequence[Pending], place: int) -> list[StoredEvent]:
    """All rows of these lines, the first of which gets this place in the log."""
    rows: list[StoredEvent] = []
    for number, line in enumerate(pending):
        rows.append(StoredEvent(LOG, place + number, LINE, _encode(line.head)))
        rows += line.events
    return rows


def note(what: Opened | Void, place: int) -> StoredEvent:
    return StoredEvent(LOG, place, OPENED if isinstance(what, Opened) else VOID, _encode(what))


def epoch_of(name: str, row: StoredEvent) -> int:
    """Of any row under LOG in the database of this name. Raises JournalDamaged."""
    return head_of(name, row).line.epoch if row.topic == LINE else _decoded(_voids, name, row).epoch


def head_of(name: str, row: StoredEvent) -> Head:
    """Of a row with the topic LINE. Raises JournalDamaged."""
    return _decoded(_heads, name, row)


def opened_of(name: str, row: StoredEvent) -> Opened:
    """Of a row with the topic OPENED. Raises JournalDamaged."""
    return _decoded(_openings, name, row)


def _decoded(decoder: "msgspec.json.Decoder[T]", name: str, row: StoredEvent) -> T:
    try:
        return decoder.decode(row.state)
    except UNREADABLE as error:
        number = row.id if isinstance(row, Notification) else row.originator_version
        raise damaged_row(name, number, f"it can't be read ({error})") from error


class Written(NamedTuple):
    """A line as it stands in the log: ``id`` is the row that begins it."""

    id: int
    head: Head
    text: bytes


class RowScan:
    """Reads lines from a row on and checks that each follows the one before.

    From the beginning everything is checked; from elsewhere what is read first is believed. After ``blocks()`` has ended:
    ``hash``, ``position``, ``offset`` (bytes of text), ``place`` and ``id`` of what was read last.
    """

    def __init__(self, recorder: ApplicationRecorder, name: str, begin: int = 1) -> None:
        self._recorder = recorder
        self._name = name
        self._known = begin <= 1
        self.id = begin - 1
        self.hash = NO_HASH
        self.position = self.offset = self.place = 0

    def blocks(self, page: int = PAGE_FIRST) -> Iterator[list[Written]]:
        """Lines in lists, a few first, then more at a time. Raises JournalDamaged, and what the recorder raises."""
        rest: list[Notification] = []
        while rows := self._recorder.select_notifications(self.id, page, inclusive_of_start=False):
            self.id = rows[-1].id
            block, rest = self._lines([*rest, *rows])
            if block:
                yield block
            if len(rows) < page and not rest:
                break
            page = min(page * 4, PAGE_MAX)
        if rest:
            raise self.damage(rest[0].id, "events of this line are missing")

    def damage(self, row: int, why: str) -> JournalDamaged:
        return damaged_row(self._name, row, why)

    def _lines(self, rows: list[Notification]) -> tuple[list[Written], list[Notification]]:
        """The whole lines among these rows, and the rows after them."""
        found: list[Written] = []
        at = 0
        while at < len(rows):
            row = rows[at]
            if row.originator_id != LOG:
                raise self.damage(row.id, "it belongs to no line")
            if row.topic == LINE:
                head = head_of(self._name, row)
                end = at + 1 + head.count
                if end > len(rows):
                    break
                found.append(self._line(row, head, rows[at + 1 : end]))
            elif row.topic in (OPENED, VOID):
                end = at + 1
                self._next_place(row)
            else:
                raise self.damage(row.id, "it is of no known kind")
            at = end
        return found, rows[at:]

    def _next_place(self, row: Notification) -> None:
        if (self._known or self.place) and row.originator_version != self.place + 1:
            raise self.damage(row.id, f"rows are missing: it should have place {self.place + 1} in the log")
        self.place = row.originator_version

    def _line(self, row: Notification, head: Head, rows: list[Notification]) -> Written:
        self._next_place(row)
        if not self._known:
            self.position, self.offset = head.position - 1, head.offset
        if (head.position, head.offset) != (self.position + 1, self.offset):
            raise self.damage(row.id, f"it should have position {self.position + 1}")
        events = tuple([Entry(str(one.originator_id), one.originator_version, msgspec.Raw(one.state)) for one in rows])
        text, digest = encode_line(self.hash, replace(head.line, events=events))
        if self._known and digest != head.hash.encode():
            raise self.damage(row.id, "the line does not follow the one before it")
        if not self._known:  # what was before it was not read
            digest = head.hash.encode()
            text = b'%b%b"}\n' % (text[:-67], digest)
        self.hash, self.position, self._known = digest, head.last, True
        self.offset += len(text)
        if len(text) != head.size:
            raise self.damage(row.id, f"the line should have {head.size} bytes")
        return Written(row.id, head, text)


def damaged_row(name: str, row: int, why: str) -> JournalDamaged:
    return JournalDamaged(
        f"The journal is damaged: {name}, row {row}: {why}.",
        hint="Nothing was changed. Restore the journal from a backup.",
        file=name,
        byte=row,
        row=row,
    )
