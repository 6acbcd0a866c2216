"""Batches over a whole zone on simulated hosts: each guest for itself, nothing lost by restarts, nothing left by failures."""

from collections import Counter
from pathlib import Path
from typing import Any

import anyio
import pytest

from nano.core.core import Core
from nano.domain import batch as ba
from nano.domain.cell import AddCell
from nano.domain.errors import DiskFull, HostError
from nano.domain.limits import LIMITS
from nano.domain.machine import MEBI
from nano.domain.task import CancelTask, Task
from nano.tools.simulator.bed import Bed, ended, task_of

pytestmark = pytest.mark.anyio


@pytest.fixture
def bed(tmp_path: Path) -> Bed:
    return Bed(tmp_path)


async def add(core: Core, *cells: str) -> None:
    with anyio.fail_after(10):
        for cell in cells:
            while core.zone.get(f"cell/{cell}") is None:
                await core.feed.wait_for(core.feed.position + 1)
            await core.execute(AddCell(cell=cell), actor="admin", command_id=f"add/{cell}")
        while any(cell not in core.usage.loads for cell in cells):
            heard = anyio.Event()
            core.usage.listen(heard.set)
            await heard.wait()
            core.usage.unlisten(heard.set)


def blank(count: int, **options: Any) -> ba.CreateBatch:
    return ba.CreateBatch(prefix="web", count=count, memory=64 * MEBI, disks=(16 * MEBI,), **options)


async def begun(core: Core, command: Any) -> str:
    return task_of((await core.execute(command, actor="admin", command_id="")).facts)


async def do(core: Core, command: Any) -> Task:
    return await ended(core, await begun(core, command))


def states(task: Task) -> Counter[str]:
    return Counter(item.state for item in task.items)


def whole(bed: Bed, core: Core) -> None:
    """Every guest of the zone is on its host with its disks, free, and there is nothing else."""
    guests = {guest.id: guest for guest in core.zone.guests()}
    assert all(guest.phase == "ready" and not guest.task for guest in guests.values())
    assert {key for host in bed.hosts.values() for key in host.machine} == set(guests)
    assert {name[:36] for host in bed.hosts.values() for name in host.files} == set(guests)
    assert not core.zone.open_tasks
    assert core.zone.macs == {guest.spec.mac for guest in guests.values()}


async def test_guests_are_made_started_stopped_and_deleted_together(bed: Bed) -> None:
    async with bed.zone("one", "two") as (core, _):
        await add(core, "one", "two")
        task = await do(core, blank(9))
        assert (task.state, task.error, states(task)) == ("done", None, Counter(done=9))
        assert sorted(guest.name for guest in core.zone.guests()) == [f"web_{n}" for n in range(9)]
        assert {guest.cell for guest in core.zone.guests()} == {"one", "two"}, "each placement knows of the one before"
        whole(bed, core)
        names = tuple(item.name for item in task.items)
        for command, power in ((ba.StartBatch, "running"), (ba.StopBatch, "stopped")):
            task = await do(core, command(guests=names))
            assert (task.state, states(task)) == ("done", Counter(done=9))
            assert {guest.power for guest in core.zone.guests()} == {power}
        row = core.views.tables["task"].row(task.id)
        assert (row.progress, len(row.items)) == (100, 9)  # type: ignore[union-attr]
        task = await do(core, ba.DeleteBatch(guests=names))
        assert task.state == "done"
        assert not list(core.zone.guests())
        whole(bed, core)


async def test_one_that_fails_leaves_nothing_and_the_others_are_made(bed: Bed) -> None:
    async with bed.zone("one") as (core, _):
        await add(core, "one")
        bed.host("one").fail_next("define", HostError("The hypervisor refused it.", code="define_refused"))
        bed.host("one").fail_next("make_volumes", DiskFull("No room is left for the disks."))
        task = await do(core, blank(6))
        assert (task.state, states(task)["done"]) == ("failed", 6 - states(task)["failed"])
        assert {item.error.code for item in task.items if item.error} <= {"define_refused", "disk_full"}
        assert states(task)["failed"] in (1, 2)  # both may have met the same guest
        assert task.error is not None
        assert task.error.code == "batch_incomplete"
        assert len(list(core.zone.guests())) == states(task)["done"]
        whole(bed, core)


