"""Snapshots on a schedule: each due time is tried once, whatever restarts; the oldest go; nothing else does."""

from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import anyio
import pytest

from nano.core.core import Core
from nano.domain import guest_commands as gc
from nano.domain import guest_snapshot as gs
from nano.domain import snapshot_schedule as ss
from nano.domain.cell import AddCell, Cell
from nano.domain.errors import HostError
from nano.domain.guest_about import DescribeGuest, ProtectGuest
from nano.domain.machine import MEBI
from nano.domain.task import CancelTask, Task
from nano.tools.simulator.bed import Bed, ended, task_of

pytestmark = pytest.mark.anyio


class Clock:
    def __init__(self) -> None:
        self.now = datetime(2026, 1, 1, tzinfo=UTC)

    def __call__(self) -> datetime:
        self.now += timedelta(microseconds=1)
        return self.now


@pytest.fixture
def clock() -> Clock:
    return Clock()


@pytest.fixture
def bed(tmp_path: Path, clock: Clock) -> Bed:
    return Bed(tmp_path, clock=clock)


async def do(core: Core, command: Any) -> Any:
    return await core.execute(command, actor="admin", command_id="")


async def created(core: Core) -> None:
    with anyio.fail_after(10):
        while core.zone.get("cell/one") is None:
            await core.feed.wait_for(core.feed.position + 1)
    await core.execute(AddCell(cell="one"), actor="admin", command_id="add")
    receipt = await do(core, gc.CreateGuest(name="web", memory=128 * MEBI, disks=(64 * MEBI,), start=True))
    assert (await ended(core, task_of(receipt.facts))).error is None


async def pass_time(core: Core, clock: Clock, **time: float) -> None:
    """Time passes, and something about the guest wakes whoever looks at it."""
    clock.now += timedelta(**time)
    await do(core, DescribeGuest(guest="web", notes=str(clock.now)))


async def until(core: Core, condition: Callable[[], bool]) -> None:
    with anyio.fail_after(10):
        while not condition():
            await core.feed.wait_for(core.feed.position + 1)


def taken(core: Core) -> list[str]:
    return [one.name for one in core.zone.find_guest("web").snapshots]


def tasks(core: Core) -> list[Task]:
    return [task for task in core.views.states["task"].values() if isinstance(task, Task) and task.actor == "schedule"]


async def quiet(core: Core) -> None:
    """Until what has been begun has ended, and whoever was woken by that has looked."""
    await until(core, lambda: not core.zone.open_tasks)
    await anyio.wait_all_tasks_blocked()


def online(core: Core) -> bool:
    cell = core.zone.get("cell/one")
    return isinstance(cell, Cell) and cell.online


async def taken_at(core: Core, hours: float) -> None:
    await until(core, lambda: name_at(hours) in taken(core))


def name_at(hours: float) -> str:
    start = datetime(2026, 1, 1, tzinfo=UTC) + timedelta(hours=hours)
    return f"auto-{start:%Y%m%dT%H%M%SZ}"


async def test_one_is_taken_at_once_and_then_each_time_and_the_oldest_go(bed: Bed, clock: Clock) -> None:
    async with bed.zone("one") as (core, _):
        await created(core)
        await do(core, gs.CreateSnapshot(guest="web", name="mine"))
        await until(core, lambda: taken(core) == ["mine"] and not core.zone.open_tasks)
        await do(core, ss.ScheduleSnapshots(guest="web", every_hours=6, keep=2))
        for hours in (0, 6, 12, 18):
            await taken_at(core, hours)
            await quiet(core)
            await pass_time(core, clock, minutes=2)
            await quiet(core)
            assert name_at(hours) in taken(core)
            await pass_time(core, clock, hours=5, minutes=58)
        await taken_at(core, 24)
        await quiet(core)
        await pass_time(core, clock, minutes=2)
        await until(core, lambda: len(taken(core)) == 3)
        assert taken(core) == ["mine", name_at(18), name_at(24)]
        row: Any = core.views.tables["guest"].row(core.zone.find_guest("web").id)
        assert [(one.scheduled, one.memory, one.frozen) for one in row.snapshots] == [
            (False, True, False),
            (True, False, True),
            (True, False, True),
        ]
        assert row.snapshot_schedule.next_at - clock.now < timedelta(hours=6)


async def test_a_restart_repeats_none_and_what_was_missed_is_not_made_up_for(bed: Bed, clock: Clock) -> None:
    async with bed.core() as core, bed.cell("one") as cell, bed.link(cell, core):
        await created(core)
        await do(core, ss.ScheduleSnapshots(guest="web", every_hours=1, keep=5))
        await until(core, lambda: len(taken(core)) == 1 and not core.zone.open_tasks)
    clock.now += timedelta(minutes=10)
    async with bed.core() as core, bed.cell("one") as cell, bed.link(cell, core):
        await until(core, lambda: online(core))
        await pass_time(core, clock, minutes=2)
        await quiet(core)
        assert (len(taken(core)), len(tasks(core))) == (1, 1)
    clock.now += timedelta(days=3)
    async with bed.core() as core, bed.cell("one") as cell, bed.link(cell, core):
        await until(core, lambda: online(core))
        await pass_time(core, clock, minutes=2)
        await until(core, lambda: len(taken(core)) == 2)
        await quiet(core)
        await pass_time(core, clock, minutes=2)
        await quiet(core)
        assert (len(taken(core)), len(tasks(core))) == (2, 2)


