"""Durable appends of 1,000 writers: the ledger, etcd, the library's SQLite recorder, Core's API; and one writer alone

All on the file system of the repository, with the same payload: a commit line of the ledger, byte for byte. In turns, each
side with so many requests outstanding as there are writers, and every one of them durable before it is answered:

* the ledger in its process, its whole way (decide, encode, chain, group commit, apply, publish, reply, resource journals);
* etcd (one node, as its package configures it) over gRPC from h2load, a client in C that costs next to nothing: 100
  connections of 10 calls at a time, as etcd's own benchmark takes them, and 20 of 50, which are quicker here; the better counts;
* Core over HTTP, every request signed: server and client are processes of their own, as with etcd, but the client is in
  Python and shares the processors with the server, so this is a lower bound;
* the SQLite recorder, which takes one insert at a time, whoever waits.

The best of a few rounds counts for each: the machine may be shared, and only slower is possible.
"""

import asyncio
import json
import os
import re
import shutil
import socket
import statistics
import struct
import subprocess
import sys
import tempfile
import time
import urllib.request
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from datetime import UTC, datetime
from itertools import cycle, islice
from pathlib import Path
from typing import Any, Final
from uuid import uuid4

import httpx
import uvloop
from eventsourcing.persistence import StoredEvent
from eventsourcing.sqlite import SQLiteFactory
from eventsourcing.utils import Environment

from nano.core.core import Core
from nano.domain.compute_pool import CreateComputePool
from nano.http.app import make_app
from nano.http.client import Signer
from nano.http.credentials import Credential, Credentials
from nano.http.server import run_server
from nano.journal.commit_log import CommitLog
from nano.journal.feed import Feed
from nano.journal.ledger import Ledger
from nano.journal.testing import Count, Counters, Make, numbered
from nano.journal.verify import verify
from nano.tools.simulator.bed import Bed

ROOT: Final = Path(__file__).resolve().parents[2]
WRITERS: Final = 1_000
COMMANDS: Final = 60_000
REQUESTS: Final = 16_000  # an even number for each writer: a round leaves the pools as it found them
INSERTS: Final = 3_000
SINGLE: Final = 500
ROUNDS: Final = 3
ETCD_SHAPES: Final = ((100, 10), (20, 50))  # connections, calls at a time on each
KEY_ID, KEY = "bench", "a-key-that-is-long-enough-for-a-bench"


