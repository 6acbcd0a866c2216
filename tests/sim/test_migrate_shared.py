"""Guests that move between cells with one storage: their files stay where they are, are one cell's at every moment, and are
never removed or taken for nobody's by the other."""

from pathlib import Path
from typing import Any

import anyio
import pytest

from nano.cell.cell import CellNode
from nano.core.core import Core
from nano.domain import guest_commands as gc
from nano.domain import guest_media as gm
from nano.domain import guest_migrate as mi
from nano.domain.cell import Cell
from nano.domain.errors import Conflict, HostError, NoCapacity
from nano.domain.host_domain import HostDomain
from nano.domain.machine import GIBI, MEBI
from nano.domain.orphan import RemoveOrphan
from nano.domain.task import CancelTask
from nano.tools.simulator.bed import Bed, ended
from tests.sim.test_media import upload
from tests.sim.test_migrate import begin, created, do, ran

pytestmark = pytest.mark.anyio

COLD = [("two", "lacking"), ("two", "announce"), ("one", "announced"), ("one", "undefine"), ("two", "define")]
LIVE = [("two", "announce"), ("two", "expect"), ("two", "channel"), ("one", "move")]
KILLED = [(False, *where) for where in COLD] + [
    (True, *where) for where in (*LIVE, ("two", "define"), ("two", "start"))
]
ARRIVES = ("undefine", "define", "start")


