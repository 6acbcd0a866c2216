"""Guests that move between cells, over a whole zone on simulated hosts: there whole, or where they were, and never on two."""

from pathlib import Path
from typing import Any

import anyio
import pytest

from nano.cell.cell import CellNode
from nano.core.core import Core
from nano.domain import guest_commands as gc
from nano.domain import guest_migrate as mi
from nano.domain import guest_snapshot as gs
from nano.domain.cell import AddCell, Cell, RemoveCell
from nano.domain.compute_pool import CreateComputePool
from nano.domain.errors import Conflict, HostError, NoCapacity, Unknown
from nano.domain.guest import Guest
from nano.domain.host_domain import DomainChanged
from nano.domain.machine import GIBI, MEBI
from nano.domain.report import RecordReport, ReportedFact
from nano.domain.task import CancelTask, Task
from nano.hypervisor.metadata import spec_digest
from nano.tools.simulator.bed import Bed, ended, task_of

pytestmark = pytest.mark.anyio

AT_SOURCE = ("lengths", "read", "undefine")
AT_DESTINATION = ("put", "keep", "define")


@pytest.fixture(autouse=True)
def quick(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("nano.cell.move_work.TRY_AGAIN_S", 0.01)


@pytest.fixture
def bed(tmp_path: Path) -> Bed:
    return Bed(tmp_path)


async def add(core: Core, *cells: str) -> None:
    for name in cells:
        with anyio.fail_after(20):
            while core.zone.get(f"cell/{name}") is None:
                await core.feed.wait_for(core.feed.position + 1)
        await core.execute(AddCell(cell=name), actor="admin", command_id=f"add {name}")


async def begin(core: Core, command: Any) -> str:
    return task_of((await core.execute(command, actor="admin", command_id="")).facts)


async def do(core: Core, command: Any) -> Task:
    return await ended(core, await begin(core, command))


async def created(core: Core, **options: Any) -> Guest:
    await add(core, "one", "two")
    wanted = {"disks": (64 * MEBI, 32 * MEBI), "cell": "one"} | options
    task = await do(core, gc.CreateGuest(name="web", memory=128 * MEBI, **wanted))
    assert task.error is None
    return core.zone.find_guest("web")


def is_on(bed: Bed, core: Core, name: str, other: str) -> None:
    """The guest is there as Core has it, and nothing of it is elsewhere."""
    (guest,) = core.zone.guests()
    here, elsewhere = bed.host(name), bed.host(other)
    assert (guest.cell, guest.task, guest.power) == (name, "", "stopped")
    assert spec_digest(here.machine[guest.id].spec) == spec_digest(guest.spec)
    seen = {int(file.removesuffix(".qcow2").rpartition("_")[2]): size for file, size in here.sizes.items()}
    assert seen == dict(zip(guest.spec.volume_numbers, guest.spec.disks, strict=True))
    assert here.files.keys() == here.sizes.keys()
    assert (elsewhere.machine, elsewhere.files, elsewhere.sizes, elsewhere.arriving) == ({}, {}, {}, {})
    assert bed.doors.open == {}


async def test_it_is_there_with_its_disks_and_starts(bed: Bed) -> None:
    async with bed.zone("one", "two") as (core, (one, two)):
        guest = await created(core, autostart=True)
        task = await do(core, mi.MigrateGuest(guest="web", to="two"))
        assert (task.state, task.error) == ("done", None)
        assert [step.state for step in task.steps] == ["done"] * 4
        is_on(bed, core, "two", "one")
        assert core.zone.find_guest("web").spec == guest.spec
        assert one.site.domains() == []
        assert [domain.spec for domain in two.site.domains()] == [guest.spec]
        assert core.views.tables["guest"].row(guest.id).cell == "two"  # type: ignore[union-attr]
        assert (await do(core, gc.StartGuest(guest="web"))).error is None
        assert bed.host("two").machine[guest.id].state == "running"
        await do(core, gc.ForceStopGuest(guest="web"))
        assert (await do(core, mi.MigrateGuest(guest="web", to="one"))).error is None, "and back again"
        is_on(bed, core, "one", "two")


async def test_one_that_is_off_waits_for_nothing_there(bed: Bed) -> None:
    async with bed.zone("one", "two") as (core, (_, two)):
        guest = await created(core)
        waiting = RecordReport(
            cell="one", facts=(ReportedFact(guest.id, DomainChanged(spec=guest.spec, pending=("name",))),)
        )
        await core.ledger.execute(waiting, actor="cell/one", command_id="")
        assert core.zone.find_guest("web").pending == ("name",)
        assert (await do(core, mi.MigrateGuest(guest="web", to="two"))).error is None
        assert core.zone.find_guest("web").pending == ()
        assert [domain.pending for domain in two.site.domains()] == [()]


@pytest.mark.parametrize(("host", "phase"), [("one", p) for p in AT_SOURCE] + [("two", p) for p in AT_DESTINATION])
async def test_a_failure_in_any_phase_leaves_it_where_it_was(bed: Bed, host: str, phase: str) -> None:
    async with bed.zone("one", "two") as (core, _):
        before = (await created(core)).spec
        bed.host(host).fail_next(phase, HostError("It failed.", code="hypervisor_error"))
        task = await do(core, mi.MigrateGuest(guest="web", to="two"))
        assert (task.state, task.error and task.error.code) == ("failed", "hypervisor_error")
        assert core.zone.find_guest("web").spec == before
        is_on(bed, core, "one", "two")
        assert (await do(core, mi.MigrateGuest(guest="web", to="two"))).error is None
        is_on(bed, core, "two", "one")


@pytest.mark.parametrize(("host", "phase"), [("one", p) for p in AT_SOURCE] + [("two", p) for p in AT_DESTINATION])
async def test_a_cell_killed_in_any_phase(bed: Bed, host: str, phase: str) -> None:
    """Before the switch it stays; from the switch on it arrives."""
    cells: dict[str, CellNode] = {}
    async with bed.core() as core:
        other = "two" if host == "one" else "one"
        async with bed.cell(other) as cells[other], bed.link(cells[other], core):
            async with bed.cell(host) as cells[host], bed.link(cells[host], core):
                await created(core)
                reached = bed.host(host).hang_next(phase)
                task_id = await begin(core, mi.MigrateGuest(guest="web", to="two"))
                with anyio.fail_after(20):
                    await reached.wait()
            async with bed.cell(host) as cell, bed.link(cell, core):
                task = await ended(core, task_id, limit_s=60)
                arrives = phase in ("undefine", "define")
                assert task.state == ("done" if arrives else "failed")
                is_on(bed, core, *(("two", "one") if arrives else ("one", "two")))


@pytest.mark.parametrize(("host", "phase"), [("one", p) for p in AT_SOURCE] + [("two", p) for p in AT_DESTINATION])
async def test_a_core_killed_in_any_phase_goes_on(bed: Bed, host: str, phase: str) -> None:
    async with bed.cell("one") as one, bed.cell("two") as two:
        async with bed.core() as core, bed.link(one, core), bed.link(two, core):
            await created(core)
            reached = bed.host(host).hang_next(phase)
            task_id = await begin(core, mi.MigrateGuest(guest="web", to="two"))
            with anyio.fail_after(20):
                await reached.wait()
        async with bed.core() as core, bed.link(one, core), bed.link(two, core):
            if phase in ("undefine", "define"):
                await core.execute(CancelTask(task=task_id), actor="admin", command_id="")  # too late
            await (two if phase == "define" else one)._desk.cancel(f"{task_id}.{_order(phase)}")
            task = await ended(core, task_id)
            assert task.state == "failed", "the hanging order was cancelled on its cell"
            is_on(bed, core, "one", "two")


def _order(phase: str) -> str:
    return {"undefine": "release", "define": "adopt"}.get(phase, "send")


async def test_a_cancel_while_it_is_copied_takes_everything_back(bed: Bed) -> None:
    async with bed.zone("one", "two") as (core, _):
        await created(core)
        reached = bed.host("two").hang_next("put")
        task_id = await begin(core, mi.MigrateGuest(guest="web", to="two"))
        await reached.wait()
        await core.execute(CancelTask(task=task_id), actor="admin", command_id="")
        assert (await ended(core, task_id)).state == "cancelled"
        is_on(bed, core, "one", "two")


async def test_a_link_that_is_lost_while_it_is_copied_is_made_again(bed: Bed) -> None:
    async with bed.zone("one", "two") as (core, _):
        await created(core)
        reached = bed.host("two").hang_next("put")
        task_id = await begin(core, mi.MigrateGuest(guest="web", to="two"))
        await reached.wait()
        await bed.doors.cut()
        assert (await ended(core, task_id)).error is None
        is_on(bed, core, "two", "one")


async def test_a_source_that_is_away_at_the_end_owes_its_disks(bed: Bed, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("nano.core.migrate_work.REMOVE_PATIENCE_S", 0.2)
    monkeypatch.setattr("nano.core.cells.DEBT_PAUSE_S", 0.05)
    async with bed.core() as core, bed.cell("two") as two, bed.link(two, core):
        async with bed.cell("one") as one:
            async with bed.link(one, core):
                guest = await created(core)
                reached = bed.host("one").hang_next("remove_volumes")
                task_id = await begin(core, mi.MigrateGuest(guest="web", to="two"))
                await reached.wait()
            assert (await ended(core, task_id)).state == "done"
            owing = core.zone.get("cell/one")
            assert isinstance(owing, Cell)
            assert owing.debts == (guest.id,)
        async with bed.cell("one") as one, bed.link(one, core):
            with anyio.fail_after(20):
                while core.zone.get("cell/one").debts:  # type: ignore[union-attr]
                    await core.feed.wait_for(core.feed.position + 1)
            is_on(bed, core, "two", "one")


async def test_what_is_refused(bed: Bed) -> None:
    async with bed.zone("one", "two", "far") as (core, _):
        await created(core)
        await core.execute(CreateComputePool(name="second"), actor="admin", command_id="")
        with anyio.fail_after(20):
            while core.zone.get("cell/far") is None:
                await core.feed.wait_for(core.feed.position + 1)
        await core.execute(AddCell(cell="far", pool="second"), actor="admin", command_id="")
        for to, kind, code in (
            ("one", Conflict, "no_change"),
            ("far", Unknown, "unknown_cell"),
            ("nowhere", Unknown, "unknown_cell"),
            ("../two", Unknown, "unknown_cell"),
            ("two\0", Unknown, "unknown_cell"),
            ("<b>two</b>" * 1000, Unknown, "unknown_cell"),
        ):
            with pytest.raises(kind) as refused:
                await begin(core, mi.MigrateGuest(guest="web", to=to))
            assert refused.value.code == code
        await do(core, gs.CreateSnapshot(guest="web", name="before"))
        await refuses(core, "guest_has_snapshots")
        await do(core, gs.DeleteSnapshot(guest="web", snapshot="before"))
        await do(core, gc.StartGuest(guest="web"))
        await refuses(core, "guest_running")


async def refuses(core: Core, code: str) -> None:
    with pytest.raises(Conflict) as refused:
        await begin(core, mi.MigrateGuest(guest="web", to="two"))
    assert refused.value.code == code


async def test_room_at_the_destination_is_its_own_from_the_beginning(bed: Bed) -> None:
    bed.host("two", disk_capacity=100 * GIBI)
    async with bed.zone("one", "two") as (core, _):
        await created(core, disks=(60 * GIBI,))
        with anyio.fail_after(20):
            while "two" not in core.usage.loads:
                await anyio.lowlevel.checkpoint()
        reached = bed.host("two").hang_next("put")
        task_id = await begin(core, mi.MigrateGuest(guest="web", to="two"))
        await reached.wait()
        promised = core.zone._candidate(core.zone.get("cell/two")).promised  # type: ignore[arg-type]
        assert promised.disk == 60 * GIBI
        with pytest.raises(Conflict) as refused:
            await core.execute(RemoveCell(cell="two"), actor="admin", command_id="")
        assert refused.value.code == "cell_not_empty"
        await core.execute(CancelTask(task=task_id), actor="admin", command_id="")
        await ended(core, task_id)
        with pytest.raises(NoCapacity):
            await begin(core, gc.CreateGuest(name="huge", memory=MEBI * 128, disks=(200 * GIBI,), cell="two"))


async def test_what_its_cell_said_of_an_earlier_stay_changes_nothing(bed: Bed) -> None:
    """A restarted Core reads a cell's journal again from what last meant something to it."""
    async with bed.cell("one") as one, bed.cell("two") as two:
        async with bed.core() as core, bed.link(one, core), bed.link(two, core):
            await created(core)
            for to in ("two", "one"):
                assert (await do(core, mi.MigrateGuest(guest="web", to=to))).error is None
        async with bed.core() as core, bed.link(one, core), bed.link(two, core):
            assert (await do(core, gc.StartGuest(guest="web"))).error is None, "so Core has read up to here"
            await do(core, gc.ForceStopGuest(guest="web"))
            is_on(bed, core, "one", "two")


async def test_files_that_are_at_the_destination_already_are_not_touched(bed: Bed) -> None:
    """As when both cells keep their volumes in one folder."""
    async with bed.zone("one", "two") as (core, _):
        guest = await created(core)
        bed.host("two").files[f"{guest.id}_0.qcow2"] = 1
        task = await do(core, mi.MigrateGuest(guest="web", to="two"))
        assert task.error is not None
        assert task.error.code == "volumes_here"
        assert bed.host("two").files == {f"{guest.id}_0.qcow2": 1}
        del bed.host("two").files[f"{guest.id}_0.qcow2"]
        is_on(bed, core, "one", "two")


LIVE = [("two", "expect"), ("two", "channel"), ("one", "move")]


async def ran(bed: Bed, core: Core) -> Guest:
    guest = await created(core, start=True)
    with anyio.fail_after(20):
        while not core.zone.find_guest("web").agent:
            await core.feed.wait_for(core.feed.position + 1)
    return guest


def runs_on(bed: Bed, core: Core, name: str, other: str, boots: int = 1) -> None:
    """It is there, and has run all the time."""
    (guest,) = core.zone.guests()
    here, elsewhere = bed.host(name), bed.host(other)
    assert (guest.cell, guest.task, guest.power) == (name, "", "running")
    assert here.machine[guest.id].state == "running"
    assert here.files.keys() == here.sizes.keys() == {f"{guest.id}_0.qcow2", f"{guest.id}_1.qcow2"}
    left = (elsewhere.machine, elsewhere.files, elsewhere.sizes, elsewhere.expected, elsewhere.arrived)
    assert left == ({}, {}, {}, {}, {})
    assert (here.expected, here.arrived, bed.doors.open) == ({}, {}, {})


async def test_a_running_guest_goes_on_there(bed: Bed) -> None:
    async with bed.zone("one", "two") as (core, (one, two)):
        await ran(bed, core)
        powers: list[str] = []
        core.feed.add_listener(
            lambda changes: powers.extend(one.after.power for one in changes if isinstance(one.after, Guest))
        )
        task = await do(core, mi.MigrateGuest(guest="web", to="two", live=True))
        assert (task.state, task.error) == ("done", None)
        runs_on(bed, core, "two", "one")
        assert set(powers) == {"running"}
        assert one.site.domains() == []
        (domain,) = two.site.domains()
        assert (domain.power, domain.agent) == ("running", core.zone.find_guest("web").agent)


@pytest.mark.parametrize(("host", "phase"), LIVE)
async def test_a_failure_leaves_it_running_where_it_was(bed: Bed, host: str, phase: str) -> None:
    async with bed.zone("one", "two") as (core, _):
        await ran(bed, core)
        bed.host(host).fail_next(phase, HostError("It failed.", code="hypervisor_error"))
        task = await do(core, mi.MigrateGuest(guest="web", to="two", live=True))
        assert task.state == "failed"
        runs_on(bed, core, "one", "two")
        assert (await do(core, mi.MigrateGuest(guest="web", to="two", live=True))).error is None
        runs_on(bed, core, "two", "one")


@pytest.mark.parametrize(("host", "phase"), LIVE)
async def test_a_cancelled_handover_leaves_it_running_where_it_was(bed: Bed, host: str, phase: str) -> None:
    async with bed.zone("one", "two") as (core, _):
        await ran(bed, core)
        reached = bed.host(host).hang_next(phase)
        task_id = await begin(core, mi.MigrateGuest(guest="web", to="two", live=True))
        with anyio.fail_after(20):
            await reached.wait()
        await core.execute(CancelTask(task=task_id), actor="admin", command_id="")
        assert (await ended(core, task_id)).state == "cancelled"
        runs_on(bed, core, "one", "two")


@pytest.mark.parametrize(("host", "phase"), [*LIVE, ("two", "define"), ("two", "start")])
async def test_a_cell_killed_while_a_running_guest_moves(bed: Bed, host: str, phase: str) -> None:
    async with bed.core() as core:
        other = "two" if host == "one" else "one"
        async with bed.cell(other) as there, bed.link(there, core):
            async with bed.cell(host) as here, bed.link(here, core):
                await ran(bed, core)
                reached = bed.host(host).hang_next(phase)
                task_id = await begin(core, mi.MigrateGuest(guest="web", to="two", live=True))
                with anyio.fail_after(20):
                    await reached.wait()
            async with bed.cell(host) as here, bed.link(here, core):
                task = await ended(core, task_id, limit_s=60)
                arrives = phase in ("define", "start")
                assert task.state == ("done" if arrives else "failed")
                runs_on(bed, core, *(("two", "one") if arrives else ("one", "two")))


async def test_a_cancel_that_comes_when_it_is_there_changes_nothing(bed: Bed) -> None:
    async with bed.zone("one", "two") as (core, _):
        await ran(bed, core)
        reached = bed.host("two").hang_next("start")  # the source has asked its destination to let it go on
        task_id = await begin(core, mi.MigrateGuest(guest="web", to="two", live=True))
        with anyio.fail_after(20):
            await reached.wait()
        await core.execute(CancelTask(task=task_id), actor="admin", command_id="")
        assert (await ended(core, task_id)).state == "done"
        runs_on(bed, core, "two", "one")


async def test_a_guest_that_crashed_is_off_when_it_is_there(bed: Bed) -> None:
    async with bed.zone("one", "two") as (core, _):
        guest = await ran(bed, core)
        bed.host("one").crash(guest.id)
        with anyio.fail_after(20):
            while core.zone.find_guest("web").power != "crashed":
                await core.feed.wait_for(core.feed.position + 1)
        assert (await do(core, mi.MigrateGuest(guest="web", to="two"))).error is None
        is_on(bed, core, "two", "one")