def run() -> dict[str, Any]:
    best: dict[str, float] = {}

    def took_part(name: str, rate: float) -> None:
        best[name] = max(best.get(name, 0.0), rate)

    with tempfile.TemporaryDirectory(dir=ROOT, prefix=".bench-") as name:
        folder = Path(name)
        line = sample_line(folder / "sample")
        with etcd(folder / "etcd") as address, core(folder / "core") as port:
            for each in range(ROUNDS):
                took_part("ledger", uvloop.run(throughput(folder / f"ledger-{each}", WRITERS, COMMANDS)))
                for connections, calls in ETCD_SHAPES:
                    took_part("etcd", etcd_puts(address, line, folder, connections, calls))
                took_part("sqlite", sqlite_inserts(folder / f"events-{each}.db", line))
                took_part("api", core_requests(port))
        few = {
            writers: uvloop.run(throughput(folder / f"few-{writers}", writers, COMMANDS // 20)) for writers in (64, 1)
        }
        write_us, append_us = uvloop.run(single(folder / "single"))
        began = time.perf_counter()
        report = verify(folder / "ledger-0")
        verify_s = time.perf_counter() - began
        assert report.whole
    return {
        "bytes of a commit line": len(line),
        "ledger, commands/s of 1,000 writers": round(best["ledger"]),
        "etcd, puts/s of 1,000 writers": round(best["etcd"]),
        "SQLite recorder, inserts/s": round(best["sqlite"]),
        "Core over HTTP, signed commands/s of 1,000 writers": round(best["api"]),
        "ledger / etcd": _ratio(best["ledger"] / best["etcd"], 1),
        "ledger / SQLite recorder": _ratio(best["ledger"] / best["sqlite"], 5),
        "Core over HTTP, signed / etcd": round(best["api"] / best["etcd"], 2),
        **{f"ledger, commands/s of {writers} writers": round(rate) for writers, rate in few.items()},
        "one writer: write + fdatasync of the same bytes, median": {"value": round(write_us), "unit": "µs"},
        "one writer: one command, median": {"value": round(append_us), "unit": "µs"},
        "one writer: ratio": {"value": round(append_us / write_us, 2), "reach": "≤ 2", "ok": append_us <= 2 * write_us},
        f"verifying {WRITERS + COMMANDS:,} events and their resource journals": {
            "value": round(verify_s, 2),
            "unit": "s",
        },
    }


def _ratio(value: float, reach: float) -> dict[str, Any]:
    return {"value": round(value, 2), "reach": f"≥ {reach}", "ok": value >= reach}


# ---------------------------------------------------------------------- the ledger, and what it stands on


def clock() -> datetime:
    return datetime.now(UTC)


def ledger_on(folder: Path) -> Ledger:
    return Ledger(CommitLog(folder, clock=clock), Counters(), clock=clock, new_id=numbered(), feed=Feed())


async def throughput(folder: Path, writers: int, number: int) -> float:
    """Commands per second of so many writers that each wait for their receipt before they send the next."""
    ledger = ledger_on(folder)
    await ledger.start()
    each = number // writers

    async def writer(name: str) -> None:
        for step in range(each):
            await ledger.execute(Count(name), actor="admin", command_id=f"{name}-{step}")

    names = [f"counter-{index}" for index in range(writers)]
    await asyncio.gather(*(ledger.execute(Make(name), actor="admin", command_id="") for name in names))
    started = time.perf_counter()
    await asyncio.gather(*(writer(name) for name in names))
    seconds = time.perf_counter() - started
    await ledger.aclose()
    return writers * each / seconds


def sample_line(folder: Path) -> bytes:
    uvloop.run(throughput(folder, WRITERS, WRITERS))
    (segment,) = (folder / "commits").glob("*.jsonl")
    return segment.read_bytes().splitlines()[-1]


async def single(folder: Path) -> tuple[float, float]:
    """Medians in µs, taken in turn while nothing else is on: one command, and a plain write + fdatasync of the line that it
    left in the log, to a file that grows by it as the log does."""
    ledger = ledger_on(folder)
    await ledger.start()
    await ledger.execute(Make("a"), actor="admin", command_id="")
    plain_file = os.open(folder / "plain", os.O_WRONLY | os.O_CREAT | os.O_APPEND)
    log_file = os.open(folder / "commits" / f"{1:016d}.jsonl", os.O_RDONLY)
    plain, appends = [], []
    for step in range(SINGLE):
        size = os.fstat(log_file).st_size
        started = time.perf_counter()
        await ledger.execute(Count("a"), actor="admin", command_id=f"single-{step}")
        appends.append(time.perf_counter() - started)
        line = os.pread(log_file, 4096, size)
        assert line.endswith(b"}\n")
        started = time.perf_counter()
        os.write(plain_file, line)
        os.fdatasync(plain_file)
        plain.append(time.perf_counter() - started)
    os.close(plain_file)
    os.close(log_file)
    await ledger.aclose()
    return statistics.median(plain) * 1e6, statistics.median(appends) * 1e6


def sqlite_inserts(path: Path, line: bytes) -> float:
    factory = SQLiteFactory(Environment(env={"SQLITE_DBNAME": str(path)}))
    recorder = factory.application_recorder()
    events = [StoredEvent(uuid4(), 1, "counter.counted", line) for _ in range(INSERTS)]
    started = time.perf_counter()
    for event in events:
        recorder.insert_events([event])
    seconds = time.perf_counter() - started
    factory.close()
    return len(events) / seconds


# ---------------------------------------------------------------------- etcd


@contextmanager
def etcd(data: Path) -> Iterator[str]:
    """One node, its address while it runs. ``scripts/bench`` unpacks it where no etcd is installed."""
    unpacked = ROOT / ".venv" / "bench" / "usr" / "bin" / "etcd"
    program = shutil.which("etcd") or (str(unpacked) if unpacked.exists() else None)
    assert program, "there is no etcd: run this by scripts/bench"
    address, peers = (f"http://127.0.0.1:{free_port()}" for _ in range(2))
    command = [program, "--data-dir", str(data), "--log-level", "error"]
    command += ["--listen-client-urls", address, "--advertise-client-urls", address]
    command += ["--listen-peer-urls", peers, "--initial-advertise-peer-urls", peers]
    process = subprocess.Popen([*command, "--initial-cluster", f"default={peers}"], stderr=subprocess.DEVNULL)
    try:
        until = time.monotonic() + 30
        while not _healthy(address):
            assert process.poll() is None, "etcd has ended"
            assert time.monotonic() < until, "etcd does not answer"
            time.sleep(0.05)
        yield address
    finally:
        process.terminate()
        process.wait(30)


def etcd_puts(address: str, line: bytes, folder: Path, connections: int, calls: int) -> float:
    """Puts per second. All of them were carried out, or this fails."""
    message = _field(1, b"counter/counter-123") + _field(2, line)
    body = folder / "put.grpc"
    body.write_bytes(b"\0" + struct.pack(">I", len(message)) + message)
    before = _revision(address)
    command = ["h2load", "-n", str(COMMANDS), "-c", str(connections), "-m", str(calls), "-d", str(body)]
    command += ["-H", "content-type: application/grpc", "-H", "te: trailers", f"{address}/etcdserverpb.KV/Put"]
    told = subprocess.run(command, capture_output=True, text=True, check=True, timeout=300).stdout
    assert _revision(address) == before + COMMANDS, told
    found = re.search(r"([\d.]+) req/s", told)
    assert found, told
    return float(found[1])


def _field(number: int, value: bytes) -> bytes:
    """A field of bytes in a protobuf message."""
    length, size = len(value), b""
    while length > 127:
        size += bytes([length & 127 | 128])
        length >>= 7
    return bytes([number << 3 | 2]) + size + bytes([length]) + value


def _healthy(address: str) -> bool:
    with suppress(OSError), urllib.request.urlopen(f"{address}/health", timeout=5) as answer:
        return bool(json.load(answer)["health"] == "true")
    return False


def _revision(address: str) -> int:
    with urllib.request.urlopen(f"{address}/v3/kv/range", b'{"key":"eA=="}', timeout=30) as answer:
        return int(json.load(answer)["header"].get("revision", 0))


def free_port() -> int:
    with socket.socket() as listener:
        listener.bind(("127.0.0.1", 0))
        return int(listener.getsockname()[1])


# ---------------------------------------------------------------------- Core over HTTP


def core_requests(port: int) -> float:
    client = _role("load", str(port), stdin=subprocess.DEVNULL)
    rate = client.communicate(timeout=300)[0]
    assert client.returncode == 0
    return float(rate)


@contextmanager
def core(folder: Path) -> Iterator[int]:
    """A Core with a compute pool for each writer; its port while it runs."""
    process = _role("serve", str(folder), stdin=subprocess.PIPE)
    assert process.stdout
    try:
        yield int(process.stdout.readline())
    finally:
        process.communicate(timeout=60)  # closes its input: it stops


def _role(*arguments: str, stdin: int) -> subprocess.Popen[str]:
    return subprocess.Popen([sys.executable, __file__, *arguments], stdin=stdin, stdout=subprocess.PIPE, text=True)


def _tell(value: float) -> None:
    sys.stdout.write(f"{value}\n")
    sys.stdout.flush()


async def serve(folder: Path) -> None:
    import anyio
    import anyio.to_thread

    bed = Bed(folder)
    async with bed.core() as node, anyio.create_task_group() as tasks:
        await asyncio.gather(*(_make_pool(node, number) for number in range(WRITERS)))
        app = make_app(node, Credentials([Credential(KEY_ID, KEY, "administrator")]), clock=bed.clock)
        _tell(await tasks.start(run_server, app, "127.0.0.1", 0))
        await anyio.to_thread.run_sync(sys.stdin.read)
        tasks.cancel_scope.cancel()


async def _make_pool(node: Core, number: int) -> None:
    await node.execute(CreateComputePool(name=f"pool-{number}"), actor="bench", command_id=f"pool-{number}")


async def load(port: int) -> float:
    """Signed commands per second: each writer modifies its own pool again and again, on a connection of its own."""
    loop = asyncio.get_running_loop()
    writers = [Writer(prepared(port, number), loop.create_future()) for number in range(WRITERS)]
    for writer in writers:
        await loop.create_connection(lambda writer=writer: writer, "127.0.0.1", port)  # type: ignore[misc]
    started = time.perf_counter()
    for writer in writers:
        writer.send_next()
    await asyncio.gather(*(writer.done for writer in writers))
    return REQUESTS / (time.perf_counter() - started)


def prepared(port: int, number: int) -> list[bytes]:
    signer = Signer(KEY_ID, KEY)
    texts = []
    for enabled in islice(cycle((b"false", b"true")), REQUESTS // WRITERS):
        body = b'{"enabled":%b}' % enabled
        url = f"http://127.0.0.1:{port}/api/v2/compute-pools/pool-{number}"
        request = httpx.Request("PATCH", url, content=body, headers={"content-type": "application/json"})
        signer.sign(request, body)
        head = b"".join(b"%b: %b\r\n" % pair for pair in request.headers.raw)
        texts.append(b"PATCH %b HTTP/1.1\r\n%b\r\n%b" % (request.url.raw_path, head, body))
    return texts[::-1]


class Writer(asyncio.Protocol):
    """Sends a request, waits for its answer, sends the next."""

    def __init__(self, requests: list[bytes], done: "asyncio.Future[None]") -> None:
        self.done = done
        self._requests = requests
        self._received = b""

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._transport: Any = transport  # uvloop's is no asyncio.Transport

    def send_next(self) -> None:
        if self._requests:
            self._transport.write(self._requests.pop())
        elif not self.done.done():
            self.done.set_result(None)

    def data_received(self, data: bytes) -> None:
        self._received += data
        head, found, body = self._received.partition(b"\r\n\r\n")
        if not found:
            return
        if not head.startswith(b"HTTP/1.1 200"):
            self.done.set_exception(AssertionError(self._received.decode()))
            return
        length = re.search(rb"(?i)\r\ncontent-length: *(\d+)", head)
        assert length, head
        if len(body) >= int(length[1]):
            self._received = b""
            self.send_next()

    def connection_lost(self, exc: Exception | None) -> None:
        if not self.done.done():
            self.done.set_exception(exc or ConnectionError("closed by Core"))


if __name__ == "__main__":
    if sys.argv[1] == "serve":
        uvloop.run(serve(Path(sys.argv[2])))
    else:
        _tell(uvloop.run(load(int(sys.argv[2]))))
