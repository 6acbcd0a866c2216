"""What the simulator found, each as small as it can be told: journals that refuse for a while, words that come too late."""

import errno
from pathlib import Path

import anyio
import pytest

from nano.core.core import Core
from nano.domain import guest_commands as gc
from nano.domain.cell import AddCell, Cell
from nano.domain.errors import HostError
from nano.domain.facts import Change
from nano.domain.machine import MEBI
from nano.domain.order import OrderFailed
from nano.domain.task import CancelTask
from nano.journal.testing import BadDisk
from nano.tools.simulator.bed import Bed, ended, task_of

pytestmark = pytest.mark.anyio


@pytest.fixture
def bed(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Bed:
    for pause in (
        "nano.core.cells.DEBT_PAUSE_S",
        "nano.core.cells.CELL_PAUSE_S",
        "nano.core.work.RECORD_AGAIN_S",
        "nano.cell.orders.RECORD_AGAIN_S",
    ):
        monkeypatch.setattr(pause, 0.02)
    return Bed(tmp_path)


async def until(core: Core, holds: object, limit_s: float = 10.0) -> None:
    with anyio.fail_after(limit_s):
        while not holds():  # type: ignore[operator]
            await core.feed.wait_for(core.feed.position + 1)


async def add(core: Core, cell: str = "one") -> None:
    await until(core, lambda: core.zone.get(f"cell/{cell}") is not None)
    await core.execute(AddCell(cell=cell), actor="admin", command_id="")
    with anyio.fail_after(10):
        while cell not in core.usage.loads:
            heard = anyio.Event()
            core.usage.listen(heard.set)
            await heard.wait()
            core.usage.unlisten(heard.set)


def blank(**options: object) -> gc.CreateGuest:
    return gc.CreateGuest(name="web", memory=128 * MEBI, disks=(64 * MEBI,), **options)  # type: ignore[arg-type]


async def begin(core: Core, command: object) -> str:
    receipt = await core.execute(command, actor="admin", command_id="")  # type: ignore[arg-type]
    return task_of(receipt.facts)


async def test_a_debt_whose_settling_failed_is_tried_again_over_the_same_link(
    bed: Bed, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("nano.core.guest_work.UNDO_PATIENCE_S", 0.2)
    async with bed.zone("one") as (core, _):
        await add(core)
        host = bed.host("one")
        host.fail_next("define", HostError("It failed."))
        host.fail_next("remove_volumes", HostError("It failed."), times=4)
        task = await ended(core, await begin(core, blank()))
        assert task.state == "failed"

        def owes() -> bool:
            cell = core.zone.get("cell/one")
            assert isinstance(cell, Cell)
            return bool(cell.debts)

        await until(core, lambda: not owes())
        assert not host.files


async def test_a_full_disk_of_a_cell_holds_its_order_up_and_no_longer(bed: Bed) -> None:
    disk = bed.disks["one"] = BadDisk()
    async with bed.zone("one") as (core, (cell,)):
        await add(core)
        await ended(core, await begin(core, blank()))
        bed.host("one").hang_next("start")
        task_id = await begin(core, gc.StartGuest(guest="web"))
        with anyio.fail_after(5):
            while not cell.site.open_orders:
                await cell.ledger.feed.wait_for(cell.ledger.position + 1)
        for _ in range(3):
            disk.order("append", errno.EIO)
        recorded = anyio.Event()

        def hear(changes: list[Change]) -> None:
            if any(isinstance(change.fact.event, OrderFailed) for change in changes):
                recorded.set()

        cell.ledger.feed.add_listener(hear)
        await core.execute(CancelTask(task=task_id), actor="admin", command_id="")
        await ended(core, task_id)
        with anyio.fail_after(5):
            await recorded.wait()
        task = await ended(core, await begin(core, gc.StartGuest(guest="web")))
        assert (task.state, task.error) == ("done", None)


async def test_a_cell_that_can_not_record_does_not_halt_cores_task(bed: Bed) -> None:
    disk = bed.disks["one"] = BadDisk()
    async with bed.zone("one") as (core, _):
        await add(core)
        for _ in range(2):
            disk.order("append", errno.EIO)
        task = await ended(core, await begin(core, blank()))
        assert (task.state, task.error) == ("done", None)


async def test_a_full_disk_of_core_holds_its_task_up_and_no_longer(bed: Bed) -> None:
    disk = bed.disks["core"] = BadDisk()
    bed.host("one", boot_s=60.0)  # nothing to report but the task's end
    async with bed.zone("one") as (core, _):
        await add(core)
        await ended(core, await begin(core, blank(start=True)))
        task_id = await begin(core, gc.ForceRebootGuest(guest="web"))
        for _ in range(2):
            disk.order("append", errno.ENOSPC)
        task = await ended(core, task_id)
        assert (task.state, task.error) == ("done", None)


async def test_a_removal_that_overtakes_its_cancellation_is_a_removal(bed: Bed) -> None:
    async with bed.zone("one") as (core, (cell,)):
        await add(core)
        await ended(core, await begin(core, blank()))
        task_id = await begin(core, gc.DeleteGuest(guest="web"))
        with anyio.fail_after(5):
            while cell.site.domains():
                await cell.ledger.feed.wait_for(cell.ledger.position + 1)
        await core.execute(CancelTask(task=task_id), actor="admin", command_id="")
        task = await ended(core, task_id)
        assert task.state == "done"
        assert not list(core.zone.guests())


async def test_an_order_whose_sender_gave_up_while_it_was_recorded_is_carried_out(bed: Bed) -> None:
    disk = bed.disks["one"] = BadDisk()
    async with bed.zone("one") as (core, (cell,)):
        await add(core)
        await ended(core, await begin(core, blank()))
        disk.hold()
        task_id = await begin(core, gc.StartGuest(guest="web"))
        await anyio.to_thread.run_sync(disk.holding.wait, 10)
        await core.execute(CancelTask(task=task_id), actor="admin", command_id="")
        task = await ended(core, task_id)
        disk.release()
        assert task.state == "cancelled"
        with anyio.fail_after(5):
            while not cell.site.get(f"order/{task_id}.do") or cell.site.open_orders:
                await cell.ledger.feed.wait_for(cell.ledger.position + 1)
