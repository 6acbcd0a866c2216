"""How the library's ``StoredEvent`` becomes an entry of a commit line, and back, without losing a byte.

Nano's own events are already what a line wants: the id is a resource, the topic the event's tag, the state its JSON. They
are stored as the ledger would store them. Anything else (UUID ids, binary or compressed states, versions that do not
start at 1) is wrapped as ``{"type":"eventsourcing.stored","topic":…,"version":…,"text"|"base64":…}`` under a resource
that spells the id: ``aggregate/<uuid>``, ``text/<id>`` or ``hex/<id in UTF-8, hex>``.
"""

import re
from base64 import b64decode, b64encode
from typing import Any, Final
from uuid import UUID

import msgspec
from eventsourcing.persistence import DataError, Notification, StoredEvent

from nano.journal.line import Entry

HEX_LENGTH_MAX: Final = 200
_WRAPPED: Final = b'{"type":"eventsourcing.stored"'
_PLAIN = re.compile(r"[0-9A-Za-z_-][0-9A-Za-z_.-]{0,63}")
_RESOURCE = re.compile(r"[0-9A-Za-z_-]{1,64}/[0-9A-Za-z_-][0-9A-Za-z_.-]{0,63}")
_OUR_KINDS: Final = ("aggregate", "text", "hex")


class Wrapped(msgspec.Struct, frozen=True, omit_defaults=True, tag="eventsourcing.stored"):
    topic: str
    version: int
    text: str = ""
    base64: str = ""


class _Tagged(msgspec.Struct, frozen=True):
    type: str


_encode = msgspec.json.Encoder().encode
_tag_of = msgspec.json.Decoder(_Tagged).decode
_unwrap = msgspec.json.Decoder(Wrapped).decode


def resource_of(originator_id: UUID | str) -> str:
    """The resource that spells this id. Raises DataError for one too long to name a file."""
    if isinstance(originator_id, UUID):
        return f"aggregate/{originator_id}"
    if _RESOURCE.fullmatch(originator_id) and originator_id.partition("/")[0] not in _OUR_KINDS:
        return originator_id
    if _PLAIN.fullmatch(originator_id):
        return f"text/{originator_id}"
    spelled = originator_id.encode().hex()
    if len(spelled) > HEX_LENGTH_MAX:
        raise DataError(f"The originator id {originator_id[:40]!r}… is longer than {HEX_LENGTH_MAX // 2} bytes.")
    return f"hex/{spelled}"


def originator_of(resource: str) -> UUID | str:
    kind, _, name = resource.partition("/")
    if kind == "aggregate":
        return UUID(name)
    if kind == "text":
        return name
    return bytes.fromhex(name).decode() if kind == "hex" else resource


def is_native(stored: StoredEvent) -> bool:
    """Whether it is an event as the ledger writes them: a resource, and tagged JSON on one line."""
    if not isinstance(stored.originator_id, str) or resource_of(stored.originator_id) != stored.originator_id:
        return False
    if b"\n" in stored.state or stored.state.startswith(_WRAPPED):
        return False
    try:
        return _tag_of(stored.state).type == stored.topic
    except msgspec.DecodeError:
        return False


def entry_of(stored: StoredEvent, version: int) -> Entry[Any]:
    """``version`` is the resource's own count, which the line needs whatever the library's version is."""
    event: Any
    if is_native(stored):
        event = msgspec.Raw(stored.state)
    else:
        try:
            event = Wrapped(stored.topic, stored.originator_version, text=stored.state.decode())
        except UnicodeDecodeError:
            event = Wrapped(stored.topic, stored.originator_version, base64=b64encode(stored.state).decode())
    return Entry(resource_of(stored.originator_id), version, event)


def notification_of(position: int, entry: Entry[msgspec.Raw]) -> Notification:
    raw = bytes(entry.event)
    version, topic, state = entry.version, "", raw
    if raw.startswith(_WRAPPED):
        wrapped = _unwrap(raw)
        version, topic = wrapped.version, wrapped.topic
        state = b64decode(wrapped.base64) if wrapped.base64 else wrapped.text.encode()
    else:
        topic = _tag_of(raw).type
    return Notification(
        originator_id=originator_of(entry.resource),
        originator_version=version,
        topic=topic,
        state=state,
        id=position,
    )


def version_of(entry: Entry[msgspec.Raw]) -> int:
    """The library's version of the event."""
    raw = bytes(entry.event)
    return _unwrap(raw).version if raw.startswith(_WRAPPED) else entry.version
