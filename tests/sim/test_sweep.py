"""Nothing is left without an owner: for every kind of task, its cell is killed, its host fails, or it is cancelled in each of its
phases, and then the host is swept for domains, volumes, seeds, media, files on their way, and Core for allocations.

The phases are the calls of the host that the task was seen to make when nothing was wrong.
"""

import subprocess
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Literal

import anyio
import pytest

from nano.cell.cell import CellNode
from nano.core.core import Core
from nano.domain.batch import CreateBatch
from nano.domain.catalogue import COMMANDS
from nano.domain.cell import AddCell, cell_named
from nano.domain.errors import Conflict, HostError
from nano.domain.guest_commands import DeleteGuest
from nano.domain.image_commands import DeleteImage, RegisterImage
from nano.domain.machine import MEBI
from nano.domain.order import Order
from nano.domain.task import CancelTask, Task
from nano.tools.simulator.bed import Bed, ended, task_of
from tests.sim.every_task import (
    BETWEEN_CELLS,
    CREATE,
    EVERY,
    ORDERS_BETWEEN_CELLS,
    ORDERS_OF_ORPHANS,
    STRAY,
    WITHOUT_A_CELL,
    Kind,
    Stage,
    sending,
)
from tests.sim.test_media import upload

pytestmark = [pytest.mark.anyio, pytest.mark.timeout(120)]

ALWAYS = {"sample", "agent", "domains"}  # asked by the cell whatever is going on
Trouble = Literal["", "kill", "fail", "cancel"]


