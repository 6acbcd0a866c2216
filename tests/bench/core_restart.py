"""Core restarted on a journal of 100,000 events and 5,000 guests, and Core's memory with 90 guests

From the exec of ``nano-core start --foreground`` to the first correct signed answer of the API: all guests listed, none
shown as lost. The journal is made by the same decisions that live commands take. No snapshot: the whole journal is replayed
and its chain verified.
"""

import asyncio
import os
import socket
import subprocess
import sys
import tempfile
import time
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from nano.domain import guest_commands as gc
from nano.domain.cell import AddCell, DescribeCell, MeetCell
from nano.domain.errors import NanoError
from nano.domain.host_domain import DomainCreated, DomainPowerChanged
from nano.domain.limits import LIMITS
from nano.domain.machine import MEBI
from nano.domain.report import RecordReport, ReportedFact
from nano.domain.zone import FoundZone, Zone
from nano.http.credentials import load_or_make_credentials
from nano.journal.commit_log import CommitLog
from nano.journal.feed import Feed
from nano.journal.ledger import Ledger
from nano.tools.nanoctl.connection import Connection, Key
from nano.tools.simulator.bed import numbered_ids

GUESTS, EVENTS, CELLS = 5_000, 100_000, 50
ROUNDS = 5
TRIES_S = 0.002


def run() -> dict[str, Any]:
    with tempfile.TemporaryDirectory() as folder:
        large, small = Path(folder) / "large", Path(folder) / "small"
        events = asyncio.run(make_journal(large / "core", GUESTS, EVENTS))
        seconds = sorted(_restart(large, GUESTS)[0] for _ in range(ROUNDS))
        asyncio.run(make_journal(small / "core", 90, 0))
        empty = sorted(_restart(small, 90)[0] for _ in range(ROUNDS))
        rss = _restart(small, 90)[1]
    median = seconds[len(seconds) // 2]
    return {
        "events": events,
        "guests": GUESTS,
        "exec to first correct answer": {"value": round(median, 2), "unit": "s", "reach": "< 1.5", "ok": median < 1.5},
        "the same with 90 guests": {"value": round(empty[len(empty) // 2], 2), "unit": "s"},
        "resident memory with 90 guests": {"value": round(rss), "unit": "MiB", "reach": "< 90", "ok": rss < 90},
    }


async def make_journal(folder: Path, guests: int, events: int) -> int:
    """A Core's journal with so many guests, started and stopped until there are so many events; how many there are."""
    log = CommitLog(folder / "data" / "journal", clock=lambda: datetime.now(UTC))
    zone = Zone(LIMITS)
    async with Ledger.open(log, zone, clock=lambda: datetime.now(UTC), new_id=numbered_ids(1), feed=Feed()) as ledger:

        async def do(command: Any) -> Any:
            return await ledger.execute(command, actor="bench", command_id="")

        await do(FoundZone())
        for index in range(CELLS):
            name = f"cell{index}"
            await do(MeetCell(name=name, fingerprint=f"f{index}", address="10.0.0.1:1"))
            await do(AddCell(cell=name))
            described = {"virt_type": "qemu", "virt_note": "", "hypervisor": "libvirt"}
            await do(DescribeCell(name=name, cores=64, memory=1 << 40, disk=1 << 44, **described))

        async def create(index: int) -> None:
            cell = f"cell{index % CELLS}"
            await do(gc.CreateGuest(name=f"g{index:05d}", memory=128 * MEBI, disks=(64 * MEBI,), cell=cell))
            guest = zone.find_guest(f"g{index:05d}")
            await do(RecordReport(cell=cell, facts=(ReportedFact(guest.id, DomainCreated()),)))
            await do(gc.EndCreate(guest.task))

        await asyncio.gather(*(create(index) for index in range(guests)))
        everybody = list(zone.guests())
        power = "running"
        while (missing := events - ledger.position) > 0:
            changed = DomainPowerChanged(power, "bench")  # type: ignore[arg-type]
            reports = (
                RecordReport(cell=guest.cell, facts=(ReportedFact(guest.id, changed),)) for guest in everybody[:missing]
            )
            await asyncio.gather(*(do(report) for report in reports))
            power = "stopped" if power == "running" else "running"
        return ledger.position


def _restart(state: Path, guests: int) -> tuple[float, float]:
    """(seconds to the first correct answer, MiB resident then)."""
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
            return took, _rss_mib(process.pid)
    finally:
        process.terminate()
        process.wait(30)


def _rss_mib(pid: int) -> float:
    for line in Path(f"/proc/{pid}/status").read_text().splitlines():
        if line.startswith("VmRSS"):
            return int(line.split()[1]) / 1024
    return 0.0
