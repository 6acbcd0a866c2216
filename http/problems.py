"""Refusals and failures as RFC 9457 problem documents: the one place where an error becomes an HTTP answer.

``type`` is about:blank, ``title`` the status's phrase; what a program decides by is ``code``. Texts are bounded, because
they may quote what the client sent. An unexpected error shows nothing of itself but the id under which it was logged.
"""

import http
import logging
import secrets
from typing import Any, Final

import msgspec

from nano.domain.errors import NanoError, Refusal
from nano.http.answers import Answer

log = logging.getLogger("nano.http")

CONTENT_TYPE: Final = b"application/problem+json"
TEXT_MAX: Final = 1000
_CONTEXT_BYTES_MAX: Final = 64 << 10


class BadRequest(Refusal):
    """It can't even be understood: broken JSON, broken query."""

    status = 400
    default_code = "bad_request"


class MethodNotAllowed(Refusal):
    status = 405
    default_code = "method_not_allowed"

    def __init__(self, method: str, allowed: tuple[str, ...]) -> None:
        super().__init__(
            f"This address does not take {method[:20]}.", hint=f"It takes {', '.join(allowed)}.", allowed=list(allowed)
        )
        self.allowed = allowed


class ProblemDocument(msgspec.Struct, frozen=True):
    """What every error answer holds; further members give context."""

    type: str
    title: str
    status: int
    detail: str
    code: str
    hint: str


def problem_answer(error: NanoError) -> Answer:
    try:
        phrase = http.HTTPStatus(error.status).phrase
    except ValueError:
        phrase = "Error"
    document: dict[str, Any] = {
        "type": "about:blank",
        "title": phrase,
        "status": error.status,
        "detail": error.message[:TEXT_MAX],
        "code": error.code,
        "hint": error.hint[:TEXT_MAX],
    }
    body = _encode(document, error.context)
    headers = [(b"content-type", CONTENT_TYPE), (b"content-length", b"%d" % len(body)), (b"cache-control", b"no-store")]
    if error.status == 401:
        headers.append((b"www-authenticate", b"Nano-HMAC-SHA256"))
    elif error.status == 503:
        headers.append((b"retry-after", b"1"))
    elif error.status == 413:
        headers.append((b"connection", b"close"))
    if isinstance(error, MethodNotAllowed):
        headers.append((b"allow", ", ".join(error.allowed).encode()))
    return Answer(error.status, headers, body)


def _encode(document: dict[str, Any], context: dict[str, Any]) -> bytes:
    try:
        body = msgspec.json.encode({**context, **document})
    except (TypeError, ValueError):  # a context that is no JSON, or text that is no Unicode: tell without it
        body = b""
    if body and len(body) <= _CONTEXT_BYTES_MAX:
        return body
    document["detail"] = document["detail"].encode(errors="replace").decode()
    document["hint"] = document["hint"].encode(errors="replace").decode()
    return msgspec.json.encode(document)


def unexpected_answer(error: BaseException, method: str, path: str) -> Answer:
    """Logs the error with a traceback under a fresh id, and answers with that id only."""
    number = secrets.token_hex(4)
    log.error("request failed id=%s method=%s path=%r", number, method, path[:200], exc_info=error)
    return problem_answer(
        NanoError(
            f"Core failed to answer (error {number}).", hint="Look for this number in Core's log.", error_id=number
        )
    )
