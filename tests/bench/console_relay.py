"""The console's relay: what it adds to a round trip from browser to guest and back, on loopback

By way of FrontEnd, Core and cell. The display is an echo behind a socket, as QEMU's is; a message is 256 bytes. Cell, Core
with FrontEnd, and the browser are a process each, on uvloop, with the real relays of all three and QUIC between Core and cell.
What is added is measured against a plain TCP echo of another process in the same run, 99 of 100 against 99 of 100: a machine
that is busy makes both late.
"""

import secrets
import socket
import subprocess
import sys
import tempfile
import threading
import time
from datetime import UTC, datetime
from functools import partial
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import anyio
import anyio.to_thread
import uvicorn
import uvloop
from anyio.abc import SocketStream
from starlette.applications import Starlette
from starlette.routing import WebSocketRoute
from starlette.websockets import WebSocket
from websockets.asyncio.client import connect

from nano.http.console import Consoles as CoreConsoles
from nano.hypervisor.socket_channel import SocketChannel
from nano.transports.handshake import AcceptedLink
from nano.transports.link import Pipe
from nano.transports.messages import Message, Ok, OpenConsole
from nano.transports.testing import FunctionHandler, make_nodes
from nano.ui.core_api import Caller
from nano.ui.relay import Consoles as PortalConsoles
from nano.ui.visit import Visit

TRIPS = 4000
MESSAGE = bytes(256)
ADDED_MS_MAX = 5.0
GUEST = "bench"


