"""Snapshots over a whole zone on simulated hosts: they succeed whole, or nothing of them is left, wherever the cell dies."""

from pathlib import Path
from typing import Any

import anyio
import pytest

from nano.core.core import Core
from nano.domain import guest_change as gx
from nano.domain import guest_commands as gc
from nano.domain import guest_snapshot as gs
from nano.domain.cell import AddCell
from nano.domain.errors import Conflict, HostError
from nano.domain.guest import Guest
from nano.domain.machine import MEBI
from nano.domain.orphan import RemoveOrphan
from nano.domain.task import CancelTask, Task
from nano.hypervisor.metadata import spec_digest
from nano.hypervisor.simulated_machine import SimulatedDomain
from nano.tools.simulator.bed import Bed, ended, task_of

pytestmark = pytest.mark.anyio


STRAY = "51000000-0000-4000-8000-00000000000f"


@pytest.fixture
def bed(tmp_path: Path) -> Bed:
    return Bed(tmp_path)


async def do(core: Core, command: Any) -> Task:
    receipt = await core.execute(command, actor="admin", command_id="")
    return await ended(core, task_of(receipt.facts))


async def created(core: Core, *, start: bool = True) -> Guest:
    with anyio.fail_after(10):
        while core.zone.get("cell/one") is None:
            await core.feed.wait_for(core.feed.position + 1)
    await core.execute(AddCell(cell="one"), actor="admin", command_id="add")
    await do(core, gc.CreateGuest(name="web", memory=128 * MEBI, disks=(64 * MEBI,), start=start))
    return core.zone.find_guest("web")


def domain_of(bed: Bed) -> SimulatedDomain:
    (domain,) = bed.host("one").machine.values()
    return domain


def as_journaled(bed: Bed, core: Core) -> None:
    """The host has the guest and its snapshots as Core has them, and nothing else."""
    (guest,) = core.zone.guests()
    domain = domain_of(bed)
    assert guest.task == ""
    assert guest.power == domain.state
    assert spec_digest(domain.spec) == spec_digest(guest.spec)
    assert set(domain.snapshots) == {one.id for one in guest.snapshots}
    assert [one.memory for one in guest.snapshots] == [
        domain.snapshots[one.id].live is not None for one in guest.snapshots
    ]
    assert {one.parent for one in guest.snapshots} | {guest.snapshot} <= {"", *domain.snapshots}


def shown(core: Core) -> dict[str, tuple[str, bool]]:
    row: Any = core.views.tables["guest"].row(core.zone.find_guest("web").id)
    return {one.name: (one.parent, one.current) for one in row.snapshots}


async def test_a_tree_is_made_walked_and_cut(bed: Bed) -> None:
    async with bed.zone("one") as (core, (cell,)):
        await created(core)
        for name in ("one", "two", "three"):
            domain_of(bed).content = name
            assert (await do(core, gs.CreateSnapshot(guest="web", name=name))).error is None
        assert (await do(core, gs.RestoreSnapshot(guest="web", snapshot="two"))).error is None
        assert (domain_of(bed).content, domain_of(bed).state) == ("two", "running")
        await do(core, gs.CreateSnapshot(guest="web", name="other"))
        assert shown(core) == {
            "one": ("", False),
            "two": ("one", False),
            "three": ("two", False),
            "other": ("two", True),
        }
        assert (await do(core, gs.DeleteSnapshot(guest="web", snapshot="two"))).error is None
        assert shown(core) == {"one": ("", False), "three": ("one", False), "other": ("one", True)}
        await do(core, gs.DeleteSnapshot(guest="web", snapshot="other"))
        assert shown(core) == {"one": ("", True), "three": ("one", False)}
        as_journaled(bed, core)
        (domain,) = cell.site.domains()
        guest = core.zone.find_guest("web")
        assert (domain.snapshots, domain.snapshot) == (guest.snapshots, guest.snapshot)


