"""One line of a commit log: one transaction, chained by hash to the line before.

    {"position":17,"time":"2026-11-21T03:10:53.123456Z","epoch":1,"actor":"admin","command":"<command id>","cause":"",
     "digest":"<16 hex>","events":[{"resource":"guest/…","version":3,"event":{"type":"guest.started",…}}],
     "tracking":{"upstream":"cell/…","position":44,"mark":"<64 hex>"},"joined":true,"hash":"<64 hex>"}

(on one line, without spaces). ``position`` is that of the first event; a line without events (only tracking) carries
the position its next event would have. ``hash`` is SHA-256 of the previous line's hash (hex text, 64 zeros before the
first line) followed by this line's bytes up to, not including, ``,"hash":``. ``digest`` recognises a repeated command;
``digest`` and ``tracking`` are left out when there is nothing to say. ``joined`` is there when the line was written and
synced together with the one before it, so that a start can tell what the newest batch was.

This module knows the text of a line, not files.
"""

from binascii import hexlify
from datetime import UTC, datetime
from hashlib import sha256
from typing import Any, Final, Generic, TypeVar, Union

import msgspec

E = TypeVar("E")

NO_HASH: Final = b"0" * 64
BEGINNING: Final = datetime.fromtimestamp(0, UTC)
"""The time of a log without lines."""
_HASH_KEY: Final = b',"hash":"'
HASH_TAIL: Final = len(_HASH_KEY) + 64 + 2
"""Bytes from the comma before "hash" to the closing brace; fixed, so that checking needs no parsing."""

HASH_END: Final = 64 + 3
"""Bytes from the hash's first digit to the end of its line, newline included."""


class Tracked(msgspec.Struct, frozen=True, gc=False, omit_defaults=True):
    """How far of another node's journal had been read when this line was written. ``mark`` is the hash of the line that ends
    there, where the other node told it: so it is noticed when that journal is no longer the one that was read."""

    upstream: str
    position: int
    mark: str = ""


class Entry(msgspec.Struct, Generic[E], frozen=True, gc=False):
    resource: str
    version: int
    event: E


class Line(msgspec.Struct, Generic[E], frozen=True, kw_only=True, gc=False, forbid_unknown_fields=True):
    """A line as read; one with a field that is not known here was written by a newer version, and is refused.

    ``E`` is the union of event types, or ``msgspec.Raw`` where events are only passed on."""

    position: int
    time: datetime
    epoch: int
    actor: str
    command: str
    cause: str
    digest: str = ""
    events: tuple[Entry[E], ...]
    tracking: Tracked | None = None
    joined: bool = False
    hash: str

    @property
    def last(self) -> int:
        """Position of the last event (one less than ``position`` when there is none)."""
        return self.position + len(self.events) - 1


class RawLine(msgspec.Struct, frozen=True, gc=False):
    """A line whose texts are only passed on: time and events stay as they were written."""

    position: int
    time: str
    actor: str
    command: str
    cause: str
    events: tuple[Entry[msgspec.Raw], ...]

    @property
    def last(self) -> int:
        return self.position + len(self.events) - 1


class Body(msgspec.Struct, omit_defaults=True, frozen=True, gc=False):
    """A line as written, before its hash. ``time`` is already text (see ``format_time``)."""

    position: int
    time: str
    epoch: int
    actor: str
    command: str
    cause: str
    digest: str = ""
    events: tuple[Entry[Any], ...] | None = None
    tracking: Tracked | None = None
    joined: bool = False


_encode = msgspec.json.Encoder().encode


def encode_line(previous: bytes, body: Body) -> tuple[bytes, bytes]:
    """The line with its newline, and its hash (hex bytes). ``previous`` is the hash of the line before."""
    text = _encode(body)[:-1]
    digest = hexlify(sha256(previous + text).digest())
    return b'%b,"hash":"%b"}\n' % (text, digest), digest


def check_chain(previous: bytes, lines: list[bytes]) -> tuple[bytes, int]:
    """Follow the chain over lines without newlines: the last hash, and the number of the first line that breaks it
    (``len(lines)`` when none does)."""
    for number, line in enumerate(lines):
        digest = hexlify(sha256(previous + line[:-HASH_TAIL]).digest())
        if line[-HASH_TAIL:] != _HASH_KEY + digest + b'"}':
            return previous, number
        previous = digest
    return previous, len(lines)


def line_decoder(event_types: tuple[type, ...] = ()) -> msgspec.json.Decoder[Line[Any]]:
    """A typed decoder for lines with these tagged event types; without any, events stay ``msgspec.Raw``."""
    union: Any = Union[event_types] if event_types else msgspec.Raw  # noqa: UP007 (built from a tuple)
    return msgspec.json.Decoder(Line[union])


def format_time(at: datetime) -> str:
    """RFC 3339 in UTC with six digits, so that texts sort like times."""
    if at.tzinfo is not UTC:
        at = at.astimezone(UTC)
    return at.isoformat(timespec="microseconds")[:-6] + "Z"
