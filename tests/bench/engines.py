"""The same commands on each engine: files of JSON, SQLite, and a PostgreSQL of its own

Through the ledger, with the same counters; resource journals included. Files and SQLite are on the file system of the
repository. PostgreSQL is the distribution's, as it comes, in the system's temporary folder (its user must get there), asked over
a socket.
"""

import asyncio
import statistics
import sys
import tempfile
import time
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, Final

import uvloop

from nano.journal.engines.opening import journal_disk, log_for
from nano.journal.engines.settings import EngineSettings
from nano.journal.feed import Feed
from nano.journal.ledger import Ledger
from nano.journal.snapshots import SnapshotSettings
from nano.journal.testing import Count, Counters, Make, numbered
from nano.journal.verify import verify
from nano.tools.testbed.postgres import postgres_server

ROOT: Final = Path(__file__).resolve().parents[2]
CALLERS: Final = 1_000
EACH: Final = 40
SINGLE: Final = 300
AT_STOP: Final = SnapshotSettings(at_stop_events=1)
NEVER: Final = SnapshotSettings(every_events=0)


def run() -> dict[str, Any]:
    with tempfile.TemporaryDirectory(dir=ROOT, prefix=".bench-") as name, postgres_server() as server:
        engines = [
            EngineSettings(),
            EngineSettings(engine="sqlite"),
            EngineSettings(engine="postgres", host=str(server.folder), database="postgres"),
        ]
        return {
            settings.engine: uvloop.run(measure(Path(name) / settings.engine / "journal", settings))
            for settings in engines
        }


def clock() -> datetime:
    return datetime.now(UTC)


def ledger_on(folder: Path, settings: EngineSettings, snapshots: SnapshotSettings) -> Ledger:
    log = log_for(settings, folder, clock=clock, owner="bench")
    return Ledger(log, Counters(), clock=clock, new_id=numbered(), feed=Feed(), snapshots=snapshots)


async def measure(folder: Path, settings: EngineSettings) -> dict[str, Any]:
    ledger = ledger_on(folder, settings, AT_STOP)
    await ledger.start()
    names = [f"counter-{index}" for index in range(CALLERS)]
    await asyncio.gather(*(ledger.execute(Make(name), actor="admin", command_id="") for name in names))

    async def caller(name: str) -> None:
        for step in range(EACH):
            await ledger.execute(Count(name), actor="admin", command_id=f"{name}-{step}")

    started = time.perf_counter()
    await asyncio.gather(*(caller(name) for name in names))
    together_s = time.perf_counter() - started
    alone = []
    for step in range(SINGLE):
        started = time.perf_counter()
        await ledger.execute(Count(names[0]), actor="admin", command_id=f"single-{step}")
        alone.append(time.perf_counter() - started)
    events = ledger.position
    await ledger.aclose()
    with_snapshot_s = await start(folder, settings, AT_STOP)
    replay_s = await start(folder, settings, NEVER)
    started = time.perf_counter()
    with journal_disk(folder) as disk:
        assert verify(folder, disk=disk).whole
    verify_s = time.perf_counter() - started
    return {
        "commands/s, 1,000 callers": round(CALLERS * EACH / together_s),
        "one command alone, median": {"value": round(statistics.median(alone) * 1e6), "unit": "µs"},
        f"start with a snapshot, {events:,} events": {"value": round(with_snapshot_s, 2), "unit": "s"},
        "start without one, every line checked": {"value": round(replay_s, 2), "unit": "s"},
        "verify": {"value": round(verify_s, 2), "unit": "s"},
    }


async def start(folder: Path, settings: EngineSettings, snapshots: SnapshotSettings) -> float:
    """The best of a few: the machine is shared."""
    seconds = []
    for _ in range(3):
        ledger = ledger_on(folder, settings, snapshots)
        started = time.perf_counter()
        await ledger.start()
        seconds.append(time.perf_counter() - started)
        await ledger.aclose()
    return min(seconds)


if __name__ == "__main__":
    for title, figure in run().items():
        sys.stdout.write(f"{title:45} {figure}\n")
