"""Backups: made from live and stopped nodes, restored at any position, refused where they would harm."""

import shutil
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from datetime import UTC, datetime, timedelta
from pathlib import Path
from random import Random

import anyio
import anyio.lowlevel
import msgspec
import pytest

from nano.domain.errors import Conflict, Invalid, JournalDamaged, Unknown
from nano.journal.backup import backup, check_backup, list_backups, newest_backup, read_manifest, restore
from nano.journal.backup_schedule import BackupSchedule, BackupSettings, kept
from nano.journal.commit_log import CommitLog
from nano.journal.feed import Feed
from nano.journal.ledger import Ledger
from nano.journal.snapshots import SnapshotSettings
from nano.journal.testing import Count, CountAll, Counters, Make, numbered, ticking
from nano.journal.verify import verify

pytestmark = pytest.mark.anyio

NOW = datetime(2026, 11, 21, 5, 18, tzinfo=UTC)
OFTEN = SnapshotSettings(every_events=20, at_stop_events=5)


@asynccontextmanager
async def running(node: Path, snapshots: SnapshotSettings = OFTEN) -> AsyncIterator[Ledger]:
    clock = ticking()
    log = CommitLog(node / "data" / "journal", clock=clock, segment_bytes_max=2_000)
    model = Counters()
    async with Ledger.open(log, model, clock=clock, new_id=numbered(), feed=Feed(), snapshots=snapshots) as ledger:
        yield ledger


async def do(ledger: Ledger, rounds: int) -> None:
    for number in range(rounds):
        if ledger.model.get(f"counter/n{number % 7}") is None:
            await ledger.execute(Make(f"n{number % 7}"), actor="admin", command_id="")
        await ledger.execute(Count(f"n{number % 7}", number), actor="admin", command_id="")
        if number % 10 == 9:
            await ledger.execute(CountAll(), actor="admin", command_id="")


async def filled(node: Path) -> dict[str, int]:
    (node / "data").mkdir(parents=True)
    (node / "data" / "node.json").write_text('{"kind":"core","name":"Core_1"}\n')
    async with running(node) as ledger:
        await do(ledger, 40)
        return values(ledger)


def values(ledger: Ledger) -> dict[str, int]:
    assert isinstance(ledger.model, Counters)
    return ledger.model.values()


def content(folder: Path) -> dict[str, bytes]:
    return {str(path.relative_to(folder)): path.read_bytes() for path in folder.rglob("*") if path.is_file()}


async def test_a_backup_of_a_stopped_node_comes_back_whole(tmp_path: Path) -> None:
    before = await filled(tmp_path / "core")
    untouched = content(tmp_path / "core")
    made = backup(tmp_path / "core", tmp_path / "backups", now=NOW)
    assert content(tmp_path / "core") == untouched
    manifest = check_backup(made)
    assert made.name == f"20261121T051800Z-{manifest.position:016d}"
    assert verify(made / "data" / "journal").whole
    assert restore(made, tmp_path / "again") == manifest.position
    report = verify(tmp_path / "again" / "data" / "journal")
    assert (report.position, report.hash, report.damage) == (manifest.position, manifest.hash, None)
    assert (tmp_path / "again" / "data" / "node.json").exists()
    async with running(tmp_path / "again") as ledger:
        assert values(ledger) == before
        assert ledger.snapshots.position > 0, "from the snapshot in the backup"
        assert ledger.log.epoch > manifest.epoch
        await do(ledger, 5)
    assert verify(tmp_path / "again" / "data" / "journal").whole


