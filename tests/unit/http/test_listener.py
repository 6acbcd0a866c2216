"""No connection outlives its listener, whatever it is doing."""

import socket
from typing import Any

import anyio
import pytest
import uvicorn

from nano.http.listener import Listener
from nano.http.wire import BoundedProtocol

pytestmark = pytest.mark.anyio


class Deaf(BoundedProtocol):
    """As one that was accepted while the listener looked through those it knew."""

    def shutdown(self) -> None:
        pass


async def app(scope: Any, receive: Any, send: Any) -> None:
    await send({"type": "http.response.start", "status": 200, "headers": [(b"content-length", b"0")]})
    await send({"type": "http.response.body"})


async def test_a_connection_that_did_not_hear_of_the_end_is_ended() -> None:
    listening = socket.create_server(("127.0.0.1", 0))
    address = listening.getsockname()
    server = Listener(uvicorn.Config(app, http=Deaf, log_config=None, lifespan="off", timeout_graceful_shutdown=0))
    async with anyio.create_task_group() as tasks:
        tasks.start_soon(server.serve, [listening])
        async with await anyio.connect_tcp(*address) as stream:
            await stream.send(b"GET / HTTP/1.1\r\nHost: a\r\n\r\n")
            assert (await stream.receive()).startswith(b"HTTP/1.1 200")
            server.should_exit = True
            with anyio.fail_after(5), pytest.raises((anyio.EndOfStream, anyio.BrokenResourceError)):
                await stream.receive()
