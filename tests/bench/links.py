"""Links between two processes on loopback: a request's round trip, a pipe's throughput; and fetching an image

The acceptor (Core's part) is a process of its own, both on uvloop, as the nodes are. A guest's creation costs one request,
so the reach of 2 ms is what a link may take from it.
"""

import hashlib
import subprocess
import sys
import tempfile
import time
from collections.abc import Awaitable, Callable
from functools import partial
from pathlib import Path
from typing import Any

import anyio
import anyio.to_thread
import uvloop

from nano.transports.bulk import BulkFile, serve_bulk
from nano.transports.bulk_fetch import fetch, over_https
from nano.transports.handshake import AcceptedLink
from nano.transports.link import Link, Pipe
from nano.transports.messages import Message, Ok, OpenConsole, Ping
from nano.transports.testing import FunctionHandler, Nodes, make_nodes
from nano.transports.trust import MemoryPinStore, PinnedCore

REQUESTS = 2000
AT_ONCE = 200
PIPE_BYTES = 16 << 20
IMAGE_BYTES = 256 << 20
ROUND_TRIP_MS_MAX = 2.0


def run() -> dict[str, Any]:
    figures: dict[str, Any] = {}
    for kind in ("quic", "tls"):
        with tempfile.TemporaryDirectory() as folder:
            figures |= _with_acceptor(kind, Path(folder))
    return figures


def _with_acceptor(kind: str, folder: Path) -> dict[str, Any]:
    make_nodes(kind, folder)  # the keys, before two processes look for them
    image = folder / "image"
    with image.open("wb") as file:
        file.truncate(IMAGE_BYTES)
    command = [sys.executable, __file__, kind, str(folder)]
    with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True) as acceptor:
        assert acceptor.stdout is not None
        link_address, image_address = acceptor.stdout.readline().split()
        return uvloop.run(_measure(kind, folder, link_address, image_address))  # leaving closes its input: it stops


async def _serve(nodes: Nodes, image: Path) -> None:
    async def echo(message: Message) -> tuple[Message, Pipe | None]:
        return Ok(), _Echo()

    async def nothing(link: AcceptedLink) -> None:
        """The acceptor only answers."""

    def source(image_id: str) -> BulkFile:
        return BulkFile(image, IMAGE_BYTES, image_id)

    nodes.core_handler = FunctionHandler(pipe=echo)
    async with anyio.create_task_group() as tasks:
        serve = partial(nodes.module.serve, "127.0.0.1", 0, nodes.core_side, nodes.welcome, nothing)
        links = await tasks.start(serve)
        images = await tasks.start(serve_bulk, "127.0.0.1", 0, nodes.core, source, lambda _: True)
        sys.stdout.write(f"{links.address} {images.address}\n")
        sys.stdout.flush()
        await anyio.to_thread.run_sync(sys.stdin.read)
        tasks.cancel_scope.cancel()


class _Echo:
    """The acceptor's end of a pipe: gives back what it takes."""

    def __init__(self) -> None:
        self._out, self._into = anyio.create_memory_object_stream[bytes](16)

    async def send(self, data: bytes) -> None:
        await self._out.send(data)

    async def receive(self) -> bytes:
        return await self._into.receive()

    async def aclose(self) -> None:
        self._out.close()
        self._into.close()


async def _measure(kind: str, folder: Path, link_address: str, image_address: str) -> dict[str, Any]:
    nodes = make_nodes(kind, folder)
    nodes.cell_trust = PinnedCore("nano", MemoryPinStore(), nodes.cell)  # takes over the certificate for images
    async with nodes.module.connect(link_address, nodes.cell_side, nodes.hello) as link:
        trips = sorted([await _seconds(partial(_ask, link)) for _ in range(REQUESTS)])
        many_s = await _seconds(partial(_ask_many, link))
        pipe_s = await _seconds(partial(_through_pipe, link))
    middle, late = trips[REQUESTS // 2] * 1e3, trips[REQUESTS * 99 // 100] * 1e3
    figures: dict[str, Any] = {
        f"request over {kind}, median": {
            "value": round(middle, 2),
            "unit": "ms",
            "reach": f"< {ROUND_TRIP_MS_MAX}",
            "ok": middle < ROUND_TRIP_MS_MAX,
        },
        f"request over {kind}, 99 of 100": {"value": round(late, 2), "unit": "ms"},
        f"requests over {kind}, {AT_ONCE} at once": {"value": round(REQUESTS / many_s), "unit": "/s"},
        f"pipe over {kind}, there and back": {"value": round(PIPE_BYTES / pipe_s / 1e6, 1), "unit": "MB/s"},
    }
    if kind == "quic":
        digest = hashlib.sha256(bytes(IMAGE_BYTES)).hexdigest()
        url = f"https://{image_address}/images/{digest}"
        image_s = await _seconds(partial(fetch, url, IMAGE_BYTES, digest, folder / "fetched", over_https(nodes.cell)))
        figures["image fetched over HTTPS, digest checked"] = {
            "value": round(IMAGE_BYTES / image_s / 1e6),
            "unit": "MB/s",
        }
    return figures


async def _seconds(work: Callable[[], Awaitable[object]]) -> float:
    began = time.perf_counter()
    await work()
    return time.perf_counter() - began


async def _ask(link: Link) -> None:
    await link.request(Ping(1.0), timeout_s=10)


async def _ask_many(link: Link) -> None:
    async def some() -> None:
        for _ in range(REQUESTS // AT_ONCE):
            await _ask(link)

    async with anyio.create_task_group() as tasks:
        for _ in range(AT_ONCE):
            tasks.start_soon(some)


async def _through_pipe(link: Link) -> None:
    _, pipe = await link.pipe(OpenConsole("bench"), timeout_s=10)

    async def write() -> None:
        for _ in range(PIPE_BYTES // 65536):
            await pipe.send(bytes(65536))

    async with anyio.create_task_group() as tasks:
        tasks.start_soon(write)
        received = 0
        while received < PIPE_BYTES:
            received += len(await pipe.receive())
    await pipe.aclose()


if __name__ == "__main__":
    uvloop.run(_serve(make_nodes(sys.argv[1], Path(sys.argv[2])), Path(sys.argv[2]) / "image"))