async def test_a_restore_keeps_the_configuration_and_says_what_waits(bed: Bed) -> None:
    async with bed.zone("one") as (core, _):
        await created(core)
        await do(core, gs.CreateSnapshot(guest="web", name="one"))
        await do(core, gc.ForceStopGuest(guest="web"))
        await do(core, gx.SetGuest(guest="web", name="shop", cores=2, priority="low"))
        assert (await do(core, gs.RestoreSnapshot(guest="shop", snapshot="one"))).error is None
        guest = core.zone.find_guest("shop")
        assert (guest.power, guest.spec.cores, guest.spec.priority, guest.pending) == ("running", 2, "low", ("cores",))
        as_journaled(bed, core)
        await do(core, gc.ForceStopGuest(guest="shop"))
        assert core.zone.find_guest("shop").pending == ()


@pytest.mark.parametrize("phase", ["volume_sizes", "snapshot_make", "snapshot_made"])
async def test_a_failed_one_leaves_nothing(bed: Bed, phase: str) -> None:
    async with bed.zone("one") as (core, _):
        await created(core)
        used = bed.host("one").disk_used
        bed.host("one").fail_next(phase, HostError("It failed.", code="hypervisor_error"))
        task = await do(core, gs.CreateSnapshot(guest="web", name="one"))
        assert (task.state, core.zone.find_guest("web").snapshots, domain_of(bed).snapshots) == ("failed", (), {})
        assert bed.host("one").disk_used == used
        assert (await do(core, gs.CreateSnapshot(guest="web", name="one"))).error is None, "the name was given back"
        as_journaled(bed, core)


async def test_what_could_not_be_taken_back_is_before_the_next(bed: Bed) -> None:
    async with bed.zone("one") as (core, _):
        await created(core)
        for phase in ("snapshot_made", "snapshot_drop"):
            bed.host("one").fail_next(phase, HostError("It failed.", code="hypervisor_error"))
        task = await do(core, gs.CreateSnapshot(guest="web", name="one"))
        assert "not everything could be taken back" in task.undone[0]
        assert len(domain_of(bed).snapshots) == 1
        (orphan,) = (await core.inspector.look()).orphans
        assert (orphan.kind, orphan.why) == ("snapshot", "its guest has no such snapshot")
        assert (await do(core, gs.CreateSnapshot(guest="web", name="one"))).error is None
        as_journaled(bed, core)
        assert await core.inspector.look() == ((), (), ())


async def test_one_that_nobody_has_is_removed_by_its_id_and_one_of_the_guest_is_not(bed: Bed) -> None:
    async with bed.zone("one") as (core, _):
        guest = await created(core)
        await do(core, gs.CreateSnapshot(guest="web", name="one"))
        kept = core.zone.find_guest("web").snapshot
        await bed.host("one").snapshots.make(guest.id, STRAY, guest.spec, memory=True)
        (orphan,) = (await core.inspector.look()).orphans
        assert orphan.id == f"one/snapshot/{guest.id}_{STRAY}"
        with pytest.raises(Conflict, match="belongs to guest web"):
            await core.execute(RemoveOrphan(orphan=orphan.id.replace(STRAY, kept)), actor="admin", command_id="")
        assert (await do(core, RemoveOrphan(orphan=orphan.id))).error is None
        as_journaled(bed, core)
        assert await core.inspector.look() == ((), (), ())


async def test_one_that_somebody_deleted_on_the_host_is_drift_and_can_be_deleted(bed: Bed) -> None:
    async with bed.zone("one") as (core, _):
        await created(core)
        await do(core, gs.CreateSnapshot(guest="web", name="one"))
        domain_of(bed).snapshots.clear()
        (row,) = (await core.inspector.look()).drift
        assert (row.attribute, row.where, row.repair) == ("snapshots", "disk", "by_hand")
        assert "one" in row.expected
        task = await do(core, gs.RestoreSnapshot(guest="web", snapshot="one"))
        assert task.error is not None
        assert task.error.code == "snapshot_missing"
        assert (await do(core, gs.DeleteSnapshot(guest="web", snapshot="one"))).error is None
        as_journaled(bed, core)


async def test_one_that_was_deleted_when_its_deletion_failed_is_gone(bed: Bed) -> None:
    async with bed.zone("one") as (core, _):
        await created(core)
        await do(core, gs.CreateSnapshot(guest="web", name="one"))
        bed.host("one").fail_next("snapshot_dropped", HostError("It failed.", code="hypervisor_error"))
        task = await do(core, gs.DeleteSnapshot(guest="web", snapshot="one"))
        assert task.undone == ("the snapshot was deleted all the same",)
        with anyio.fail_after(5):
            while shown(core):
                await core.feed.wait_for(core.feed.position + 1)
        as_journaled(bed, core)


