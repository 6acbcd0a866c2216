"""A listening uvicorn that belongs to its program: signals are the program's, and when it has ended no connection is left.

uvicorn ends the connections it knows when it begins to stop. One that was accepted just then, and one whose answer takes
longer than the time of grace, it leaves to the process's end, which in a node (and in a test) may be long after.
"""

import asyncio
import socket
from collections.abc import Iterator
from contextlib import contextmanager

import uvicorn


class Listener(uvicorn.Server):
    @contextmanager
    def capture_signals(self) -> Iterator[None]:
        yield

    async def shutdown(self, sockets: list[socket.socket] | None = None) -> None:
        await super().shutdown(sockets)
        for connection in list(self.server_state.connections):
            if connection.transport is not None:
                connection.transport.abort()
        await asyncio.sleep(0)  # an aborted one closes its socket in the loop's next round
