"""A VNC viewer of a few lines (RFC 6143), so that tests come to a display as people's own programs do.

It works on anything that sends and receives bytes: a real socket, or the simulated machine's.
"""

import struct
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Final

import anyio
from anyio.abc import SocketStream

from nano.hypervisor.rfb import Reading, response_to
from nano.hypervisor.socket_channel import Channel, SocketChannel

HEARD_S: Final = 10.0


class VncViewer:
    """``enter`` first. ``size`` and ``name`` are the display's, once it is let in."""

    def __init__(self, channel: Channel, *, minor: int = 8) -> None:
        self._wire = Reading(channel)
        self._minor = minor
        self.size = (0, 0)
        self.name = ""

    async def enter(self, secret: str) -> str:
        """Empty when it is let in, else what it was told. Raises NotRfb when it was hung up on."""
        with anyio.fail_after(HEARD_S):
            await self._wire.exactly(12)
            await self._wire.send(b"RFB 003.%03d\n" % self._minor)
            if (reason := await self._kind()) is not None:
                return reason
            await self._wire.send(response_to(await self._wire.exactly(16), secret))
            if await self._number():
                return await self._text() if self._minor == 8 else "refused"
            await self._wire.send(b"\0")  # it wants the display for itself, as many viewers do
            width, height = struct.unpack(">HH16x", await self._wire.exactly(20))
            self.size, self.name = (width, height), await self._text()
            return ""

    async def _kind(self) -> str | None:
        """A reason where no security is offered."""
        if self._minor == 3:
            return None if await self._number() else await self._text()
        (count,) = await self._wire.exactly(1)
        if not count:
            return await self._text()
        assert 2 in await self._wire.exactly(count)
        await self._wire.send(b"\2")
        return None

    async def picture(self) -> bytes:
        """All pixels, 32 bits each."""
        pixels: dict[tuple[int, int], bytes] = {}
        with anyio.fail_after(HEARD_S):
            await self._wire.send(struct.pack(">BxHi", 2, 1, 0))  # SetEncodings: raw alone
            await self._wire.send(struct.pack(">BBHHHH", 3, 0, 0, 0, *self.size))  # FramebufferUpdateRequest, all of it
            while sum(map(len, pixels.values())) < 4 * self.size[0] * self.size[1]:
                kind, rectangles = struct.unpack(">BxH", await self._wire.exactly(4))
                assert kind == 0, f"message {kind} is not understood here"
                for _ in range(rectangles):
                    x, y, width, height, encoding = struct.unpack(">HHHHi", await self._wire.exactly(12))
                    assert encoding == 0
                    pixels[x, y] = await self._wire.exactly(4 * width * height)
        return b"".join(pixels.values())

    async def key(self, symbol: int) -> None:
        for down in (1, 0):
            await self._wire.send(struct.pack(">BBxxI", 4, down, symbol))

    async def ended(self) -> None:
        """Returns when it is hung up on."""
        with anyio.fail_after(HEARD_S):
            try:
                while True:
                    await self._wire.receive()
            except (anyio.EndOfStream, anyio.BrokenResourceError, anyio.ClosedResourceError):
                return

    async def aclose(self) -> None:
        await self._wire.aclose()

    async def _number(self) -> int:
        (number,) = struct.unpack(">I", await self._wire.exactly(4))
        return int(number)

    async def _text(self) -> str:
        return (await self._wire.exactly(await self._number())).decode()


@asynccontextmanager
async def viewer_at(address: str, port: int, *, minor: int = 8) -> AsyncIterator[VncViewer]:
    """Connected; raises OSError when nothing listens there."""
    stream: SocketStream = await anyio.connect_tcp(address, port)
    async with stream:
        yield VncViewer(SocketChannel(stream), minor=minor)
