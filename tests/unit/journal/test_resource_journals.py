"""Resource journals: written beside the log, caught up after any crash, checked and made anew."""

import errno
import json
import shutil
from collections import Counter
from pathlib import Path

import anyio
import pytest

from nano.domain.errors import JournalDamaged
from nano.journal.commit_log import CommitLog
from nano.journal.feed import Feed
from nano.journal.ledger import Ledger
from nano.journal.line import line_decoder
from nano.journal.mark import Mark, mark_text, read_mark
from nano.journal.resource_journals import ResourceJournals, rebuild_resource_journals
from nano.journal.testing import BadDisk, Count, Counters, Make, numbered, ticking
from nano.journal.verify import verify

pytestmark = pytest.mark.anyio


class RebootedDisk(BadDisk):
    boot = "boot-1"

    def boot_id(self) -> str:
        return self.boot


class AppendsSeen(BadDisk):
    """How many bytes were appended, by name of file."""

    def __init__(self) -> None:
        super().__init__()
        self.appended: Counter[str] = Counter()

    def append(self, handle: int, data: bytes) -> int:
        written = super().append(handle, data)
        self.appended[self._paths[handle].name] += written
        return written


class OrderSeen(RebootedDisk):
    """What became durable, and what was cut, by name of file or folder."""

    def __init__(self) -> None:
        super().__init__()
        self.order_seen: list[str] = []

    def fdatasync(self, handle: int) -> None:
        super().fdatasync(handle)
        self.order_seen.append(f"sync {self._paths[handle].name}")

    def sync_folder(self, path: Path) -> None:
        super().sync_folder(path)
        self.order_seen.append(f"sync {path.name}")

    def truncate(self, handle: int, size: int) -> None:
        super().truncate(handle, size)
        self.order_seen.append(f"cut {self._paths[handle].name}")


async def run(folder: Path, commands: int, disk: BadDisk | None = None, names: str = "ab") -> None:
    """Open, count every counter so often, close."""
    clock = ticking()
    log = CommitLog(folder, clock=clock, disk=disk)
    async with Ledger.open(log, Counters(), clock=clock, new_id=numbered(), feed=Feed()) as ledger:
        for name in names:
            if ledger.model.get(f"counter/{name}") is None:
                await ledger.execute(Make(name), actor="admin", command_id="")
        for _ in range(commands):
            for name in names:
                await ledger.execute(Count(name), actor="admin", command_id="", cause="task/t")


def journal(folder: Path, name: str) -> Path:
    return folder / "resources" / "counter" / f"{name}.jsonl"


async def test_rows_are_written_as_documented(tmp_path: Path) -> None:
    await run(tmp_path, 2)
    rows = [json.loads(row) for row in journal(tmp_path, "b").read_text().splitlines()]
    assert list(rows[0]) == ["position", "time", "actor", "command", "cause", "version", "event"]
    assert [(row["position"], row["version"], row["event"]["type"]) for row in rows] == [
        (2, 1, "counter.made"),
        (4, 2, "counter.counted"),
        (6, 3, "counter.counted"),
    ]
    assert rows[1]["time"].startswith("2026-11-21T00:00:00.")
    assert rows[1]["cause"] == "task/t"
    assert verify(tmp_path).whole


