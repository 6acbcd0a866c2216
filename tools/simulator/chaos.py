"""Chaos: draws faults from the seed and inflicts them, one every ``MEAN_S`` seconds, until the world is to be calm.

Everything it does is something that happens to real machines; each kind is counted in ``World.faults``.
"""

import errno
from collections.abc import Callable, Coroutine
from random import Random
from typing import Final, get_args

import anyio

from nano.tools.simulator.disk import Operation
from nano.tools.simulator.images import COUNT, image_path
from nano.tools.simulator.machine import Machine
from nano.tools.simulator.world import World

MEAN_S: Final = 25.0
ERRORS: Final = (errno.EIO, errno.EIO, errno.ENOSPC)
WEATHERS: Final = ((0.000_1, 0.002), (0.001, 0.05), (0.02, 0.8))


class Chaos:
    def __init__(self, world: World, seed: str) -> None:
        self._world = world
        self._random = Random(f"{seed}/chaos")  # noqa: S311 - a simulation
        self._kinds: list[tuple[int, str, Callable[[], Coroutine[None, None, None]]]] = [
            (10, "kill", self._kill),
            (6, "power loss", self._power_loss),
            (10, "crash at an operation", self._crash_at_operation),
            (5, "stop", self._stop),
            (8, "partition", self._partition),
            (4, "weather", self._weather),
            (5, "clock jump", self._clock_jump),
            (5, "disk full", self._disk_full),
            (8, "disk error", self._disk_error),
            (3, "failed sync and power loss", self._failed_sync_and_power_loss),
            (8, "host fails", self._host_fails),
            (4, "host hangs", self._host_hangs),
            (4, "hypervisor away", self._hypervisor_away),
            (10, "domain behind", self._domain_behind),
            (3, "image file damaged", self._image_file_damaged),
        ]

    async def run(self) -> None:
        weights = [weight for weight, _, _ in self._kinds]
        async with anyio.create_task_group() as tasks:
            while True:
                await anyio.sleep(self._random.expovariate(1 / MEAN_S))
                if not self._world.trouble:
                    break
                _, kind, inflict = self._random.choices(self._kinds, weights)[0]
                self._world.faults[kind] += 1
                tasks.start_soon(inflict)
            tasks.cancel_scope.cancel()

    def heal(self) -> None:
        """Undo what lasts."""
        world = self._world
        world.delay_s, world.cut_probability = WEATHERS[0], 0.0
        for name, machine in world.machines.items():
            machine.disk.heal()
            machine.trouble.calm()
            machine.host.restore_connection()
            machine.clock.offset_s = 0.0
            world.reunite(name)
        world.partitioned.clear()

    # ---- the kinds

    def _anyone(self) -> Machine:
        """Core as often as all others together."""
        draw = self._random.random()
        return self._world.core if draw < 0.4 else self._world.frontend if draw < 0.5 else self._some_cell()

    def _some_cell(self) -> Machine:
        return self._random.choice(list(self._world.cells.values()))

    async def _while(self, low_s: float, high_s: float) -> None:
        await anyio.sleep(self._random.uniform(low_s, high_s))

    async def _kill(self) -> None:
        machine = self._anyone()
        machine.quick = self._random.random() < 0.6
        machine.kill(power=False)

    async def _power_loss(self) -> None:
        machine = self._anyone()
        machine.quick = False
        machine.kill(power=True)

    async def _crash_at_operation(self) -> None:
        machine = self._anyone()
        if machine.process is not None:
            machine.process.power_at_crash = self._random.random() < 0.5
        machine.quick = self._random.random() < 0.5
        machine.disk.crash_at(self._random.randint(1, 40), after=self._random.random() < 0.5)

    async def _stop(self) -> None:
        machine = self._anyone()
        if machine.process is not None:
            machine.process.stop()

    async def _partition(self) -> None:
        name = self._random.choice([*self._world.cells, "users", "browsers", "frontend"])
        self._world.partition(name)
        await self._while(1.0, 90.0)
        self._world.reunite(name)

    async def _weather(self) -> None:
        world = self._world
        world.delay_s = self._random.choice(WEATHERS)
        world.cut_probability = self._random.choice((0.0, 0.0, 0.002, 0.02))

    async def _clock_jump(self) -> None:
        clock = self._anyone().clock
        clock.offset_s = self._random.choice((-600.0, -30.0, -1.0, 0.0, 1.0, 30.0, 600.0))

    async def _disk_full(self) -> None:
        disk = self._anyone().disk
        disk.full = True
        await self._while(0.5, 30.0)
        disk.full = False

    async def _disk_error(self) -> None:
        operation: Operation = self._random.choice(get_args(Operation))
        self._anyone().disk.fail_next(operation, self._random.choice(ERRORS), self._random.choice((1, 1, 1, 3)))

    async def _failed_sync_and_power_loss(self) -> None:
        """A disk on its way out: a sync fails, the node is started again, and a little later the machine goes down."""
        machine = self._anyone()
        machine.disk.fail_next("fdatasync", errno.EIO)
        await self._while(10.0, 90.0)
        machine.quick = False
        machine.kill(power=True)

    async def _image_file_damaged(self) -> None:
        """One of Core's image files is cut or changed for a while."""
        inode = self._world.core.disk.names.get(image_path(self._random.randrange(COUNT)))
        if inode is None or not inode.data:
            return
        whole = bytes(inode.data)
        if self._random.random() < 0.5:
            inode.put(whole[: self._random.randrange(len(whole))])
        else:
            at = self._random.randrange(len(whole))
            inode.put(whole[:at] + bytes([whole[at] ^ 1]) + whole[at + 1 :])
        await self._while(20.0, 120.0)
        inode.put(whole)

    async def _host_fails(self) -> None:
        trouble = self._some_cell().trouble
        trouble.failing = self._random.choice((0.1, 0.5, 1.0))
        await self._while(1.0, 40.0)
        trouble.failing = 0.0

    async def _host_hangs(self) -> None:
        trouble = self._some_cell().trouble
        trouble.hanging = self._random.choice((0.1, 0.5))
        await self._while(1.0, 40.0)
        trouble.hanging = 0.0

    async def _hypervisor_away(self) -> None:
        host = self._some_cell().host
        host.lose_connection()
        await self._while(1.0, 60.0)
        host.restore_connection()

    async def _domain_behind(self) -> None:
        """Somebody uses virsh, or a guest does something by itself."""
        host = self._some_cell().host
        running = [guest_id for guest_id, domain in host.machine.items() if domain.state == "running"]
        if not host.machine:
            return
        guest_id = self._random.choice(running or list(host.machine))
        deeds: list[Callable[[str], None]] = [host.vanish]
        if guest_id in running:
            deeds += [host.stop_behind, host.crash, host.pause_behind]
        deed = self._random.choice(deeds)
        self._world.faults["domain vanished"] += deed == host.vanish
        deed(guest_id)
