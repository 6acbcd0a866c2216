"""Requests and answers as the API's handlers see them: plain values, already read, already to be sent.

They stand in for Starlette's classes on the way that every request takes, where those cost more than the work itself.
"""

from collections.abc import Awaitable, Callable, MutableMapping
from typing import Any, NamedTuple

from nano.http.gate import Principal
from nano.http.signing import Headers

Message = MutableMapping[str, Any]
Receive = Callable[[], Awaitable[Message]]
Send = Callable[[Message], Awaitable[None]]
HeaderList = list[tuple[bytes, bytes]]


class Answer(NamedTuple):
    """``headers`` hold content-length and content-type already."""

    status: int
    headers: HeaderList
    body: bytes


class Request:
    """One request that passed the gate. ``arguments`` are the decoded ``{name}`` parts of its path."""

    __slots__ = ("arguments", "body", "headers", "method", "path", "principal", "query", "signature")

    def __init__(
        self,
        method: str,
        path: str,
        query: bytes,
        headers: Headers,
        body: bytes,
        arguments: dict[str, str],
        principal: Principal,
        signature: str,
    ) -> None:
        self.method = method
        self.path = path
        self.query = query
        self.headers = headers
        self.body = body
        self.arguments = arguments
        self.principal = principal
        self.signature = signature

    def header(self, name: bytes) -> str:
        return self.headers.get(name, b"").decode("latin-1").strip()


def json_answer(body: bytes, status: int = 200, *extra: tuple[bytes, bytes]) -> Answer:
    headers = [(b"content-type", b"application/json"), (b"content-length", b"%d" % len(body)), *extra]
    return Answer(status, headers, body)


def not_modified(etag: bytes) -> Answer:
    return Answer(304, [(b"etag", etag)], b"")


def tag_matches(wanted: bytes, etag: bytes) -> bool:
    """Whether an If-None-Match names this ETag (weakly compared, as RFC 9110 §13.1.2 has it)."""
    if wanted in (etag, b"*"):
        return True
    return any(part.strip().removeprefix(b"W/") == etag for part in wanted.split(b","))


async def send_answer(send: Send, answer: Answer) -> None:
    await send({"type": "http.response.start", "status": answer.status, "headers": answer.headers})
    await send({"type": "http.response.body", "body": answer.body})
