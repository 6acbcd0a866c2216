"""Reading a request's body without ever holding more than the limit.

A body that is too long, by its Content-Length or in truth, is refused as soon as that is known. What is still coming is
then thrown away for a short while, so that a client which sends everything before it reads gets its answer instead of a
broken connection.
"""

from typing import Final

import anyio

from nano.domain.errors import TooLarge
from nano.http.answers import Answer, Receive, Send
from nano.http.problems import BadRequest
from nano.http.signing import Headers

BODY_BYTES_MAX: Final = 1 << 20
BODY_PAUSE_S: Final = 5.0  # the longest wait for the next piece
BODY_SECONDS_MAX: Final = 30.0
DISCARD_BYTES_MAX: Final = 256 << 20
DISCARD_SECONDS_MAX: Final = 10.0


class ClientGone(Exception):
    """Nobody is there to be answered."""


def too_large(limit: int) -> TooLarge:
    return TooLarge(
        f"The body is longer than {limit} bytes.", hint="Bodies of this API are small JSON objects.", limit=limit
    )


async def read_body(headers: Headers, receive: Receive, limit: int = BODY_BYTES_MAX) -> bytes:
    """Raises TooLarge, BadRequest(invalid_content_length, body_incomplete), ClientGone."""
    told = headers.get(b"content-length")
    if told is None and b"transfer-encoding" not in headers:
        return b""
    if told is not None:
        if not told.isdigit():
            raise BadRequest("Content-Length is not a number.", code="invalid_content_length")
        if len(told) > 18 or int(told) > limit:
            raise too_large(limit)
        if int(told) == 0:
            return b""
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
