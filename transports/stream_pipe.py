"""Bytes both ways on an exchange, and the relay that joins such a pipe to a local one (a console's socket).

Invariant: at most one window of unread bytes in each direction; closing either end closes both, after what was sent
before has been delivered. There is no half-close: a console has none.
"""

import anyio

from nano.domain.errors import NanoError
from nano.transports.exchange import CHUNK_BYTES, Exchange
from nano.transports.framing import FrameKind
from nano.transports.link import Pipe

# What a local pipe (socket, websocket) may raise when its other side is gone.
GONE = (anyio.EndOfStream, anyio.BrokenResourceError, anyio.ClosedResourceError, NanoError, OSError)


class StreamPipe:
    """The pipe of a link. ``send`` waits while the other end does not read, and raises anyio.BrokenResourceError when
    it has closed; both raise Unreachable when the link is lost."""

    def __init__(self, exchange: Exchange) -> None:
        self._exchange = exchange
        self._ended = False

    async def send(self, data: bytes) -> None:
        for start in range(0, len(data), CHUNK_BYTES):
            await self._exchange.send_flowing(FrameKind.DATA, data[start : start + CHUNK_BYTES])

    async def receive(self) -> bytes:
        while not self._ended:
            kind, payload = await self._exchange.receive()
            if kind is FrameKind.DATA:
                if payload:
                    return payload
            else:
                self._ended = True
                self._exchange.finish()
        raise anyio.EndOfStream

    async def aclose(self) -> None:
        self._exchange.finish()
        self._exchange.stop_reading()


async def relay(one: Pipe, other: Pipe) -> None:
    """Copy bytes both ways until either end closes or breaks; then close both."""

    async def copy(source: Pipe, target: Pipe, tasks: anyio.abc.TaskGroup) -> None:
        try:
            while True:
                await target.send(await source.receive())
        except GONE:
            tasks.cancel_scope.cancel()

    try:
        async with anyio.create_task_group() as tasks:
            tasks.start_soon(copy, one, other, tasks)
            tasks.start_soon(copy, other, one, tasks)
    finally:
        with anyio.CancelScope(shield=True):
            await one.aclose()
            await other.aclose()
