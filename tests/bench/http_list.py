"""Listing 90 guests over HTTP: every request signed and checked

16 clients, one Core process, full rows (about 60 KB); beside it a bare Starlette + uvicorn + orjson app that lists 10 rows,
both under uvloop and httptools, both loaded by the same client, a process of its own that does nothing but write prepared
requests and count the bytes that come back. Rounds alternate, and the ratio is taken from the medians.
"""

import asyncio
import json
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from functools import partial
from pathlib import Path
from typing import Any, cast

KEY_ID, KEY = "bench", "a-key-that-is-long-enough-for-a-bench"
CLIENTS, GUESTS, ROUNDS = 16, 90, 3
REQUESTS = {"nano": 20_000, "bare": 40_000}
PATH = {"nano": "/api/v2/guests", "bare": "/guests"}


def run() -> dict[str, Any]:
    with tempfile.TemporaryDirectory() as folder, _server("nano", folder) as nano, _server("bare", folder) as bare:
        rates: dict[str, list[float]] = {"nano": [], "bare": []}
        size = {}
        for _ in range(ROUNDS):
            for name, port in (("bare", bare), ("nano", nano)):
                told = json.loads(_call("load", name, str(port)).stdout)
                rates[name].append(told["rate"])
                size[name] = told["bytes"]
    median = {name: statistics.median(values) for name, values in rates.items()}
    ratio = median["nano"] / median["bare"]
    return {
        "90 full rows, signed": {"value": round(median["nano"]), "unit": "requests/s"},
        "bytes of that answer": size["nano"],
        "bare app, 10 rows": {"value": round(median["bare"]), "unit": "requests/s"},
        "ratio": {"value": round(ratio, 3), "reach": "≥ 0.25", "ok": ratio >= 0.25},
        "checking one signature": {"value": round(_verify_us(), 1), "unit": "µs"},
    }


def _call(*arguments: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, __file__, *arguments], stdout=subprocess.PIPE, text=True, check=True, timeout=300
    )


@contextmanager
def _server(name: str, folder: str) -> Iterator[int]:
    process = subprocess.Popen(
        [sys.executable, __file__, name, folder], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
    )
    assert process.stdin is not None
    assert process.stdout is not None
    try:
        yield int(process.stdout.readline())
    finally:
        process.stdin.close()
        process.wait(timeout=30)


def _tell(value: Any) -> None:
    sys.stdout.write(json.dumps(value) + "\n")
    sys.stdout.flush()


async def _until_stdin_closes() -> None:
    await asyncio.get_running_loop().run_in_executor(None, sys.stdin.read)


# ---------------------------------------------------------------------- servers


async def _serve_nano(folder: str) -> None:
    import anyio

    from nano.core.core import Core
    from nano.domain.cell import AddCell
    from nano.domain.guest_commands import CreateGuest
    from nano.http.app import make_app
    from nano.http.credentials import Credential, Credentials
    from nano.http.server import run_server
    from nano.tools.simulator.bed import Bed, ended, task_of

    async def fill(core: Core) -> None:
        while core.zone.get("cell/one") is None:
            await core.feed.wait_for(core.feed.position + 1)
        await core.execute(AddCell(cell="one"), actor="bench", command_id="add")
        for number in range(GUESTS):
            command = CreateGuest(
                name=f"guest-{number:03d}-with-a-name-as-long-as-people-like-to-give-them",
                memory=32 << 20,
                disks=(16 << 20,) * 12,
            )
            receipt = await core.execute(command, actor="bench", command_id=f"create/{number}")
            await ended(core, task_of(receipt.facts))

    bed = Bed(Path(folder))
    bed.host("one", copy_s=0.0)
    async with bed.zone("one") as (core, _), anyio.create_task_group() as tasks:
        await fill(core)
        app = make_app(core, Credentials([Credential(KEY_ID, KEY, "reader")]), clock=bed.clock)
        _tell(await tasks.start(run_server, app, "127.0.0.1", 0))
        await _until_stdin_closes()
        tasks.cancel_scope.cancel()


