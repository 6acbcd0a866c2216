"""HTTP/1.1 on the wire: uvicorn's httptools protocol, with the limits it lacks.

A request's head is bounded in bytes, headers and time; connections are bounded in number; what is no HTTP at all is
answered with a problem document, like everything else.
"""

import asyncio
from typing import TYPE_CHECKING, Any, Final, cast

from uvicorn.protocols.http.httptools_impl import STATUS_LINE, HttpToolsProtocol

from nano.domain.errors import Refusal
from nano.http.problems import BadRequest, problem_answer

if TYPE_CHECKING:
    from asyncio.transports import BaseTransport

HEAD_BYTES_MAX: Final = 64 << 10
HEADERS_MAX: Final = 100
HEAD_SECONDS_MAX: Final = 10.0
CONNECTIONS_MAX: Final = 2_000


class HeadTooLarge(Refusal):
    status = 431
    default_code = "head_too_large"


class BoundedProtocol(HttpToolsProtocol):
    _in_head = True
    _head_bytes = 0
    _head_timer: asyncio.TimerHandle | None = None

    def connection_made(self, transport: "BaseTransport") -> None:
        super().connection_made(cast(Any, transport))
        if len(self.connections) > CONNECTIONS_MAX:
            self.transport.close()
            return
        self._head_timer = self.loop.call_later(HEAD_SECONDS_MAX, self._head_late)

    def connection_lost(self, exc: Exception | None) -> None:
        self._stop_head_timer()
        super().connection_lost(exc)

    def data_received(self, data: bytes) -> None:
        super().data_received(data)
        if self._in_head and not self.transport.is_closing():
            self._head_bytes += len(data)
            if self._head_bytes > HEAD_BYTES_MAX:
                self._refuse(HeadTooLarge(f"The head of a request may have {HEAD_BYTES_MAX} bytes."))

    def on_message_begin(self) -> None:
        super().on_message_begin()
        self._in_head = True
        self._head_bytes = 0
        if self._head_timer is None:
            self._head_timer = self.loop.call_later(HEAD_SECONDS_MAX, self._head_late)

    def on_headers_complete(self) -> None:
        self._in_head = False
        self._stop_head_timer()
        if len(self.headers) > HEADERS_MAX:
            raise ValueError("too many headers")  # the parser stops, and the client gets a 400
        super().on_headers_complete()

    def send_400_response(self, msg: str) -> None:
        self._refuse(BadRequest(msg, code="invalid_http", hint="Speak HTTP/1.1."))

    def _head_late(self) -> None:
        self._head_timer = None
        if self._in_head and not self.transport.is_closing():
            self.transport.close()

    def _stop_head_timer(self) -> None:
        if self._head_timer is not None:
            self._head_timer.cancel()
            self._head_timer = None

    def _refuse(self, error: Refusal) -> None:
        answer = problem_answer(error)
        lines = [STATUS_LINE[answer.status]]
        for name, value in [*self.server_state.default_headers, *answer.headers, (b"connection", b"close")]:
            lines += [name, b": ", value, b"\r\n"]
        self.transport.write(b"".join([*lines, b"\r\n", answer.body]))
        self.transport.close()
