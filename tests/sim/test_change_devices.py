"""Disks, network interfaces and resets over a whole zone: whole or not at all, whatever fails and whenever the cell dies."""

import shutil
import subprocess
from collections.abc import Callable
from pathlib import Path
from typing import Any, NamedTuple

import anyio
import msgspec
import pytest

from nano.core.core import Core
from nano.domain import guest_change as gx
from nano.domain import guest_commands as gc
from nano.domain import guest_devices as gd
from nano.domain.ability import Ability
from nano.domain.cell import AddCell
from nano.domain.errors import DiskFull, HostError
from nano.domain.guest import Guest
from nano.domain.image_commands import RegisterImage
from nano.domain.machine import MEBI
from nano.domain.task import Task
from nano.hypervisor.metadata import spec_digest
from nano.tools.simulator.bed import Bed, ended, task_of

pytestmark = pytest.mark.anyio


class Work(NamedTuple):
    command: Callable[[Guest], Any]
    running: bool
    phases: tuple[str, ...]


ALWAYS = ("defined", "volume_sizes", "running", "define")
WORKS = {
    "disk.add": Work(lambda _: gd.AddDisk(guest="web", size=4 * MEBI), True, (*ALWAYS, "make_volumes", "follow")),
    "disk.grow": Work(lambda _: gd.GrowDisk(guest="web", size=96 * MEBI), True, (*ALWAYS, "resize_volume")),
    "disk.shrink": Work(
        lambda _: gd.ShrinkDisk(guest="web", number=1, size=4 * MEBI, force=True), False, (*ALWAYS, "resize_volume")
    ),
    "disk.remove": Work(lambda _: gd.RemoveDisk(guest="web", number=1), True, (*ALWAYS, "follow", "drop_volumes")),
    "nic.add": Work(lambda _: gd.AddNic(guest="web"), True, (*ALWAYS, "follow")),
    "nic.remove": Work(lambda guest: gd.RemoveNic(guest="web", mac=guest.spec.more_macs[0]), True, (*ALWAYS, "follow")),
    "reset": Work(lambda _: gd.ResetGuest(guest="web", image="img"), False, (*ALWAYS, "make_volumes", "drop_volumes")),
}
CASES = [(name, phase) for name, work in WORKS.items() for phase in work.phases]


@pytest.fixture(scope="module")
def image(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("image") / "img.qcow2"
    subprocess.run(["qemu-img", "create", "-q", "-f", "qcow2", str(path), "1M"], check=True)
    return path


@pytest.fixture
def bed(tmp_path: Path, image: Path) -> Bed:
    shutil.copy(image, tmp_path)
    return Bed(tmp_path)


async def do(core: Core, command: Any) -> Task:
    receipt = await core.execute(command, actor="admin", command_id="")
    return await ended(core, task_of(receipt.facts))


async def ready(bed: Bed, core: Core, name: str) -> Guest:
    """A guest with two disks and two network interfaces, in the power state that the work needs, and an image."""
    with anyio.fail_after(10):
        while core.zone.get("cell/one") is None:
            await core.feed.wait_for(core.feed.position + 1)
    await core.execute(AddCell(cell="one"), actor="admin", command_id="add")
    await do(core, gc.CreateGuest(name="web", memory=128 * MEBI, disks=(64 * MEBI, 8 * MEBI)))
    await do(core, gd.AddNic(guest="web"))
    if WORKS[name].running:
        await do(core, gc.StartGuest(guest="web"))
    assert (await do(core, RegisterImage(name="img", path=str(bed.folder / "img.qcow2")))).error is None
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
    assert core.zone.macs == set(guest.spec.macs)


@pytest.mark.parametrize("name", WORKS)
async def test_each_is_done_told_and_there(bed: Bed, name: str) -> None:
    async with bed.zone("one") as (core, (cell,)):
        before = await ready(bed, core, name)
        task = await do(core, WORKS[name].command(before))
        assert (task.kind, task.state, task.error) == (f"guest.{name}", "done", None)
        guest = core.zone.find_guest("web")
        assert guest.spec != before.spec
        assert guest.pending == ()
        assert guest.image_name == ("img" if name == "reset" else "")
        assert [domain.spec for domain in cell.site.domains()] == [guest.spec]
        as_journaled(bed, core)


@pytest.mark.parametrize(("name", "phase"), CASES)
async def test_a_failure_in_any_phase_leaves_what_was(bed: Bed, name: str, phase: str) -> None:
    async with bed.zone("one") as (core, _):
        before = await ready(bed, core, name)
        full = phase in ("make_volumes", "resize_volume")
        error = DiskFull("No room.") if full else HostError("It failed.", code="hypervisor_unreachable")
        bed.host("one").fail_next(phase, error)
        task = await do(core, WORKS[name].command(before))
        assert task.state == "failed"
        assert task.error is not None
        assert task.error.code == error.code
        assert core.zone.find_guest("web").spec == before.spec
        as_journaled(bed, core)


@pytest.mark.parametrize(("name", "phase"), CASES)
async def test_a_cell_killed_in_any_phase_ends_whole(bed: Bed, name: str, phase: str) -> None:
    """Carried on, or, where an image had still to be cloned, given up with the old disk in its place."""
    async with bed.core() as core:
        async with bed.cell("one") as cell, bed.link(cell, core):
            before = await ready(bed, core, name)
            reached = bed.host("one").hang_next(phase)
            receipt = await core.execute(WORKS[name].command(before), actor="admin", command_id="")
            with anyio.fail_after(5):
                await reached.wait()
        async with bed.cell("one") as cell, bed.link(cell, core):
            task = await ended(core, task_of(receipt.facts))
        guest = core.zone.find_guest("web")
        if task.state == "done":
            assert guest.spec != before.spec
        else:
            assert name == "reset"
            assert task.error is not None
            assert task.error.code == "cell_restarted"
            assert guest.spec == before.spec
        as_journaled(bed, core)


async def test_a_limit_that_the_host_can_not_set_is_refused_by_name(bed: Bed) -> None:
    """Also when Core has not heard of it yet."""
    async with bed.zone("one") as (core, _):
        before = await ready(bed, core, "nic.add")
        host = bed.host("one")
        lacks = Ability("network_limits", False, "kernel", "sch_sfq")
        host.capabilities = msgspec.structs.replace(host.capabilities, abilities=(lacks,))
        task = await do(core, gx.SetGuest(guest="web", send_bytes=MEBI, cores=4))
        assert task.error is not None
        assert task.error.code == "ability_missing"
        assert "its kernel lacks sch_sfq" in task.error.message
        assert core.zone.find_guest("web").spec == before.spec
        as_journaled(bed, core)