@pytest.fixture(scope="module")
def image(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("image") / "img.qcow2"
    subprocess.run(["qemu-img", "create", "-q", "-f", "qcow2", str(path), "1M"], check=True)
    return path


class Node:
    """The cell, which can be killed and come again while Core goes on."""

    def __init__(self, bed: Bed, core: Core) -> None:
        self._bed = bed
        self._core = core

    @asynccontextmanager
    async def up(self) -> AsyncIterator[CellNode]:
        async with self._bed.cell("one") as cell, self._bed.link(cell, self._core):
            with anyio.fail_after(10):
                while self._core.zone.get("cell/one") is None:
                    await self._core.feed.wait_for(self._core.feed.position + 1)
                if cell_named(self._core.zone, "one").pool:
                    await self._core.cells._link_of("one")
            yield cell


@asynccontextmanager
async def zone_of(folder: Path, image: Path) -> AsyncIterator[tuple[Stage, Node]]:
    """Core with a cell, a disk image "img" and a media image "cd"."""
    bed = Bed(folder)
    async with bed.core() as core:
        stage, node = Stage(core, bed), Node(bed, core)
        bed.send = sending(core)
        async with node.up():
            await core.execute(AddCell(cell="one"), actor="admin", command_id="add")
            await stage.must(RegisterImage(name="img", path=str(image)))
            await upload(core, "cd")
        yield stage, node


async def sweep(stage: Stage, cell: CellNode, *, drift: bool) -> None:
    """What is on the host belongs to a guest, what guests have is there, and nobody is at work."""
    core, host = stage.core, stage.bed.host("one")
    assert core.zone.open_tasks == {}
    assert cell.site.open_orders == {}
    with anyio.fail_after(10):
        found = await core.inspector.look()
    assert found.unasked == ()
    assert [row.id for row in found.orphans if STRAY not in row.id] == []
    assert drift or found.drift == ()
    guests = {guest.id: guest for guest in core.zone.guests()}
    assert not [name for name in host.files if name[:36] not in guests and name != STRAY]
    assert {guest.task for guest in guests.values()} <= {""}
    assert core.zone.macs == {mac for guest in guests.values() for mac in guest.spec.macs}
    assert core.zone.guest_ids == {guest.name: guest.id for guest in guests.values()}
    assert host.in_force.keys() <= guests.keys()
    assert {one.guest_id for one in host.open_ports.values()} <= {guest.id for guest in guests.values() if guest.vnc}
    assert not list((stage.bed.folder / "one" / "outgoing").glob("*"))


async def cleared(stage: Stage) -> None:
    """Everything deleted, so that the next phase begins with an empty host."""
    host = stage.bed.host("one")
    for guest in list(stage.core.zone.guests()):
        await stage.must(DeleteGuest(guest=guest.id, force=True))
    host.files.pop(STRAY, None)
    assert (host.machine, host.files, host.sizes) == ({}, {}, {})
    if stage.core.views.find("image", "built"):
        await stage.core.execute(DeleteImage(image="built"), actor="admin", command_id="")


async def run_of(kind: Kind, stage: Stage, node: Node, trouble: Trouble, phase: str) -> Task:
    """The task, ended, after this trouble in this phase; swept."""
    host = stage.bed.host("one")
    async with node.up():
        await kind.ready(stage)
        host.calls.clear()
        reached = anyio.Event()
        if trouble == "fail":
            host.fail_next(phase, HostError("It failed.", code="hypervisor_error"))
        elif trouble:
            reached = host.hang_next(phase)
        receipt = await stage.core.execute(kind.command(stage), actor="admin", command_id="")
        task_id = task_of(receipt.facts)
        if trouble in ("kill", "cancel"):
            with anyio.fail_after(10):
                await reached.wait()
        if trouble == "cancel":
            await stage.core.execute(CancelTask(task=task_id), actor="admin", command_id="")
        if trouble != "kill":
            await ended(stage.core, task_id)
    async with node.up() as cell:
        task = await ended(stage.core, task_id)
        await sweep(stage, cell, drift=kind.lasting and task.state != "done")
        await cleared(stage)
    return task


def test_every_task_of_the_catalogue_is_swept() -> None:
    assert EVERY.keys() | WITHOUT_A_CELL | BETWEEN_CELLS == {entry.name for entry in COMMANDS if entry.work}


async def test_every_kind_of_order_that_a_cell_takes_is_among_them(tmp_path: Path, image: Path) -> None:
    taken: set[str] = set()
    async with zone_of(tmp_path, image) as (stage, node):
        for kind in EVERY.values():
            async with node.up() as cell:
                cell.ledger.feed.add_listener(
                    lambda changes: taken.update(one.after.kind for one in changes if isinstance(one.after, Order))
                )
                await kind.ready(stage)
                await stage.must(kind.command(stage))
                await cleared(stage)
        async with node.up() as cell:
            assert taken | ORDERS_BETWEEN_CELLS | ORDERS_OF_ORPHANS == set(cell._desk._by_kind)


@pytest.mark.parametrize("name", EVERY)
async def test_nothing_is_left_whatever_happens_in_any_phase(name: str, tmp_path: Path, image: Path) -> None:
    kind = EVERY[name]
    async with zone_of(tmp_path, image) as (stage, node):
        task = await run_of(kind, stage, node, "", "")
        assert (task.kind, task.state) == (name, "done")
        async with node.up():
            await kind.ready(stage)
            stage.bed.host("one").calls.clear()
            await stage.must(kind.command(stage))
            phases = list(dict.fromkeys(method for method, _ in stage.bed.host("one").calls if method not in ALWAYS))
            await cleared(stage)
        assert phases
        for phase in phases:
            for trouble in ("kill", "fail", "cancel"):
                try:
                    await run_of(kind, stage, node, trouble, phase)
                except BaseException as error:
                    error.add_note(f"{name}: {trouble} in {phase}")
                    raise


@pytest.mark.parametrize("times", [1, 2], ids=["the cell's own undo", "and what Core asks for then"])
async def test_volumes_that_a_failed_creation_could_not_remove_are_noticed_and_go(
    tmp_path: Path, image: Path, times: int
) -> None:
    async with zone_of(tmp_path, image) as (stage, node):
        host = stage.bed.host("one")
        async with node.up() as cell:
            host.fail_next("define", HostError("It failed.", code="hypervisor_error"))
            host.fail_next("remove_volumes", HostError("Not now.", code="volume_failed"), times=times)
            task = await stage.do(CREATE)
            assert task.state == "failed"
            if times > 1:
                assert cell_named(stage.core.zone, "one").debts
                assert [row.kind for row in (await stage.core.inspector.look()).orphans] == ["allocation"]
        async with node.up() as cell:  # a cell that comes pays its debts first
            with anyio.fail_after(10):
                while cell_named(stage.core.zone, "one").debts:
                    await stage.core.feed.wait_for(stage.core.feed.position + 1)
            await sweep(stage, cell, drift=False)
            assert host.files == {}


@pytest.mark.parametrize("name", ["guest.create", "guest.reset"])
async def test_an_image_is_not_deleted_while_it_is_cloned(name: str, tmp_path: Path, image: Path) -> None:
    async with zone_of(tmp_path, image) as (stage, node), node.up():
        kind, host = EVERY[name], stage.bed.host("one")
        await kind.ready(stage)
        reached = host.hang_next("make_volumes")
        receipt = await stage.core.execute(kind.command(stage), actor="admin", command_id="")
        with anyio.fail_after(10):
            await reached.wait()
        with pytest.raises(Conflict) as refusal:
            await stage.core.execute(DeleteImage(image="img"), actor="admin", command_id="")
        assert (refusal.value.code, refusal.value.context["guests"]) == ("image_in_use", ["web"])
        await stage.core.execute(CancelTask(task=task_of(receipt.facts)), actor="admin", command_id="")
        await ended(stage.core, task_of(receipt.facts))
        await cleared(stage)
        await stage.core.execute(DeleteImage(image="img"), actor="admin", command_id="")


async def test_the_hypervisor_goes_away_under_load(
    tmp_path: Path, image: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """What could not be taken back meanwhile is the cell's debt, and settled when it can be."""
    monkeypatch.setattr("nano.core.cells.DEBT_PAUSE_S", 0.05)
    async with zone_of(tmp_path, image) as (stage, node), node.up() as cell:
        host = stage.bed.host("one")
        batch = CreateBatch(prefix="load", count=20, memory=64 * MEBI, disks=(4 * MEBI,), image="img", start=True)
        receipt = await stage.core.execute(batch, actor="admin", command_id="")
        with anyio.fail_after(10):
            while len(host.machine) < 3:
                await stage.core.feed.wait_for(stage.core.feed.position + 1)
        host.lose_connection()
        with anyio.fail_after(10):
            while not any(
                item.state == "failed" for item in stage.core.zone.get(f"task/{task_of(receipt.facts)}").items
            ):  # type: ignore[union-attr]
                await stage.core.feed.wait_for(stage.core.feed.position + 1)
        host.restore_connection()
        task = await ended(stage.core, task_of(receipt.facts))
        assert {item.state for item in task.items} <= {"done", "failed"}
        with anyio.fail_after(20):
            while cell_named(stage.core.zone, "one").debts:
                await stage.core.feed.wait_for(stage.core.feed.position + 1)
        await sweep(stage, cell, drift=False)
        await cleared(stage)
