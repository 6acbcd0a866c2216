"""Drift and orphans over a whole zone on simulated hosts: found, told, mended or removed on command, and nothing else."""

from pathlib import Path
from typing import Any

import anyio
import msgspec
import pytest

from nano.core.core import Core
from nano.core.inspector import Findings
from nano.core.reconciler import Reconciler
from nano.domain import guest_commands as gc
from nano.domain.cell import AddCell
from nano.domain.cloud_init import CloudInit
from nano.domain.errors import Conflict, HostError, Invalid
from nano.domain.guest import Guest
from nano.domain.guest_repair import RepairGuest
from nano.domain.inspection import DriftRow
from nano.domain.machine import MEBI
from nano.domain.orphan import RemoveOrphan
from nano.domain.task import Task
from nano.hypervisor.simulated_machine import SimulatedDomain
from nano.tools.simulator.bed import Bed, ended, task_of

pytestmark = pytest.mark.anyio

STRANGER = "3f0c0000-0000-4000-8000-00000000000f"


@pytest.fixture
def bed(tmp_path: Path) -> Bed:
    return Bed(tmp_path)


async def do(core: Core, command: Any) -> Task:
    receipt = await core.execute(command, actor="admin", command_id="")
    return await ended(core, task_of(receipt.facts))


async def created(core: Core, **options: Any) -> Guest:
    with anyio.fail_after(10):
        while core.zone.get("cell/one") is None:
            await core.feed.wait_for(core.feed.position + 1)
    await core.execute(AddCell(cell="one"), actor="admin", command_id="add")
    task = await do(core, gc.CreateGuest(name="web", memory=128 * MEBI, disks=(64 * MEBI,), **options))
    assert task.error is None
    return core.zone.find_guest("web")


async def look(core: Core) -> Findings:
    with anyio.fail_after(10):
        return await core.inspector.look()


async def drifting(core: Core) -> tuple[DriftRow, ...]:
    """What differs, once something does: a guest that an event changed during a look is left out of it."""
    with anyio.fail_after(10):
        while not (found := (await look(core)).drift):
            pass
    return found


async def well(core: Core) -> bool:
    return await look(core) == Findings((), (), ())


def change_behind(bed: Bed, guest: Guest, **changes: Any) -> SimulatedDomain:
    domain = bed.host("one").machine[guest.id]
    domain.spec = msgspec.structs.replace(domain.spec, **changes)
    return domain


async def test_a_healthy_zone_has_neither(bed: Bed) -> None:
    async with bed.zone("one") as (core, _):
        await created(core, start=True)
        assert await well(core)


async def test_a_domain_changed_behind_the_cells_back_is_told_and_repaired(bed: Bed) -> None:
    async with bed.zone("one") as (core, (cell,)):
        guest = await created(core)
        change_behind(bed, guest, cores=3, priority="low", autostart=True)
        rows = await drifting(core)
        told = {row.attribute: (row.where, row.expected, row.found, row.repair) for row in rows}
        assert told["cores"] == ("definition", "1", "3", "at_once")
        assert told["autostart"] == ("definition", "False", "True", "at_once")
        assert "priority" in told
        assert {row.guest for row in rows} == {"web"}
        task = await do(core, RepairGuest(guest="web"))
        assert (task.kind, task.state, task.error) == ("guest.repair", "done", None)
        assert bed.host("one").machine[guest.id].spec == guest.spec
        assert [domain.spec for domain in cell.site.domains()] == [guest.spec]
        assert await well(core)


async def test_a_running_domain_follows_at_once_where_it_can(bed: Bed) -> None:
    async with bed.zone("one") as (core, _):
        guest = await created(core, start=True)
        domain = bed.host("one").machine[guest.id]
        assert domain.live is not None
        domain.live = msgspec.structs.replace(domain.live, priority="low", cores=2)
        told = {(row.attribute, row.where): row.repair for row in await drifting(core)}
        assert told[("priority", "running")] == "at_once"
        assert told[("cores", "running")] == "next_start"  # no core is taken from a running guest
        await do(core, RepairGuest(guest="web"))
        assert core.zone.find_guest("web").pending == ("cores",)
        assert await well(core), "what waits for the next start is known"


async def test_a_domain_that_is_gone_is_defined_again(bed: Bed) -> None:
    async with bed.zone("one") as (core, _):
        guest = await created(core)
        bed.host("one").vanish(guest.id)
        with anyio.fail_after(5):
            while core.zone.find_guest("web").power != "missing":
                await core.feed.wait_for(core.feed.position + 1)
        (row,) = await drifting(core)
        assert (row.attribute, row.repair) == ("domain", "define_again")
        assert (await do(core, RepairGuest(guest="web"))).error is None
        assert core.zone.find_guest("web").power == "stopped"
        assert await well(core)


