"""Seeds over a whole zone on simulated hosts: there with the guest, gone with it, and no secret in any journal."""

from pathlib import Path
from typing import Any

import anyio
import pytest

from nano.core.core import Core
from nano.domain import guest_commands as gc
from nano.domain.batch import CreateBatch
from nano.domain.cell import AddCell
from nano.domain.cloud_init import CloudInit
from nano.domain.errors import DiskFull, HostError
from nano.domain.machine import MEBI
from nano.domain.task import Task
from nano.tools.simulator.bed import Bed, ended, task_of

pytestmark = pytest.mark.anyio

PASSWORD = "Correct-Horse-7!"
TOLD = CloudInit(user="ops", password=PASSWORD, user_data="#!/bin/sh\necho top-secret\n")
SIZE: dict[str, Any] = {"memory": 64 * MEBI, "disks": (16 * MEBI,)}


@pytest.fixture
def bed(tmp_path: Path) -> Bed:
    return Bed(tmp_path)


async def add(core: Core) -> None:
    with anyio.fail_after(10):
        while core.zone.get("cell/one") is None:
            await core.feed.wait_for(core.feed.position + 1)
    await core.execute(AddCell(cell="one"), actor="admin", command_id="add")


async def begun(core: Core, command: Any) -> str:
    return task_of((await core.execute(command, actor="admin", command_id="")).facts)


async def do(core: Core, command: Any) -> Task:
    return await ended(core, await begun(core, command))


def create() -> gc.CreateGuest:
    return gc.CreateGuest(name="web", cloud_init=TOLD, **SIZE)


def files(bed: Bed) -> list[str]:
    return sorted(name[37:] for name in bed.host("one").files)


def no_secret_is_written(folder: Path) -> None:
    written = [path for path in folder.rglob("*") if path.is_file()]
    assert written
    for path in written:
        data = path.read_bytes()
        assert PASSWORD.encode() not in data, path
        assert b"top-secret" not in data, path
        assert b"$6$" not in data, path


async def test_the_seed_comes_and_goes_with_its_guest(bed: Bed) -> None:
    async with bed.zone("one") as (core, (cell,)):
        await add(core)
        assert (await do(core, create())).error is None
        assert files(bed) == ["0.qcow2", "seed.iso"]
        (domain,) = cell.site.domains()
        assert domain.spec.seed
        assert (await do(core, gc.DeleteGuest(guest="web"))).error is None
        assert files(bed) == []
        task = await do(core, CreateBatch(prefix="many", count=3, cloud_init=TOLD, **SIZE))
        assert task.error is None
        assert files(bed) == ["0.qcow2", "seed.iso"] * 3 or files(bed) == ["0.qcow2"] * 3 + ["seed.iso"] * 3
    no_secret_is_written(bed.folder)


@pytest.mark.parametrize("phase", ["make_seed", "make_volumes", "define"])
@pytest.mark.parametrize("error", [DiskFull("No room."), HostError("It failed.")])
async def test_a_failure_in_any_phase_leaves_nothing(bed: Bed, phase: str, error: Any) -> None:
    async with bed.zone("one") as (core, _):
        await add(core)
        bed.host("one").fail_next(phase, error)
        task = await do(core, create())
        assert (task.state, files(bed), list(core.zone.guests())) == ("failed", [], [])
    no_secret_is_written(bed.folder)


@pytest.mark.parametrize("phase", ["make_seed", "make_volumes", "define"])
async def test_a_cell_killed_in_any_phase_leaves_nothing(bed: Bed, phase: str) -> None:
    async with bed.core() as core:
        async with bed.cell("one") as cell, bed.link(cell, core):
            await add(core)
            reached = bed.host("one").hang_next(phase)
            task_id = await begun(core, create())
            with anyio.fail_after(5):
                await reached.wait()
        async with bed.cell("one") as cell, bed.link(cell, core):
            task = await ended(core, task_id)
        assert (task.state, files(bed), list(core.zone.guests())) == ("failed", [], [])


async def test_a_restarted_core_still_knows_what_to_tell(bed: Bed) -> None:
    """Killed before the order was sent: the secrets are opened again."""
    async with bed.core() as core:
        async with bed.cell("one") as cell, bed.link(cell, core):
            await add(core)
        task_id = await begun_offline(core)
    async with bed.core() as core, bed.cell("one") as cell, bed.link(cell, core):
        task = await ended(core, task_id)
        assert (task.state, task.error) == ("done", None)
        assert files(bed) == ["0.qcow2", "seed.iso"]


async def begun_offline(core: Core) -> str:
    """Core still believes that the cell is there."""
    return await begun(core, create())
