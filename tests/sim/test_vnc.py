"""VNC access over a whole zone on simulated hosts: only where and while it should be, only with the secret, and with nothing
left listening whatever happens to cells, guests and ports."""

from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import anyio
import pytest

from nano.cell.viewers import VncOffer
from nano.core.core import Core
from nano.domain import guest_commands as gc
from nano.domain import guest_migrate as mi
from nano.domain import guest_snapshot as gs
from nano.domain import guest_vnc as gv
from nano.domain.errors import Conflict, HostError
from nano.domain.guest import Guest
from nano.domain.task import Task
from nano.hypervisor.rfb import NotRfb
from nano.tools.simulator.bed import KEY, Bed, ended, task_of
from nano.tools.testbed.vnc_viewer import VncViewer
from tests.sim.test_migrate import add

pytestmark = pytest.mark.anyio

ADDRESS = "192.0.2.1"


@pytest.fixture
async def bed(tmp_path: Path) -> AsyncIterator[Bed]:
    made = Bed(tmp_path)
    yield made
    for host in made.hosts.values():
        await host.close()


async def do(core: Core, command: Any, key: str = "") -> Task:
    return await ended(core, task_of((await core.execute(command, actor="ann", command_id=key)).facts))


async def enabled(core: Core, *cells: str, start: bool = True, **options: Any) -> Guest:
    """A guest with access on the first of these cells."""
    await add(core, *cells)
    wanted = gc.CreateGuest(name="web", memory=128 << 20, disks=(64 << 20,), cell=cells[0], start=start, **options)
    assert (await do(core, wanted)).error is None
    assert (await do(core, gv.EnableVnc(guest="web"), "first")).error is None
    return core.zone.find_guest("web")


async def open_at(bed: Bed, cell: str, *ports: int) -> None:
    """Returns when exactly these ports of the cell's host are open."""
    host = bed.host(cell)
    with anyio.fail_after(10):
        while set(host.open_ports) != {(ADDRESS, port) for port in ports}:
            await anyio.lowlevel.checkpoint()


def viewer(bed: Bed, cell: str, port: int = 5901, **options: Any) -> VncViewer:
    return VncViewer(bed.host(cell).open_ports[ADDRESS, port].connect(), **options)


async def test_a_viewer_with_the_secret_sees_the_display_and_no_other(bed: Bed) -> None:
    async with bed.zone("one") as (core, _):
        await enabled(core, "one")
        address, port, secret = core.vnc("web")
        assert (address, port, len(secret)) == (ADDRESS, 5901, 8)
        await open_at(bed, "one", 5901)
        for minor in (3, 7, 8):
            right, wrong = viewer(bed, "one", minor=minor), viewer(bed, "one", minor=minor)
            assert (await right.enter(secret), right.size) == ("", (320, 200))
            assert await wrong.enter("wrong") == ("The secret is wrong." if minor == 8 else "refused")
            await right.aclose()
        row = core.views.tables["guest"].row(core.zone.find_guest("web").id)
        assert (row.vnc.address, row.vnc.port) == (ADDRESS, 5901)  # type: ignore[union-attr]
    written = [path for path in bed.folder.rglob("*") if path.is_file() and secret.encode() in path.read_bytes()]
    assert written == []


async def test_a_reset_ends_who_is_there_and_refuses_the_old_secret(bed: Bed) -> None:
    async with bed.zone("one") as (core, _):
        await enabled(core, "one")
        _, _, old = core.vnc("web")
        there = viewer(bed, "one")
        assert (await there.enter(old), there.size, there.name) == ("", (320, 200), "simulated")
        assert (await do(core, gv.ResetVnc(guest="web"), "again")).error is None
        await there.ended()
        _, port, new = core.vnc("web")
        assert (port, new == old) == (5901, False)
        assert await viewer(bed, "one").enter(old) == "The secret is wrong."
        assert await viewer(bed, "one").enter(new) == ""
        assert (await do(core, gv.DisableVnc(guest="web"))).error is None
        await open_at(bed, "one")
        with pytest.raises(Conflict) as off:
            core.vnc("web")
        assert off.value.code == "vnc_off"


async def test_the_port_is_open_only_while_it_runs_and_the_secret_stays(bed: Bed) -> None:
    async with bed.zone("one") as (core, _):
        guest = await enabled(core, "one", start=False)
        told = core.vnc("web")
        await open_at(bed, "one")
        assert (await do(core, gc.StartGuest(guest="web"))).error is None
        await open_at(bed, "one", 5901)
        there = viewer(bed, "one")
        assert await there.enter(told[2]) == ""
        bed.host("one").stop_behind(guest.id)
        await there.ended()
        await open_at(bed, "one")
        assert (await do(core, gc.StartGuest(guest="web"))).error is None
        await open_at(bed, "one", 5901)
        assert core.vnc("web") == told
        assert (await do(core, gc.DeleteGuest(guest="web", force=True))).error is None
        await open_at(bed, "one")


