"""Users: a seeded stream of commands to Core's API, and a memory of what they were answered.

A command whose outcome is unknown (Core died, its disk failed, the connection broke) is sent again with the same
idempotency key, and now and then one that was answered is, too: the second answer must be the first. Refusals are part
of life. Whoever was answered may look, and must see at least what was answered. Their clocks follow Core's within a minute.
"""

from collections import Counter
from datetime import datetime, timedelta
from random import Random
from typing import Final

import anyio
import msgspec

from nano.core.core import Core
from nano.domain import guest_about as ga
from nano.domain import guest_change as gx
from nano.domain import guest_commands as gc
from nano.domain import guest_compact as gk
from nano.domain import guest_devices as gd
from nano.domain import guest_media as gm
from nano.domain import guest_migrate as mi
from nano.domain import guest_password as gp
from nano.domain import guest_rules as ru
from nano.domain import guest_snapshot as gs
from nano.domain import guest_vnc as gv
from nano.domain import snapshot_schedule as ss
from nano.domain.catalogue import BY_COMMAND, COLLECTIONS
from nano.domain.cell import AddCell, Cell, DisableCell, EnableCell, RemoveCell
from nano.domain.compute_pool import CreateComputePool, DeleteComputePool, ModifyComputePool
from nano.domain.errors import Unreachable
from nano.domain.facts import Command
from nano.domain.image import Image
from nano.domain.image_commands import DeleteImage, RegisterImage
from nano.domain.machine import MEBI
from nano.domain.security import SecurityPolicy, SecurityRule
from nano.domain.task import CancelTask
from nano.http.client import ApiError
from nano.http.routing import PREFIX
from nano.tools.simulator.browsers import Browsers
from nano.tools.simulator.images import COUNT, image_path
from nano.tools.simulator.nodes import EPOCH
from nano.tools.simulator.watcher import Watcher
from nano.tools.simulator.world import World

MEAN_S: Final = 6.0
GUESTS_MAX: Final = 24
AGAIN: Final = 0.05  # of all commands: one that was answered before is sent once more
REMEMBERED: Final = 50
POLICY: Final = SecurityPolicy(default="drop", rules=(SecurityRule(action="accept", protocol="icmp"),))
SECRET: Final = "Of1CourseNot2BeFound"  # noqa: S105 - of no real guest
LOOKS: Final = 0.2  # of those who were answered


