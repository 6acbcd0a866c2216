"""The simulated disk, and what the commit log makes of it."""

import errno
from pathlib import Path
from random import Random

import pytest

from nano.journal.commit_log import CommitLog
from nano.journal.disk import append_record, replace_file
from nano.journal.line import NO_HASH, Body, Entry, encode_line, format_time, line_decoder
from nano.journal.testing import Counted, Made, ticking
from nano.tools.simulator.disk import DiskSession, SimulatedDisk

FILE = Path("/node/file")
DECODER = line_decoder((Made, Counted))


def no_crash() -> None:
    raise AssertionError("no crash was ordered")


def session(disk: SimulatedDisk) -> DiskSession:
    return DiskSession(disk, no_crash)


def test_a_kill_keeps_what_was_written_and_power_loss_what_was_synced() -> None:
    seen = set()
    for seed in range(200):
        disk = SimulatedDisk(Random(seed))
        process = session(disk)
        append_record(process, FILE, b"synced")
        process.append(process.open(FILE), b"+later")
        process.end()
        assert session(disk).read(FILE) == b"synced+later"
        disk.lose_power()
        left = session(disk).read(FILE)
        assert left.startswith(b"synced")
        seen.add(left)
    assert {b"synced", b"synced+later", b"synced+la"} <= seen
    assert any(b"\0" in left for left in seen)


def test_a_name_that_was_not_synced_may_be_gone_and_a_replaced_file_is_old_or_new() -> None:
    names, contents = set(), set()
    for seed in range(100):
        disk = SimulatedDisk(Random(seed))
        process = session(disk)
        replace_file(process, FILE, b"old")
        process.open(Path("/node/unsynced"), create=True)
        draft = process.open(Path("/node/draft"), create=True)
        process.append(draft, b"new")
        process.fdatasync(draft)
        process.rename(Path("/node/draft"), FILE)
        process.end()
        disk.lose_power()
        names.add(Path("/node/unsynced") in disk.names)
        contents.add(session(disk).read(FILE))
    assert names == {True, False}
    assert contents == {b"old", b"new"}


def test_a_dead_process_changes_nothing_and_holds_no_lock() -> None:
    disk = SimulatedDisk(Random(0))
    process = session(disk)
    process.lock(FILE)
    with pytest.raises(BlockingIOError):
        session(disk).lock(FILE)
    handle = process.open(Path("/node/other"), create=True)
    process.end()
    with pytest.raises(OSError, match="dead"):
        process.append(handle, b"x")
    session(disk).lock(FILE)


@pytest.mark.parametrize("after", [False, True])
def test_a_crash_at_an_operation_comes_before_or_after_its_effect(after: bool) -> None:
    disk = SimulatedDisk(Random(0))
    crashes: list[None] = []
    process = DiskSession(disk, lambda: crashes.append(None))
    handle = process.open(FILE, create=True)
    disk.crash_at(1, after=after)
    with pytest.raises(OSError, match="died"):
        process.append(handle, b"x")
    assert (len(crashes), process.alive) == (1, False)
    assert bytes(disk.names[FILE].data) == (b"x" if after else b"")


def test_a_full_disk_takes_part_of_a_write_or_nothing() -> None:
    taken = set()
    for seed in range(30):
        disk = SimulatedDisk(Random(seed))
        process = session(disk)
        handle = process.open(FILE, create=True)
        disk.full = True
        try:
            taken.add(process.append(handle, b"xyz"))
        except OSError as error:
            taken.add(-error.errno)  # type: ignore[operator]
        assert b"xyz".startswith(bytes(disk.names[FILE].data))
    assert {-errno.ENOSPC, 1, 2} <= taken <= {-errno.ENOSPC, 1, 2, 3}


def write_line(log: CommitLog) -> None:
    body = Body(1, format_time(ticking()()), log.epoch, "admin", "", "", "", (Entry("counter/a", 1, Made("a")),), None)
    text, digest = encode_line(NO_HASH, body)
    log.append(text, 1, 1, digest)


def opened(disk: DiskSession) -> tuple[CommitLog, list[int]]:
    log = CommitLog(Path("/node/journal"), clock=ticking(), disk=disk)
    log.open()
    return log, [line.position for lines in log.replay(DECODER) for line in lines]


def test_a_line_that_was_read_at_opening_survives_the_loss_of_power() -> None:
    """A process is killed between write and sync; the next one reads the line, answers with it, and the power goes."""
    for seed in range(20):
        disk = SimulatedDisk(Random(seed))
        process = DiskSession(disk, lambda: None)
        log, _ = opened(process)
        disk.crash_at(2, after=False)  # the append has its effect, the sync has not
        with pytest.raises(Exception, match="takes no more"):
            write_line(log)
        second = session(disk)
        _, positions = opened(second)
        assert positions == [1]
        second.end()
        disk.lose_power()
        assert opened(session(disk))[1] == [1]


def write_batch(log: CommitLog, count: int) -> None:
    """Some lines with one sync, each longer than a sector."""
    texts, digest = [], NO_HASH
    for number in range(1, count + 1):
        entry = Entry(f"counter/{number}", 1, Made("a" * 700))
        body = Body(number, format_time(ticking()()), log.epoch, "x", "", "", "", (entry,), joined=number > 1)
        text, digest = encode_line(digest, body)
        texts.append(text)
    log.append(b"".join(texts), 1, count, digest)


def test_a_batch_with_holes_after_a_loss_of_power_is_cut_and_refuses_no_start() -> None:
    kept, kinds = set(), set()
    for seed in range(300):
        disk = SimulatedDisk(Random(seed))
        process = DiskSession(disk, lambda: None)
        log, _ = opened(process)
        disk.crash_at(2, after=False)  # the append has its effect, the sync has not
        with pytest.raises(Exception, match="takes no more"):
            write_batch(log, 4)
        disk.lose_power()
        kept.add(tuple(opened(session(disk))[1]))
        kinds |= set(disk.failures)
    assert kept == {(), (1,), (1, 2), (1, 2, 3), (1, 2, 3, 4)}
    assert kinds == {"write torn", "write with holes"}


def test_lines_that_a_failed_sync_left_readable_survive_once_they_were_read() -> None:
    """The sync fails, the kernel goes on showing the lines and calls them clean; the next process reads them, answers with
    them, and the power goes."""
    readable = 0
    for seed in range(100):
        disk = SimulatedDisk(Random(seed))
        process = session(disk)
        log, _ = opened(process)
        disk.fail_next("fdatasync", errno.EIO)
        with pytest.raises(Exception, match="takes no more"):
            write_batch(log, 3)
        process.end()
        second = session(disk)
        _, positions = opened(second)
        readable += len(positions)
        second.end()
        disk.lose_power()
        assert opened(session(disk))[1] == positions
    assert readable > 100
