"""Frames: how messages, pipe bytes and credit lie one after another in a stream of a link.

    kind  1 byte      length  4 bytes, big endian      payload

Messages travel as JSON (msgspec), so that a capture of a test link can be read. Invariant: a decoder never holds
more than one frame of at most ``payload_max`` bytes, and refuses a larger one when its header arrives, before the
payload does. It does not know which frame may follow which; that is the business of ``exchange``.
"""

from collections.abc import Iterator
from enum import IntEnum
from typing import Any, Final, Union

import msgspec

from nano.domain.errors import Invalid, TooLarge
from nano.transports import move_messages  # noqa: F401  its kinds are known by being imported
from nano.transports.link import MESSAGE_BYTES_MAX
from nano.transports.messages import Message

HEADER_BYTES: Final = 5


class FrameKind(IntEnum):
    """The first four open an exchange; the rest continue it."""

    CONTROL = 1  # Hello; stays open for the life of the link
    REQUEST = 2
    FOLLOW = 3
    PIPE = 4
    MESSAGE = 5  # an answer, or one item of a follow
    DATA = 6  # bytes of a pipe
    REFUSED = 7  # a Refused message instead of an answer; ends the exchange
    CREDIT = 8  # the reader has consumed this many bytes (decimal text)
    END = 9  # no more items, or the pipe is closed


OPENERS: Final = frozenset({FrameKind.CONTROL, FrameKind.REQUEST, FrameKind.FOLLOW, FrameKind.PIPE})
_KINDS: Final = {int(kind): kind for kind in FrameKind}

Frame = tuple[FrameKind, bytes]


def _jsonable(value: Any) -> str:
    """Context of an error may hold anything; what JSON cannot say travels as its text."""
    return str(value)


_encoder = msgspec.json.Encoder(enc_hook=_jsonable)


def _kinds(base: type[Message]) -> Iterator[type[Message]]:
    """Those that are sent: a base of others is not."""
    below = base.__subclasses__()
    if not below:
        yield base
    for kind in below:
        yield from _kinds(kind)


_decoder: msgspec.json.Decoder[Any] = msgspec.json.Decoder(Union[tuple(_kinds(Message))])  # noqa: UP007


def encode_message(message: Message, *, bytes_max: int = MESSAGE_BYTES_MAX) -> bytes:
    """JSON of one message. Raises TooLarge(code="message_too_large")."""
    data = _encoder.encode(message)
    if len(data) > bytes_max:
        raise TooLarge(
            f"A {type(message).__name__} of {len(data)} bytes does not fit into a message.",
            code="message_too_large",
            hint=f"A link carries messages of at most {bytes_max} bytes; send less at once.",
            size=len(data),
            size_max=bytes_max,
        )
    return data


def decode_message(data: bytes) -> Message:
    """The message. Raises Invalid(code="message_malformed") for anything that is not one of ``messages``."""
    try:
        message: Message = _decoder.decode(data)
    except (msgspec.MsgspecError, UnicodeDecodeError, RecursionError) as error:
        raise Invalid(f"A message from the other node can't be read: {error}.", code="message_malformed") from error
    return message


def frame(kind: FrameKind, payload: bytes = b"") -> bytes:
    return kind.to_bytes(1, "big") + len(payload).to_bytes(4, "big") + payload


class FrameDecoder:
    """Cuts a stream of bytes into frames, whatever the pieces it arrives in."""

    def __init__(self, payload_max: int = MESSAGE_BYTES_MAX) -> None:
        self.payload_max = payload_max
        self._buffer = bytearray()

    @property
    def held(self) -> int:
        """Bytes of the frame that is not complete yet."""
        return len(self._buffer)

    def feed(self, data: bytes) -> Iterator[Frame]:
        """Frames completed by ``data``. Raises Invalid(code="frame_malformed") or TooLarge(code="message_too_large");
        after that the stream can't be read on."""
        self._buffer += data
        start, end = 0, len(self._buffer)
        try:
            while end - start >= HEADER_BYTES:
                kind = _KINDS.get(self._buffer[start])
                if kind is None:
                    raise Invalid("The other node sent a frame of an unknown kind.", code="frame_malformed")
                length = int.from_bytes(self._buffer[start + 1 : start + HEADER_BYTES], "big")
                if length > self.payload_max:
                    raise TooLarge(
                        f"The other node announced a message of {length} bytes.",
                        code="message_too_large",
                        hint=f"It may send at most {self.payload_max} bytes.",
                        size=length,
                        size_max=self.payload_max,
                    )
                stop = start + HEADER_BYTES + length
                if stop > end:
                    break
                payload = bytes(self._buffer[start + HEADER_BYTES : stop])
                start = stop
                yield kind, payload
        finally:
            del self._buffer[:start]
