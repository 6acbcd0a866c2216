"""Reading a request's body without ever holding more than the limit.

A body that is too long, by its Content-Length or in truth, is refused as soon as that is known. What is still coming is
then thrown away for a short while, so that a client which sends everything before it reads gets its answer instead of a
broken connection.
"""

from typing import Final

import anyio

from nano.domain.errors import Failure, TooLarge
from nano.http.answers import Answer, Receive, Send
from nano.http.problems import BadRequest
from nano.http.signing import Headers

BODY_BYTES_MAX: Final = 1 << 20
BODY_PAUSE_S: Final = 5.0  # the longest wait for the next piece
BODY_SECONDS_MAX: Final = 30.0
DISCARD_BYTES_MAX: Final = 256 << 20
DISCARD_SECONDS_MAX: Final = 10.0
SMALL_BYTES: Final = 64 << 10
LARGE_AT_ONCE_MAX: Final = 32  # bodies that may be longer than SMALL_BYTES, read at the same time


class ClientGone(Exception):
    """Nobody is there to be answered."""


def too_large(limit: int) -> TooLarge:
    return TooLarge(
        f"The body is longer than {limit} bytes.", hint="Bodies of this API are small JSON objects.", limit=limit
    )


class BodyReader:
    """Reads bodies before anything is known of who sends them, so what all together may hold is bounded too."""

    def __init__(self, limit: int = BODY_BYTES_MAX, large_at_once_max: int = LARGE_AT_ONCE_MAX) -> None:
        self._limit = limit
        self._large_free = large_at_once_max

    async def read(self, headers: Headers, receive: Receive) -> bytes:
        """Raises TooLarge, BadRequest(invalid_content_length, body_incomplete), Failure(too_many_bodies), ClientGone."""
        told = headers.get(b"content-length")
        if told is None and b"transfer-encoding" not in headers:
            return b""
        if told is not None:
            if not told.isdigit():
                raise BadRequest("Content-Length is not a number.", code="invalid_content_length")
            if len(told) > 18 or int(told) > self._limit:
                raise too_large(self._limit)
            if int(told) == 0:
                return b""
            if int(told) <= SMALL_BYTES:
                return await _collect(receive, SMALL_BYTES)
        if self._large_free == 0:
            raise Failure(
                "Too many large bodies are being received.", code="too_many_bodies", hint="Try again shortly."
            )
        self._large_free -= 1
        try:
            return await _collect(receive, self._limit)
        finally:
            self._large_free += 1


async def _collect(receive: Receive, limit: int) -> bytes:
    pieces: list[bytes] = []
    length = 0
    with anyio.move_on_after(BODY_SECONDS_MAX):
        while True:
            message = None
            with anyio.move_on_after(BODY_PAUSE_S):
                message = await receive()
            if message is None:
                break
            if message["type"] == "http.disconnect":
                raise ClientGone
            piece: bytes = message.get("body", b"")
            length += len(piece)
            if length > limit:
                raise too_large(limit)
            pieces.append(piece)
            if not message.get("more_body", False):
                return b"".join(pieces)
    raise BadRequest(
        "The body did not arrive whole.",
        code="body_incomplete",
        hint="Send as many bytes as Content-Length says, without a pause of more than a few seconds.",
    )


async def refuse_body(answer: Answer, headers: Headers, receive: Receive, send: Send) -> None:
    """Answer at once, then discard what is still being sent, within bounds."""
    headers_sent = [*answer.headers]
    if (b"connection", b"close") not in headers_sent:
        headers_sent.append((b"connection", b"close"))
    await send({"type": "http.response.start", "status": answer.status, "headers": headers_sent})
    await send({"type": "http.response.body", "body": answer.body, "more_body": True})
    if b"expect" not in headers:
        length = 0
        with anyio.move_on_after(DISCARD_SECONDS_MAX):
            while length < DISCARD_BYTES_MAX:
                message = await receive()
                length += len(message.get("body", b""))
                if message["type"] == "http.disconnect" or not message.get("more_body", False):
                    break
    await send({"type": "http.response.body", "body": b"", "more_body": False})