async def test_one_that_fails_is_not_tried_again_before_the_next_is_due(bed: Bed, clock: Clock) -> None:
    async with bed.zone("one") as (core, _):
        await created(core)
        bed.host("one").fail_next("snapshot_make", HostError("It failed.", code="hypervisor_error"))
        await do(core, ss.ScheduleSnapshots(guest="web", every_hours=1, keep=5))
        await until(core, lambda: len(tasks(core)) == 1 and tasks(core)[0].ended)
        await pass_time(core, clock, minutes=2)
        await quiet(core)
        assert (taken(core), [task.state for task in tasks(core)]) == ([], ["failed"])
        await pass_time(core, clock, hours=1)
        await until(core, lambda: len(taken(core)) == 1)


async def test_three_that_fail_in_a_row_are_an_alarm_that_goes_with_the_next_success(bed: Bed, clock: Clock) -> None:
    def alarms(core: Core) -> list[Any]:
        return [alarm for alarm in core.alarms.current() if alarm.code == "snapshots_failing"]

    host = bed.host("one")
    async with bed.core() as core, bed.cell("one") as cell, bed.link(cell, core):
        await created(core)
        host.fail_next("snapshot_make", HostError("The disk is broken.", code="hypervisor_error"), times=3)
        await do(core, ss.ScheduleSnapshots(guest="web", every_hours=1, keep=5))
        for number in (1, 2):
            await until(core, lambda number=number: sum(task.ended for task in tasks(core)) == number)
            await quiet(core)
            assert alarms(core) == []
            await pass_time(core, clock, hours=1)
        await until(core, lambda: sum(task.ended for task in tasks(core)) == 3)
        await quiet(core)
        (alarm,) = alarms(core)
        guest = core.zone.find_guest("web")
        assert (alarm.resource, alarm.details["count"]) == (f"guest/{guest.id}", "3")
        assert "web" in alarm.message
        assert "The disk is broken." in alarm.message
    async with bed.core() as core:
        await anyio.wait_all_tasks_blocked()
        assert [one.id for one in alarms(core)] == [alarm.id], "also after a restart"
        async with bed.cell("one") as cell, bed.link(cell, core):
            await until(core, lambda: online(core))
            await pass_time(core, clock, hours=1)
            await until(core, lambda: len(taken(core)) == 1)
            await quiet(core)
            assert alarms(core) == []
            assert core.zone.find_guest("web").snapshots_failed == 0


async def test_an_alarm_of_failed_snapshots_goes_with_the_schedule(bed: Bed, clock: Clock) -> None:
    async with bed.zone("one") as (core, _):
        await created(core)
        error = HostError("The disk is broken.", code="hypervisor_error")
        bed.host("one").fail_next("snapshot_make", error, times=3)
        await do(core, ss.ScheduleSnapshots(guest="web", every_hours=1, keep=5))
        for number in (1, 2, 3):
            await until(core, lambda number=number: sum(task.ended for task in tasks(core)) == number)
            await quiet(core)
            if number < 3:
                await pass_time(core, clock, hours=1)
        assert "snapshots_failing" in {alarm.code for alarm in core.alarms.current()}
        await do(core, ss.UnscheduleSnapshots(guest="web"))
        await anyio.wait_all_tasks_blocked()
        assert "snapshots_failing" not in {alarm.code for alarm in core.alarms.current()}


async def test_a_busy_guest_is_taken_when_it_is_free(bed: Bed, clock: Clock) -> None:
    async with bed.zone("one") as (core, _):
        await created(core)
        reached = bed.host("one").hang_next("snapshot_make")
        receipt = await do(core, gs.CreateSnapshot(guest="web", name="slow"))
        await reached.wait()
        await do(core, ss.ScheduleSnapshots(guest="web", every_hours=1, keep=5))
        await pass_time(core, clock, minutes=2)
        assert tasks(core) == []
        await do(core, CancelTask(task=task_of(receipt.facts)))
        await until(core, lambda: len(taken(core)) == 1)
        assert taken(core)[0].startswith("auto-")


async def test_old_ones_expire_also_of_a_protected_guest_but_never_the_newest(bed: Bed, clock: Clock) -> None:
    async with bed.zone("one") as (core, _):
        await created(core)
        await do(core, ss.ScheduleSnapshots(guest="web", every_hours=24, keep=5, expire_hours=30))
        await until(core, lambda: len(taken(core)) == 1 and not core.zone.open_tasks)
        await do(core, ProtectGuest(guest="web"))
        await pass_time(core, clock, hours=24)
        await until(core, lambda: len(taken(core)) == 2 and not core.zone.open_tasks)
        await pass_time(core, clock, hours=7)
        await until(core, lambda: len(taken(core)) == 1 and not core.zone.open_tasks)
        await do(core, ss.UnscheduleSnapshots(guest="web"))
        await pass_time(core, clock, days=30)
        await quiet(core)
        assert len(taken(core)) == 1
