"""What moves along with a running guest: changes that wait for its next start, and its security rules."""

from pathlib import Path

import msgspec
import pytest

from nano.domain import guest_change as gx
from nano.domain import guest_commands as gc
from nano.domain import guest_migrate as mi
from nano.domain import guest_rules as ru
from nano.domain.errors import Conflict, HostError
from nano.tools.simulator.bed import Bed
from tests.sim.test_migrate import begin, do, ran

pytestmark = pytest.mark.anyio


@pytest.fixture
def bed(tmp_path: Path) -> Bed:
    return Bed(tmp_path)


async def test_changes_that_wait_for_its_next_start_move_along(bed: Bed) -> None:
    async with bed.zone("one", "two") as (core, (_, two)):
        await ran(bed, core)
        await do(core, gx.SetGuest(guest="web", cores=2))
        assert core.zone.find_guest("web").pending == ("cores",)
        assert (await do(core, mi.MigrateGuest(guest="web", to="two", live=True))).error is None
        guest = core.zone.find_guest("web")
        (domain,) = two.site.domains()
        assert (guest.pending, domain.pending, domain.spec) == (("cores",), ("cores",), guest.spec)
        assert (await core.inspector.look()).drift == ()
        await do(core, gc.ForceStopGuest(guest="web"))
        await do(core, gc.StartGuest(guest="web"))
        assert core.zone.find_guest("web").pending == ()
        assert bed.host("two").machine[guest.id].live == guest.spec


async def test_changes_of_what_it_runs_with_keep_it_from_moving_running(bed: Bed) -> None:
    async with bed.zone("one", "two") as (core, _):
        guest = await ran(bed, core)
        core.zone.states[f"guest/{guest.id}"] = msgspec.structs.replace(guest, pending=("cores", "disks"))
        with pytest.raises(Conflict) as refused:
            await begin(core, mi.MigrateGuest(guest="web", to="two", live=True))
        assert (refused.value.code, "disks" in refused.value.message) == ("guest_change_pending", True)
        core.zone.states[f"guest/{guest.id}"] = guest


@pytest.mark.parametrize("fails", ["", "expect", "channel"])
async def test_its_rules_are_in_force_before_it_is_there(bed: Bed, fails: str) -> None:
    async with bed.zone("one", "two") as (core, _):
        guest = await ran(bed, core)
        rule = ru.AddRule(guest="web", action="accept", protocol="tcp", port=22)
        assert (await do(core, rule)).error is None
        if fails:
            bed.host("two").fail_next(fails, HostError("It failed.", code="hypervisor_error"))
        task = await do(core, mi.MigrateGuest(guest="web", to="two", live=True))
        here, elsewhere = ("one", "two") if fails else ("two", "one")
        assert (task.error is None, core.zone.find_guest("web").cell) == (not fails, here)
        assert (set(bed.host(here).in_force), bed.host(elsewhere).in_force) == ({guest.id}, {})
        asked = [name for name, _ in bed.host("two").calls]
        assert asked.index("put_filter") < asked.index("expect"), "before anything of it comes"
        assert (await core.inspector.look()).drift == ()
