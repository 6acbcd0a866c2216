"""Core restarted on a long journal, with a snapshot and without one, and Core's memory with 90 guests

From the exec of ``nano-core start --foreground`` to the first correct signed answer of the API: all guests listed, none
shown as lost. The journals are made by the same decisions that live commands take. The snapshot lies 20,000 events before
the end of the journal, which is the most there can be after a graceful stop; without it the whole journal is replayed and
its chain verified.
"""

import os
import shutil
import socket
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import Any, NamedTuple

from nano.domain.errors import NanoError
from nano.domain.machine import MEBI
from nano.http.credentials import load_or_make_credentials
from nano.tools.nanoctl.connection import Connection, Key
from nano.tools.simulator.filled import FilledJournal

ROUNDS = 5
TAIL = 20_000
TRIES_S = 0.002


class Start(NamedTuple):
    seconds: float  # to the first correct answer
    rss: float  # MiB resident then
    peak: float  # MiB resident at most until then


def run() -> dict[str, Any]:
    with tempfile.TemporaryDirectory() as folder:
        small, large, huge = (Path(folder) / name for name in ("small", "large", "huge"))
        _make(small, 90, 0)
        empty = _starts(small, 90)
        events = _make(large, 5_000, 100_000)
        whole = _starts(large, 5_000)
        return {
            "the same with 90 guests": {"value": round(empty.seconds, 2), "unit": "s"},
            "resident memory with 90 guests": _figure(empty.rss, "MiB", 90),
            f"{events:,} events, 5,000 guests, no snapshot": _figure(whole.seconds, "s", 1.5),
        } | _with_snapshot(huge)


def _with_snapshot(state: Path) -> dict[str, Any]:
    journal = FilledJournal(state / "core", guests=50_000, cells=500)
    journal.fill(1_000_000 - TAIL)
    copying_ms, writing_s = journal.snapshot()
    events = journal.fill(1_000_000)
    journal.close()
    (file,) = (state / "core" / "data" / "journal" / "snapshots").iterdir()
    size = file.stat().st_size
    start = _starts(state, 50_000, snapshots=True)
    whole = _restart(_without_snapshots(state), 50_000)
    return {
        f"{events:,} events, 50,000 guests": {
            "with a snapshot": _figure(start.seconds, "s", 2.5),
            "resident memory then": _figure(start.rss, "MiB", 400),
            "highest until then": {"value": round(start.peak), "unit": "MiB"},
            "without a snapshot": {"value": round(whole.seconds, 2), "unit": "s"},
            "resident memory without a snapshot": {"value": round(whole.rss), "unit": "MiB"},
            "size of the snapshot": {"value": round(size / MEBI, 1), "unit": "MiB"},
            "copying, on the event loop": {"value": round(copying_ms, 1), "unit": "ms"},
            "writing and reading back, in a thread": {"value": round(writing_s, 2), "unit": "s"},
            "longest wait of another thread meanwhile": {"value": round(journal.stall_ms, 1), "unit": "ms"},
        }
    }


def _figure(value: float, unit: str, below: float) -> dict[str, Any]:
    return {"value": round(value, 2), "unit": unit, "reach": f"< {below}", "ok": value < below}


def _make(state: Path, guests: int, events: int) -> int:
    journal = FilledJournal(state / "core", guests=guests, cells=50)
    events = journal.fill(events)
    journal.close()
    return events


def _without_snapshots(state: Path) -> Path:
    shutil.rmtree(state / "core" / "data" / "journal" / "snapshots", ignore_errors=True)
    return state


def _starts(state: Path, guests: int, *, snapshots: bool = False) -> Start:
    """The one that took the median time; each begins with the snapshots as they were made, or without any."""
    rounds = [_restart(state if snapshots else _without_snapshots(state), guests) for _ in range(ROUNDS)]
    return sorted(rounds)[ROUNDS // 2]


def _restart(state: Path, guests: int) -> Start:
    config = state / "core" / "config"
    config.mkdir(parents=True, exist_ok=True)
    port = 17500
    (config / "core.toml").write_text(f"[listen]\napi_port = {port}\n[domain]\nport = {port + 1}\n")
    credential = load_or_make_credentials(config).get("nanoctl")
    assert credential is not None
    client = Connection(f"http://127.0.0.1:{port}", Key(credential.id, credential.secret))
    program = Path(sys.executable).parent / "nano-core"
    began = time.perf_counter()
    process = subprocess.Popen(
        [str(program), "start", "--foreground", "--state", str(state)],
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
        env={**os.environ, "NANO_LOG": "WARNING"},
    )
    try:
        while True:
            try:
                socket.create_connection(("127.0.0.1", port)).close()  # the client would wait between its tries
                page = client.call("GET", "/api/v2/guests", query={"limit": 1000}).value
            except (OSError, NanoError):  # not up yet
                assert process.poll() is None, "nano-core ended"
                time.sleep(TRIES_S)
                continue
            assert page["total"] == guests
            assert all(row["state"] != "lost" for row in page["items"])
            took = time.perf_counter() - began
            for _ in range(50):
                client.call("GET", "/api/v2/guests")
            return Start(took, _memory_mib(process.pid, "VmRSS"), _memory_mib(process.pid, "VmHWM"))
    finally:
        process.terminate()
        process.wait(30)


def _memory_mib(pid: int, what: str) -> float:
    for line in Path(f"/proc/{pid}/status").read_text().splitlines():
        if line.startswith(what):
            return int(line.split()[1]) / 1024
    return 0.0
