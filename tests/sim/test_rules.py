"""Security policies over a whole zone on simulated hosts: a new set is in force whole, or the last good one stays."""

from pathlib import Path
from typing import Any

import anyio
import msgspec
import pytest

from nano.core.core import Core
from nano.domain import batch as ba
from nano.domain import guest_commands as gc
from nano.domain import guest_rules as gp
from nano.domain.ability import ANTI_SPOOFING, PACKET_FILTER, Ability
from nano.domain.cloud_init import CloudInit
from nano.domain.errors import HostError
from nano.domain.guest import Guest
from nano.domain.guest_devices import AddNic
from nano.domain.guest_repair import RepairGuest
from nano.domain.machine import MEBI
from nano.domain.orphan import RemoveOrphan
from nano.domain.security import SecurityPolicy, SecurityRule
from nano.hypervisor.filter_xml import filter_text
from nano.hypervisor.guard import Claim
from nano.hypervisor.packet_filter import tap_name
from nano.tools.simulator.bed import Bed, ended, task_of
from tests.sim.test_change import add as add_cell
from tests.sim.test_change import as_journaled, created, do
from tests.sim.test_drift import STRANGER, drifting, look, well

pytestmark = pytest.mark.anyio

PHASES = ("defined", "put_filter", "running", "define", "follow")
STRICT = SecurityPolicy(default="drop", rules=(SecurityRule(action="accept", protocol="tcp", port=22),))
SSH = gp.AddRule(guest="web", action="accept", protocol="tcp", port=22)


@pytest.fixture
def bed(tmp_path: Path) -> Bed:
    return Bed(tmp_path)


def in_force(bed: Bed, core: Core) -> Guest:
    """The guest, whose filter on the host is its policy's."""
    guest = core.zone.find_guest("web")
    assert bed.host("one").in_force.get(guest.id, "") == filter_text(guest.id, guest.spec)
    as_journaled(bed, core)
    return guest


async def test_a_guest_is_made_with_its_policy_in_force_at_its_first_start(bed: Bed) -> None:
    async with bed.zone("one") as (core, _):
        await created(core, start=True, policy=STRICT)
        calls = [name for name, _ in bed.host("one").calls if name in ("put_filter", "start")]
        assert calls == ["put_filter", "start"]
        assert in_force(bed, core).spec.security == STRICT
        assert await well(core)


async def test_a_policy_that_fails_fails_the_creation_whole(bed: Bed) -> None:
    host = bed.host("one")
    async with bed.zone("one") as (core, _):
        await add_cell(core)
        makeup: dict[str, Any] = {"memory": 128 * MEBI, "disks": (64 * MEBI,), "policy": STRICT, "start": True}
        for count, command in (
            (1, gc.CreateGuest(name="web", **makeup)),
            (2, ba.CreateBatch(prefix="web", count=2, **makeup)),
        ):
            error = HostError("nftables refused the rules.", code="filter_refused")
            host.fail_next("put_filter", error, times=count)
            task = await do(core, command)
            assert task.error is not None
            assert "nftables refused the rules." in task.error.message
            assert (list(core.zone.guests()), host.machine, host.in_force, host.files) == ([], {}, {}, {})
        assert core.zone.macs == set()
        assert await well(core)


async def test_a_cell_killed_while_a_filter_is_made_leaves_the_guest_whole(bed: Bed) -> None:
    async with bed.core() as core:
        async with bed.cell("one") as cell, bed.link(cell, core):
            await add_cell(core)
            reached = bed.host("one").hang_next("put_filter")
            command = gc.CreateGuest(name="web", memory=128 * MEBI, disks=(64 * MEBI,), policy=STRICT, start=True)
            receipt = await core.execute(command, actor="admin", command_id="")
            with anyio.fail_after(5):
                await reached.wait()
        async with bed.cell("one") as cell, bed.link(cell, core):
            task = await ended(core, task_of(receipt.facts))
        host = bed.host("one")
        if task.state == "done":
            in_force(bed, core)
        else:
            assert (list(core.zone.guests()), host.machine, host.in_force, host.files) == ([], {}, {}, {})


async def test_every_guest_is_guarded_from_its_start_on(bed: Bed) -> None:
    host = bed.host("one")
    async with bed.zone("one") as (core, _):
        guest = await created(core, cloud_init=CloudInit(address="10.0.0.5/24"))
        assert host.guarded == {}, "what does not run sends nothing"
        await do(core, gc.StartGuest(guest="web"))
        assert host.guarded == {guest.id: (Claim(tap_name(guest.spec.mac), guest.spec.mac, ("10.0.0.5",)),)}
        assert await well(core)
        await do(core, SSH)
        assert len(host.guarded) == 1
        await do(core, gp.SetGuard(guest="web", guard="off"))
        assert host.guarded == {}
        assert core.zone.find_guest("web").pending == ()
        await do(core, gp.SetGuard(guest="web", guard="on"))
        await do(core, gp.SetAddresses(guest="web"))
        assert [claim.addresses for claims in host.guarded.values() for claim in claims] == [()]
        await do(core, AddNic(guest="web"))
        assert [len(claims) for claims in host.guarded.values()] == [2]
        await do(core, gc.DeleteGuest(guest="web", force=True))
        assert host.guarded == {}


