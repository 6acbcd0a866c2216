"""Every kind of task that a cell works for: what has to be there before it, and the command that opens it.

A test asks that the catalogue has no other, so a new family of work comes under the sweep (``test_sweep``) with its first line.
"""

import hashlib
from collections.abc import AsyncIterator, Awaitable, Callable
from pathlib import Path
from typing import Any, Final, NamedTuple

import anyio
import msgspec

from nano.core.core import Core
from nano.domain import batch as ba
from nano.domain import guest_bin as gb
from nano.domain import guest_change as gx
from nano.domain import guest_commands as gc
from nano.domain import guest_compact as gk
from nano.domain import guest_devices as gd
from nano.domain import guest_media as gm
from nano.domain import guest_rules as gr
from nano.domain import guest_snapshot as gs
from nano.domain import guest_vnc as gv
from nano.domain.cell_probe import ProbeCell
from nano.domain.cloud_init import CloudInit
from nano.domain.facts import Command
from nano.domain.guest import Guest
from nano.domain.guest_password import SetPassword
from nano.domain.guest_repair import RepairGuest
from nano.domain.image_commands import BuildImage
from nano.domain.machine import MEBI
from nano.domain.orphan import RemoveOrphan
from nano.domain.security import SecurityPolicy
from nano.domain.task import Task
from nano.tools.simulator.bed import Bed, ended, task_of

STRAY: Final = "3f0c0000-0000-4000-8000-00000000000f_0.qcow2"
SSH: Final = gr.AddRule(guest="web", action="accept", protocol="tcp", port=22)
CREATE: Final = gc.CreateGuest(
    name="web",
    memory=128 * MEBI,
    disks=(64 * MEBI, 8 * MEBI),
    image="img",
    start=True,
    cloud_init=CloudInit(password="Secret1", host_name="web"),
    policy=SecurityPolicy(default="drop"),
)


class Stage(NamedTuple):
    core: Core
    bed: Bed

    @property
    def guest(self) -> Guest:
        return self.core.zone.find_guest("web")

    async def do(self, command: Command) -> Task:
        receipt = await self.core.execute(command, actor="admin", command_id="")
        return await ended(self.core, task_of(receipt.facts))

    async def must(self, *commands: Command) -> None:
        for command in commands:
            task = await self.do(command)
            assert task.error is None, (command, task.error)


Ready = Callable[[Stage], Awaitable[None]]


class Kind(NamedTuple):
    """``command`` is asked for when ``ready`` has been. ``lasting``: what a failure leaves of the guest is for the next try."""

    ready: Ready
    command: Callable[[Stage], Command]
    lasting: bool = False


async def nothing(stage: Stage) -> None:
    """There is no guest yet."""


async def stopped(stage: Stage) -> None:
    await stage.must(msgspec.structs.replace(CREATE, start=False), gd.AddNic(guest="web"))


async def running(stage: Stage) -> None:
    await stage.must(CREATE, gd.AddNic(guest="web"))


async def listening(stage: Stage) -> None:
    await running(stage)
    with anyio.fail_after(10):
        while not stage.guest.agent:
            await stage.core.feed.wait_for(stage.core.feed.position + 1)


async def with_media(stage: Stage) -> None:
    await running(stage)
    await stage.must(gm.InsertMedia(guest="web", media="cd"))


async def with_snapshot(stage: Stage) -> None:
    await running(stage)
    await stage.must(gs.CreateSnapshot(guest="web", name="before"))


async def with_rules(stage: Stage) -> None:
    await running(stage)
    await stage.must(SSH, gr.AddRule(guest="web", action="drop"))


async def with_vnc(stage: Stage) -> None:
    await running(stage)
    await stage.must(gv.EnableVnc(guest="web"))


async def recycled(stage: Stage) -> None:
    await stopped(stage)
    await stage.must(gb.RecycleGuest(guest="web"))


async def missing(stage: Stage) -> None:
    await stopped(stage)
    stage.bed.host("one").vanish(stage.guest.id)
    with anyio.fail_after(10):
        while stage.guest.power != "missing":
            await stage.core.feed.wait_for(stage.core.feed.position + 1)


async def drifted(stage: Stage) -> None:
    await running(stage)
    domain = stage.bed.host("one").machine[stage.guest.id]
    assert domain.live is not None
    domain.spec = msgspec.structs.replace(domain.spec, priority="low", cores=3)
    domain.live = msgspec.structs.replace(domain.live, priority="low")


async def stray(stage: Stage) -> None:
    stage.bed.host("one").files[STRAY] = 1


async def many(stage: Stage) -> None:
    await stage.must(ba.CreateBatch(prefix="many", count=2, memory=64 * MEBI, disks=(MEBI,), start=False))


async def many_running(stage: Stage) -> None:
    await many(stage)
    await stage.must(ba.StartBatch(guests=("many_0", "many_1")))