async def test_a_restore_of_a_snapshot_keeps_the_secret(bed: Bed) -> None:
    async with bed.zone("one") as (core, _):
        await enabled(core, "one")
        assert (await do(core, gs.CreateSnapshot(guest="web", name="before"))).error is None
        assert (await do(core, gv.ResetVnc(guest="web"), "later")).error is None
        told = core.vnc("web")
        assert (await do(core, gs.RestoreSnapshot(guest="web", snapshot="before"))).error is None
        assert core.vnc("web") == told, "it is what it was before the restore, not before the snapshot"
        await open_at(bed, "one", 5901)
        assert await viewer(bed, "one").enter(told[2]) == ""


async def test_a_cell_that_comes_back_lets_them_in_again(bed: Bed) -> None:
    async with bed.core() as core:
        async with bed.cell("one") as cell, bed.link(cell, core):
            await enabled(core, "one")
            told = core.vnc("web")
        assert bed.host("one").open_ports == {}, "a cell that is gone leaves nothing listening"
        bed.host("one").taken_ports.add(5901)
        async with bed.cell("one") as cell, bed.link(cell, core):
            await open_at(bed, "one", 5902)
            assert await viewer(bed, "one", 5902).enter(told[2]) == ""
            with anyio.fail_after(10):
                while core.vnc("web") != (ADDRESS, 5902, told[2]):
                    await core.feed.wait_for(core.feed.position + 1)


@pytest.mark.parametrize("change", ["off", "other key", "no port"])
async def test_access_that_can_not_go_on_ends_and_says_why(bed: Bed, change: str) -> None:
    async with bed.core() as core:
        async with bed.cell("one") as cell, bed.link(cell, core):
            await enabled(core, "one")
        if change == "no port":
            bed.host("one").taken_ports.update(range(5901, 5905))
        bed.vnc = {
            "off": VncOffer(),
            "other key": bed.vnc._replace(key=type(KEY)(bytes(range(32)))),
            "no port": bed.vnc,
        }[change]
        async with bed.cell("one") as cell, bed.link(cell, core):
            with anyio.fail_after(10):
                while core.zone.find_guest("web").vnc is not None:
                    await core.feed.wait_for(core.feed.position + 1)
        assert bed.host("one").open_ports == {}


async def test_it_goes_along_to_another_cell(bed: Bed) -> None:
    async with bed.zone("one", "two") as (core, _):
        await enabled(core, "one", "two", start=False)
        told = core.vnc("web")
        assert (await do(core, mi.MigrateGuest(guest="web", to="two"))).error is None
        assert core.vnc("web") == told
        assert (await do(core, gc.StartGuest(guest="web"))).error is None
        await open_at(bed, "two", 5901)
        await open_at(bed, "one")
        assert await viewer(bed, "two").enter(told[2]) == ""
        assert (await do(core, mi.MigrateGuest(guest="web", to="one", live=True))).error is None
        await open_at(bed, "one", 5901)
        await open_at(bed, "two")
        assert await viewer(bed, "one").enter(told[2]) == ""


async def test_it_ends_where_a_new_cell_lets_nobody_in(bed: Bed) -> None:
    async with bed.core() as core, bed.cell("one") as one, bed.link(one, core):
        bed.vnc = VncOffer()
        async with bed.cell("two") as two, bed.link(two, core):
            await enabled(core, "one", "two", start=False)
            assert (await do(core, mi.MigrateGuest(guest="web", to="two"))).error is None
            assert core.zone.find_guest("web").vnc is None
            events = [fact.event for fact in await core.ledger.facts(0, 1000)]
            (ended_by,) = [event for event in events if isinstance(event, gv.GuestVncClosed)]
            assert ended_by.error is not None
            assert ended_by.error.code == "no_vnc_address"
            refused = await do(core, gv.EnableVnc(guest="web"), "there")
            assert refused.error is not None
            assert refused.error.code == "no_vnc_address"


async def test_a_domain_that_was_defined_again_has_it_still(bed: Bed) -> None:
    async with bed.zone("one") as (core, _):
        guest = await enabled(core, "one")
        told = core.vnc("web")
        bed.host("one").vanish(guest.id)
        await open_at(bed, "one")
        with anyio.fail_after(10):
            while core.zone.find_guest("web").power != "missing":
                await core.feed.wait_for(core.feed.position + 1)
        assert (await do(core, gc.RedefineGuest(guest="web"))).error is None
        assert (await do(core, gc.StartGuest(guest="web"))).error is None
        await open_at(bed, "one", 5901)
        assert core.vnc("web") == told


