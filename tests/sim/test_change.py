"""Changes of guests over a whole zone on simulated hosts: they succeed whole, or everything is as it was."""

from pathlib import Path
from typing import Any

import anyio
import pytest

from nano.core.core import Core
from nano.domain import guest_change as gx
from nano.domain import guest_commands as gc
from nano.domain.cell import AddCell
from nano.domain.errors import Conflict, HostError
from nano.domain.guest import Guest
from nano.domain.machine import MEBI
from nano.domain.task import CancelTask, Task
from nano.hypervisor.metadata import spec_digest
from nano.tools.simulator.bed import Bed, ended, task_of

pytestmark = pytest.mark.anyio

PHASES = ("defined", "volume_sizes", "running", "define", "follow")


@pytest.fixture
def bed(tmp_path: Path) -> Bed:
    return Bed(tmp_path)


async def add(core: Core) -> None:
    with anyio.fail_after(10):
        while core.zone.get("cell/one") is None:
            await core.feed.wait_for(core.feed.position + 1)
    await core.execute(AddCell(cell="one"), actor="admin", command_id="add")


async def do(core: Core, command: Any) -> Task:
    receipt = await core.execute(command, actor="admin", command_id="")
    return await ended(core, task_of(receipt.facts))


async def created(core: Core, **options: Any) -> Guest:
    await add(core)
    task = await do(core, gc.CreateGuest(name="web", memory=128 * MEBI, disks=(64 * MEBI,), **options))
    assert task.error is None
    return core.zone.find_guest("web")


def as_journaled(bed: Bed, core: Core) -> None:
    """The host has the guest as Core has it, and nothing else."""
    host = bed.host("one")
    (guest,) = core.zone.guests()
    assert guest.task == ""
    assert spec_digest(host.machine[guest.id].spec) == spec_digest(guest.spec)
    seen = {int(name.removesuffix(".qcow2").rpartition("_")[2]): size for name, size in host.sizes.items()}
    assert seen == dict(zip(guest.spec.volume_numbers, guest.spec.disks, strict=True))
    assert host.files.keys() == host.sizes.keys()


async def test_a_change_is_journaled_told_and_there(bed: Bed) -> None:
    async with bed.zone("one") as (core, (cell,)):
        guest = await created(core)
        task = await do(core, gx.SetGuest(guest="web", name="shop", cores=2, priority="low", autostart=True))
        assert (task.state, task.error) == ("done", None)
        guest = core.zone.find_guest("shop")
        assert (guest.spec.cores, guest.spec.priority, guest.spec.autostart, guest.pending) == (2, "low", True, ())
        assert [domain.spec for domain in cell.site.domains()] == [guest.spec]
        assert core.views.find("guest", "shop") == guest.id
        assert core.views.find("guest", "web") is None
        as_journaled(bed, core)


async def test_what_waits_for_the_next_start_is_told_until_then(bed: Bed) -> None:
    async with bed.zone("one") as (core, _):
        guest = await created(core, start=True)
        await do(core, gx.SetGuest(guest="web", cores=2, memory=64 * MEBI))
        guest = core.zone.find_guest("web")
        assert guest.spec.cores == 2
        assert "cores" in guest.pending
        row = core.views.tables["guest"].row(guest.id)
        assert row.pending == guest.pending  # type: ignore[union-attr]
        await do(core, gc.ForceStopGuest(guest="web"))
        assert core.zone.find_guest("web").pending == ()


@pytest.mark.parametrize("phase", PHASES)
async def test_a_failure_in_any_phase_takes_everything_back(bed: Bed, phase: str) -> None:
    async with bed.zone("one") as (core, _):
        before = (await created(core, start=True)).spec
        bed.host("one").fail_next(phase, HostError("It failed.", code="hypervisor_unreachable"))
        task = await do(core, gx.SetGuest(guest="web", name="shop", cores=2, priority="low"))
        assert task.state == "failed"
        assert task.error is not None
        assert task.error.code == "hypervisor_unreachable"
        assert core.zone.find_guest("web").spec == before
        as_journaled(bed, core)
        assert (await do(core, gx.SetGuest(guest="web", name="shop"))).error is None, "the name was given back"


@pytest.mark.parametrize("phase", PHASES)
async def test_a_cell_killed_in_any_phase_carries_on(bed: Bed, phase: str) -> None:
    async with bed.core() as core:
        async with bed.cell("one") as cell, bed.link(cell, core):
            await created(core, start=True)
            reached = bed.host("one").hang_next(phase)
            receipt = await core.execute(
                gx.SetGuest(guest="web", cores=2, priority="low"), actor="admin", command_id=""
            )
            with anyio.fail_after(5):
                await reached.wait()
        async with bed.cell("one") as cell, bed.link(cell, core):
            task = await ended(core, task_of(receipt.facts))
        assert (task.state, task.error) == ("done", None)
        guest = core.zone.find_guest("web")
        assert (guest.spec.cores, guest.spec.priority, guest.pending) == (2, "low", ("cores",))
        as_journaled(bed, core)


async def test_a_cancelled_change_is_taken_back(bed: Bed) -> None:
    async with bed.zone("one") as (core, _):
        before = (await created(core)).spec
        reached = bed.host("one").hang_next("define")
        receipt = await core.execute(gx.SetGuest(guest="web", cores=2), actor="admin", command_id="")
        with anyio.fail_after(5):
            await reached.wait()
        task_id = task_of(receipt.facts)
        await core.execute(CancelTask(task=task_id), actor="admin", command_id="")
        assert (await ended(core, task_id)).state == "cancelled"
        assert core.zone.find_guest("web").spec == before
        as_journaled(bed, core)


async def test_what_can_not_be_taken_back_is_said_and_the_next_change_mends_it(
    bed: Bed, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("nano.cell.orders.UNDO_AGAIN_S", (0,))
    async with bed.zone("one") as (core, _):
        await created(core)
        host = bed.host("one")
        host.fail_next("define", HostError("It failed."))
        host.fail_next("drop_volumes", HostError("It failed again."), times=2)
        task = await do(core, gx.SetGuest(guest="web", cores=2))
        assert task.state == "failed"
        assert any("It failed again" in text for text in task.undone)
        host.machine[core.zone.find_guest("web").id].spec = gx.changed_spec(
            core.zone.find_guest("web").spec, {"cores": 3}
        )
        task = await do(core, gx.SetGuest(guest="web", cores=1))
        assert task.error is None
        as_journaled(bed, core)


async def test_one_change_at_a_time(bed: Bed) -> None:
    async with bed.zone("one") as (core, _):
        await created(core)
        bed.host("one").hang_next("define")
        await core.execute(gx.SetGuest(guest="web", cores=2), actor="admin", command_id="")
        with pytest.raises(Conflict) as refusal:
            await core.execute(gx.SetGuest(guest="web", cores=3), actor="admin", command_id="")
        assert refusal.value.code == "guest_busy"