async def test_a_guest_that_can_not_be_guarded_is_not_started_and_tells_why(bed: Bed) -> None:
    host = bed.host("one")
    async with bed.zone("one") as (core, _):
        await created(core)
        host.fail_next("guard", HostError("nftables refused the guard.", code="filter_refused"))
        task = await do(core, gc.StartGuest(guest="web"))
        assert task.error is not None
        assert (task.error.code, core.zone.find_guest("web").power) == ("filter_refused", "stopped")
        assert (await do(core, gc.StartGuest(guest="web"))).error is None


async def test_on_a_host_that_can_not_guard_nothing_fails(bed: Bed) -> None:
    host = bed.host("one")
    lacks = (Ability(ANTI_SPOOFING, False, "program", "nft"),)
    host.capabilities = msgspec.structs.replace(host.capabilities, abilities=lacks)
    async with bed.zone("one") as (core, _):
        await created(core, start=True)
        assert (core.zone.find_guest("web").power, host.guarded) == ("running", {})
        assert (await do(core, SSH)).error is None
        assert await well(core)


async def test_the_guard_is_made_of_the_journal_when_a_cell_starts(bed: Bed) -> None:
    host = bed.host("one")
    async with bed.core() as core:
        async with bed.cell("one") as cell, bed.link(cell, core):
            guest = await created(core, start=True)
            before = dict(host.guarded)
        host.guarded = {STRANGER: (Claim("ng1", guest.spec.mac, ()),)}
        async with bed.cell("one") as cell, bed.link(cell, core):
            assert host.guarded == before
        host.fail_next("guard", HostError("It failed."))
        async with bed.cell("one") as cell, bed.link(cell, core):
            assert (await do(core, gc.StopGuest(guest="web"))).error is None, "the cell serves all the same"


async def test_each_change_is_in_force_and_told(bed: Bed) -> None:
    async with bed.zone("one") as (core, (cell,)):
        await created(core, start=True)
        commands: list[Any] = [
            gp.SetDefaultAction(guest="web", action="drop"),
            SSH,
            gp.AddRule(guest="web", action="drop", source="10.0.0.9", before=1),
            gp.MoveRule(guest="web", rule=1, place=2),
            gp.ModifyRule(guest="web", rule=1, port=2222),
            gp.SetAddresses(guest="web", addresses=("10.0.0.5",)),
            gp.RemoveRule(guest="web", rule=2),
        ]
        for command in commands:
            task = await do(core, command)
            assert (task.state, task.kind) == ("done", f"guest.{type(command).__struct_config__.tag[6:]}")  # type: ignore[index]
            guest = in_force(bed, core)
            assert guest.pending == ()
        assert [domain.spec for domain in cell.site.domains()] == [guest.spec]
        row: Any = core.views.tables["guest"].row(guest.id)
        assert [(rule.port, row.security.default) for rule in row.security.rules] == [(2222, "drop")]
        await do(core, gc.DeleteGuest(guest="web", force=True))
        assert bed.host("one").in_force == {}


@pytest.mark.parametrize("phase", PHASES)
@pytest.mark.parametrize("before", [(), (SSH,)], ids=["the first set", "another set"])
async def test_the_last_good_set_stays_when_a_new_one_fails(bed: Bed, phase: str, before: tuple[Any, ...]) -> None:
    async with bed.zone("one") as (core, _):
        await created(core, start=True)
        for command in before:
            await do(core, command)
        spec = core.zone.find_guest("web").spec
        bed.host("one").fail_next(phase, HostError("It was refused.", code="hypervisor_unreachable"))
        task = await do(core, gp.SetDefaultAction(guest="web", action="drop"))
        assert task.state == "failed"
        assert in_force(bed, core).spec == spec


@pytest.mark.parametrize("phase", PHASES)
async def test_a_cell_killed_in_any_phase_carries_on(bed: Bed, phase: str) -> None:
    async with bed.core() as core:
        async with bed.cell("one") as cell, bed.link(cell, core):
            await created(core, start=True)
            reached = bed.host("one").hang_next(phase)
            receipt = await core.execute(SSH, actor="admin", command_id="")
            with anyio.fail_after(5):
                await reached.wait()
        async with bed.cell("one") as cell, bed.link(cell, core):
            task = await ended(core, task_of(receipt.facts))
        assert (task.state, task.error) == ("done", None)
        guest = in_force(bed, core)
        assert guest.spec.security is not None
        assert [rule.port for rule in guest.spec.security.rules] == [22]