async def test_a_cell_killed_while_it_adopts_takes_access_over(bed: Bed, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("nano.cell.move_work.TRY_AGAIN_S", 0.01)
    async with bed.core() as core, bed.cell("one") as one, bed.link(one, core):
        async with bed.cell("two") as two, bed.link(two, core):
            await enabled(core, "one", "two", start=False)
            told = core.vnc("web")
            reached = bed.host("two").hang_next("open_port")
            receipt = await core.execute(mi.MigrateGuest(guest="web", to="two"), actor="ann", command_id="")
            with anyio.fail_after(10):
                await reached.wait()
        async with bed.cell("two") as two, bed.link(two, core):
            assert (await ended(core, task_of(receipt.facts))).error is None
            assert core.vnc("web") == told
    assert bed.host("two").open_ports == {}


async def test_no_port_is_given_twice_and_none_left_is_said(bed: Bed) -> None:
    bed.vnc = bed.vnc._replace(ports=range(5901, 5903))
    async with bed.zone("one") as (core, _):
        await enabled(core, "one")
        for number in (1, 2):
            make = gc.CreateGuest(name=f"w{number}", memory=64 << 20, disks=(1 << 20,), start=True)
            assert (await do(core, make)).error is None
        assert (await do(core, gv.EnableVnc(guest="w1"), "w1")).error is None
        assert core.vnc("w1")[1] == 5902
        refused = await do(core, gv.EnableVnc(guest="w2"), "w2")
        assert refused.error is not None
        assert refused.error.code == "no_free_port"
        assert core.zone.find_guest("w2").vnc is None
        await open_at(bed, "one", 5901, 5902)


async def test_one_who_guesses_waits_and_others_do_not(bed: Bed) -> None:
    async with bed.zone("one") as (core, _):
        await enabled(core, "one")
        secret = core.vnc("web")[2]
        door = bed.host("one").open_ports[ADDRESS, 5901]
        for _ in range(5):
            assert await VncViewer(door.connect("192.0.2.66")).enter("guess") == "The secret is wrong."
        for minor in (3, 7, 8):
            told = await VncViewer(door.connect("192.0.2.66"), minor=minor).enter(secret)
            assert told.startswith("Too many wrong secrets."), "not even with the right one"
        assert await VncViewer(door.connect("192.0.2.7")).enter(secret) == ""


async def test_those_who_say_nothing_do_not_keep_others_out(bed: Bed) -> None:
    async with bed.zone("one") as (core, _):
        await enabled(core, "one")
        secret = core.vnc("web")[2]
        door = bed.host("one").open_ports[ADDRESS, 5901]
        silent = [door.connect("192.0.2.66") for _ in range(4)]
        for channel in silent:
            await channel.receive()
        with pytest.raises(NotRfb):
            await VncViewer(door.connect("192.0.2.66")).enter(secret)
        assert await VncViewer(door.connect("192.0.2.7")).enter(secret) == ""


async def test_one_who_is_slow_or_says_nonsense_is_hung_up_on(bed: Bed, monkeypatch: pytest.MonkeyPatch) -> None:
    async with bed.zone("one") as (core, _):
        await enabled(core, "one")
        secret = core.vnc("web")[2]
        door = bed.host("one").open_ports[ADDRESS, 5901]
        there = VncViewer(door.connect())
        assert await there.enter(secret) == ""
        monkeypatch.setattr("nano.cell.viewers.PATIENCE_S", 0.05)
        for said in (b"", b"RFB 003.008\n", b"RFB 003.008\n\2" + bytes(8), b"GET / HTTP/1.1\r\n\r\n", bytes(70_000)):
            channel = door.connect("192.0.2.66")
            await channel.send(said)
            await VncViewer(channel).ended()
        monkeypatch.undo()
        assert await VncViewer(door.connect("192.0.2.66")).enter(secret) == "", "nonsense is no guess"
        await there.key(0xFF0D)


async def test_a_display_has_so_many_viewers_and_an_entrance_so_many_that_wait(bed: Bed) -> None:
    async with bed.zone("one") as (core, _):
        await enabled(core, "one")
        secret = core.vnc("web")[2]
        door = bed.host("one").open_ports[ADDRESS, 5901]
        for number in range(8):
            assert await VncViewer(door.connect(f"192.0.2.{number}")).enter(secret) == ""
        assert await VncViewer(door.connect()).enter(secret) == "8 viewers are connected already."
        for number in range(16):
            await door.connect(f"198.51.100.{number}").receive()
        with pytest.raises(NotRfb):
            await VncViewer(door.connect()).enter(secret)


async def test_a_display_that_can_not_be_had_is_said(bed: Bed) -> None:
    async with bed.zone("one") as (core, _):
        await enabled(core, "one")
        bed.host("one").fail_next("console", HostError("It is gone.", code="hypervisor_error"))
        assert await viewer(bed, "one").enter(core.vnc("web")[2]) == "It is gone."


async def test_refusals(bed: Bed) -> None:
    async with bed.zone("one") as (core, _):
        await enabled(core, "one")
        with pytest.raises(Conflict) as twice:
            await core.execute(gv.EnableVnc(guest="web"), actor="ann", command_id="twice")
        assert twice.value.code == "no_change"
        assert (await do(core, gv.DisableVnc(guest="web"))).error is None
        for command in (gv.DisableVnc(guest="web"), gv.ResetVnc(guest="web"), gv.ShowVnc(guest="web")):
            with pytest.raises(Conflict) as off:
                await core.execute(command, actor="ann", command_id="off")
            assert off.value.code == "vnc_off"