async def test_every_position_can_be_restored(tmp_path: Path) -> None:
    await filled(tmp_path / "core")
    made = backup(tmp_path / "core", tmp_path / "backups", now=NOW)
    last = read_manifest(made).position
    wanted = {0, 1, last - 1, last, *Random(1).sample(range(last), 12)}
    for at in sorted(wanted):
        into = tmp_path / f"at{at}"
        position = restore(made, into, at=at)
        assert at - 7 < position <= at, "a transaction is not cut"
        assert verify(into / "data" / "journal").position == position
        never = SnapshotSettings(every_events=0)
        async with running(into, SnapshotSettings(at_stop_events=1_000)) as ledger:
            assert ledger.position == position
            quick = values(ledger)
        async with running(into, never) as ledger:
            assert values(ledger) == quick
            await do(ledger, 3)
    with pytest.raises(Invalid, match="not in this backup"):
        restore(made, tmp_path / "beyond", at=last + 1)
    assert not (tmp_path / "beyond").exists()


async def test_a_live_node_is_backed_up_to_what_is_durable(tmp_path: Path) -> None:
    async with running(tmp_path / "core") as ledger:
        await do(ledger, 20)
        position = ledger.position
        first = backup(tmp_path / "core", tmp_path / "backups", now=NOW, position=position)
        await do(ledger, 20)
        second = backup(tmp_path / "core", tmp_path / "backups", now=NOW + timedelta(hours=1), position=ledger.position)
        with pytest.raises(Conflict, match="in use"):
            restore(first, tmp_path / "core")
    assert read_manifest(first).position == position < read_manifest(second).position
    assert newest_backup(tmp_path / "backups") == second
    shared = [path.name for path in (second / "data/journal/commits").glob("*.jsonl") if path.stat().st_nlink > 1]
    assert shared, "sealed segments are linked"
    shutil.rmtree(first)
    assert check_backup(second).position
    with pytest.raises(Conflict):
        restore(second, tmp_path / "core")