EVERY: Final[dict[str, Kind]] = {
    "guest.create": Kind(nothing, lambda _: CREATE),
    "guest.start": Kind(stopped, lambda _: gc.StartGuest(guest="web", media="cd")),
    "guest.stop": Kind(running, lambda _: gc.StopGuest(guest="web")),
    "guest.force_stop": Kind(running, lambda _: gc.ForceStopGuest(guest="web")),
    "guest.reboot": Kind(running, lambda _: gc.RebootGuest(guest="web")),
    "guest.force_reboot": Kind(running, lambda _: gc.ForceRebootGuest(guest="web")),
    "guest.redefine": Kind(missing, lambda _: gc.RedefineGuest(guest="web"), lasting=True),
    "guest.repair": Kind(drifted, lambda _: RepairGuest(guest="web"), lasting=True),
    "guest.set": Kind(
        running, lambda _: gx.SetGuest(guest="web", name="web", cores=2, priority="medium", send_bytes=0)
    ),
    "guest.disk.add": Kind(running, lambda _: gd.AddDisk(guest="web", size=2 * MEBI)),
    "guest.disk.grow": Kind(running, lambda _: gd.GrowDisk(guest="web", number=1, size=16 * MEBI)),
    "guest.disk.shrink": Kind(stopped, lambda _: gd.ShrinkDisk(guest="web", number=1, size=4 * MEBI, force=True)),
    "guest.disk.compact": Kind(stopped, lambda _: gk.CompactDisk(guest="web", number=1)),
    "guest.disk.remove": Kind(running, lambda _: gd.RemoveDisk(guest="web", number=1)),
    "guest.nic.add": Kind(running, lambda _: gd.AddNic(guest="web")),
    "guest.nic.remove": Kind(running, lambda stage: gd.RemoveNic(guest="web", mac=stage.guest.spec.more_macs[0])),
    "guest.media.insert": Kind(running, lambda _: gm.InsertMedia(guest="web", media="cd")),
    "guest.media.eject": Kind(with_media, lambda _: gm.EjectMedia(guest="web")),
    "guest.password": Kind(listening, lambda _: SetPassword(guest="web", password="Secret1")),
    "guest.vnc.enable": Kind(running, lambda _: gv.EnableVnc(guest="web")),
    "guest.vnc.reset": Kind(with_vnc, lambda _: gv.ResetVnc(guest="web")),
    "guest.vnc.disable": Kind(with_vnc, lambda _: gv.DisableVnc(guest="web")),
    "guest.rule.add": Kind(running, lambda _: SSH),
    "guest.rule.modify": Kind(with_rules, lambda _: gr.ModifyRule(guest="web", rule=1, port=443)),
    "guest.rule.remove": Kind(with_rules, lambda _: gr.RemoveRule(guest="web", rule=1)),
    "guest.rule.move": Kind(with_rules, lambda _: gr.MoveRule(guest="web", rule=2, place=1)),
    "guest.rule.default": Kind(running, lambda _: gr.SetDefaultAction(guest="web", action="drop")),
    "guest.rule.guard": Kind(running, lambda _: gr.SetGuard(guest="web", guard="off")),
    "guest.rule.addresses": Kind(running, lambda _: gr.SetAddresses(guest="web", addresses=("10.0.0.7",))),
    "guest.reset": Kind(stopped, lambda _: gd.ResetGuest(guest="web", image="img")),
    "guest.snapshot.create": Kind(running, lambda _: gs.CreateSnapshot(guest="web", name="now")),
    "guest.snapshot.restore": Kind(with_snapshot, lambda _: gs.RestoreSnapshot(guest="web", snapshot="before")),
    "guest.snapshot.delete": Kind(with_snapshot, lambda _: gs.DeleteSnapshot(guest="web", snapshot="before")),
    "guest.recycle": Kind(stopped, lambda _: gb.RecycleGuest(guest="web")),
    "guest.restore": Kind(recycled, lambda _: gb.RestoreGuest(guest="web")),
    "guest.delete": Kind(running, lambda _: gc.DeleteGuest(guest="web", force=True), lasting=True),
    "batch.create": Kind(nothing, lambda _: ba.CreateBatch(prefix="many", count=2, memory=64 * MEBI, disks=(MEBI,))),
    "batch.start": Kind(many, lambda _: ba.StartBatch(guests=("many_0", "many_1"))),
    "batch.stop": Kind(many_running, lambda _: ba.StopBatch(guests=("many_0", "many_1"), force=True)),
    "batch.delete": Kind(many, lambda _: ba.DeleteBatch(guests=("many_0", "many_1")), lasting=True),
    "image.build": Kind(stopped, lambda _: BuildImage(name="built", guest="web")),
    "orphans.remove": Kind(stray, lambda _: RemoveOrphan(orphan=f"one/volume/{STRAY}"), lasting=True),
    "cell.probe": Kind(nothing, lambda _: ProbeCell(cell="one")),
}
WITHOUT_A_CELL: Final = {"image.register", "image.upload", "media.upload", "image.sync"}  # Core's own work

BETWEEN_CELLS: Final = {"guest.migrate"}  # swept on two hosts, by test_migrate
ORDERS_BETWEEN_CELLS: Final = {"receive", "send", "release", "adopt", "discard"}
ORDERS_OF_ORPHANS: Final = {
    "remove_filter",
    "remove_snapshot",
}  # other kinds of orphans than the stray one: test_rules, test_drift


def sending(core: Core) -> Callable[[Path, str, Callable[[int], None]], Awaitable[str]]:
    """A way to send images to Core, as a cell is given one."""

    async def send(path: Path, url: str, progress: Callable[[int], None]) -> str:
        content = await anyio.Path(path).read_bytes()

        async def pieces() -> AsyncIterator[Any]:
            yield content

        taking = await core.uploads.find_soon(url)
        await taking.announce(len(content))
        await taking.write(0, pieces())
        progress(100)
        return hashlib.sha256(content).hexdigest()

    return send
