"""Doors between simulated cells: a link through one is a ``Wire`` in its world's weather, and dies with either process."""

import itertools
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from functools import partial
from typing import TYPE_CHECKING, Final

import anyio
import anyio.abc

from nano.domain.errors import NanoError, Unreachable
from nano.tools.simulator.nodes import fingerprint_of
from nano.tools.simulator.wire import Wire, WireEnd
from nano.transports.handshake import AcceptedLink, Connector
from nano.transports.link import Handler, Link
from nano.transports.messages import Hello
from nano.transports.peer_link import OffersNothing, OnlyThis, welcome_of
from nano.transports.settings import LinkSettings
from nano.transports.stream_link import StreamLink
from nano.transports.unwrap import plain_errors

if TYPE_CHECKING:
    from nano.tools.simulator.machine import Process
    from nano.tools.simulator.world import World

SETTINGS: Final = LinkSettings()


class _Door:
    def __init__(self, process: "Process", peer: str, handler: Handler, tasks: anyio.abc.TaskGroup) -> None:
        self.process = process
        self.peer = peer
        self.handler = handler
        self.tasks = tasks


class SimulatedDoors:
    def __init__(self, world: "World") -> None:
        self.world = world
        self.open: dict[str, _Door] = {}
        self.numbers = itertools.count(1)

    def of(self, process: "Process") -> "SimulatedPeers":
        return SimulatedPeers(self, process)


class SimulatedPeers:
    """``Peers`` of one life of a cell."""

    def __init__(self, doors: SimulatedDoors, process: "Process") -> None:
        self._doors = doors
        self._process = process

    @asynccontextmanager
    async def receiving(self, peer: str, handler: Handler) -> AsyncIterator[str]:
        address = f"{self._process.machine.name}:{next(self._doors.numbers)}"
        async with anyio.create_task_group() as tasks:
            self._doors.open[address] = _Door(self._process, peer, handler, tasks)
            try:
                yield address
            finally:
                del self._doors.open[address]
                tasks.cancel_scope.cancel()

    @asynccontextmanager
    async def reaching(self, address: str, peer: str) -> AsyncIterator[Link]:
        world, here = self._doors.world, self._process.machine.name
        door = self._doors.open.get(address)
        if door is None or not door.process.alive or not self._process.alive:
            raise Unreachable(f"{address} does not answer.")
        there = door.process.machine.name
        if here in world.partitioned or there in world.partitioned:
            raise Unreachable(f"{address} does not answer.")
        wire = Wire(world.random, world.link_weather, world.faults)
        near = WireEnd(wire, fingerprint_of(there), there.encode(), address, 0)
        far = WireEnd(wire, fingerprint_of(here), here.encode(), f"sim:{here}", 1)
        wire.ends = (near, far)
        name = f"{here}>{address}/{next(self._doors.numbers)}"
        world.wires[name] = wire
        self._process.died[name] = partial(wire.died, near)
        door.process.died[name] = partial(wire.died, far)
        door.tasks.start_soon(_accept, door, far, _hello(there))
        try:
            with plain_errors():
                async with anyio.create_task_group() as tasks:
                    near.events = link = StreamLink(near, OffersNothing(), tasks, SETTINGS, connector=True)
                    await tasks.start(Connector(link, OnlyThis(peer), _hello(here), SETTINGS).run)
                    await link.wait_approved()
                    yield link
                    await link.aclose("closed")
                    tasks.cancel_scope.cancel()
        finally:
            near.close("ended")
            for known in (world.wires, self._process.died, door.process.died):
                known.pop(name, None)


async def _accept(door: _Door, end: WireEnd, hello: Hello) -> None:
    try:
        with plain_errors():
            async with anyio.create_task_group() as tasks:
                end.events = link = AcceptedLink(end, door.handler, tasks, SETTINGS, connector=False)
                await link.greet(OnlyThis(door.peer), welcome_of(hello), None)
                await link.closed.wait()
                tasks.cancel_scope.cancel()
    except NanoError:
        end.close("no link")
    finally:
        end.close("ended")


def _hello(name: str) -> Hello:
    return Hello(name=name, kind="cell", domain="sim", version="0")
