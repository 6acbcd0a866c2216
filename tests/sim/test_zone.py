"""A zone in one process: commands, tasks, cells that come and go, all on simulated hosts."""

from pathlib import Path

import anyio
import pytest

from nano.cell.work import Work
from nano.core.core import Core
from nano.domain import guest_commands as gc
from nano.domain.cell import AddCell
from nano.domain.errors import Conflict, DiskFull, HostError, NoCapacity
from nano.domain.guest import Guest
from nano.domain.host_domain import FailOrder
from nano.domain.machine import MEBI
from nano.domain.order import Order
from nano.domain.task import CancelTask, Task
from nano.tools.simulator.bed import Bed, ended, task_of

pytestmark = pytest.mark.anyio


@pytest.fixture
def bed(tmp_path: Path) -> Bed:
    return Bed(tmp_path)


async def until(core: Core, holds: object, limit_s: float = 10.0) -> None:
    with anyio.fail_after(limit_s):
        while not holds():  # type: ignore[operator]
            await core.feed.wait_for(core.feed.position + 1)


async def add(core: Core, *cells: str) -> None:
    for cell in cells:
        await until(core, lambda cell=cell: core.zone.get(f"cell/{cell}") is not None)
        await core.execute(AddCell(cell=cell), actor="admin", command_id=f"add/{cell}")
    with anyio.fail_after(10):
        while any(cell not in core.usage.loads for cell in cells):
            heard = anyio.Event()
            core.usage.listen(heard.set)
            await heard.wait()
            core.usage.unlisten(heard.set)


def blank(name: str, **options: object) -> gc.CreateGuest:
    return gc.CreateGuest(name=name, memory=128 * MEBI, disks=(64 * MEBI,), **options)  # type: ignore[arg-type]


async def do(core: Core, command: object, command_id: str) -> Task:
    receipt = await core.execute(command, actor="admin", command_id=command_id)  # type: ignore[arg-type]
    return await ended(core, task_of(receipt.facts))


def guest(core: Core, name: str) -> Guest:
    return core.zone.find_guest(name)


def left_on(bed: Bed, cell: str) -> tuple[int, int]:
    host = bed.host(cell)
    return len(host.machine), len(host.files)


async def test_a_guest_lives_its_life(bed: Bed) -> None:
    async with bed.zone("one") as (core, _):
        await add(core, "one")
        task = await do(core, blank("web", start=True), "create")
        assert (task.state, task.error) == ("done", None)
        assert guest(core, "web").power == "running"
        row = core.views.tables["guest"].row(guest(core, "web").id)
        assert row is not None
        assert row.state == "running"  # type: ignore[union-attr]
        for command, power in (
            (gc.StopGuest(guest="web"), "stopped"),
            (gc.StartGuest(guest="web"), "running"),
            (gc.RebootGuest(guest="web"), "running"),
            (gc.ForceRebootGuest(guest="web"), "running"),
            (gc.ForceStopGuest(guest="web"), "stopped"),
        ):
            task = await do(core, command, f"power/{type(command).__name__}")
            assert (task.state, task.error) == ("done", None), command
            assert guest(core, "web").power == power
        task = await do(core, gc.DeleteGuest(guest="web"), "delete")
        assert task.state == "done"
        assert left_on(bed, "one") == (0, 0)
        assert not list(core.zone.guests())


@pytest.mark.parametrize(
    ("method", "error"),
    [
        ("make_volumes", DiskFull("No room is left for the disks.")),
        ("define", HostError("The hypervisor refused the definition.", code="define_refused")),
        ("start", HostError("The hypervisor could not start it.", code="start_refused")),
    ],
)
async def test_a_failed_creation_leaves_nothing(bed: Bed, method: str, error: Exception) -> None:
    async with bed.zone("one") as (core, _):
        await add(core, "one")
        bed.host("one").fail_next(method, error)  # type: ignore[arg-type]
        task = await do(core, blank("web", start=True), "create")
        assert task.state == "failed"
        assert task.error is not None
        assert task.error.code == error.code  # type: ignore[attr-defined]
        assert any("given back" in text for text in task.undone)
        assert left_on(bed, "one") == (0, 0)
        assert not list(core.zone.guests())
        assert not core.zone.guest_ids
        assert not core.zone.macs


async def test_a_creation_can_be_cancelled(bed: Bed) -> None:
    bed.host("one", copy_s=60.0)
    async with bed.zone("one") as (core, _):
        await add(core, "one")
        bed.host("one").hang_next("make_volumes")
        receipt = await core.execute(blank("web"), actor="admin", command_id="create")
        task_id = task_of(receipt.facts)
        await anyio.sleep(0.05)
        await core.execute(CancelTask(task=task_id), actor="admin", command_id="cancel")
        task = await ended(core, task_id)
        assert task.state == "cancelled"
        assert left_on(bed, "one") == (0, 0)


