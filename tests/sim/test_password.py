"""A guest's password over a whole zone on simulated hosts: set by its agent or not at all, and in no journal in clear."""

from pathlib import Path
from typing import Any

import anyio
import pytest

from nano.core.core import Core
from nano.domain.errors import Conflict, HostError
from nano.domain.guest_password import SetPassword, ShowPassword
from nano.tools.simulator.bed import Bed, ended, task_of
from tests.sim.test_change import created, do

pytestmark = pytest.mark.anyio

PASSWORD = "Correct-Horse-7!"
ASK: Any = SetPassword(guest="web", password=PASSWORD)


@pytest.fixture
def bed(tmp_path: Path) -> Bed:
    return Bed(tmp_path)


async def listening(core: Core) -> str:
    """A running guest whose agent answers; its id."""
    guest = await created(core, start=True)
    with anyio.fail_after(10):
        while not core.zone.find_guest("web").agent:
            await core.feed.wait_for(core.feed.position + 1)
    return str(guest.id)


def no_password_is_written(folder: Path) -> None:
    written = [path for path in folder.rglob("*") if path.is_file()]
    assert written
    assert not [path for path in written if PASSWORD.encode() in path.read_bytes()]


async def test_it_is_set_told_and_nowhere_in_clear(bed: Bed) -> None:
    async with bed.zone("one") as (core, _):
        guest_id = await listening(core)
        task = await do(core, ASK)
        assert (task.state, bed.host("one").machine[guest_id].passwords) == ("done", {"root": PASSWORD})
        await core.execute(ShowPassword(guest="web"), actor="ann", command_id="")
        assert core.password("web") == ("root", PASSWORD)
        assert (await core.inside("web")).host_name == "web"
    async with bed.core() as core:
        assert core.password("web") == ("root", PASSWORD)
    no_password_is_written(bed.folder)


async def test_one_that_was_not_set_is_not_known(bed: Bed) -> None:
    async with bed.zone("one") as (core, _):
        await listening(core)
        bed.host("one").fail_next("set_password", HostError("It said no.", code="agent_refused"))
        task = await do(core, ASK)
        assert task.error is not None
        assert task.error.code == "agent_refused"
        with pytest.raises(Conflict) as refused:
            await core.execute(ShowPassword(guest="web"), actor="ann", command_id="")
        assert refused.value.code == "password_unknown"
    no_password_is_written(bed.folder)


async def test_a_cell_killed_meanwhile_does_not_pretend(bed: Bed) -> None:
    async with bed.core() as core:
        async with bed.cell("one") as cell, bed.link(cell, core):
            await listening(core)
            reached = bed.host("one").hang_next("set_password")
            receipt = await core.execute(ASK, actor="admin", command_id="")
            with anyio.fail_after(5):
                await reached.wait()
        async with bed.cell("one") as cell, bed.link(cell, core):
            task = await ended(core, task_of(receipt.facts))
        assert (task.state, core.zone.find_guest("web").admin) == ("failed", "")
        assert core.zone.find_guest("web").task == ""
    no_password_is_written(bed.folder)