async def test_snapshots_outlive_the_definition(bed: Bed) -> None:
    async with bed.zone("one") as (core, _):
        guest = await created(core, start=False)
        await do(core, gs.CreateSnapshot(guest="web", name="one"))
        bed.host("one").vanish(guest.id)
        with anyio.fail_after(5):
            while core.zone.find_guest("web").power != "missing":
                await core.feed.wait_for(core.feed.position + 1)
        await do(core, gc.RedefineGuest(guest="web"))
        assert (await do(core, gs.RestoreSnapshot(guest="web", snapshot="one"))).error is None
        as_journaled(bed, core)


async def test_a_full_disk_leaves_nothing(bed: Bed) -> None:
    async with bed.zone("one") as (core, _):
        await created(core)
        host = bed.host("one")
        used, host.disk_capacity = host.disk_used, host.disk_used + MEBI
        task = await do(core, gs.CreateSnapshot(guest="web", name="one"))
        assert task.error is not None
        assert (task.error.code, host.disk_used, domain_of(bed).snapshots) == ("disk_full", used, {})
        as_journaled(bed, core)


@pytest.mark.parametrize(
    ("phase", "outcome"),
    [("volume_sizes", "failed"), ("snapshot_make", "failed"), ("snapshot_made", "done")],
)
async def test_a_cell_killed_while_making_one_looks_whether_it_is_there(bed: Bed, phase: str, outcome: str) -> None:
    async with bed.core() as core:
        async with bed.cell("one") as cell, bed.link(cell, core):
            await created(core)
            task_id = await killed_in(bed, core, phase, gs.CreateSnapshot(guest="web", name="one"))
        async with bed.cell("one") as cell, bed.link(cell, core):
            task = await ended(core, task_id)
        assert task.state == outcome
        assert [one.name for one in core.zone.find_guest("web").snapshots] == (["one"] if outcome == "done" else [])
        as_journaled(bed, core)


@pytest.mark.parametrize("phase", ["volume_sizes", "snapshot_restore", "snapshot_restored", "define", "running"])
async def test_a_cell_killed_while_restoring_restores_once(bed: Bed, phase: str) -> None:
    """What the guest did after the restore, while its cell was away, is not lost."""
    async with bed.core() as core:
        async with bed.cell("one") as cell, bed.link(cell, core):
            await created(core)
            domain_of(bed).content = "then"
            await do(core, gs.CreateSnapshot(guest="web", name="one"))
            domain_of(bed).content = "lost"
            task_id = await killed_in(bed, core, phase, gs.RestoreSnapshot(guest="web", snapshot="one"))
        if happened := domain_of(bed).content == "then":
            domain_of(bed).content = "since"
        assert happened == (phase in ("snapshot_restored", "define", "running"))
        async with bed.cell("one") as cell, bed.link(cell, core):
            assert (await ended(core, task_id)).state == "done"
        assert domain_of(bed).content == ("since" if happened else "then")
        assert core.zone.find_guest("web").power == "running"
        as_journaled(bed, core)


@pytest.mark.parametrize("phase", ["snapshot_drop", "snapshot_dropped"])
async def test_a_cell_killed_while_deleting_one_goes_on(bed: Bed, phase: str) -> None:
    async with bed.core() as core:
        async with bed.cell("one") as cell, bed.link(cell, core):
            await created(core)
            await do(core, gs.CreateSnapshot(guest="web", name="one"))
            task_id = await killed_in(bed, core, phase, gs.DeleteSnapshot(guest="web", snapshot="one"))
        async with bed.cell("one") as cell, bed.link(cell, core):
            assert (await ended(core, task_id)).state == "done"
        assert shown(core) == {}
        as_journaled(bed, core)


async def killed_in(bed: Bed, core: Core, phase: str, command: Any) -> str:
    """The task of a command that hangs in this phase, so that the cell dies there."""
    reached = bed.host("one").hang_next(phase)
    receipt = await core.execute(command, actor="admin", command_id="")
    with anyio.fail_after(5):
        await reached.wait()
    return task_of(receipt.facts)


