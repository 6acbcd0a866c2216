"""The recycle bin over a whole zone on simulated hosts: out of use until then, and emptied by Core, also one that was away."""

from datetime import datetime, timedelta
from pathlib import Path

import anyio
import pytest

from nano.core import bin_work
from nano.core.core import Core
from nano.domain import guest_bin as gb
from nano.domain import guest_change as gx
from nano.domain import guest_commands as gc
from nano.domain.errors import HostError
from nano.domain.guest import Guest
from nano.tools.simulator.bed import Bed, utc_now
from tests.sim.test_change import as_journaled, created, do

pytestmark = pytest.mark.anyio


class Clock:
    """The real one, with a hand that a test can turn."""

    def __init__(self) -> None:
        self.ahead = timedelta()

    def __call__(self) -> datetime:
        return utc_now() + self.ahead


@pytest.fixture
def clock() -> Clock:
    return Clock()


@pytest.fixture
def bed(tmp_path: Path, clock: Clock) -> Bed:
    return Bed(tmp_path, clock=clock)


async def gone(core: Core, guest: Guest) -> None:
    with anyio.fail_after(20):
        while core.zone.get(f"guest/{guest.id}") is not None:
            await core.feed.wait_for(core.feed.position + 1)


async def test_in_and_out_and_in_use_again(bed: Bed) -> None:
    async with bed.zone("one") as (core, _):
        guest = await created(core, autostart=True)
        assert (await do(core, gb.RecycleGuest(guest="web"))).error is None
        row = core.views.tables["guest"].row(guest.id)
        assert (row.state, row.autostart) == ("recycled", False)
        as_journaled(bed, core)
        assert (await do(core, gb.RestoreGuest(guest="web"))).error is None
        assert core.zone.find_guest("web").spec.autostart
        as_journaled(bed, core)
        assert (await do(core, gc.StartGuest(guest="web"))).error is None


async def test_what_is_due_is_deleted_with_all_of_it(bed: Bed, clock: Clock, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(bin_work, "LOOK_S", 0.05)
    async with bed.zone("one") as (core, _):
        guest = await created(core)
        assert (await do(core, gb.RecycleGuest(guest="web", hours=1))).error is None
        clock.ahead = timedelta(hours=1)
        await gone(core, guest)
        assert bed.host("one").machine == {}
        assert bed.host("one").sizes == {}


async def test_a_core_that_was_away_when_it_became_due_deletes_it(bed: Bed, clock: Clock) -> None:
    async with bed.zone("one") as (core, _):
        guest = await created(core)
        assert (await do(core, gb.RecycleGuest(guest="web", hours=1))).error is None
    clock.ahead = timedelta(hours=2)
    async with bed.zone("one") as (core, _):
        await gone(core, guest)
        assert bed.host("one").sizes == {}


async def test_a_host_that_refuses_leaves_it_in_use(bed: Bed) -> None:
    async with bed.zone("one") as (core, _):
        await created(core, autostart=True)
        bed.host("one").fail_next("define", HostError("No.", code="host_error"))
        task = await do(core, gb.RecycleGuest(guest="web"))
        assert task.state == "failed"
        guest = core.zone.find_guest("web")
        assert (guest.phase, guest.spec.autostart, guest.task) == ("ready", True, "")
        assert (await do(core, gx.SetGuest(guest="web", cores=2))).error is None
        as_journaled(bed, core)
