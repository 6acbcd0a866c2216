"""Cells of a zone in one process: discovered, approved, disabled, removed, impostors, and debts."""

from pathlib import Path

import anyio
import msgspec
import pytest

from nano.core.core import Core
from nano.domain import guest_commands as gc
from nano.domain.cell import AddCell, Cell, DisableCell, EnableCell, RemoveCell
from nano.domain.compute_pool import CreateComputePool, DeleteComputePool
from nano.domain.errors import Conflict, Forbidden, NoCapacity, Unknown
from nano.domain.limits import LIMITS
from nano.domain.machine import MEBI
from nano.domain.task import CancelTask
from nano.tools.simulator import bed as bed_module
from nano.tools.simulator.bed import Bed, ended, task_of

pytestmark = pytest.mark.anyio


@pytest.fixture
def bed(tmp_path: Path) -> Bed:
    return Bed(tmp_path)


async def until(core: Core, holds: object, limit_s: float = 10.0) -> None:
    with anyio.fail_after(limit_s):
        while not holds():  # type: ignore[operator]
            await core.feed.wait_for(core.feed.position + 1)


def cell_of(core: Core, name: str = "one") -> Cell:
    cell = core.zone.get(f"cell/{name}")
    assert isinstance(cell, Cell)
    return cell


async def admin(core: Core, command: object) -> None:
    await core.execute(command, actor="admin", command_id="")  # type: ignore[arg-type]


def blank(name: str) -> gc.CreateGuest:
    return gc.CreateGuest(name=name, memory=128 * MEBI, disks=(64 * MEBI,))


async def test_a_discovered_cell_waits_and_serves_only_when_added(bed: Bed) -> None:
    async with bed.zone("one") as (core, _):
        await until(core, lambda: core.zone.get("cell/one") is not None)
        assert (cell_of(core).pool, cell_of(core).online) == ("", True)
        assert not core.usage.loads, "a waiting cell reports nothing"
        with pytest.raises(Unknown):
            await admin(core, AddCell(cell="nobody"))
        await admin(core, AddCell(cell="one"))
        await until(core, lambda: cell_of(core).cores > 0)
        with pytest.raises(Conflict, match="belongs to pool default"):
            await admin(core, AddCell(cell="one"))


async def test_disabled_means_no_new_guests_and_the_old_go_on(bed: Bed) -> None:
    async with bed.zone("one") as (core, _):
        await until(core, lambda: core.zone.get("cell/one") is not None)
        await admin(core, AddCell(cell="one"))
        await until(core, lambda: cell_of(core).cores > 0)
        receipt = await core.execute(blank("old"), actor="admin", command_id="old")
        assert (await ended(core, task_of(receipt.facts))).state == "done"
        await admin(core, DisableCell(cell="one"))
        with pytest.raises(NoCapacity) as refused:
            await admin(core, blank("new"))
        assert refused.value.code == "all_cells_unavailable"
        assert refused.value.context["cells"] == {"one": "it is disabled for new guests"}
        receipt = await core.execute(gc.StartGuest(guest="old"), actor="admin", command_id="start")
        assert (await ended(core, task_of(receipt.facts))).state == "done"
        with pytest.raises(Conflict, match="disabled already"):
            await admin(core, DisableCell(cell="one"))
        await admin(core, EnableCell(cell="one"))
        with pytest.raises(Conflict, match="still holds 1 guests"):
            await admin(core, RemoveCell(cell="one"))


async def test_a_removed_cell_is_approved_no_more(bed: Bed) -> None:
    async with bed.core() as core, bed.cell("one") as cell:
        async with bed.link(cell, core):
            await until(core, lambda: core.zone.get("cell/one") is not None)
            await admin(core, CreateComputePool(name="spare"))
            await admin(core, AddCell(cell="one", pool="spare"))
            await until(core, lambda: cell_of(core).cores > 0)
            with pytest.raises(Conflict, match="still has cells"):
                await admin(core, DeleteComputePool(pool="spare"))
            await admin(core, RemoveCell(cell="one"))
            assert cell_of(core).pool == ""
            with anyio.fail_after(5):
                while core.usage.loads:
                    gone = anyio.Event()
                    core.usage.listen(gone.set)
                    await gone.wait()
        await admin(core, DeleteComputePool(pool="spare"))
        async with bed.link(cell, core):
            await until(core, lambda: cell_of(core).online)
            assert not core.usage.loads, "it waits again"


