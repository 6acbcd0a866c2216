"""Every trouble of a journal has a defined answer and an alarm, and both end by themselves when the trouble does."""

import errno
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from datetime import UTC, datetime, timedelta
from pathlib import Path

import anyio
import pytest

from nano.domain.alarm import KINDS, Alarm
from nano.domain.errors import DiskFull, JournalError, NanoError
from nano.journal import health as health_room
from nano.journal.backup_schedule import BackupSchedule, BackupSettings
from nano.journal.health import NO_UPKEEP, AlarmSettings, NodeHealth, Room, Upkeep, measure_room
from nano.journal.ledger import Ledger
from nano.journal.testing import BadDisk, Count, make_counters, opened, values

pytestmark = pytest.mark.anyio

NOON = datetime(2026, 11, 21, 12, tzinfo=UTC)


class Clock:
    def __init__(self) -> None:
        self.now = NOON

    def __call__(self) -> datetime:
        self.now += timedelta(milliseconds=1)
        return self.now


class Watched:
    """A ledger that is watched over, and a way to wait for its alarms."""

    def __init__(self, ledger: Ledger, health: NodeHealth) -> None:
        self.ledger = ledger
        self.health = health
        self._changed = anyio.Event()
        health.listen(self._wake)

    def _wake(self) -> None:
        self._changed.set()
        self._changed = anyio.Event()

    @property
    def codes(self) -> set[str]:
        return {alarm.code for alarm in self.health.alarms.values()}

    async def until(self, holds: Callable[[], bool]) -> None:
        with anyio.fail_after(20):
            while not holds():
                await self._changed.wait()

    async def raised(self, code: str) -> Alarm:
        await self.until(lambda: code in self.codes)
        return next(alarm for alarm in self.health.alarms.values() if alarm.code == code)

    async def cleared(self, code: str) -> None:
        await self.until(lambda: code not in self.codes)


@asynccontextmanager
async def watched(
    folder: Path,
    disk: BadDisk,
    clock: Callable[[], datetime],
    upkeep: Upkeep = NO_UPKEEP,
    measure: Callable[[Path], Room] = measure_room,
) -> AsyncIterator[Watched]:
    async with opened(folder, disk, clock=clock) as ledger, anyio.create_task_group() as tasks:
        health = NodeHealth("core", "Core_a", ledger, clock=clock, upkeep=upkeep, measure=measure)
        found = Watched(ledger, health)
        tasks.start_soon(health.run)
        yield found
        tasks.cancel_scope.cancel()