@pytest.mark.parametrize("size", [128 * MEBI, None])
async def test_a_disk_that_would_be_cut_or_is_gone_is_for_a_person(bed: Bed, size: int | None) -> None:
    async with bed.zone("one") as (core, _):
        guest = await created(core)
        host = bed.host("one")
        if size is None:
            host.drop(f"{guest.id}_0.qcow2")
        else:
            host.sizes[f"{guest.id}_0.qcow2"] = size
        (row,) = await drifting(core)
        assert (row.attribute, row.where, row.repair) == ("disks", "disk", "by_hand")
        task = await do(core, RepairGuest(guest="web"))
        assert task.error is not None
        assert task.error.code == "repair_unsafe"
        assert host.sizes.get(f"{guest.id}_0.qcow2") == size, "it was left alone"


async def test_a_disk_that_was_cut_grows_again(bed: Bed) -> None:
    async with bed.zone("one") as (core, _):
        guest = await created(core)
        bed.host("one").sizes[f"{guest.id}_0.qcow2"] = 32 * MEBI
        assert [row.repair for row in await drifting(core)] == ["at_once"]
        await do(core, RepairGuest(guest="web"))
        assert await well(core)


async def test_what_nobody_owns_is_listed_and_removed_only_by_its_id(bed: Bed) -> None:
    async with bed.zone("one") as (core, _):
        guest = await created(core)
        host = bed.host("one")
        host.files[f"{guest.id}_7.qcow2"] = host.files[f"{STRANGER}_0.qcow2"] = 1
        orphans = {row.id: row.why for row in (await look(core)).orphans}
        seventh, strangers = f"one/volume/{guest.id}_7.qcow2", f"one/volume/{STRANGER}_0.qcow2"
        assert orphans == {seventh: "its guest has no such file", strangers: "no journal has its guest"}
        assert (await do(core, RemoveOrphan(orphan=strangers))).error is None
        assert [row.id for row in (await look(core)).orphans] == [seventh], "and nothing else went"
        task = await do(core, RemoveOrphan(orphan=seventh))
        assert (task.kind, task.state) == ("orphans.remove", "done")
        assert await well(core)
        assert f"{guest.id}_0.qcow2" in host.files


async def test_seeds_and_media_that_nobody_has_are_listed_and_removed(bed: Bed) -> None:
    media = "4f0c0000-0000-4000-8000-00000000000e"
    async with bed.zone("one") as (core, _):
        guest = await created(core)
        host = bed.host("one")
        ids = {f"one/seed/{guest.id}_seed.iso", f"one/media/{guest.id}_{media}.iso", f"one/seed/{STRANGER}_seed.iso"}
        host.files |= dict.fromkeys((one.rpartition("/")[2] for one in ids), 1)
        assert {row.id for row in (await look(core)).orphans} == ids
        for orphan in sorted(ids):
            assert (await do(core, RemoveOrphan(orphan=orphan))).error is None
        assert await well(core)


async def test_a_stray_domain_goes_with_its_volumes(bed: Bed) -> None:
    async with bed.zone("one") as (core, _):
        guest = await created(core)
        host = bed.host("one")
        host.machine[STRANGER] = SimulatedDomain(guest.spec)
        host.files[f"{STRANGER}_0.qcow2"] = 1
        (row,) = (await look(core)).orphans
        assert (row.id, row.kind) == (f"one/domain/{STRANGER}", "domain")
        assert (await do(core, RemoveOrphan(orphan=row.id))).error is None
        assert set(host.machine) == {guest.id}
        assert await well(core)


async def test_a_foreign_domain_is_never_touched(bed: Bed) -> None:
    async with bed.zone("one") as (core, _):
        await created(core)
        host = bed.host("one")
        host.add_foreign(STRANGER)
        assert await well(core)
        task = await do(core, RemoveOrphan(orphan=f"one/domain/{STRANGER}"))
        assert (task.state, task.error) == ("done", None), "there was nothing of Nano's of that id"
        assert STRANGER in host.foreign
        assert ("undefine", STRANGER) not in host.calls


async def test_what_has_an_owner_is_not_removed(bed: Bed) -> None:
    async with bed.zone("one") as (core, _):
        guest = await created(core, cloud_init=CloudInit(user="li"))
        files = (f"one/volume/{guest.id}_0.qcow2", f"one/seed/{guest.id}_seed.iso")
        for orphan in (f"one/domain/{guest.id}", *files):
            with pytest.raises(Conflict, match="belongs to guest web"):
                await core.execute(RemoveOrphan(orphan=orphan), actor="admin", command_id="")


@pytest.mark.parametrize(
    "orphan",
    ["", "one", f"one/seed/{STRANGER}_0.qcow2", f"one/volume/{STRANGER}_seed.iso", f"one/media/{STRANGER}_seed.iso",
     f"one/media/{STRANGER}_x.iso", f"one/seed/{STRANGER}_{STRANGER}.iso", f"one/seed/{STRANGER}",
     "one/volume/../../etc/passwd", f"one/volume/{STRANGER}_0.qcow2\n",
     f"one/volume/{STRANGER}_0.qcow2;rm", "<a>/domain/" + STRANGER, "one/domain/" + "x" * 10_000, "one/\0/x"],
)  # fmt: skip
async def test_no_other_text_is_an_orphans_id(bed: Bed, orphan: str) -> None:
    async with bed.core() as core:
        with pytest.raises(Invalid) as refusal:
            await core.execute(RemoveOrphan(orphan=orphan), actor="admin", command_id="")
        assert refusal.value.code == "invalid_orphan"
        assert len(refusal.value.message) < 300