@pytest.mark.parametrize("phase", ["freeze", "frozen", "snapshot_make", "snapshot_made", "thaw"])
async def test_file_systems_are_never_left_frozen(bed: Bed, phase: str) -> None:
    """Whether the call fails or the cell dies in it."""
    async with bed.core() as core:
        async with bed.cell("one") as cell, bed.link(cell, core):
            await created(core)
            bed.host("one").fail_next(phase, HostError("It failed.", code="hypervisor_error"))
            task = await do(core, gs.CreateSnapshot(guest="web", name="one", disks_only=True))
            assert task.state == ("done" if phase == "thaw" else "failed")
            assert not domain_of(bed).frozen
            as_journaled(bed, core)
            dies_in = "snapshot_made" if phase == "thaw" else phase  # nothing stops a thaw but the death of all
            task_id = await killed_in(bed, core, dies_in, gs.CreateSnapshot(guest="web", name="two", disks_only=True))
            assert domain_of(bed).frozen == (phase != "freeze")
        async with bed.cell("one") as cell, bed.link(cell, core):
            assert (await ended(core, task_id)).ended
        assert not domain_of(bed).frozen
        as_journaled(bed, core)


async def test_disks_alone_of_a_running_guest_are_taken_with_frozen_file_systems(bed: Bed) -> None:
    async with bed.zone("one") as (core, _):
        await created(core)
        domain_of(bed).content = "then"
        assert (await do(core, gs.CreateSnapshot(guest="web", name="one", disks_only=True))).error is None
        (row,) = core.views.tables["guest"].row(core.zone.find_guest("web").id).snapshots  # type: ignore[attr-defined]
        assert (row.memory, row.frozen, domain_of(bed).state, domain_of(bed).frozen) == (False, True, "running", False)
        domain_of(bed).content = "since"
        assert (await do(core, gs.RestoreSnapshot(guest="web", snapshot="one"))).error is None
        assert (domain_of(bed).content, core.zone.find_guest("web").power) == ("then", "stopped")
        assert (await do(core, gs.CreateSnapshot(guest="web", name="off", disks_only=True))).error is None
        assert not core.zone.find_guest("web").snapshots[1].frozen
        as_journaled(bed, core)


async def test_without_an_agent_that_answers_they_are_taken_all_the_same(bed: Bed) -> None:
    async with bed.zone("one") as (core, _):
        await created(core)
        bed.host("one").blank_guests_boot = False
        assert (await do(core, gs.CreateSnapshot(guest="web", name="one", disks_only=True))).error is None
        assert not core.zone.find_guest("web").snapshots[0].frozen
        as_journaled(bed, core)


@pytest.mark.parametrize("phase", ["snapshot_restored", "define"])
async def test_a_restore_that_fails_after_it_happened_says_so(bed: Bed, phase: str) -> None:
    async with bed.zone("one") as (core, _):
        await created(core)
        await do(core, gs.CreateSnapshot(guest="web", name="one"))
        await do(core, gs.CreateSnapshot(guest="web", name="two"))
        bed.host("one").fail_next(phase, HostError("It failed.", code="hypervisor_error"))
        task = await do(core, gs.RestoreSnapshot(guest="web", snapshot="one"))
        assert (task.state, task.undone) == ("failed", ("the snapshot was restored all the same",))
        with anyio.fail_after(5):
            while (shown(core)["one"], core.zone.find_guest("web").power) != (("", True), domain_of(bed).state):
                await core.feed.wait_for(core.feed.position + 1)  # Core reads of it in the cell's journal
        as_journaled(bed, core)


async def test_a_cancelled_one_leaves_nothing(bed: Bed) -> None:
    async with bed.zone("one") as (core, _):
        await created(core)
        task_id = await killed_in(bed, core, "snapshot_made", gs.CreateSnapshot(guest="web", name="one"))
        await core.execute(CancelTask(task=task_id), actor="admin", command_id="")
        assert (await ended(core, task_id)).state == "cancelled"
        assert shown(core) == {}
        as_journaled(bed, core)


async def test_a_guest_is_deleted_with_its_snapshots(bed: Bed) -> None:
    async with bed.zone("one") as (core, _):
        await created(core, start=False)
        await do(core, gs.CreateSnapshot(guest="web", name="one"))
        assert (await do(core, gc.DeleteGuest(guest="web"))).error is None
        assert bed.host("one").files == {}
