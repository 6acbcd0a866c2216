"""A display that is not one: just enough of the RFB protocol (RFC 6143) that a VNC client connects and sees colours."""

import struct
from collections.abc import Awaitable, Callable

from starlette.requests import Request
from starlette.responses import Response
from starlette.websockets import WebSocket, WebSocketDisconnect

from nano.hypervisor.picture import png

WIDTH, HEIGHT = 320, 200


async def serve_screen(request: Request) -> Response:
    """The same stripes as a screenshot."""
    headers = {"etag": '"stripes"', "cache-control": "private, max-age=5"}
    if request.headers.get("if-none-match") == headers["etag"]:
        return Response(status_code=304, headers=headers)
    rows = b"".join(bytes((200 - y % 180, 90, 40 + y % 200)) * WIDTH for y in range(HEIGHT))
    return Response(png(WIDTH, HEIGHT, rows), 200, headers, "image/png")


def display_of(tokens: dict[str, str]) -> Callable[[WebSocket], Awaitable[None]]:
    """What is behind a token, once."""

    async def serve(socket: WebSocket) -> None:
        port = tokens.pop(socket.path_params["token"], None)
        if port is None:
            await socket.close(1008, "unknown token")
        else:
            await (serve_terminal if port == "serial" else serve_display)(socket)

    return serve


async def serve_terminal(socket: WebSocket) -> None:
    """A login prompt in green, and every key back."""
    await socket.accept()
    await socket.send_bytes(b"Debian GNU/Linux 12 web-1 ttyS0\r\n\r\n\x1b[32mweb-1\x1b[0m login: ")
    try:
        while True:
            await socket.send_bytes((await socket.receive_bytes()).replace(b"\r", b"\r\n"))
    except WebSocketDisconnect:
        return


async def serve_display(socket: WebSocket) -> None:
    """Handshake without a password, then one picture of stripes for every request."""
    offered = socket.scope.get("subprotocols", ())
    await socket.accept("binary" if "binary" in offered else None)
    reader = _Reader(socket)
    try:
        await socket.send_bytes(b"RFB 003.008\n")
        await reader.take(12)
        await socket.send_bytes(b"\x01\x01")  # one security type: none
        await reader.take(1)
        await socket.send_bytes(struct.pack(">I", 0))
        await reader.take(1)
        name = b"fake display"
        pixels = struct.pack(">BBBBHHHBBBxxx", 32, 24, 0, 1, 255, 255, 255, 16, 8, 0)
        await socket.send_bytes(struct.pack(">HH", WIDTH, HEIGHT) + pixels + struct.pack(">I", len(name)) + name)
        while True:
            kind = (await reader.take(1))[0]
            if kind == 0:  # SetPixelFormat
                await reader.take(19)
            elif kind == 2:  # SetEncodings
                count = struct.unpack(">xH", await reader.take(3))[0]
                await reader.take(4 * count)
            elif kind == 3:  # FramebufferUpdateRequest
                incremental = (await reader.take(9))[0]
                if not incremental:
                    await socket.send_bytes(_picture())
            elif kind == 4:  # KeyEvent
                await reader.take(7)
            elif kind == 5:  # PointerEvent
                await reader.take(5)
            elif kind == 6:  # ClientCutText
                length = struct.unpack(">xxxI", await reader.take(7))[0]
                await reader.take(length)
            else:
                await socket.close(4000, f"message {kind} is not understood here")
                return
    except WebSocketDisconnect:
        return


def _picture() -> bytes:
    """One raw rectangle over the whole screen."""
    rows = [bytes((40 + y % 200, 90, 200 - y % 180, 0)) * WIDTH for y in range(HEIGHT)]
    return struct.pack(">BxHHHHHi", 0, 1, 0, 0, WIDTH, HEIGHT, 0) + b"".join(rows)


class _Reader:
    """Whole messages out of websocket frames of any size."""

    def __init__(self, socket: WebSocket) -> None:
        self._socket = socket
        self._held = b""

    async def take(self, count: int) -> bytes:
        while len(self._held) < count:
            self._held += await self._socket.receive_bytes()
        taken, self._held = self._held[:count], self._held[count:]
        return taken