async def test_a_cell_that_cannot_be_asked_is_named(bed: Bed) -> None:
    async with bed.zone("one") as (core, _):
        await created(core)
        bed.host("one").fail_next("domains", HostError("libvirtd is away.", code="hypervisor_unreachable"))
        found = await look(core)
        assert [(one.cell, one.reason) for one in found.unasked] == [("one", "libvirtd is away.")]


@pytest.mark.parametrize("phase", ["define", "follow", "running"])
async def test_a_cell_killed_during_a_repair_carries_on(bed: Bed, phase: str) -> None:
    async with bed.core() as core:
        async with bed.cell("one") as cell, bed.link(cell, core):
            guest = await created(core, start=True)
            domain = change_behind(bed, guest, priority="low")
            domain.live = domain.spec
            reached = bed.host("one").hang_next(phase)
            receipt = await core.execute(RepairGuest(guest="web"), actor="admin", command_id="")
            with anyio.fail_after(5):
                await reached.wait()
        async with bed.cell("one") as cell, bed.link(cell, core):
            task = await ended(core, task_of(receipt.facts))
            assert (task.state, task.error) == ("done", None)
            assert await well(core)


async def test_what_a_guest_does_not_notice_is_mended_by_itself(bed: Bed) -> None:
    async with bed.zone("one") as (core, _):
        guest = await created(core, start=True)
        with anyio.fail_after(5):
            while not core.zone.find_guest("web").agent:  # what changes while it is looked at is left out
                await core.feed.wait_for(core.feed.position + 1)
        domain = change_behind(bed, guest, priority="low", autostart=True)
        assert domain.live is not None
        domain.live = msgspec.structs.replace(domain.live, priority="low")
        assert await core.reconciler.mend() == [guest.id]
        (task,) = core.zone.open_tasks.values()
        assert (task.kind, task.actor) == ("guest.repair", "core")
        assert (await ended(core, task.id)).error is None
        assert await well(core)
        assert await core.reconciler.mend() == []


async def test_nothing_else_is_mended_by_itself(bed: Bed) -> None:
    async with bed.zone("one") as (core, _):
        guest = await created(core)
        change_behind(bed, guest, priority="low", cores=3)
        assert await core.reconciler.mend() == []
        bed.host("one").vanish(guest.id)
        assert await core.reconciler.mend() == []


async def test_what_was_not_mended_is_not_tried_for_ever(bed: Bed) -> None:
    async with bed.zone("one") as (core, _):
        guest = await created(core)
        change_behind(bed, guest, priority="low")
        bed.host("one").fail_next("define", HostError("It failed."), times=2)
        assert await core.reconciler.mend() == [guest.id]
        (task,) = core.zone.open_tasks.values()
        assert (await ended(core, task.id)).error is not None
        assert await core.reconciler.mend() == [], "until it differs in another way"
        change_behind(bed, guest, priority="medium")
        assert await core.reconciler.mend() == [guest.id]


async def test_rounds_come_by_themselves() -> None:
    looked = anyio.Event()

    class Looks:
        async def look(self) -> Findings:
            looked.set()
            return Findings((), (), ())

    with anyio.fail_after(5):
        async with anyio.create_task_group() as tasks:
            tasks.start_soon(Reconciler(None, Looks(), 0.01).run)  # type: ignore[arg-type]
            await looked.wait()
            tasks.cancel_scope.cancel()
        await Reconciler(None, Looks(), 0.0).run()  # type: ignore[arg-type]


async def test_what_is_found_is_an_alarm_until_it_is_not_found_any_more(bed: Bed) -> None:
    async with bed.zone("one") as (core, _):
        guest = await created(core)
        core.inspector.looked = lambda found: core.alarms.inspected(found.drift, found.orphans)
        change_behind(bed, guest, cores=3, priority="low")
        bed.host("one").files[f"{STRANGER}_0.qcow2"] = 1
        await look(core)
        core.alarms.health.check()
        told = {alarm.code: alarm for alarm in core.alarms.current()}
        assert (told["drift"].resource, told["drift"].details["count"]) == ("cell/one", "1")
        assert told["orphans"].severity == "warning"
        await do(core, RepairGuest(guest="web"))
        await do(core, RemoveOrphan(orphan=f"one/volume/{STRANGER}_0.qcow2"))
        assert await well(core)
        core.alarms.health.check()
        assert {alarm.code for alarm in core.alarms.current()}.isdisjoint({"drift", "orphans"})