@pytest.fixture(autouse=True)
def quick(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("nano.cell.move_work.TRY_AGAIN_S", 0.01)


@pytest.fixture
def bed(tmp_path: Path) -> Bed:
    bed = Bed(tmp_path)
    bed.host("two").share(bed.host("one"))
    return bed


async def told(core: Core) -> None:
    """Both cells have said which storage they have."""
    with anyio.fail_after(20):
        while not all(core.zone.get(f"cell/{name}").storage for name in ("one", "two")):  # type: ignore[union-attr]
            await core.feed.wait_for(core.feed.position + 1)


def is_on(bed: Bed, core: Core, name: str, files: set[str], power: str = "stopped") -> None:
    """The guest is there as Core has it, its files are those it had, and nothing else of it is anywhere."""
    (guest,) = core.zone.guests()
    here, elsewhere = bed.host(name), bed.host({"one": "two", "two": "one"}[name])
    assert (guest.cell, guest.task, guest.power) == (name, "", power)
    assert here.machine[guest.id].state == power
    assert set(here.files) == files
    left = (elsewhere.machine, elsewhere.expected, elsewhere.arrived, elsewhere.arriving, here.words)
    assert left == ({}, {}, {}, {}, {})
    assert bed.doors.open == {}


def owners(*cells: CellNode) -> list[str]:
    """The cells whose journals call the guest's files their own."""
    return [
        cell.name
        for cell in cells
        for domain in cell.site.of_kind("domain")
        if isinstance(domain, HostDomain) and not domain.borrowed
    ]


async def at_peace(core: Core) -> None:
    """Nothing drifts, and nobody's things are told of."""
    found = await core.inspector.look()
    assert (found.drift, found.orphans, found.unasked) == ((), (), ())


async def moves(core: Core, to: str, *, live: bool = False) -> Any:
    return await do(core, mi.MigrateGuest(guest="web", to=to, live=live))


@pytest.mark.parametrize("live", [False, True])
async def test_it_changes_hands_and_its_files_stay(bed: Bed, live: bool) -> None:
    async with bed.zone("one", "two") as (core, (one, two)):
        await (ran(bed, core) if live else created(core))
        await told(core)
        files, power = set(bed.host("one").files), "running" if live else "stopped"
        seen: list[list[str]] = []
        for cell in (one, two):
            cell.ledger.feed.add_listener(lambda _: seen.append(owners(one, two)))
        for to in ("two", "one", "two"):
            before = [name for name, _ in bed.host(to).calls].count("put")
            task = await moves(core, to, live=live)
            assert (task.state, task.error) == ("done", None)
            is_on(bed, core, to, files, power)
            assert [name for name, _ in bed.host(to).calls].count("put") == before, "no byte was copied"
            await at_peace(core)
        assert seen
        assert all(len(names) <= 1 for names in seen), "one owner at the most, after every fact"
        assert owners(one, two) == ["two"]
        assert (await do(core, gc.DeleteGuest(guest="web", force=True))).error is None
        assert bed.host("one").files == {}


@pytest.mark.parametrize(("host", "phase"), COLD)
async def test_a_failure_in_any_phase_leaves_it_where_it_was(bed: Bed, host: str, phase: str) -> None:
    async with bed.zone("one", "two") as (core, _):
        await created(core)
        await told(core)
        files = set(bed.host("one").files)
        bed.host(host).fail_next(phase, HostError("It failed.", code="hypervisor_error"))
        task = await moves(core, "two")
        assert (task.state, task.error and task.error.code) == ("failed", "hypervisor_error")
        is_on(bed, core, "one", files)
        await at_peace(core)
        assert (await moves(core, "two")).error is None
        is_on(bed, core, "two", files)


@pytest.mark.parametrize(("host", "phase"), LIVE)
async def test_a_failure_leaves_it_running_where_it_was(bed: Bed, host: str, phase: str) -> None:
    async with bed.zone("one", "two") as (core, _):
        await ran(bed, core)
        await told(core)
        files = set(bed.host("one").files)
        bed.host(host).fail_next(phase, HostError("It failed.", code="hypervisor_error"))
        assert (await moves(core, "two", live=True)).state == "failed"
        is_on(bed, core, "one", files, "running")
        await at_peace(core)


@pytest.mark.parametrize(("live", "host", "phase"), KILLED)
async def test_a_cell_killed_in_any_phase(bed: Bed, live: bool, host: str, phase: str) -> None:
    async with bed.core() as core:
        other = "two" if host == "one" else "one"
        async with bed.cell(other) as there, bed.link(there, core):
            async with bed.cell(host) as here, bed.link(here, core):
                await (ran(bed, core) if live else created(core))
                await told(core)
                files = set(bed.host("one").files)
                reached = bed.host(host).hang_next(phase)
                task_id = await begin(core, mi.MigrateGuest(guest="web", to="two", live=live))
                with anyio.fail_after(20):
                    await reached.wait()
            async with bed.cell(host) as here, bed.link(here, core):
                task = await ended(core, task_id, limit_s=60)
                arrives = phase in ARRIVES
                assert task.state == ("done" if arrives else "failed")
                is_on(bed, core, "two" if arrives else "one", files, "running" if live else "stopped")
                assert owners(here, there) == ["two" if arrives else "one"]


@pytest.mark.parametrize(("host", "phase"), LIVE)
async def test_a_cancelled_handover_leaves_it_running_where_it_was(bed: Bed, host: str, phase: str) -> None:
    async with bed.zone("one", "two") as (core, _):
        await ran(bed, core)
        await told(core)
        files = set(bed.host("one").files)
        reached = bed.host(host).hang_next(phase)
        task_id = await begin(core, mi.MigrateGuest(guest="web", to="two", live=True))
        with anyio.fail_after(20):
            await reached.wait()
        await core.execute(CancelTask(task=task_id), actor="admin", command_id="")
        assert (await ended(core, task_id)).state == "cancelled"
        is_on(bed, core, "one", files, "running")


async def test_a_source_that_is_away_at_the_end_leaves_the_files_when_it_is_back(
    bed: Bed, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("nano.core.migrate_work.REMOVE_PATIENCE_S", 0.2)
    monkeypatch.setattr("nano.core.cells.DEBT_PAUSE_S", 0.05)
    async with bed.core() as core, bed.cell("two") as two, bed.link(two, core):
        async with bed.cell("one") as one:
            async with bed.link(one, core):
                guest = await created(core)
                await told(core)
                files = set(bed.host("one").files)
                reached = bed.host("one").hang_next("withdraw")
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
            is_on(bed, core, "two", files)
            assert one.site.domains() == []


async def test_two_folders_that_bear_one_id_are_told_apart(bed: Bed) -> None:
    async with bed.zone("one", "two") as (core, _):
        await created(core)
        await told(core)
        bed.host("two").words = {}  # a copy of the folder: what one writes the other does not see
        files = set(bed.host("one").files)
        task = await moves(core, "two")
        assert task.error is not None
        assert task.error.code == "storage_not_shared"
        assert bed.host("two").words == {}
        is_on(bed, core, "one", files)


async def test_a_file_that_the_destination_does_not_see_keeps_it_where_it_is(bed: Bed) -> None:
    async with bed.zone("one", "two") as (core, _):
        guest = await created(core)
        await told(core)
        bed.host("two").files = {}
        task = await moves(core, "two")
        assert task.error is not None
        assert (task.error.code, f"{guest.id}_0.qcow2" in task.error.message) == ("files_out_of_reach", True)
        assert core.zone.find_guest("web").cell == "one"


async def test_it_needs_no_room_for_disks_that_are_there(bed: Bed) -> None:
    bed.host("one").disk_capacity = bed.host("two").disk_capacity = 100 * GIBI
    async with bed.zone("one", "two") as (core, _):
        await created(core, disks=(80 * GIBI,))
        await told(core)
        with anyio.fail_after(20):
            while "two" not in core.usage.loads:
                await anyio.lowlevel.checkpoint()
        bed.host("one").take("ballast", 60 * GIBI)
        assert (await moves(core, "two")).error is None
        bed.host("one").drop("ballast")
        with pytest.raises(NoCapacity):
            await begin(core, gc.CreateGuest(name="huge", memory=MEBI * 128, disks=(2000 * GIBI,), cell="two"))


async def test_a_medium_in_its_drive_comes_along(bed: Bed) -> None:
    async with bed.zone("one", "two") as (core, _):
        await created(core)
        await told(core)
        await upload(core, "cd")
        assert (await do(core, gm.InsertMedia(guest="web", media="cd"))).error is None
        files = set(bed.host("one").files)
        assert len(files) == 3
        assert (await moves(core, "two")).error is None
        is_on(bed, core, "two", files)
        await at_peace(core)


async def test_what_is_nobodys_on_one_storage_is_told_once_and_what_is_anothers_is_not_removed(bed: Bed) -> None:
    stranger = "3f0c0000-0000-4000-8000-00000000000f"
    async with bed.zone("one", "two") as (core, _):
        guest = await created(core)
        await told(core)
        bed.host("one").files[f"{stranger}_0.qcow2"] = 1
        (row,) = (await core.inspector.look()).orphans
        assert row.id == f"one/volume/{stranger}_0.qcow2"
        for cell in ("one", "two"):
            with pytest.raises(Conflict) as refused:
                await begin(core, RemoveOrphan(orphan=f"{cell}/volume/{guest.id}_0.qcow2"))
            assert refused.value.code == "not_an_orphan"
        assert (await do(core, RemoveOrphan(orphan=row.id))).error is None
        await at_peace(core)


async def test_a_domain_that_should_not_be_there_goes_without_the_files_of_the_guest(bed: Bed) -> None:
    async with bed.zone("one", "two") as (core, _):
        guest = await created(core)
        await told(core)
        files = set(bed.host("one").files)
        await bed.host("two").define(guest.id, guest.spec)
        (row,) = (await core.inspector.look()).orphans
        assert row.id == f"two/domain/{guest.id}"
        assert (await do(core, RemoveOrphan(orphan=row.id))).error is None
        is_on(bed, core, "one", files)