async def test_what_the_host_does_not_let_us_take_back_is_tried_again(
    bed: Bed, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("nano.cell.orders.UNDO_AGAIN_S", (0, 0))
    async with bed.zone("one") as (core, _):
        spec = (await created(core, start=True)).spec
        bed.host("one").fail_next("follow", HostError("It does not run any more.", code="hypervisor_unreachable"))
        bed.host("one").fail_next("drop_filter", HostError("It failed."), times=2)
        task = await do(core, SSH)
        assert (task.state, task.undone) == ("failed", ("definition put back",))
        assert in_force(bed, core).spec == spec


async def test_a_cell_started_anew_goes_on_taking_back(bed: Bed, monkeypatch: pytest.MonkeyPatch) -> None:
    """Also when the host does not let it at its start, and without making the zone wait for that."""
    monkeypatch.setattr("nano.cell.orders.UNDO_AGAIN_S", (0, 0))
    host = bed.host("one")
    async with bed.core() as core:
        async with bed.cell("one") as cell, bed.link(cell, core):
            spec = (await created(core, start=True)).spec
            reached = host.hang_next("follow")
            receipt = await core.execute(SSH, actor="admin", command_id="")
            with anyio.fail_after(5):
                await reached.wait()
        host.fail_next("defined", HostError("It failed."), times=3)
        async with bed.cell("one") as cell, bed.link(cell, core):
            task = await ended(core, task_of(receipt.facts))
        assert (task.state, task.undone) == ("failed", ("definition put back",))
        assert in_force(bed, core).spec == spec


async def test_a_host_that_filters_nothing_refuses_by_the_abilitys_name(bed: Bed) -> None:
    async with bed.zone("one") as (core, _):
        spec = (await created(core)).spec
        host = bed.host("one")
        lacks = (Ability(PACKET_FILTER, False, "kernel", "ebtables"),)
        host.capabilities = msgspec.structs.replace(host.capabilities, abilities=lacks)
        task = await do(core, SSH)  # Core has not heard of it yet
        assert task.error is not None
        assert (task.error.code, "its kernel lacks ebtables" in task.error.message) == ("ability_missing", True)
        assert in_force(bed, core).spec == spec


@pytest.mark.parametrize("seen", ["", "in accept all"], ids=["gone", "another"])
async def test_a_filter_that_drifted_is_told_and_put_back(bed: Bed, seen: str) -> None:
    async with bed.zone("one") as (core, _):
        guest = await created(core, start=True)
        await do(core, SSH)
        bed.host("one").in_force[guest.id] = seen
        (row,) = await drifting(core)
        assert (row.attribute, row.where, row.repair) == ("security", "filter", "at_once")
        assert (await do(core, RepairGuest(guest="web"))).error is None
        in_force(bed, core)
        assert await well(core)


async def test_a_filter_of_a_guest_without_a_policy_is_drift_and_one_of_no_guest_an_orphan(bed: Bed) -> None:
    async with bed.zone("one") as (core, _):
        guest = await created(core)
        filters = bed.host("one").in_force
        filters[guest.id] = filters[STRANGER] = "in drop all"
        found = await look(core)
        assert [(row.guest_id, row.where) for row in found.drift] == [(guest.id, "filter")]
        assert [row.id for row in found.orphans] == [f"one/filter/{STRANGER}"]
        await do(core, RepairGuest(guest="web"))
        await do(core, RemoveOrphan(orphan=f"one/filter/{STRANGER}"))
        assert filters == {}
        assert await well(core)


async def test_a_domain_that_is_defined_again_has_its_filter_first(bed: Bed) -> None:
    async with bed.zone("one") as (core, _):
        guest = await created(core)
        await do(core, SSH)
        host = bed.host("one")
        host.vanish(guest.id)
        host.in_force.clear()
        host.calls.clear()
        assert (await do(core, RepairGuest(guest="web"))).error is None
        in_force(bed, core)
        made = [name for name, _ in host.calls if name in ("define", "put_filter")]
        assert made == ["define", "put_filter"], "one call that begins with the filter"


async def test_a_filter_that_is_all_that_is_left_goes_with_its_guest(bed: Bed) -> None:
    async with bed.zone("one") as (core, _):
        await add_cell(core)
        await do(core, gc.CreateGuest(name="web", memory=128 * MEBI, disks=(64 * MEBI,)))
        guest = core.zone.find_guest("web")
        await do(core, SSH)
        bed.host("one").vanish(guest.id)
        await do(core, gc.DeleteGuest(guest="web", force=True))
        assert bed.host("one").in_force == {}
