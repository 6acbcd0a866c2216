"""Writing snapshots: when they are due, what counts as one, and disks and processes that fail meanwhile."""

import errno
import os
import signal
import subprocess
import sys
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import anyio
import anyio.lowlevel
import msgspec
import pytest

from nano.domain.errors import NanoError
from nano.domain.facts import Command
from nano.journal.commit_log import CommitLog
from nano.journal.disk import Disk, RealDisk
from nano.journal.feed import Feed
from nano.journal.folded import Capture, Folded
from nano.journal.ledger import Ledger
from nano.journal.receipts import Receipts
from nano.journal.snapshots import Snapshots, SnapshotSettings, list_snapshots
from nano.journal.testing import BadDisk, Count, Counters, Make, numbered, ticking

pytestmark = pytest.mark.anyio

OFTEN = SnapshotSettings(every_events=5, at_stop_events=1, retry_events=2, keep=2)
AT_STOP = SnapshotSettings(every_events=1_000, at_stop_events=1)
NEVER = SnapshotSettings(every_events=0)


@asynccontextmanager
async def opened(
    folder: Path, snapshots: SnapshotSettings = AT_STOP, disk: Disk | None = None
) -> AsyncIterator[Ledger]:
    clock = ticking()
    log = CommitLog(folder / "journal", clock=clock, disk=disk)
    ports: dict[str, Any] = {"clock": clock, "new_id": numbered(), "feed": Feed(), "snapshots": snapshots}
    async with Ledger.open(log, Counters(), **ports) as ledger:
        yield ledger


async def do(ledger: Ledger, *commands: Command) -> None:
    for command in commands:
        await ledger.execute(command, actor="admin", command_id="")


async def reached(condition: Callable[[], bool]) -> None:
    """Give the event loop its turns until the condition holds."""
    with anyio.fail_after(10):
        while not condition():
            await anyio.lowlevel.checkpoint()


def everything(ledger: Ledger) -> list[Any]:
    """All that folding gives, in order; equal texts are equal states, byte for byte."""
    capture = ledger._capture()
    return [
        capture.position,
        capture.hash,
        capture.time,
        msgspec.json.encode(list(capture.states.items())),
        list(capture.versions.items()),
        sorted(capture.tracking.items()),
        capture.memory,
        list(capture.receipts.items()),
    ]


def snapshots_in(folder: Path) -> list[Path]:
    return [path for _, path in list_snapshots(RealDisk(), folder / "journal" / "snapshots")]


async def test_the_last_few_are_kept_and_drafts_are_removed(tmp_path: Path) -> None:
    folder = tmp_path / "journal" / "snapshots"
    folder.mkdir(parents=True)
    (folder / "0000000000000003.json.zst.new").write_bytes(b"cut short")
    async with opened(tmp_path, OFTEN) as ledger:
        await do(ledger, Make("a"))
        for _ in range(6):
            await do(ledger, *(Count("a") for _ in range(5)))
            await reached(lambda: not ledger.snapshots._writing)
    assert len(snapshots_in(tmp_path)) == 2
    assert not list(folder.glob("*.new"))


class Noted:
    """Workers that only note what they were given to write."""

    def __init__(self) -> None:
        self.given: list[int] = []
        self.done: Any = None

    async def run(self, work: Any, *arguments: Any) -> Any:
        return work(*arguments)

    def writer(self, write: Any, written: Any) -> Any:
        self.done = written
        return self

    def put(self, capture: Capture) -> None:
        self.given.append(capture.position)

    def close(self) -> None:
        pass


def test_a_copy_is_written_when_it_is_durable_and_dropped_when_it_is_not(tmp_path: Path) -> None:
    workers = Noted()
    snapshots = Snapshots(CommitLog(tmp_path, clock=ticking()), Counters(), OFTEN, workers)
    folded = Folded(Counters())
    folded.receipts = Receipts(b"key")

    def staged(position: int) -> Callable[[], Capture]:
        return lambda: folded.capture(position, b"")

    snapshots.moved(4, staged(9))
    snapshots.moved(5, staged(9))
    snapshots.moved(8, staged(20))
    assert workers.given == []
    snapshots.undone()
    snapshots.moved(7, staged(8))
    snapshots.moved(8, staged(11))
    assert workers.given == [8]
    snapshots.moved(30, staged(30))
    assert workers.given == [8], "one at a time"
    workers.done(staged(8)(), "")
    snapshots.moved(12, staged(12))
    snapshots.moved(13, staged(15))
    snapshots.moved(16, staged(18))
    assert workers.given == [8, 15]
    workers.done(staged(15)(), "no room")
    assert (snapshots.position, snapshots.trouble) == (8, "no room")
    snapshots.moved(16, staged(16))
    snapshots.moved(17, staged(17))
    assert workers.given == [8, 15, 17]