async def test_a_backup_that_is_not_what_it_says_is_refused(tmp_path: Path) -> None:
    await filled(tmp_path / "core")
    made = backup(tmp_path / "core", tmp_path / "backups", now=NOW)
    whole = content(made)
    for name, data in whole.items():
        path = made / name
        for bad in (data[:-3], data[: len(data) // 2] + b"\x00" + data[len(data) // 2 + 1 :], None):
            path.unlink()
            if bad is not None:
                path.write_bytes(bad)
            with pytest.raises((JournalDamaged, Unknown)):
                restore(made, tmp_path / "again")
            assert not (tmp_path / "again" / "data" / "journal").exists()
            path.write_bytes(data)
    (made / "data" / "journal" / "commits" / "9.jsonl").write_bytes(b"")
    with pytest.raises(JournalDamaged, match="does not have it"):
        restore(made, tmp_path / "again")


async def test_a_manifest_that_promises_more_is_refused(tmp_path: Path) -> None:
    await filled(tmp_path / "core")
    made = backup(tmp_path / "core", tmp_path / "backups", now=NOW)
    lying = msgspec.structs.replace(read_manifest(made), position=10_000).with_digest()
    (made / "manifest.json").write_bytes(msgspec.json.encode(lying))
    with pytest.raises(JournalDamaged, match="promises position"):
        restore(made, tmp_path / "again")
    assert not (tmp_path / "again" / "data" / "journal").exists()


async def test_a_damaged_journal_is_not_backed_up(tmp_path: Path) -> None:
    await filled(tmp_path / "core")
    segment = sorted((tmp_path / "core/data/journal/commits").glob("*.jsonl"))[1]
    data = bytearray(segment.read_bytes())
    data[100] ^= 1
    segment.write_bytes(data)
    with pytest.raises(JournalDamaged):
        backup(tmp_path / "core", tmp_path / "backups", now=NOW)
    assert list((tmp_path / "backups").iterdir()) == []
    with pytest.raises(Unknown):
        backup(tmp_path / "nothing", tmp_path / "backups", now=NOW)


def test_retention_keeps_hours_days_and_weeks() -> None:
    settings = BackupSettings()
    times = [NOW - timedelta(minutes=30 * number) for number in range(48 * 60)]
    left = kept(times, settings)
    assert NOW in left
    assert len(left) == 24 + 5 + 2  # the newest of a day or week may be that of an hour
    assert kept(sorted(left), settings) == left
    assert min(left) < NOW - timedelta(days=15)
    assert kept([], settings) == set()
    assert kept(times, BackupSettings(hourly=0, daily=0, weekly=0)) == {NOW}


async def test_a_node_backs_itself_up_after_so_many_events(tmp_path: Path) -> None:
    target = tmp_path / "backups"
    settings = BackupSettings(folder=str(target), every_events=30, hourly=1, daily=1, weekly=1)
    async with running(tmp_path / "core") as ledger, anyio.create_task_group() as tasks:
        schedule = BackupSchedule(ledger, tmp_path / "core", settings, lambda: NOW + timedelta(seconds=ledger.position))
        tasks.start_soon(schedule.run)
        for _ in range(3):
            position = schedule.position
            await do(ledger, 35)
            with anyio.fail_after(20):
                while schedule.position == position:
                    await anyio.lowlevel.checkpoint()
        assert schedule.state.trouble == ""
        tasks.cancel_scope.cancel()
    (left,) = list_backups(target)
    assert check_backup(left).position == schedule.position


async def test_the_newest_stays_and_is_found_when_the_clock_goes_back(tmp_path: Path) -> None:
    target, clock = tmp_path / "backups", [NOW]
    settings = BackupSettings(folder=str(target), hourly=1, daily=0, weekly=0)
    async with running(tmp_path / "core") as ledger:
        schedule = BackupSchedule(ledger, tmp_path / "core", settings, lambda: clock[0])
        for minutes in (10, 5, 4):
            clock[0] = NOW + timedelta(minutes=minutes)
            await do(ledger, 3)
            await schedule.once()
            newest = newest_backup(target)
            assert newest is not None
            assert read_manifest(newest).position == ledger.position
    assert len(list_backups(target)) == 2, "and the one of the hour that seemed to be the last"


async def test_a_node_that_was_put_back_is_backed_up_again(tmp_path: Path) -> None:
    settings = BackupSettings(folder=str(tmp_path / "backups"), every_events=5)
    async with running(tmp_path / "core") as ledger:
        await do(ledger, 30)
        await BackupSchedule(ledger, tmp_path / "core", settings, lambda: NOW).once()
    (old,) = list_backups(tmp_path / "backups")
    restore(old, tmp_path / "new", at=10)
    async with running(tmp_path / "new") as ledger, anyio.create_task_group() as tasks:
        schedule = BackupSchedule(ledger, tmp_path / "new", settings, lambda: NOW + timedelta(hours=1))
        tasks.start_soon(schedule.run)
        await do(ledger, 6)
        with anyio.fail_after(20):
            while schedule.position == 0:
                await anyio.lowlevel.checkpoint()
        tasks.cancel_scope.cancel()
    newest = newest_backup(tmp_path / "backups")
    assert newest not in (None, old)
    assert len(list_backups(tmp_path / "backups")) == 2


async def test_what_a_crash_left_of_a_backup_is_removed_by_the_next(tmp_path: Path) -> None:
    left = tmp_path / "backups" / ".20261121T040000Z.part"
    left.mkdir(parents=True)
    (left / "half").write_text("a")
    async with running(tmp_path / "core") as ledger:
        await do(ledger, 3)
        settings = BackupSettings(folder=str(tmp_path / "backups"))
        await BackupSchedule(ledger, tmp_path / "core", settings, lambda: NOW).once()
    assert len(list_backups(tmp_path / "backups")) == 1
    assert not left.exists()


async def test_trouble_with_the_target_does_not_end_the_node(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    (tmp_path / "backups").write_text("no folder")
    async with running(tmp_path / "core") as ledger:
        await do(ledger, 3)
        schedule = BackupSchedule(
            ledger, tmp_path / "core", BackupSettings(folder=str(tmp_path / "backups")), lambda: NOW
        )
        await schedule.once()
        assert schedule.state.trouble
        assert "journal.backup_failed" in caplog.text
        (tmp_path / "backups").unlink()
        await schedule.once()
        assert (schedule.state.trouble, schedule.position) == ("", ledger.position)