async def test_an_impostor_of_an_approved_cell_is_refused(bed: Bed, monkeypatch: pytest.MonkeyPatch) -> None:
    async with bed.core() as core, bed.cell("one") as cell:
        async with bed.link(cell, core):
            await until(core, lambda: core.zone.get("cell/one") is not None)
            await admin(core, AddCell(cell="one"))
            await until(core, lambda: cell_of(core).cores > 0)
        position = core.ledger.position
        real = bed_module._node

        def impostor(name: str, trust: object, handler: object) -> object:
            node = real(name, trust, handler)
            return type(node)("f" * 64, node.trust, node.handler, b"another key") if name == "one" else node

        monkeypatch.setattr(bed_module, "_node", impostor)
        with pytest.raises(Forbidden) as refused:
            async with bed.link(cell, core):
                pass
        assert refused.value.code == "cell_fingerprint_mismatch"
        assert core.ledger.position == position


async def test_a_creation_given_up_without_its_cell_leaves_a_debt_that_is_settled(
    bed: Bed, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("nano.core.guest_work.UNDO_PATIENCE_S", 0.2)
    async with bed.core() as core:
        async with bed.cell("one") as cell, bed.link(cell, core):
            await until(core, lambda: core.zone.get("cell/one") is not None)
            await admin(core, AddCell(cell="one"))
            await until(core, lambda: cell_of(core).cores > 0)
            bed.host("one").hang_next("define")
            receipt = await core.execute(blank("web"), actor="admin", command_id="create")
            with anyio.fail_after(5):
                while not bed.host("one").files:  # noqa: ASYNC110 - the simulated machine has no event for it
                    await anyio.sleep(0.01)
        task_id = task_of(receipt.facts)
        await admin(core, CancelTask(task=task_id))
        task = await ended(core, task_id)
        assert task.state == "cancelled"
        assert any("can't be asked now" in text for text in task.undone)
        assert len(cell_of(core).debts) == 1
        with pytest.raises(Conflict) as refused:
            await admin(core, RemoveCell(cell="one"))
        assert refused.value.code == "cell_in_debt"
        assert not list(core.zone.guests())
        async with bed.cell("one") as cell, bed.link(cell, core):
            await until(core, lambda: not cell_of(core).debts)
            assert not bed.host("one").files
            assert not bed.host("one").machine


async def test_a_silent_cell_is_offline_after_its_patience(bed: Bed, monkeypatch: pytest.MonkeyPatch) -> None:
    async with bed.core() as core:
        core.zone.limits = msgspec.structs.replace(LIMITS, cell_silence_s=0.2)
        async with bed.cell("one") as cell, bed.link(cell, core):
            await until(core, lambda: core.zone.get("cell/one") is not None)
            await admin(core, AddCell(cell="one"))
            await until(core, lambda: cell_of(core).cores > 0)
            receipt = await core.execute(blank("web"), actor="admin", command_id="create")
            await ended(core, task_of(receipt.facts))
        row = core.views.tables["guest"].row(core.zone.find_guest("web").id)
        assert row is not None
        assert row.state == "stopped", "it has its patience"  # type: ignore[union-attr]
        await until(core, lambda: not cell_of(core).online)
        row = core.views.tables["guest"].row(core.zone.find_guest("web").id)
        assert row is not None
        assert row.state == "lost"  # type: ignore[union-attr]
        assert not core.usage.loads
        with pytest.raises(Conflict) as refused:
            await admin(core, gc.StartGuest(guest="web"))
        assert refused.value.code == "cell_offline"