@pytest.mark.parametrize("operation", ["open", "append", "fdatasync", "rename", "sync_folder", "read"])
@pytest.mark.parametrize("error", [errno.ENOSPC, errno.EIO])
async def test_a_disk_that_fails_costs_the_snapshot_only(
    tmp_path: Path, caplog: pytest.LogCaptureFixture, operation: str, error: int
) -> None:
    disk = BadDisk()
    async with opened(tmp_path, OFTEN, disk) as ledger:
        disk.order(operation, error, name="snapshots")
        await do(ledger, *(Make(f"n{number}") for number in range(5)))
        await reached(lambda: bool(ledger.snapshots.trouble))
        await do(ledger, *(Count("n1") for _ in range(9)))  # it goes on, and tries again
        await reached(lambda: not ledger.snapshots.trouble)
        whole = everything(ledger)
    assert "journal.snapshot_failed" in caplog.text
    async with opened(tmp_path) as ledger:
        assert ledger.snapshots.position == whole[0]
        assert everything(ledger) == whole


async def test_a_failed_write_folds_again_from_the_snapshot(tmp_path: Path) -> None:
    disk = BadDisk()
    async with opened(tmp_path) as ledger:
        await do(ledger, *(Make(f"n{number}") for number in range(9)))
    async with opened(tmp_path, AT_STOP, disk) as ledger:
        await do(ledger, Count("n7", 3))
        before = everything(ledger)
        disk.order("append", errno.EIO)
        with pytest.raises(NanoError):
            await do(ledger, Count("n8"))
        assert everything(ledger) == before
        await do(ledger, Count("n8"))


CHILD = """
import sys, anyio
from datetime import UTC, datetime
from pathlib import Path
from nano.journal.commit_log import CommitLog
from nano.journal.feed import Feed
from nano.journal.folded import Capture, Folded
from nano.journal.ledger import Ledger
from nano.journal.receipts import Receipts
from nano.journal.snapshots import SnapshotSettings
from nano.journal.testing import Count, Counters, Make

async def main():
    clock = lambda: datetime.now(UTC)
    often = SnapshotSettings(every_events=20)
    log = CommitLog(Path(sys.argv[1]) / "journal", clock=clock)
    async with Ledger.open(log, Counters(), clock=clock, new_id=str, feed=Feed(), snapshots=often) as ledger:
        for number in range(300):
            if ledger.model.get(f"counter/n{number}") is None:
                await ledger.execute(Make(f"n{number}"), actor="admin", command_id="")
        while True:
            receipt = await ledger.execute(Count("n1"), actor="admin", command_id="")
            print(receipt.position, flush=True)

anyio.run(main)
"""


def acknowledged_until_killed(folder: Path, rows: int) -> int:
    """The last position a child said was durable before it was killed."""
    last = 0
    with subprocess.Popen([sys.executable, "-c", CHILD, str(folder)], stdout=subprocess.PIPE, text=True) as child:
        assert child.stdout is not None
        for number, row in enumerate(child.stdout):
            last = int(row) if row.endswith("\n") else last
            if number == rows:
                os.kill(child.pid, signal.SIGKILL)
    return last


@pytest.mark.timeout(60)
async def test_kill_while_snapshots_are_written(tmp_path: Path) -> None:
    for kill in range(3):
        last = acknowledged_until_killed(tmp_path, 100 + 37 * kill)
        async with opened(tmp_path, NEVER) as ledger:
            assert ledger.position >= last
            whole = everything(ledger)
        async with opened(tmp_path, SnapshotSettings(at_stop_events=1_000_000)) as ledger:
            assert ledger.snapshots.position > 0
            assert everything(ledger) == whole