@pytest.fixture(autouse=True)
def quick(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(health_room, "CHECK_S", 0.02)
    monkeypatch.setattr(health_room, "ROOM_S", 0.02)


@pytest.mark.parametrize(
    ("error", "raised", "code"),
    [
        (errno.ENOSPC, DiskFull, "disk_full"),
        (errno.EDQUOT, DiskFull, "disk_full"),
        (errno.EIO, JournalError, "journal_write_failed"),
        (errno.EROFS, JournalError, "journal_read_only"),
    ],
)
async def test_a_disk_that_refuses_is_an_alarm_until_it_takes_writes_again(
    tmp_path: Path, error: int, raised: type[NanoError], code: str
) -> None:
    disk = BadDisk()
    async with watched(tmp_path, disk, Clock()) as node:
        await make_counters(node.ledger, "a")
        disk.refuse(error)
        with pytest.raises(raised) as refused:
            await node.ledger.execute(Count("a"), actor="admin", command_id="1")
        assert refused.value.code == code
        alarm = await node.raised(code)
        assert (alarm.id, alarm.severity, alarm.resource) == (f"{code}:Core_a", "critical", "core/Core_a")
        assert str(tmp_path) in alarm.message
        assert alarm.hint == KINDS[code].hint
        with pytest.raises(raised):  # tried once more, and still refused
            await node.ledger.execute(Count("a"), actor="admin", command_id="2")
        assert values(node.ledger) == {"a": 0}  # reads go on, from what is durable
        assert [fact.position for fact in await node.ledger.facts()] == [1]
        assert (await node.raised(code)).since == alarm.since
        disk.recover()
        await node.cleared(code)  # nobody commanded anything
        receipt = await node.ledger.execute(Count("a"), actor="admin", command_id="2")
        assert (receipt.position, receipt.repeated) == (2, False)
    async with opened(tmp_path) as ledger:
        assert values(ledger) == {"a": 1}


async def test_a_write_that_went_in_partly_on_a_disk_that_takes_nothing_back_poisons(tmp_path: Path) -> None:
    disk = BadDisk()
    async with watched(tmp_path, disk, Clock()) as node:
        await make_counters(node.ledger, "a")
        disk.order("append", errno.EROFS, short=5)
        disk.order("truncate", errno.EROFS)
        with pytest.raises(JournalError, match="could not be taken back"):
            await node.ledger.execute(Count("a"), actor="admin", command_id="1")
        assert (await node.raised("journal_poisoned")).severity == "critical"
        assert values(node.ledger) == {"a": 0}
    async with opened(tmp_path) as ledger:  # a restart reads what the disk kept, and cuts the rest
        assert values(ledger) == {"a": 0}
        await ledger.execute(Count("a"), actor="admin", command_id="1")


async def test_a_failed_sync_is_an_alarm_until_the_restart(tmp_path: Path) -> None:
    disk = BadDisk()
    async with watched(tmp_path, disk, Clock()) as node:
        await make_counters(node.ledger, "a")
        disk.order("fdatasync")
        with pytest.raises(JournalError):
            await node.ledger.execute(Count("a"), actor="admin", command_id="1")
        await node.raised("journal_poisoned")
        for _ in range(3):
            node.health.check()
        assert "journal_poisoned" in node.codes
    async with watched(tmp_path, BadDisk(), Clock()) as node:
        assert not node.codes


async def test_a_clock_that_goes_back_is_an_alarm_with_the_amount_and_no_fact_goes_back(tmp_path: Path) -> None:
    clock = Clock()
    async with watched(tmp_path, BadDisk(), clock) as node:
        await make_counters(node.ledger, "a")
        before = node.ledger.time
        clock.now -= timedelta(hours=1, minutes=1)
        alarm = await node.raised("clock_behind")
        assert "3660 s (1 h 1 min) behind" in alarm.message
        (fact,) = (await node.ledger.execute(Count("a"), actor="admin", command_id="1")).facts
        assert fact.at == before
        clock.now += timedelta(hours=2)
        await node.cleared("clock_behind")
        (fact,) = (await node.ledger.execute(Count("a"), actor="admin", command_id="2")).facts
        assert fact.at > before


async def test_a_correction_below_a_second_is_no_alarm(tmp_path: Path) -> None:
    clock = Clock()
    async with watched(tmp_path, BadDisk(), clock) as node:
        await make_counters(node.ledger, "a")
        clock.now -= timedelta(seconds=0.9)
        node.health.check()
        assert not node.codes


async def test_a_file_system_that_fills_up_is_told_before_it_is_full(tmp_path: Path) -> None:
    free = {"journal": 50, "volumes": 50}
    upkeep = Upkeep({name: tmp_path / name for name in free}, AlarmSettings(disk_low_percent=20))
    async with watched(tmp_path, BadDisk(), Clock(), upkeep, lambda path: Room(100, free[path.name])) as node:
        free["volumes"] = 19
        alarm = await node.raised("disk_low")
        assert (alarm.id, alarm.severity, alarm.place) == ("disk_low:Core_a:volumes", "warning", "volumes")
        assert "19.0 %" in alarm.message
        free["volumes"] = 2
        assert (await node.raised("disk_nearly_full")).severity == "critical"
        assert node.codes == {"disk_nearly_full"}
        free["volumes"] = 20
        await node.until(lambda: not node.codes)


async def test_derived_files_that_can_not_be_written_are_warnings_that_end(tmp_path: Path) -> None:
    disk = BadDisk()
    async with watched(tmp_path, disk, Clock()) as node:
        disk.refuse(errno.EIO, "resources")
        await make_counters(node.ledger, "a")
        assert (await node.raised("resource_journals_behind")).severity == "warning"
        node.ledger.snapshots.trouble = "OSError: no room"
        assert "no room" in (await node.raised("snapshot_failed")).message
        node.ledger.snapshots.trouble = ""
        disk.recover()
        await node.until(lambda: not node.codes)


async def test_a_backup_that_fails_or_hangs_is_an_alarm(tmp_path: Path) -> None:
    clock, target = Clock(), tmp_path / "backups"
    target.write_text("no folder")
    settings = BackupSettings(folder=str(target), every_events=1)
    async with opened(tmp_path / "node" / "data", clock=clock) as ledger:
        backups = BackupSchedule(ledger, tmp_path / "node", settings, clock)
        health = NodeHealth("cell", "one", ledger, clock=clock, upkeep=Upkeep(backups=backups))
        await make_counters(ledger, "a")
        await backups.once()
        health.check()
        (alarm,) = health.alarms.values()
        assert (alarm.code, alarm.resource, alarm.severity) == ("backup_failed", "cell/one", "critical")
        assert str(target) in alarm.message

        target.unlink()
        await backups.once()
        health.check()
        assert not health.alarms
        assert (health.backup.position, health.backup.trouble) == (1, "")


async def test_a_backup_that_neither_comes_nor_fails_is_overdue(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    clock, begun, hang = Clock(), anyio.Event(), anyio.Event()
    settings = BackupSettings(folder=str(tmp_path / "backups"))
    async with opened(tmp_path, clock=clock) as ledger, anyio.create_task_group() as tasks:
        backups = BackupSchedule(ledger, tmp_path, settings, clock)
        health = NodeHealth("cell", "one", ledger, clock=clock, upkeep=Upkeep(backups=backups))

        async def hanging() -> None:
            begun.set()
            await hang.wait()

        monkeypatch.setattr(backups, "once", hanging)
        told = anyio.Event()
        backups.changed = told.set
        tasks.start_soon(backups.run)
        await told.wait()
        assert backups.state.next_at is not None
        assert backups.state.next_at > NOON + timedelta(minutes=59)
        clock.now += timedelta(hours=3)
        health.check()
        assert not health.alarms  # nothing happened, so nothing is to be backed up
        await make_counters(ledger, "a")
        health.check()
        (alarm,) = health.alarms.values()
        assert (alarm.code, alarm.details["last"]) == ("backup_overdue", "-")
        tasks.cancel_scope.cancel()


def test_free_space_is_that_of_the_file_system_also_where_the_folder_is_not_yet_there(tmp_path: Path) -> None:
    room = measure_room(tmp_path / "not" / "yet")
    assert 0 <= room.free <= room.total
    assert room.total > 0
