"""Serving the API: uvicorn inside the node's own task group, with a graceful and prompt end.

The server takes no signals, has no lifespan and owns no loop; it stops when the task it runs in is cancelled. Then event
streams and consoles are ended, answers under way are finished, and what takes longer than STOP_SECONDS_MAX is cut.
"""

import contextlib
import errno
import logging
import socket
from collections.abc import Iterator, Mapping
from typing import Any, Final, Protocol

import anyio
import anyio.abc
import uvicorn

from nano.domain.errors import Conflict, Failure, NanoError
from nano.http.answers import Receive, Send
from nano.http.listener import Listener
from nano.http.wire import BoundedProtocol

log = logging.getLogger("nano.http")

STOP_SECONDS_MAX: Final = 3
KEEP_ALIVE_S: Final = 30
_BACKLOG: Final = 1024
_FRAME_BYTES_MAX: Final = 1 << 20


def _is_news(record: logging.LogRecord) -> bool:
    """uvicorn takes a websocket that was refused with a whole HTTP answer for one that was forgotten."""
    return "without completing handshake" not in record.msg


class Application(Protocol):
    """ASGI, and told when the server begins to stop."""

    def begin_shutdown(self) -> None: ...

    async def __call__(self, scope: Mapping[str, Any], receive: Receive, send: Send) -> None: ...


class _Server(Listener):
    def __init__(self, config: uvicorn.Config) -> None:
        super().__init__(config)
        self.up = anyio.Event()

    @contextlib.contextmanager
    def capture_signals(self) -> Iterator[None]:
        errors = logging.getLogger("uvicorn.error")
        errors.addFilter(_is_news)
        try:
            with super().capture_signals():
                yield
        finally:
            errors.removeFilter(_is_news)

    async def startup(self, sockets: list[socket.socket] | None = None) -> None:
        await super().startup(sockets=sockets)
        self.up.set()


def bind(host: str, port: int) -> socket.socket:
    """A listening socket; port 0 takes a free one. Raises Conflict(port_in_use), Failure(address_unusable)."""
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    # The protocol is named because asyncio turns Nagle's algorithm off only where it is: else every answer that is
    # written in two pieces waits 40 ms for the client's delayed acknowledgement.
    listener = socket.socket(family, socket.SOCK_STREAM, socket.IPPROTO_TCP)
    try:
        listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        listener.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        listener.bind((host, port))
        listener.listen(_BACKLOG)
    except OSError as error:
        listener.close()
        raise _bind_error(host, port, error) from error
    return listener


def _bind_error(host: str, port: int, error: OSError) -> NanoError:
    if error.errno == errno.EADDRINUSE:
        return Conflict(
            f"Port {port} on {host} is taken by another program.",
            code="port_in_use",
            hint="Stop that program, or choose other ports.",
            port=port,
        )
    return Failure(
        f"Can't listen on {host} port {port}: {error.strerror or error}.",
        code="address_unusable",
        hint="Use an address of this machine, and a port above 1023 unless you are root.",
    )


async def run_server(
    app: Application,
    host: str,
    port: int,
    *,
    task_status: anyio.abc.TaskStatus[int] = anyio.TASK_STATUS_IGNORED,
) -> None:
    """Serve until cancelled. Tells the port through ``task_status`` once requests are answered. Raises as ``bind``."""
    listener = bind(host, port)
    config = uvicorn.Config(
        app,
        http=BoundedProtocol,
        ws="websockets-sansio",
        loop="none",
        lifespan="off",
        interface="asgi3",
        log_config=None,
        log_level="warning",
        access_log=False,
        server_header=False,
        proxy_headers=False,
        timeout_keep_alive=KEEP_ALIVE_S,
        timeout_graceful_shutdown=STOP_SECONDS_MAX,
        ws_max_size=_FRAME_BYTES_MAX,
        ws_per_message_deflate=False,
    )
    server = _Server(config)

    async def serve() -> None:
        with anyio.CancelScope(shield=True):  # ends by should_exit, after what is under way
            await server.serve(sockets=[listener])

    async with anyio.create_task_group() as tasks:
        tasks.start_soon(serve)
        try:
            await server.up.wait()
            served = listener.getsockname()[1]
            log.info("api listening host=%s port=%d", host, served)
            task_status.started(served)
            await anyio.sleep_forever()
        finally:
            app.begin_shutdown()
            server.should_exit = True
