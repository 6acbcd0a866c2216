"""A local socket as something that bytes are sent to and received from."""

from typing import Final, Protocol

from anyio.abc import SocketStream

RECEIVE_MAX: Final = 256 << 10


class Channel(Protocol):
    """As ``Pipe`` of a link."""

    async def send(self, data: bytes) -> None: ...

    async def receive(self) -> bytes:
        """At least one byte; raises anyio.EndOfStream when the other end has closed."""
        ...

    async def aclose(self) -> None: ...


class SocketChannel:
    def __init__(self, stream: SocketStream) -> None:
        self._stream = stream

    async def send(self, data: bytes) -> None:
        await self._stream.send(data)

    async def receive(self) -> bytes:
        return await self._stream.receive(RECEIVE_MAX)

    async def aclose(self) -> None:
        await self._stream.aclose()
