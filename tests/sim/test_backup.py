"""Backups on the disk of the simulator: making and removing them may end at any operation; what seems to be one is one."""

import contextlib
from copy import deepcopy
from datetime import timedelta
from pathlib import Path
from random import Random

import anyio
import pytest

from nano.domain.errors import NanoError
from nano.journal.archiving import archive_segments
from nano.journal.backup import check_backup, list_backups, restore
from nano.journal.backup_schedule import BackupSchedule, BackupSettings
from nano.journal.commit_log import CommitLog
from nano.journal.feed import Feed
from nano.journal.ledger import Ledger
from nano.journal.reader import JournalReader
from nano.journal.snapshots import SnapshotSettings
from nano.journal.testing import Count, Counters, Make, numbered, ticking
from nano.journal.verify import verify
from nano.tools.simulator.disk import DiskSession, SimulatedDisk
from nano.tools.simulator.workers import VirtualJournals, VirtualWorkers

NODE, TARGET, BACK = Path("/node"), Path("/backups"), Path("/back")
SETTINGS = BackupSettings(folder=str(TARGET), hourly=2, daily=0, weekly=0)
NOW = ticking()()


async def life(disk: SimulatedDisk, backups: int, crash: tuple[int, bool] | None = None) -> int:
    """A process that makes so many backups, two hours apart, while its journal grows; how many operations the last took."""
    session = DiskSession(disk, lambda: None)
    log = CommitLog(NODE / "data/journal", clock=ticking(), disk=session, segment_bytes_max=1000)
    workers = VirtualWorkers(Random(1))
    ports = {"workers": workers, "journals": VirtualJournals, "snapshots": SnapshotSettings(every_events=5)}
    operations = 0
    async with Ledger.open(log, Counters(), clock=ticking(), new_id=numbered(), feed=Feed(), **ports) as ledger:  # type: ignore[arg-type]
        if ledger.position == 0:
            await ledger.execute(Make("a"), actor="admin", command_id="")
        for number in range(backups):
            for _ in range(7):
                await ledger.execute(Count("a"), actor="admin", command_id="")
            archive_segments(session, log.folder / "commits", 1)
            at = NOW + timedelta(hours=2 * ledger.position)
            schedule = BackupSchedule(ledger, NODE, SETTINGS, lambda at=at: at)  # type: ignore[misc]
            operations = disk.operations
            if crash is not None and number == backups - 1:
                disk.crash_at(crash[0], after=crash[1])
            await schedule.once()
            operations = disk.operations - operations
    return operations


def filled(seed: int) -> SimulatedDisk:
    disk = SimulatedDisk(Random(seed))
    anyio.run(life, disk, 3)
    return disk


@pytest.mark.parametrize("power", [False, True])
def test_ending_at_any_operation(power: bool) -> None:
    three = filled(0)
    counted = deepcopy(three)
    number = anyio.run(life, counted, 1)
    look = DiskSession(counted, lambda: None)
    assert len(list_backups(TARGET, look)) == 2, "and one was removed"
    told: list[str] = []
    for step in range(1, number + 1, 2):
        disk = deepcopy(three)
        disk.random.seed(step)
        before = list_backups(TARGET, DiskSession(disk, lambda: None))
        with contextlib.suppress(OSError, NanoError):
            anyio.run(life, disk, 1, (step, step % 4 == 1))
        disk.heal()
        if power:
            disk.lose_power()
        session = DiskSession(disk, lambda: None)
        found = list_backups(TARGET, session)
        assert before[-1] in found, "the newest one stays, whatever becomes of the next"
        for backup in found:
            check_backup(backup, session)
        told.append("made" if found[-1] != before[-1] else "not made")
        if step % 10 == 1:
            anyio.run(life, disk, 1)
            assert len(list_backups(TARGET, session)) == 2
            assert not [name for name in session.list(TARGET) if name.endswith(".part")], "what was begun is gone"
    assert set(told) == {"made", "not made"}


def test_it_comes_back() -> None:
    disk = filled(3)
    session = DiskSession(disk, lambda: None)
    position = restore(list_backups(TARGET, session)[-1], BACK, disk=session)
    journal = NODE / "data/journal"
    here, there = ([line.hash for line in JournalReader(path, disk=session).lines()] for path in (
        journal, BACK / "data/journal"
    ))  # fmt: skip
    assert here[: len(there)] == there
    assert verify(BACK / "data/journal", disk=session, model=Counters()).position == position