async def test_they_are_caught_up_from_any_earlier_state(tmp_path: Path) -> None:
    """As after a kill: files and mark may stop anywhere before the log's end, rows may be torn."""
    await run(tmp_path, 6)
    whole = {name: journal(tmp_path, name).read_bytes() for name in "ab"}
    mark = tmp_path / "resources" / ".mark"
    for cut_a in range(0, len(whole["a"]) + 1, 37):
        for cut_b in (0, len(whole["b"]) // 2, len(whole["b"])):
            journal(tmp_path, "a").write_bytes(whole["a"][:cut_a])
            journal(tmp_path, "b").write_bytes(whole["b"][:cut_b])
            mark.unlink(missing_ok=True)
            await run(tmp_path, 0)
            assert {name: journal(tmp_path, name).read_bytes() for name in "ab"} == whole


async def test_a_clean_restart_reads_no_file_again(tmp_path: Path) -> None:
    await run(tmp_path, 3)
    disk = BadDisk()
    disk.order("read", name="counter/")
    await run(tmp_path, 0, disk)
    assert disk._orders  # it was never asked


async def test_after_a_crash_of_the_machine_only_synced_rows_count(tmp_path: Path) -> None:
    disk = RebootedDisk()
    await run(tmp_path, 3, disk)
    whole = journal(tmp_path, "a").read_bytes()
    mark = read_mark(disk, tmp_path / "resources")
    assert (mark.written, mark.synced, mark.boot) == (8, 8, "boot-1")
    (tmp_path / "resources" / ".mark").write_text('{"written":8,"synced":2,"boot":"boot-1"}')
    journal(tmp_path, "a").write_bytes(whole[:100])
    disk.boot = "boot-2"
    await run(tmp_path, 0, disk)
    assert journal(tmp_path, "a").read_bytes() == whole


async def test_a_file_that_does_not_fit_is_made_anew(tmp_path: Path) -> None:
    await run(tmp_path, 5)
    whole = journal(tmp_path, "a").read_bytes()
    lines = whole.splitlines(keepends=True)
    for wrong in (b"".join(lines[:2]), b"rubbish\n", b"\0" * 100 + b"\n"):
        journal(tmp_path, "a").write_bytes(wrong)
        (tmp_path / "resources" / ".mark").write_text('{"written":10,"synced":10,"boot":""}')
        await run(tmp_path, 0)
        assert journal(tmp_path, "a").read_bytes() == whole


async def test_a_file_that_was_removed_is_made_anew_when_something_happens(tmp_path: Path) -> None:
    await run(tmp_path, 5)
    whole = journal(tmp_path, "a").read_bytes()
    journal(tmp_path, "a").unlink()
    await run(tmp_path, 1)
    assert journal(tmp_path, "a").read_bytes().startswith(whole)
    assert verify(tmp_path).whole


async def test_a_log_that_lost_its_end_is_refused_until_somebody_says_so(tmp_path: Path) -> None:
    await run(tmp_path, 5)
    segment = tmp_path / "commits" / "0000000000000001.jsonl"
    segment.write_bytes(b"".join(segment.read_bytes().splitlines(keepends=True)[:-3]))
    assert not verify(tmp_path).whole
    short = segment.read_bytes()
    with pytest.raises(JournalDamaged) as caught:
        await run(tmp_path, 0)
    assert (caught.value.code, caught.value.context["file"]) == ("journal_cut_short", str(segment))
    assert caught.value.context["byte"] == len(short) == segment.stat().st_size
    shutil.rmtree(tmp_path / "resources")
    await run(tmp_path, 0)
    assert verify(tmp_path).whole


@pytest.mark.parametrize("operation", ["open", "append"])
async def test_a_failing_disk_is_caught_up_later(tmp_path: Path, operation: str) -> None:
    disk = BadDisk()
    disk.order(operation, errno.ENOSPC, name="counter/", short=10 if operation == "append" else None)
    await run(tmp_path, 5, disk)
    await run(tmp_path, 1, disk)
    report = verify(tmp_path)
    assert report.damage is None
    assert report.resource_rows == report.position == 14


async def test_history_waits_for_rows_on_their_way(tmp_path: Path) -> None:
    clock = ticking()
    log = CommitLog(tmp_path, clock=clock)
    async with Ledger.open(log, Counters(), clock=clock, new_id=numbered(), feed=Feed()) as ledger:
        await ledger.execute(Make("a"), actor="admin", command_id="")
        for number in range(20):
            await ledger.execute(Count("a"), actor="admin", command_id="")
            with anyio.fail_after(5):
                assert len(await ledger.facts(resource="counter/a")) == number + 2


async def test_rebuild_gives_the_same_bytes(tmp_path: Path) -> None:
    await run(tmp_path, 5)
    whole = {name: journal(tmp_path, name).read_bytes() for name in "ab"}
    journal(tmp_path, "a").write_bytes(b"wrong")
    (tmp_path / "resources" / "counter" / "ghost.jsonl").write_text("{}\n")
    assert rebuild_resource_journals(tmp_path, clock=ticking()) == 12
    assert {name: journal(tmp_path, name).read_bytes() for name in "ab"} == whole
    assert verify(tmp_path).whole


async def test_one_that_was_removed_by_hand_is_there_after_the_next_start(tmp_path: Path) -> None:
    await run(tmp_path, 5, names="abc")
    whole = {name: journal(tmp_path, name).read_bytes() for name in "abc"}
    for name in "ac":
        journal(tmp_path, name).unlink()
    assert not verify(tmp_path).whole
    await run(tmp_path, 0)
    assert {name: journal(tmp_path, name).read_bytes() for name in "abc"} == whole
    assert verify(tmp_path).whole


async def test_holes_in_rows_that_were_not_synced_are_written_again(tmp_path: Path) -> None:
    disk = RebootedDisk()
    await run(tmp_path, 3, disk)
    whole = journal(tmp_path, "a").read_bytes()
    rows = whole.splitlines(keepends=True)
    (tmp_path / "resources" / ".mark").write_bytes(mark_text(Mark(8, 2, "boot-1")))
    journal(tmp_path, "a").write_bytes(rows[0] + bytes(len(rows[1])) + b"".join(rows[2:]))
    disk.boot = "boot-2"
    assert verify(tmp_path, disk=disk).whole  # nobody has said that these rows are there
    await run(tmp_path, 0, disk)
    assert journal(tmp_path, "a").read_bytes() == whole


async def test_rows_whose_sync_failed_are_written_again_before_they_count_as_synced(tmp_path: Path) -> None:
    disk = AppendsSeen()
    disk.order("fdatasync", errno.EIO, name="counter/")
    await run(tmp_path, 3, disk)
    mark = read_mark(disk, tmp_path / "resources")
    assert (mark.synced, mark.boot) == (0, "")
    whole = journal(tmp_path, "a").read_bytes()
    disk.appended.clear()
    await run(tmp_path, 0, disk)
    assert disk.appended["a.jsonl"] == len(whole)
    assert journal(tmp_path, "a").read_bytes() == whole
    assert read_mark(disk, tmp_path / "resources").synced == 8


@pytest.mark.parametrize("power_was_lost", [True, False])
async def test_an_older_mark_can_not_come_back_after_rows_it_calls_synced_were_cut(
    tmp_path: Path, power_was_lost: bool
) -> None:
    """The mark's file is not synced as it moves: only one that is, and its name, takes the place of those before it."""
    disk = OrderSeen()
    await run(tmp_path, 3, disk)
    if power_was_lost:
        (tmp_path / "resources" / ".mark").write_bytes(b"")
        disk.boot = "boot-2"
    else:
        journal(tmp_path, "a").write_bytes(b"rubbish\n")
    disk.order_seen.clear()
    await run(tmp_path, 1, disk)
    before = disk.order_seen[: disk.order_seen.index("cut a.jsonl")]
    wanted = ["sync .mark.new", "sync resources"]
    assert [seen for seen in before if seen in wanted] == wanted
    assert verify(tmp_path, disk=disk).whole


async def test_one_that_could_not_be_made_anew_is_tried_again(tmp_path: Path) -> None:
    disk = BadDisk()
    await run(tmp_path, 3, disk)
    journal(tmp_path, "a").write_bytes(b"rubbish\n")
    (tmp_path / "resources" / ".mark").write_bytes(mark_text(Mark(2, 2, disk.boot_id())))
    log = CommitLog(tmp_path, clock=ticking(), disk=disk)
    log.open()
    for _ in log.replay(line_decoder()):
        pass
    journals = ResourceJournals(log)
    disk.order("append", errno.ENOSPC, name="a.jsonl")
    journals.step()
    assert journals.trouble
    journals.start()
    journals.close()
    log.close()
    assert verify(tmp_path, disk=disk).whole
