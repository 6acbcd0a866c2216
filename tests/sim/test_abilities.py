"""Abilities over a whole zone: told by cells, journaled, asked again on command, and held against what needs them."""

from pathlib import Path
from typing import Any

import anyio
import msgspec
import pytest

from nano.core.core import Core
from nano.domain import guest_change as gx
from nano.domain import guest_commands as gc
from nano.domain.ability import Ability
from nano.domain.cell import AddCell, Cell, CellDescribed
from nano.domain.cell_probe import ProbeCell
from nano.domain.errors import HostError, NoCapacity
from nano.domain.guest_repair import RepairGuest
from nano.domain.machine import MEBI
from nano.domain.task import CancelTask, Task
from nano.tools.simulator.bed import Bed, ended, task_of

pytestmark = pytest.mark.anyio

CAN = Ability("network_limits", True, detail="tc")
LACKS = Ability("network_limits", False, "kernel", "sch_sfq")


@pytest.fixture
def bed(tmp_path: Path) -> Bed:
    return Bed(tmp_path)


def is_told(bed: Bed, *abilities: Ability) -> None:
    """What the host can, as its cell finds at its start."""
    host = bed.host("one")
    host.capabilities = msgspec.structs.replace(host.capabilities, abilities=abilities)
    host.found = abilities


async def until_told(core: Core, *abilities: Ability) -> None:
    with anyio.fail_after(10):
        while not isinstance(cell := core.zone.get("cell/one"), Cell) or (cell.pool and cell.abilities != abilities):
            await core.feed.wait_for(core.feed.position + 1)
        if not cell.pool:
            await core.execute(AddCell(cell="one"), actor="admin", command_id="add")
    if not cell.pool:
        await until_told(core, *abilities)


async def do(core: Core, command: Any) -> Task:
    receipt = await core.execute(command, actor="admin", command_id="")
    return await ended(core, task_of(receipt.facts))


def create(**options: Any) -> gc.CreateGuest:
    return gc.CreateGuest(name="web", memory=128 * MEBI, disks=(64 * MEBI,), **options)


async def test_what_a_host_can_is_a_fact_and_in_its_row(bed: Bed) -> None:
    is_told(bed, LACKS)
    async with bed.zone("one") as (core, _):
        await until_told(core, LACKS)
        row = core.views.tables["cell"].row("one")
        assert row.abilities == (LACKS,)  # type: ignore[union-attr]
        with pytest.raises(NoCapacity, match="can limit network interfaces"):
            await core.execute(create(send_bytes=MEBI), actor="admin", command_id="")
        assert (await do(core, create())).error is None
    async with bed.core() as core:
        assert core.zone.get("cell/one").abilities == (LACKS,)  # type: ignore[union-attr]


async def test_a_probe_on_command_finds_what_came(bed: Bed) -> None:
    is_told(bed, LACKS)
    async with bed.zone("one") as (core, _):
        await until_told(core, LACKS)
        bed.host("one").found = (CAN,)
        task = await do(core, ProbeCell(cell="one"))
        assert (task.kind, task.state, task.resource) == ("cell.probe", "done", "cell/one")
        assert core.zone.get("cell/one").abilities == (CAN,)  # type: ignore[union-attr]
        assert (await do(core, create(send_bytes=MEBI))).error is None


async def test_a_probe_that_fails_says_so_and_changes_nothing(bed: Bed) -> None:
    is_told(bed, LACKS)
    async with bed.zone("one") as (core, _):
        await until_told(core, LACKS)
        bed.host("one").fail_next("probe", HostError("It does not answer.", code="hypervisor_unreachable"))
        task = await do(core, ProbeCell(cell="one"))
        assert task.state == "failed"
        assert task.error is not None
        assert task.error.code == "hypervisor_unreachable"
        bed.host("one").hang_next("probe")
        receipt = await core.execute(ProbeCell(cell="one"), actor="admin", command_id="")
        await core.execute(CancelTask(task=task_of(receipt.facts)), actor="admin", command_id="")
        assert (await ended(core, task_of(receipt.facts))).state == "cancelled"
        assert core.zone.get("cell/one").abilities == (LACKS,)  # type: ignore[union-attr]


async def test_a_limit_that_a_host_has_lost_is_told_and_stops_nothing(bed: Bed) -> None:
    """Another kernel, after a restart: the guest still starts, and what is not in force is drift that nothing there mends."""
    async with bed.zone("one") as (core, _):
        await until_told(core)
        assert (await do(core, create(send_bytes=MEBI))).error is None
        bed.host("one").found = (LACKS,)
        await do(core, ProbeCell(cell="one"))
        assert (await do(core, gc.StartGuest(guest="web"))).error is None
        (row,) = (await core.inspector.look()).drift
        assert (row.attribute, row.repair, row.expected) == ("network_limits", "not_here", "send_bytes 1048576")
        assert row.found == "no limit: its kernel lacks sch_sfq"
        assert (await do(core, RepairGuest(guest="web"))).error is None, "what can't be mended here is no failure"
        assert (await do(core, gx.SetGuest(guest="web", cores=1, priority="low"))).error is None
        assert (await do(core, gx.SetGuest(guest="web", send_bytes=0))).error is None
        assert (await core.inspector.look()).drift == ()


async def test_the_same_told_again_is_no_news(bed: Bed) -> None:
    is_told(bed, CAN)
    async with bed.zone("one") as (core, _):
        await until_told(core, CAN)
        before = core.ledger.position
        await do(core, ProbeCell(cell="one"))
        told = [fact for fact in await core.ledger.facts(before) if isinstance(fact.event, CellDescribed)]
        assert told == []