async def test_a_cancelled_creation_that_takes_time_to_undo_leaves_no_debt(
    bed: Bed, monkeypatch: pytest.MonkeyPatch
) -> None:
    undo = Work.undo_create

    async def slowly(self: Work, order: Order, failed: FailOrder) -> FailOrder:
        await anyio.sleep(0.3)  # the machine is slow; what is waited for below is the task
        return await undo(self, order, failed)

    monkeypatch.setattr(Work, "undo_create", slowly)
    async with bed.zone("one") as (core, (cell,)):
        await add(core, "one")
        bed.host("one").hang_next("make_volumes")
        receipt = await core.execute(blank("web"), actor="admin", command_id="create")
        with anyio.fail_after(5):
            while not cell.site.open_orders:
                await cell.ledger.feed.wait_for(cell.ledger.position + 1)
        task_id = task_of(receipt.facts)
        await core.execute(CancelTask(task=task_id), actor="admin", command_id="cancel")
        task = await ended(core, task_id)
        assert task.state == "cancelled"
        assert not any("can't be asked" in text for text in task.undone), task.undone
        assert (await do(core, blank("next"), "next")).state == "done", "the cell owes nothing and takes guests"


async def test_a_cell_killed_in_the_middle_undoes_and_says_so(bed: Bed) -> None:
    async with bed.core() as core:
        async with bed.cell("one") as cell, bed.link(cell, core):
            await add(core, "one")
            bed.host("one").hang_next("define")
            receipt = await core.execute(blank("web"), actor="admin", command_id="create")
            with anyio.fail_after(5):
                while not cell.site.open_orders:
                    await cell.ledger.feed.wait_for(cell.ledger.position + 1)
        task_id = task_of(receipt.facts)
        async with bed.cell("one") as cell, bed.link(cell, core):
            task = await ended(core, task_id)
        assert task.state == "failed"
        assert task.error is not None
        assert task.error.code == "cell_restarted"
        assert left_on(bed, "one") == (0, 0)
        assert not list(core.zone.guests())


async def test_core_restarted_in_the_middle_completes_the_task(bed: Bed) -> None:
    bed.host("one", shutdown_s=0.5)
    async with bed.cell("one") as cell:
        async with bed.core() as core, bed.link(cell, core):
            await add(core, "one")
            await do(core, blank("web", start=True), "create")
            receipt = await core.execute(gc.StopGuest(guest="web"), actor="admin", command_id="stop")
            with anyio.fail_after(5):
                while not cell.site.open_orders:
                    await cell.ledger.feed.wait_for(cell.ledger.position + 1)
        async with bed.core() as core, bed.link(cell, core):
            assert guest(core, "web").task, "the task still owns the guest"
            task = await ended(core, task_of(receipt.facts))
            assert (task.state, task.error) == ("done", None)
            assert (guest(core, "web").power, guest(core, "web").task) == ("stopped", "")


async def test_what_happens_behind_our_back_is_journaled(bed: Bed) -> None:
    async with bed.zone("one") as (core, _):
        await add(core, "one")
        await do(core, blank("web", start=True), "create")
        web = guest(core, "web")
        bed.host("one").stop_behind(web.id)
        await until(core, lambda: guest(core, "web").power == "stopped")
        bed.host("one").vanish(web.id)
        await until(core, lambda: guest(core, "web").power == "missing")
        task = await do(core, gc.RedefineGuest(guest="web"), "redefine")
        assert (task.state, task.error) == ("done", None)
        assert guest(core, "web").power == "stopped"


async def test_restart_of_everything_shows_the_same(bed: Bed) -> None:
    async with bed.zone("one", "two") as (core, _):
        await add(core, "one", "two")
        for index in range(4):
            await do(core, blank(f"g{index}", start=index % 2 == 0), f"create/{index}")
        before = {item.name: (item.power, item.cell) for item in core.zone.guests()}
        assert {cell for _, cell in before.values()} == {"one", "two"}
    async with bed.core() as core:
        page = core.views.tables["guest"].page()
        assert b'"lost"' not in page.body, "right at once, before any cell has reported"
        assert {item.name: (item.power, item.cell) for item in core.zone.guests()} == before


async def test_refusals_change_nothing(bed: Bed) -> None:
    async with bed.zone("one") as (core, _):
        with pytest.raises(NoCapacity) as refused:
            await core.execute(blank("web"), actor="admin", command_id="none")
        assert refused.value.code == "no_cell"
        await add(core, "one")
        await do(core, blank("web"), "create")
        position = core.ledger.position
        with pytest.raises(Conflict, match="exists already"):
            await core.execute(blank("web"), actor="admin", command_id="again")
        with pytest.raises(Conflict) as stopped:
            await core.execute(gc.StopGuest(guest="web"), actor="admin", command_id="stop")
        assert stopped.value.code == "guest_stopped"
        assert core.ledger.position == position