def run() -> dict[str, Any]:
    with tempfile.TemporaryDirectory() as folder:
        make_nodes("quic", Path(folder))  # the keys, before two processes look for them
        command = [sys.executable, __file__]
        pipes: dict[str, Any] = {"stdin": subprocess.PIPE, "stdout": subprocess.PIPE, "text": True}
        with subprocess.Popen([*command, "core", folder], **pipes) as core:
            address, ticket = core.stdout.readline().split()  # type: ignore[union-attr]
            with subprocess.Popen([*command, "cell", folder, address], **pipes) as cell:
                assert cell.stdout is not None
                plain_port = int(cell.stdout.readline())
                assert core.stdout is not None
                trips = uvloop.run(_through_relay(core.stdout.readline().strip() + ticket))
                direct = _direct(plain_port)
    late, middle = ((trips[place] - direct[place]) * 1e3 for place in (len(trips) * 99 // 100, len(trips) // 2))
    return {
        "added to a round trip, 99 of 100": {
            "value": round(late, 2),
            "unit": "ms",
            "reach": f"< {ADDED_MS_MAX}",
            "ok": late < ADDED_MS_MAX,
        },
        "added to a round trip, median": {"value": round(middle, 2), "unit": "ms"},
        "a plain TCP round trip, median": {"value": round(direct[len(direct) // 2] * 1e3, 2), "unit": "ms"},
        "a plain TCP round trip, 99 of 100": {"value": round(direct[len(direct) * 99 // 100] * 1e3, 2), "unit": "ms"},
    }


async def _through_relay(url: str) -> list[float]:
    async with connect(url, compression=None, proxy=None) as link:
        trips = []
        for _ in range(TRIPS):
            began = time.perf_counter()
            await link.send(MESSAGE)
            got = 0
            while got < len(MESSAGE):
                got += len(await link.recv())
            trips.append(time.perf_counter() - began)
    return sorted(trips[TRIPS // 10 :])


def _direct(port: int) -> list[float]:
    end = socket.create_connection(("127.0.0.1", port))
    end.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
    trips = []
    for _ in range(TRIPS):
        began = time.perf_counter()
        end.sendall(MESSAGE)
        end.recv(len(MESSAGE), socket.MSG_WAITALL)
        trips.append(time.perf_counter() - began)
    end.close()
    return sorted(trips[TRIPS // 10 :])


def _echo() -> socket.socket:
    """A display that gives back what it is told."""
    ours, display = socket.socketpair()

    def serve() -> None:
        while data := display.recv(65536):
            display.sendall(data)

    threading.Thread(target=serve, daemon=True).start()
    return ours


async def _cell(folder: Path, address: str) -> None:
    async def open_display(message: Message) -> tuple[Message, Pipe | None]:
        return Ok(), SocketChannel(await SocketStream.from_socket(_echo()))

    nodes = make_nodes("quic", folder)
    nodes.cell_handler = FunctionHandler(pipe=open_display)
    async with nodes.module.connect(address, nodes.cell_side, nodes.hello), anyio.create_task_group() as tasks:
        plain = await anyio.create_tcp_listener(local_host="127.0.0.1")
        tasks.start_soon(plain.serve, _plain_echo)
        _say(str(plain.extra(anyio.abc.SocketAttribute.local_port)))
        await anyio.to_thread.run_sync(sys.stdin.read)
        tasks.cancel_scope.cancel()


async def _plain_echo(stream: SocketStream) -> None:
    async with stream:
        async for data in stream:
            await stream.send(data)


async def _core(folder: Path) -> None:
    nodes = make_nodes("quic", folder)
    linked, links = anyio.Event(), []

    async def keep(link: AcceptedLink) -> None:
        links.append(link)
        linked.set()
        await link.closed.wait()

    async def console(guest: str, port: Any) -> Pipe:
        _, pipe = await links[0].pipe(OpenConsole(guest, port), timeout_s=10)
        return pipe

    rows = SimpleNamespace(row=lambda _: None)
    views = SimpleNamespace(tables={"guest": rows})
    consoles = CoreConsoles(SimpleNamespace(console=console, views=views), lambda: datetime.now(UTC))  # type: ignore[arg-type]

    async def app(scope: Any, receive: Any, send: Any) -> None:
        await consoles.websocket(scope, receive, send)

    async with anyio.create_task_group() as tasks:
        serve = partial(nodes.module.serve, "127.0.0.1", 0, nodes.core_side, nodes.welcome, keep)
        listening = await tasks.start(serve)
        core_port = await tasks.start(_serve_http, app)
        ticket, portal = _portal(core_port, consoles)
        portal_port = await tasks.start(_serve_http, portal)
        _say(f"{listening.address} {ticket}")
        await linked.wait()
        _say(f"ws://127.0.0.1:{portal_port}/console/{GUEST}/ws?ticket=")
        await anyio.to_thread.run_sync(sys.stdin.read)
        tasks.cancel_scope.cancel()


def _portal(core_port: int, consoles: CoreConsoles) -> tuple[str, Any]:
    """FrontEnd's relay with one ticket, and a Core that gives out tokens without being asked by signature."""

    async def ask(_method: str, _path: str, _caller: Caller) -> dict[str, str]:
        return {"path": consoles._tokens.issue(GUEST).path}

    core = SimpleNamespace(ask=ask, websocket_address=lambda path: f"ws://127.0.0.1:{core_port}{path}")
    relay = PortalConsoles(core, lambda: datetime.now(UTC))  # type: ignore[arg-type]
    session: Any = SimpleNamespace(id=secrets.token_hex(8), account="bench", role="operator")
    words: Any = None
    visit = Visit(
        words=words,
        theme="auto",
        narrow_rail=False,
        session=session,
        secret="",
        form_token="",
        address="",
        is_htmx=False,
        mark="",
    )

    async def console(socket: WebSocket) -> None:
        socket.scope["nano.visit"] = visit
        await relay.serve(socket)

    return relay.ticket(session.id, GUEST), Starlette(routes=[WebSocketRoute("/console/{guest}/ws", console)])


async def _serve_http(app: Any, *, task_status: anyio.abc.TaskStatus[int] = anyio.TASK_STATUS_IGNORED) -> None:
    listener = socket.create_server(("127.0.0.1", 0))
    config = uvicorn.Config(app, log_config=None, lifespan="off", ws="websockets-sansio", timeout_graceful_shutdown=1)
    task_status.started(listener.getsockname()[1])
    await uvicorn.Server(config).serve([listener])


def _say(line: str) -> None:
    sys.stdout.write(line + "\n")
    sys.stdout.flush()


if __name__ == "__main__":
    uvloop.run(_core(Path(sys.argv[2])) if sys.argv[1] == "core" else _cell(Path(sys.argv[2]), sys.argv[3]))
