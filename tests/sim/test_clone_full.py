"""A disk that fills up in the middle of a clone: the cell's, where the image arrives or where it is copied to, and Core's."""

import errno
import subprocess
from pathlib import Path

import anyio
import pytest

from nano.core.core import Core
from nano.domain import guest_commands as gc
from nano.domain.errors import DiskFull
from nano.domain.image_commands import RegisterImage
from nano.domain.machine import MEBI
from nano.journal.testing import BadDisk
from nano.tools.simulator import bed as beds
from nano.tools.simulator.bed import Bed, ended
from nano.transports.messages import ImageSource
from tests.sim.test_trouble import add, begin

pytestmark = [pytest.mark.anyio, pytest.mark.timeout(60)]

CREATE = gc.CreateGuest(name="web", memory=128 * MEBI, disks=(64 * MEBI,), image="img")


@pytest.fixture
def bed(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Bed:
    monkeypatch.setattr("nano.core.work.RECORD_AGAIN_S", 0.02)
    subprocess.run(["qemu-img", "create", "-q", "-f", "qcow2", str(tmp_path / "img.qcow2"), "1M"], check=True)
    return Bed(tmp_path)


async def with_image(bed: Bed, core: Core) -> None:
    await add(core)
    task = await ended(core, await begin(core, RegisterImage(name="img", path=str(bed.folder / "img.qcow2"))))
    assert task.error is None


async def nothing_is_left(bed: Bed, core: Core) -> None:
    host, found = bed.host("one"), await core.inspector.look()
    assert (list(core.zone.guests()), core.zone.macs, core.zone.open_tasks) == ([], set(), {})
    assert (host.files, host.sizes, host.machine) == ({}, {}, {})
    assert (found.drift, found.orphans) == ((), ())


async def test_the_cells_volumes_fill_up(bed: Bed) -> None:
    host = bed.host("one")
    async with bed.zone("one") as (core, _):
        await with_image(bed, core)
        capacity, host.disk_capacity = host.disk_capacity, (bed.folder / "img.qcow2").stat().st_size // 2
        task = await ended(core, await begin(core, CREATE))
        assert task.error is not None
        assert (task.state, task.error.code) == ("failed", "disk_full")
        await nothing_is_left(bed, core)
        host.disk_capacity = capacity
        assert (await ended(core, await begin(core, CREATE))).error is None


async def test_the_cells_images_fill_up(bed: Bed, monkeypatch: pytest.MonkeyPatch) -> None:
    async def full(source: ImageSource, target: Path, progress: object) -> None:
        await anyio.Path(target.parent).mkdir(exist_ok=True)
        raise DiskFull(f"No room for {target.name}.")

    async with bed.core() as core:
        with monkeypatch.context() as patched:
            patched.setattr(beds, "_fetch", full)
            async with bed.cell("one") as cell, bed.link(cell, core):
                await with_image(bed, core)
                task = await ended(core, await begin(core, CREATE))
                assert task.error is not None
                assert (task.state, task.error.code) == ("failed", "disk_full")
                await nothing_is_left(bed, core)
        async with bed.cell("one") as cell, bed.link(cell, core):
            with anyio.fail_after(10):
                await core.cells._link_of("one")
            assert (await ended(core, await begin(core, CREATE))).error is None


async def test_cores_disk_fills_up_while_a_cell_clones(bed: Bed) -> None:
    """What the cell has done is recorded when there is room again; nothing is done twice, and commands are refused meanwhile."""
    disk = bed.disks["core"] = BadDisk()
    host = bed.host("one", copy_s=0.2)
    async with bed.zone("one") as (core, (cell,)):
        await with_image(bed, core)
        task_id = await begin(core, CREATE)
        disk.refuse(errno.ENOSPC)
        with pytest.raises(DiskFull):
            await begin(core, gc.CreateGuest(name="other", memory=128 * MEBI, disks=(64 * MEBI,)))
        with anyio.fail_after(10):
            while not host.machine:
                await cell.ledger.feed.wait_for(cell.ledger.position + 1)
        assert core.zone.find_guest("web").phase != "ready"
        disk.recover()
        assert (await ended(core, task_id)).error is None
        (guest,) = core.zone.guests()
        assert (guest.name, guest.phase, list(host.machine)) == ("web", "ready", [guest.id])