async def _serve_bare() -> None:
    import orjson
    import uvicorn
    from starlette.applications import Starlette
    from starlette.requests import Request
    from starlette.responses import Response
    from starlette.routing import Route

    rows = [
        {"id": f"00000000-0000-4000-8000-{number:012d}", "name": f"guest-{number:03d}", "state": "stopped", "cores": 1,
         "memory": 128 << 20, "disks": [64 << 20], "pool": "default", "cell": "one"}
        for number in range(10)
    ]  # fmt: skip

    async def listing(request: Request) -> Response:
        return Response(orjson.dumps({"items": rows, "total": len(rows)}), media_type="application/json")

    from nano.http.server import bind

    listener = bind("127.0.0.1", 0)
    config = uvicorn.Config(
        Starlette(routes=[Route("/guests", listing)]), loop="none", http="httptools", lifespan="off",
        log_config=None, log_level="warning", access_log=False,
    )  # fmt: skip
    server = uvicorn.Server(config)
    serving = asyncio.create_task(server.serve(sockets=[listener]))
    _tell(listener.getsockname()[1])
    await _until_stdin_closes()
    server.should_exit = True
    await serving


# ---------------------------------------------------------------------- load


class _Client(asyncio.Protocol):
    """Sends a request, waits for as many bytes as the first answer had, sends the next. All answers are alike."""

    def __init__(self, requests: list[bytes], done: asyncio.Future[None]) -> None:
        self.requests = requests
        self.done = done
        self.expected = 0
        self.received = 0
        self.head = b""

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self.transport = cast("asyncio.WriteTransport", transport)
        self.transport.write(self.requests.pop())

    def data_received(self, data: bytes) -> None:
        if not self.expected:
            self._learn(data)
        self.received += len(data)
        if self.received < self.expected or not self.expected:
            return
        assert self.received == self.expected, "answers differ in length"
        self.received = 0
        if self.requests:
            self.transport.write(self.requests.pop())
        elif not self.done.done():
            self.done.set_result(None)

    def _learn(self, data: bytes) -> None:
        self.head += data
        head, found, _ = self.head.partition(b"\r\n\r\n")
        if found:
            assert head.startswith(b"HTTP/1.1 200"), head
            (length,) = [line for line in head.lower().split(b"\r\n") if line.startswith(b"content-length:")]
            self.expected = len(head) + 4 + int(length[15:])

    def connection_lost(self, exc: Exception | None) -> None:
        if not self.done.done():
            self.done.set_exception(exc or ConnectionError("closed by the server"))


def _prepared(name: str, port: int, count: int) -> list[bytes]:
    """Requests ready to be written; those for Core carry a signature each."""
    import httpx

    from nano.http.client import Signer

    url = f"http://127.0.0.1:{port}{PATH[name]}"
    if name == "bare":
        return [f"GET {PATH[name]} HTTP/1.1\r\nHost: 127.0.0.1:{port}\r\n\r\n".encode()] * count
    signer = Signer(KEY_ID, KEY)
    texts = []
    request = httpx.Request("GET", url)
    for _ in range(count):
        signer.sign(request, b"")
        head = b"".join(b"%b: %b\r\n" % pair for pair in request.headers.raw)
        texts.append(b"GET %b HTTP/1.1\r\n%b\r\n" % (request.url.raw_path, head))
    return texts


async def _load(name: str, port: int) -> None:
    loop = asyncio.get_running_loop()
    requests = _prepared(name, port, REQUESTS[name])
    shares = [requests[start::CLIENTS] for start in range(CLIENTS)]
    begun = time.perf_counter()
    waiting = []
    clients = []
    for share in shares:
        done: asyncio.Future[None] = loop.create_future()
        _, client = await loop.create_connection(partial(_Client, share, done), "127.0.0.1", port)
        waiting.append(done)
        clients.append(client)
    await asyncio.gather(*waiting)
    seconds = time.perf_counter() - begun
    _tell({"rate": REQUESTS[name] / seconds, "bytes": clients[0].expected})


def _verify_us() -> float:
    from datetime import UTC, datetime

    from nano.http.credentials import Credential, Credentials
    from nano.http.verifier import Verifier

    verifier = Verifier(Credentials([Credential(KEY_ID, KEY, "reader")]), lambda: datetime.now(UTC))
    heads = []
    for text in _prepared("nano", 5850, 5_000):
        lines = [line.split(b": ", 1) for line in text.split(b"\r\n")[1:-2]]
        heads.append({name.lower(): value for name, value in lines})
    begun = time.perf_counter()
    for headers in heads:
        verifier.verify("GET", b"/api/v2/guests", b"", headers, b"")
    return (time.perf_counter() - begun) / len(heads) * 1e6


def _main(role: str, *arguments: str) -> None:
    import uvloop

    if role == "nano":
        uvloop.run(_serve_nano(*arguments))
    elif role == "bare":
        uvloop.run(_serve_bare())
    else:
        uvloop.run(_load(arguments[0], int(arguments[1])))


if __name__ == "__main__":
    _main(*sys.argv[1:])
