"""Server-sent events as lines, both directions: how Core writes them and how its clients read them.

The format is the one of the HTML standard, without what Nano does not use (``retry``, several data lines when writing).
An event without an id does not change where a stream resumes.
"""

from collections.abc import Iterator
from typing import Any, Final

import msgspec

EVENT_BYTES_MAX: Final = 4 << 20


class ServerEvent(msgspec.Struct, frozen=True):
    """``id`` is the position of a fact, None for what is only told live. ``data`` is JSON."""

    id: int | None
    event: str
    data: bytes

    def json(self) -> Any:
        return msgspec.json.decode(self.data)


def format_event(event: str, data: bytes, position: int | None = None) -> bytes:
    if position is None:
        return b"event: %b\ndata: %b\n\n" % (event.encode(), data)
    return b"id: %d\nevent: %b\ndata: %b\n\n" % (position, event.encode(), data)


def format_comment(text: str) -> bytes:
    return b": %b\n\n" % text.encode()


class EventParser:
    """Feed it bytes as they come. Raises ValueError when one event is longer than EVENT_BYTES_MAX."""

    def __init__(self) -> None:
        self._rest = b""
        self.comment = ""  # the last one read: when a stream ends, it says why

    def feed(self, chunk: bytes) -> Iterator[ServerEvent]:
        *blocks, self._rest = (self._rest + chunk).replace(b"\r\n", b"\n").split(b"\n\n")
        if len(self._rest) > EVENT_BYTES_MAX:
            raise ValueError("an event is longer than any Core sends")
        for block in blocks:
            event = self._read(block)
            if event is not None:
                yield event

    def _read(self, block: bytes) -> ServerEvent | None:
        name, data, position = "message", [], None
        for line in block.split(b"\n"):
            field, _, value = line.partition(b":")
            value = value.removeprefix(b" ")
            if not field and line:
                self.comment = value.decode(errors="replace")
            elif field == b"event":
                name = value.decode(errors="replace")
            elif field == b"data":
                data.append(value)
            elif field == b"id" and value.isdigit():
                position = int(value)
        return ServerEvent(position, name, b"\n".join(data)) if data else None