async def test_a_cell_is_never_given_more_at_once_than_it_may_work_on(bed: Bed) -> None:
    async with bed.zone("one") as (core, _):
        await add(core, "one")
        most = 0

        def count(_changes: object) -> None:
            nonlocal most
            running = [item for task in core.zone.open_tasks.values() for item in task.items if item.state == "running"]
            most = max(most, len(running))

        core.feed.add_listener(count)
        task = await do(core, blank(LIMITS.batch_at_once * 2))
        assert states(task) == Counter(done=LIMITS.batch_at_once * 2)
        assert 1 < most <= LIMITS.batch_at_once


async def test_more_than_a_cell_may_hold_is_told_with_each(bed: Bed) -> None:
    async with bed.zone("one") as (core, _):
        await add(core, "one")
        task = await do(core, blank(LIMITS.guests_per_cell + 3))
        assert states(task) == Counter(done=LIMITS.guests_per_cell, failed=3)
        assert {item.error.code for item in task.items if item.error} == {"cells_full"}
        whole(bed, core)


@pytest.mark.parametrize("phase", ["make_volumes", "define"])
async def test_a_cell_killed_in_any_phase_fails_what_it_was_doing_and_makes_the_rest(bed: Bed, phase: str) -> None:
    async with bed.core() as core:
        async with bed.cell("one") as cell, bed.link(cell, core):
            await add(core, "one")
            reached = bed.host("one").hang_next(phase)
            batch = await begun(core, blank(5))
            with anyio.fail_after(5):
                await reached.wait()
        async with bed.cell("one") as cell, bed.link(cell, core):
            task = await ended(core, batch, limit_s=30)
        assert task.ended
        assert states(task)["waiting"] == states(task)["running"] == 0
        assert len(list(core.zone.guests())) == states(task)["done"]
        whole(bed, core)


@pytest.mark.parametrize("phase", ["make_volumes", "define"])
async def test_a_restarted_core_goes_on_where_it_was(bed: Bed, phase: str) -> None:
    async with bed.cell("one") as cell:
        async with bed.core() as core, bed.link(cell, core):
            await add(core, "one")
            reached = bed.host("one").hang_next(phase)
            batch = await begun(core, blank(5))
            with anyio.fail_after(5):
                await reached.wait()
        async with bed.core() as core, bed.link(cell, core):
            await core.execute(CancelTask(task=await stuck(core, batch)), actor="admin", command_id="")
            task = await ended(core, batch, limit_s=30)
            assert states(task) == Counter(done=4, cancelled=1)
            whole(bed, core)


async def stuck(core: Core, batch: str) -> str:
    """The task of the one guest that hangs, once all others are done."""
    with anyio.fail_after(20):
        while True:
            task = core.zone.get(f"task/{batch}")
            assert isinstance(task, Task)
            left = [item.task for item in task.items if item.state != "done"]
            if len(left) == 1:
                return left[0]
            await core.feed.wait_for(core.feed.position + 1)


async def test_a_cancelled_batch_undoes_what_it_is_doing_and_begins_nothing_more(bed: Bed) -> None:
    async with bed.zone("one") as (core, _):
        await add(core, "one")
        reached = bed.host("one").hang_next("make_volumes")
        batch = await begun(core, blank(4))
        with anyio.fail_after(5):
            await reached.wait()
        await core.execute(CancelTask(task=batch), actor="admin", command_id="")
        task = await ended(core, batch)
        assert task.state == "cancelled"
        assert set(states(task)) <= {"done", "cancelled"}
        assert states(task)["cancelled"] >= 1
        assert len(list(core.zone.guests())) == states(task)["done"]
        whole(bed, core)


async def test_the_same_request_twice_is_one_batch(bed: Bed) -> None:
    async with bed.zone("one") as (core, _):
        await add(core, "one")
        first = await core.execute(blank(2), actor="admin", command_id="k")
        again = await core.execute(blank(2), actor="admin", command_id="k")
        assert (again.repeated, again.position) == (True, first.position)
        assert (await ended(core, task_of(first.facts))).state == "done"
        assert len(list(core.zone.guests())) == 2
