"""The past of a Core with 1,000,000 events and 50,000 guests, snapshots as scheduled: ?at= far off, and stepping

From outside, over HTTP: ``nano-core start --foreground`` on a journal that has a snapshot every 100,000 events, signed
requests one after the other. *First* is the first page (1,000 guests) of a moment that nobody looked at before, the worst and
the middle of many places; *stepping* is the page one event further on or back, and other reads of that moment. Meanwhile
another client asks for what is now all the time: what the loop lets it wait is the loop's stall.
"""

import http.client
import os
import random
import socket
import statistics
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from nano.http.credentials import load_or_make_credentials
from nano.tools.nanoctl.connection import Connection, Key
from nano.tools.simulator.filled import FilledJournal

EVENTS, GUESTS, CELLS = 1_000_000, 50_000, 500
SCHEDULE = 100_000
PLACES, STEPS = 12, 40
PORT = 17520
PAGE = {"limit": 1000}

Ask = Callable[..., Any]


def run() -> dict[str, Any]:
    with tempfile.TemporaryDirectory() as folder:
        state = Path(folder)
        _fill(state)
        with _core(state) as (client, pid):
            return _measure(client, pid)


def _fill(state: Path) -> None:
    """Snapshots lie where a running Core would have put them."""
    journal = FilledJournal(state / "core", guests=GUESTS, cells=CELLS, snapshots_every=SCHEDULE)
    journal.live(EVENTS)
    journal.close()


def _measure(client: Connection, pid: int) -> dict[str, Any]:
    chance = random.Random(1)
    newest = _read(client, "/journal", limit=1)["items"][0]["position"]
    # where a page has all guests, also just before a snapshot, where the way from the one before is longest
    places = [
        newest - 5,
        SCHEDULE * (newest // SCHEDULE) - 3,
        *(chance.randrange(newest // 2, newest) for _ in range(PLACES)),
    ]
    idle = _waits(lambda: time.sleep(1.0))
    rss = _memory_mib(pid)
    first, computed, stepping, by_time = [], [], [], []
    others: dict[str, list[float]] = {"/zone": [], "/compute-pools": [], "/placement": []}

    def visit() -> None:
        for place in places:
            cpu = _cpu_s(pid)
            first.append(_seconds(client, "/guests", at=place, **PAGE))
            computed.append(_cpu_s(pid) - cpu)
            for step in range(STEPS):
                position = place + (step if step % 2 else -step)
                stepping.append(_seconds(client, "/guests", at=min(newest, position), **PAGE))
            for path, seconds in others.items():
                seconds.append(_seconds(client, path, at=place))
            at = _read(client, "/zone", at=place)["at"]
            by_time.append(_seconds(client, "/guests", at=at, **PAGE))

    waits = _waits(visit)
    return {
        "first page of another moment, worst": _figure(max(first), "s", 1.5),
        "first page of another moment, median": {"value": statistics.median(first), "unit": "s"},
        "CPU time of a first page, worst": {"value": max(computed), "unit": "s"},
        "stepping by an event, median": _figure(statistics.median(stepping) * 1e3, "ms", 50),
        "stepping by an event, 99 of 100": _figure(_share(stepping, 0.99) * 1e3, "ms", 50),
        "the same moment by its time": {"value": statistics.median(by_time) * 1e3, "unit": "ms"},
        **{
            f"{path} of that moment": {"value": statistics.median(seconds) * 1e3, "unit": "ms"}
            for path, seconds in others.items()
        },
        "a request of now, alone, 99 of 100": {"value": _share(idle, 0.99) * 1e3, "unit": "ms"},
        "a request of now, meanwhile, median": {"value": statistics.median(waits) * 1e3, "unit": "ms"},
        "a request of now, meanwhile, 99 of 100": {"value": _share(waits, 0.99) * 1e3, "unit": "ms"},
        "resident memory before, and with windows kept": {"value": f"{rss:.0f}, {_memory_mib(pid):.0f}", "unit": "MiB"},
    }


def _waits(work: Callable[[], None]) -> list[float]:
    """Seconds that each of the requests took which another client sent one after the other while ``work`` went on."""
    ended, seconds = threading.Event(), []

    def ask() -> None:
        line = http.client.HTTPConnection("127.0.0.1", PORT)
        while not ended.is_set():
            began = time.perf_counter()
            line.request("GET", "/api/v2/health")
            line.getresponse().read()
            seconds.append(time.perf_counter() - began)
            ended.wait(0.002)
        line.close()

    thread = threading.Thread(target=ask)
    thread.start()
    try:
        work()
    finally:
        ended.set()
        thread.join()
    return seconds


def _read(client: Connection, path: str, **query: Any) -> Any:
    return client.call("GET", f"/api/v2{path}", query=query).value


def _seconds(client: Connection, path: str, **query: Any) -> float:
    began = time.perf_counter()
    _read(client, path, **query)
    return time.perf_counter() - began


def _share(values: list[float], share: float) -> float:
    return sorted(values)[int(share * (len(values) - 1))]


def _figure(value: float, unit: str, below: float) -> dict[str, Any]:
    return {"value": value, "unit": unit, "reach": f"< {below}", "ok": value < below}


@contextmanager
def _core(state: Path) -> Iterator[tuple[Connection, int]]:
    config = state / "core" / "config"
    config.mkdir(parents=True, exist_ok=True)
    (config / "core.toml").write_text(f"[listen]\napi_port = {PORT}\n[domain]\nport = {PORT + 1}\n")
    credential = load_or_make_credentials(config).get("nanoctl")
    assert credential is not None
    process = subprocess.Popen(
        [str(Path(sys.executable).parent / "nano-core"), "start", "--foreground", "--state", str(state)],
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
        env={**os.environ, "NANO_LOG": "WARNING"},
    )
    try:
        while True:
            assert process.poll() is None, "nano-core ended"
            try:
                socket.create_connection(("127.0.0.1", PORT)).close()
                break
            except OSError:
                time.sleep(0.02)
        yield Connection(f"http://127.0.0.1:{PORT}", Key(credential.id, credential.secret)), process.pid
    finally:
        process.terminate()
        process.wait(30)


def _cpu_s(pid: int) -> float:
    """Of the whole process, the other client's requests included; it does not grow when the machine is shared."""
    fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")


def _memory_mib(pid: int) -> float:
    lines = Path(f"/proc/{pid}/status").read_text().splitlines()
    return int(next(line for line in lines if line.startswith("VmRSS")).split()[1]) / 1024
