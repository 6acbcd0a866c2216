"""Archiving and retention on the disk of the simulator: they may end at every operation, and no fact is half there."""

import contextlib
from pathlib import Path
from random import Random

import pytest

from nano.domain.errors import JournalError
from nano.journal.archiving import archive_segments
from nano.journal.commit_log import CommitLog
from nano.journal.horizon import Limits
from nano.journal.line import Body, Entry, encode_line, format_time, line_decoder
from nano.journal.reader import JournalReader
from nano.journal.retention import Retention
from nano.journal.testing import Counted, Counters, Made, ticking
from nano.journal.verify import verify
from nano.tools.simulator.disk import DiskSession, SimulatedDisk

JOURNAL = Path("/node/journal")
DECODER = line_decoder((Made, Counted))
LINES = 24
SMALL = Limits(days=0, size=1)


def opened(disk: SimulatedDisk) -> tuple[CommitLog, DiskSession]:
    session = DiskSession(disk, lambda: None)
    log = CommitLog(JOURNAL, clock=ticking(), disk=session, limits=SMALL, segment_bytes_max=1000)
    log.open()
    for _ in log.replay(DECODER):
        pass
    return log, session


def write(log: CommitLog, number: int) -> None:
    clock = ticking()
    for _ in range(number):
        position = log.position + 1
        event = Made("a") if position == 1 else Counted(position)
        entries = (Entry("counter/a", position, event),)
        body = Body(position, format_time(max(clock(), log.time)), log.epoch, "admin", "", "", "", entries)
        text, digest = encode_line(log.hash, body)
        log.append(text, position, position, digest)


def filled(seed: int) -> SimulatedDisk:
    disk = SimulatedDisk(Random(seed))
    log, session = opened(disk)
    write(log, LINES)
    log.close()
    session.end()
    return disk


def hashes(disk: SimulatedDisk) -> list[str]:
    return [line.hash for line in JournalReader(JOURNAL, disk=DiskSession(disk, lambda: None)).lines()]


def steps() -> int:
    disk = filled(0)
    before = disk.operations
    archive_segments(DiskSession(disk, lambda: None), JOURNAL / "commits", 0)
    return disk.operations - before


@pytest.mark.parametrize("power", [False, True])
def test_ending_at_any_operation(power: bool) -> None:
    expected = hashes(filled(0))
    assert len(expected) == LINES
    ended, number = 0, steps()
    for step in range(1, number + 1):
        for after in (False, True):
            disk = filled(step)
            session = DiskSession(disk, lambda: None)
            disk.crash_at(step, after=after)
            with contextlib.suppress(OSError):
                archive_segments(session, JOURNAL / "commits", 0)
            ended += not session.alive
            session.end()
            disk.heal()
            if power:
                disk.lose_power()
            assert hashes(disk) == expected
            log, session = opened(disk)
            write(log, 1)
            archive_segments(session, JOURNAL / "commits", 0)
            log.close()
            plain = [name for name in session.list(JOURNAL / "commits") if name.endswith(".jsonl")]
            assert len(plain) == 1
            assert hashes(disk)[:LINES] == expected
            report = verify(JOURNAL, disk=session)
            assert (report.position, report.damage) == (LINES + 1, None)
    assert ended >= 2 * number - 1  # after the last operation there is nothing to end


@pytest.mark.parametrize("error", [5, 28])
def test_failing_at_any_operation(error: int) -> None:
    expected = hashes(filled(0))
    for operation in ("open-create", "append", "fdatasync", "truncate", "read", "rename", "remove", "sync_folder"):
        disk = filled(1)
        session = DiskSession(disk, lambda: None)
        disk.fail_next(operation, error)  # type: ignore[arg-type]
        with contextlib.suppress(OSError):  # a short write is tried again, and may then succeed
            archive_segments(session, JOURNAL / "commits", 0)
        assert sum(disk.failures.values()) >= 1
        assert hashes(disk) == expected
        archive_segments(session, JOURNAL / "commits", 0)
        assert hashes(disk) == expected


def retention(session: DiskSession) -> Retention:
    return Retention(session, JOURNAL, Counters, SMALL, None)


def archived(seed: int) -> SimulatedDisk:
    disk = filled(seed)
    archive_segments(DiskSession(disk, lambda: None), JOURNAL / "commits", 0)
    return disk


@pytest.mark.parametrize("power", [False, True])
def test_dropping_old_segments_and_ending_at_any_operation(power: bool) -> None:
    """While they are prepared to be dropped, and while a start drops them."""
    expected = hashes(filled(0))
    counted = archived(0)
    before = counted.operations
    retention(DiskSession(counted, lambda: None)).prepare(ticking()())
    prepared = counted.operations - before
    log, session = opened(counted)
    number = counted.operations - before
    log.close()
    session.end()
    assert prepared < number
    for step in range(1, number + 1):
        for after in (False, True):
            disk = archived(step)
            session = DiskSession(disk, lambda: None)
            disk.crash_at(step, after=after)
            with contextlib.suppress(OSError, JournalError):
                retention(session).prepare(ticking()())
                session.end()
                opened(disk)
            session.end()
            disk.heal()
            if power:
                disk.lose_power()
            left = hashes(disk)
            assert left == expected[-len(left) :]
            log, session = opened(disk)
            assert (log.position, log.hash.decode()) == (LINES, expected[-1])
            write(log, 1)
            log.close()
            retention(session).prepare(ticking()())
            session.end()
            log, session = opened(disk)
            assert log.begins.position > 0
            log.close()
            left = hashes(disk)
            assert left[:-1] == expected[-len(left) + 1 :]
            assert verify(JOURNAL, disk=session, model=Counters()).damage is None