class Users:
    def __init__(self, world: World, seed: str) -> None:
        self.sent: Counter[str] = Counter()
        self.refused: Counter[str] = Counter()
        self._world = world
        self._random = Random(f"{seed}/users")  # noqa: S311 - a simulation
        self._unknown: list[tuple[str, Command]] = []
        self._answered: list[tuple[str, Command]] = []
        self._count = 0
        self._offset_s = 0.0
        self._client = world.client("users", "somebody", self._clock, "users")
        self.browsers = Browsers(world)
        self.watcher = Watcher(world, world.client("users", "somebody", self._clock, "watcher"))

    def _clock(self) -> datetime:
        return EPOCH + timedelta(seconds=round(anyio.current_time() + self._offset_s, 6))

    async def run(self) -> None:
        """Several people at once: commands are sent without waiting for the one before."""
        async with anyio.create_task_group() as tasks:
            while self._world.trouble:
                await anyio.sleep(self._random.expovariate(1 / MEAN_S))
                for _ in range(self._random.choice((1, 1, 1, 2, 5))):
                    core = self._world.core.node
                    if isinstance(core, Core):
                        tasks.start_soon(self._send, *self._next(core))

    async def administer(self) -> None:
        """Keep cells in a pool; for ever, also when all is calm."""
        while True:
            await anyio.sleep(self._random.uniform(5.0, 30.0))
            self._offset_s = self._world.core.clock.offset_s
            core = self._world.core.node
            if not isinstance(core, Core):
                continue
            for cell in list(core.zone.of_kind("cell")):
                if isinstance(cell, Cell) and not cell.pool:
                    await self._send(f"add{self._number()}", AddCell(cell=cell.name))

    async def _send(self, key: str, command: Command) -> None:
        self.sent[type(command).__name__] += 1
        entry = BY_COMMAND[type(command)]
        fields = msgspec.to_builtins(command)
        path = PREFIX + entry.path.format(**fields)
        body = {name: value for name, value in fields.items() if name != "type" and f"{{{name}}}" not in entry.path}
        try:
            answer = await self._client.request(entry.method, path, json=body or None, headers={"Idempotency-Key": key})
        except Unreachable:
            self._unknown.append((key, command))
            return
        except ApiError as error:
            self._refused(error, key, command)
            return
        said = answer.json()
        position = said.get("position", int(answer.headers["x-nano-position"]))  # a secret that is told is all there is
        if "position" in said:
            self._world.core.audit.answered(key, position)
        self._answered = [*self._answered[-REMEMBERED:], (key, command)]
        if self._random.random() < LOOKS:
            await self._look(COLLECTIONS[entry.target], position)

    def _refused(self, error: ApiError, key: str, command: Command) -> None:
        self.refused[error.code] += 1
        if error.code == "internal":
            self._world.report(f"core: {type(command).__name__} was answered with {error}")
        elif error.status >= 500 or error.code == "signature_replayed":  # it was, or was not, carried out
            self._unknown.append((key, command))

    async def _look(self, collection: str, position: int) -> None:
        """Read your writes."""
        try:
            page = await self._client.request("GET", f"{PREFIX}/{collection}", headers={"X-Nano-After": str(position)})
        except Unreachable:
            return
        except ApiError as error:
            if error.code == "position_not_reached":
                self._world.report(f"core: {position} was answered, and is not there for a reader: {error}")
            return
        if int(page.headers["x-nano-position"]) < position:
            self._world.report(f"core: a page after {position} shows {page.headers['x-nano-position']}")

    def _next(self, core: Core) -> tuple[str, Command]:
        if self._unknown and self._random.random() < 0.7:
            return self._unknown.pop(0)
        if self._answered and self._random.random() < AGAIN:
            return self._random.choice(self._answered)
        return f"u{self._number()}", self._wish(core)

    def _number(self) -> int:
        self._count += 1
        return self._count

    def _wish(self, core: Core) -> Command:
        random, zone = self._random, core.zone
        guests = sorted(guest.name for guest in zone.guests())
        draw = random.random()
        if not guests or (draw < 0.3 and len(guests) < GUESTS_MAX):
            return self._create(core)
        guest = random.choice(guests)
        if draw < 0.45:
            return self._change(guest) if random.random() < 0.7 else self._snapshot(guest)
        if draw < 0.80:
            return random.choice(
                (
                    gc.StartGuest(guest=guest),
                    gc.StartGuest(guest=guest),
                    gc.StopGuest(guest=guest),
                    gc.ForceStopGuest(guest=guest),
                    gc.RebootGuest(guest=guest),
                    gc.ForceRebootGuest(guest=guest),
                    gc.RedefineGuest(guest=guest),
                    gc.RedefineGuest(guest=guest),
                    gc.DeleteGuest(guest=guest, force=random.random() < 0.7),
                    gc.DeleteGuest(guest=guest, force=True),
                )
            )
        if draw < 0.90 and zone.open_tasks:
            return CancelTask(task=random.choice(list(zone.open_tasks)))
        if draw < 0.94:
            number = random.randrange(COUNT)
            if random.random() < 0.7:
                return RegisterImage(name=f"i{number}", path=str(image_path(number)))
            return DeleteImage(image=f"i{number}")
        cell = random.choice(sorted(self._world.cells))
        pool = random.choice(("default", "second", "third"))
        return random.choice(
            (
                DisableCell(cell=cell),
                EnableCell(cell=cell),
                EnableCell(cell=cell),
                RemoveCell(cell=cell),
                AddCell(cell=cell, pool=pool),
                CreateComputePool(name=pool),
                ModifyComputePool(pool=pool, enabled=random.random() < 0.7),
                DeleteComputePool(pool=pool),
            )
        )

    def _change(self, guest: str) -> Command:
        random = self._random
        return random.choice(
            (
                gx.SetGuest(guest=guest, cores=random.randint(1, 4), cores_max=random.choice((None, 4))),
                gx.SetGuest(guest=guest, memory=random.choice((64, 128, 1024)) * MEBI, priority="low"),
                gx.SetGuest(guest=guest, name=f"g{random.randint(0, 2 * GUESTS_MAX)}"),
                gd.AddDisk(guest=guest, size=32 * MEBI),
                gd.GrowDisk(guest=guest, size=random.choice((96, 128)) * MEBI),
                gd.ShrinkDisk(guest=guest, number=0, size=48 * MEBI, force=True),
                gd.RemoveDisk(guest=guest, number=1),
                gk.CompactDisk(guest=guest),
                gd.AddNic(guest=guest),
                *(self._move(guest) for _ in range(4)),
                self._guard(guest),
                random.choice((gv.EnableVnc, gv.EnableVnc, gv.ResetVnc, gv.ShowVnc, gv.DisableVnc))(guest=guest),
                gp.SetPassword(guest=guest, password=random.choice(("", f"{SECRET}1"))),
                gm.EjectMedia(guest=guest),
                ga.DescribeGuest(guest=guest, tags=random.choice(((), ("a",), ("a", "b")))),
                random.choice((ga.ProtectGuest, ga.UnprotectGuest, ga.UnprotectGuest))(guest=guest),
            )
        )

    def _move(self, guest: str) -> mi.MigrateGuest:
        to = self._random.choice(sorted(self._world.cells))
        return mi.MigrateGuest(guest=guest, to=to, live=self._random.random() < 0.5)

    def _images(self, core: Core) -> list[str]:
        images = sorted(image.name for image in core.zone.of_kind("image") if isinstance(image, Image) and image.ready)
        return images or [""]

    def _guard(self, guest: str) -> Command:
        random = self._random
        return random.choice(
            (
                ru.AddRule(guest=guest, action="accept", protocol="tcp", port=random.randint(1, 9)),
                ru.RemoveRule(guest=guest, rule=1),
                ru.MoveRule(guest=guest, rule=2, place=1),
                ru.SetDefaultAction(guest=guest, action=random.choice(("accept", "drop"))),
                ru.SetGuard(guest=guest, guard=random.choice(("on", "off"))),
                ru.SetAddresses(guest=guest, addresses=random.choice(((), ("10.0.0.5",)))),
            )
        )

    def _snapshot(self, guest: str) -> Command:
        name = f"s{self._random.randint(0, 3)}"
        return self._random.choice(
            (
                gs.CreateSnapshot(guest=guest, name=name),
                gs.CreateSnapshot(guest=guest, name=name, disks_only=True),
                gs.RestoreSnapshot(guest=guest, snapshot=name),
                gs.DeleteSnapshot(guest=guest, snapshot=name),
                ss.ScheduleSnapshots(guest=guest, every_hours=1, keep=self._random.choice((1, 2))),
                ss.UnscheduleSnapshots(guest=guest),
            )
        )

    def _create(self, core: Core) -> Command:
        random = self._random
        return gc.CreateGuest(
            name=f"g{random.randint(0, 2 * GUESTS_MAX)}",
            memory=random.choice((128, 256, 512)) * MEBI,
            disks=tuple([64 * MEBI] * random.choice((1, 1, 2))),
            image=random.choice(self._images(core)) if random.random() < 0.5 else "",
            pool=random.choice(("default", "default", "default", "second")),
            start=random.random() < 0.5,
            policy=random.choice((None, None, SecurityPolicy(), POLICY)),
        )
