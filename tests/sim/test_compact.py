"""Compacting over a whole zone: what is given back is told, and whatever fails the old disk is there."""

from pathlib import Path

import anyio
import pytest

from nano.core.core import Core
from nano.domain import guest_commands as gc
from nano.domain.errors import Conflict, HostError, NanoError
from nano.domain.guest import Guest
from nano.domain.guest_compact import CompactDisk, GuestDiskCompacted
from nano.domain.guest_snapshot import CreateSnapshot
from nano.domain.machine import MEBI
from nano.domain.naming import format_size
from nano.domain.task import CancelTask
from nano.tools.simulator.bed import Bed, ended, task_of
from tests.sim.test_change import created, do

pytestmark = pytest.mark.anyio

PHASES = ("compact", "replace_volume")
COMPACT = CompactDisk(guest="web", number=0)


@pytest.fixture
def bed(tmp_path: Path) -> Bed:
    return Bed(tmp_path)


def guest_of(core: Core) -> Guest:
    return core.zone.find_guest("web")


def volume(bed: Bed, core: Core) -> int:
    """Bytes that its system disk takes; no copy of it lies around."""
    files = bed.host("one").files
    assert not [name for name in files if name.endswith(".part")]
    return files[f"{guest_of(core).id}_0.qcow2"]


async def agent(core: Core) -> None:
    with anyio.fail_after(10):
        while not guest_of(core).agent:
            await core.feed.wait_for(core.feed.position + 1)


@pytest.mark.parametrize("start", [False, True])
async def test_what_is_given_back_is_in_the_journal_and_in_the_task(bed: Bed, start: bool) -> None:
    async with bed.zone("one") as (core, _):
        await created(core, start=start)
        if start:
            await agent(core)
        before, spec = volume(bed, core), guest_of(core).spec
        told: list[GuestDiskCompacted] = []
        core.feed.add_listener(
            lambda changes: told.extend(c.fact.event for c in changes if isinstance(c.fact.event, GuestDiskCompacted))
        )
        task = await do(core, COMPACT)
        assert task.error is None
        (event,) = told
        assert (event.number, event.freed >= before - volume(bed, core) > 0) == (0, True)
        assert [step.detail for step in task.steps] == [f"{format_size(event.freed)} given back"]
        assert (guest_of(core).task, guest_of(core).spec) == ("", spec)


async def test_it_is_refused_where_it_would_lose_something_or_can_not_be_done(bed: Bed) -> None:
    async with bed.zone("one") as (core, _):
        await created(core)
        bed.host("one").blank_guests_boot = False  # no agent answers in it
        await do(core, gc.StartGuest(guest="web"))
        assert await code_of(core, COMPACT) == "agent_silent"
        assert await code_of(core, CompactDisk(guest="web", number=1)) == "invalid_number"
        assert await code_of(core, CompactDisk(guest="web", number=-1)) == "invalid_number"
        await do(core, gc.ForceStopGuest(guest="web"))
        await do(core, CreateSnapshot(guest="web", name="now"))
        assert await code_of(core, COMPACT) == "disk_in_snapshot"


async def code_of(core: Core, command: CompactDisk) -> str:
    position = core.ledger.position
    with pytest.raises(NanoError) as refusal:
        await core.execute(command, actor="admin", command_id="")
    assert core.ledger.position == position
    return refusal.value.code


@pytest.mark.parametrize("phase", PHASES)
@pytest.mark.parametrize("trouble", ["fail", "cancel", "kill"])
async def test_trouble_in_each_phase_leaves_the_old_disk(bed: Bed, phase: str, trouble: str) -> None:
    host = bed.host("one")
    async with bed.core() as core:
        async with bed.cell("one") as cell, bed.link(cell, core):
            await created(core)
            before = volume(bed, core)
            reached = anyio.Event()
            if trouble == "fail":
                host.fail_next(phase, HostError("It failed.", code="hypervisor_error"))
            else:
                reached = host.hang_next(phase)
            task_id = task_of((await core.execute(COMPACT, actor="admin", command_id="")).facts)
            with pytest.raises(Conflict):
                await core.execute(gc.StartGuest(guest="web"), actor="admin", command_id="")
            if trouble != "fail":
                with anyio.fail_after(10):
                    await reached.wait()
            if trouble == "cancel":
                await core.execute(CancelTask(task=task_id), actor="admin", command_id="")
            if trouble != "kill":
                await ended(core, task_id)
        async with bed.cell("one") as cell, bed.link(cell, core):
            task = await ended(core, task_id)
            assert task.state == ("cancelled" if trouble == "cancel" else "failed")
            assert volume(bed, core) == before
            assert (await do(core, COMPACT)).error is None
            assert volume(bed, core) == before // 2
            assert host.sizes[f"{guest_of(core).id}_0.qcow2"] >= 16 * MEBI
