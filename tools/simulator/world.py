"""World: one simulated zone; its machines, the cables between them, and a record of what went wrong.

Cells look for Core again and again, as the daemons do; what the network does to a link is the ``Wire``'s.
"""

import asyncio
import functools
from collections import Counter
from collections.abc import Callable
from datetime import datetime
from random import Random
from typing import Final

import anyio
import anyio.abc
import httpx

from nano.cell.cell import CellNode
from nano.core.core import Core
from nano.core.node import TakesNoOrders
from nano.core.trust import CellTrust
from nano.domain.errors import NanoError
from nano.domain.facts import Change, Model
from nano.domain.office import Office
from nano.domain.site import Site
from nano.domain.zone import Zone
from nano.http.client import AsyncSignedClient, Signer
from nano.hypervisor.simulated import SimulatedHost
from nano.tools.simulator.carrier import Carrier, Served, Weather
from nano.tools.simulator.cell_doors import SimulatedDoors
from nano.tools.simulator.disk import SimulatedDisk
from nano.tools.simulator.images import carried, put_images
from nano.tools.simulator.invariants import look
from nano.tools.simulator.machine import Machine, Opener, Process
from nano.tools.simulator.nodes import KEY, fingerprint_of, open_cell, open_core, open_frontend
from nano.tools.simulator.wire import LinkWeather, Wire, WireEnd
from nano.transports.bulk_fetch import Carry
from nano.transports.handshake import AcceptedLink, Connector
from nano.transports.messages import Hello, Welcome
from nano.transports.settings import LinkSettings
from nano.transports.stream_link import StreamLink
from nano.transports.trust import PinnedCore
from nano.transports.unwrap import plain_errors
from nano.ui.core_api import CoreClient

DOMAIN: Final = "sim"
SETTINGS: Final = LinkSettings()
RECONNECT_S: Final = (0.5, 5.0)
VIOLATIONS_MAX: Final = 20
MESSAGES_LOST: Final = 0.0005  # of the chunks on links, also when the network is well
HTTP_LOST: Final = 0.003  # of requests, and of chunks of answers, also when the network is well


class World:
    """Made inside a running virtual loop; ``tasks`` runs everything in it."""

    def __init__(self, seed: str, cells: int, tasks: anyio.abc.TaskGroup) -> None:
        self.seed = seed
        self.random = Random(f"{seed}/world")  # noqa: S311 - a simulation
        self.violations: list[str] = []
        self.violated = anyio.Event()
        self.faults: Counter[str] = Counter()
        self.trouble = True  # until all is to be calm: no more faults, no more wishes
        self.delay_s = (0.0001, 0.01)
        self.cut_probability = 0.0
        self.partitioned: set[str] = set()
        self.wires: dict[str, Wire] = {}
        self._tasks = tasks
        self._clients = 0
        self._loop = asyncio.get_running_loop()
        self.core = self._machine("core", Zone, open_core)
        self.frontend = self._machine("frontend", Office, functools.partial(open_frontend, find=self._find_core))
        names = [f"cell-{number}" for number in range(1, cells + 1)]
        put_images(self.core.disk, Random(f"{seed}/images"))  # noqa: S311
        open_with_images = functools.partial(open_cell, carry=self._image_carry, doors=SimulatedDoors(self))
        self.cells = {name: self._machine(name, Site, open_with_images) for name in names}
        self._share_storage()
        self.machines = {"core": self.core, "frontend": self.frontend, **self.cells}

    def _share_storage(self) -> None:
        """In every other zone two cells have one storage."""
        hosts = [machine.host for machine in self.cells.values()]
        if len(hosts) > 1 and Random(f"{self.seed}/storage").random() < 0.5:  # noqa: S311 - a simulation
            hosts[1].share(hosts[0])

    def _machine(self, name: str, model: Callable[[], Model], open_node: Opener) -> Machine:
        return Machine(name, model, open_node, self.seed, self._tasks, self.report, self._on_up)

    # ---- what is seen from outside

    def report(self, text: str) -> None:
        """Something that must never be."""
        if len(self.violations) < VIOLATIONS_MAX and all(known.partition(" ")[2] != text for known in self.violations):
            self.violations.append(f"{self._loop.time():.6f} {text}")
            self.violated.set()

    @property
    def zone(self) -> Zone | None:
        node = self.core.node
        return node.zone if isinstance(node, Core) else None

    @property
    def hosts(self) -> dict[str, SimulatedHost]:
        return {name: machine.host for name, machine in self.cells.items()}

    @property
    def disks(self) -> dict[str, SimulatedDisk]:
        return {name: machine.disk for name, machine in self.machines.items()}

    @property
    def sites(self) -> dict[str, Site] | None:
        """None while a cell is down."""
        sites = {name: machine.node.site for name, machine in self.cells.items() if isinstance(machine.node, CellNode)}
        return sites if len(sites) == len(self.cells) else None

    def link_weather(self) -> LinkWeather:
        lost = max(self.cut_probability / 2, MESSAGES_LOST) if self.trouble else 0.0
        return LinkWeather(self.delay_s, self.cut_probability, lost)

    def http_weather(self, name: str) -> Weather:
        """Between that machine and the one it asks."""
        lost = max(self.cut_probability, HTTP_LOST) if self.trouble else 0.0
        return Weather(self.delay_s, lost, name in self.partitioned)

    def carrier(
        self, name: str, machine: Machine, app: str, session: str, proven: dict[str, str] | None = None
    ) -> Carrier:
        """From a client on the machine of that name to what a machine serves. ``session`` is unlike any other; ``proven``
        is what the server's TLS would know of the client."""

        def serve() -> Served | None:
            return machine.process.served(app) if machine.process is not None else None

        random = Random(f"{self.seed}/http/{session}")  # noqa: S311 - a simulation
        return Carrier(
            serve, functools.partial(self.http_weather, name), random, self.faults, client=session, proven=proven
        )

    def client(self, name: str, credential: str, clock: Callable[[], datetime], session: str) -> AsyncSignedClient:
        """A client of Core's API on that machine."""
        carrier = self.carrier(name, self.core, "api", session)
        return AsyncSignedClient("http://core:5850", Signer(credential, KEY, clock, session), transport=carrier)

    def _image_carry(self, process: Process) -> Carry:
        name = process.machine.name
        session = f"{name}/images{process.machine.starts}"
        carrier = self.carrier(name, self.core, "images", session, {"nano.fingerprint": fingerprint_of(name)})
        random = Random(f"{self.seed}/{session}")  # noqa: S311
        return carried(httpx.AsyncClient(transport=carrier), random, self.faults, lambda: self.trouble)

    async def _find_core(self, process: Process) -> CoreClient:
        self._clients += 1
        return self.client("frontend", "portal", process.machine.clock, f"portal{self._clients}")

    # ---- running

    def start(self) -> None:
        for machine in self.machines.values():
            self._tasks.start_soon(machine.live)
        for machine in self.cells.values():
            self._tasks.start_soon(self._cable, machine)
        self._tasks.start_soon(self._watch)

    def partition(self, name: str) -> None:
        self.partitioned.add(name)
        for wire in self._wires_of(name):
            wire.hold()

    def reunite(self, name: str) -> None:
        self.partitioned.discard(name)
        for wire in self._wires_of(name):
            wire.release()

    def _wires_of(self, name: str) -> list[Wire]:
        """Its link to Core, and those to other cells (``cell_doors`` names them "one>two:door/number")."""
        return [
            wire for key, wire in self.wires.items() if key == name or key.startswith(f"{name}>") or f">{name}:" in key
        ]

    def _on_up(self, _: Machine, process: Process) -> None:
        if isinstance(process.node, Core):
            process.node.feed.add_listener(self._on_core_changes)

    def _on_core_changes(self, _: list[Change]) -> None:
        look(self.zone, self.hosts, self.report)

    async def _watch(self) -> None:
        """Restart nodes whose journal is poisoned, as an administrator would; check that replay is live state."""
        while True:
            await anyio.sleep(self.random.uniform(5.0, 15.0))
            look(self.zone, self.hosts, self.report)
            for machine in self.machines.values():
                node = machine.node
                if node is not None and node.ledger.log.poisoned is not None and machine.process is not None:
                    machine.process.stop()
                elif node is not None and self.random.random() < 0.05:
                    await self._compare(machine)

    async def _compare(self, machine: Machine) -> None:
        for _ in range(10):
            node = machine.node
            if node is None or node.ledger.log.poisoned or machine.audit.compare(node.ledger):
                return
            await anyio.sleep(1.0)  # a batch may have been under way
        self.report(f"{machine.name}: replay is not the live state")

    # ---- links

    async def _cable(self, machine: Machine) -> None:
        while True:
            await anyio.sleep(self.random.uniform(*RECONNECT_S))
            cell, core = machine.process, self.core.process
            if machine.name in self.partitioned or cell is None or core is None:
                continue
            if not (cell.alive and core.alive and cell.node and core.node and cell.tasks and core.tasks):
                continue
            wire = Wire(self.random, self.link_weather, self.faults)
            near = WireEnd(wire, fingerprint_of("core"), b"core", "sim:core", 0)
            far = WireEnd(wire, fingerprint_of(machine.name), machine.name.encode(), f"sim:{machine.name}", 1)
            wire.ends = (near, far)
            self.wires[machine.name] = wire
            cell.died[machine.name] = functools.partial(wire.died, near)
            core.died[machine.name] = functools.partial(wire.died, far)
            assert isinstance(core.node, Core)
            assert isinstance(cell.node, CellNode)
            core.tasks.start_soon(_accept, core.node, far)
            cell.tasks.start_soon(_connect, machine, cell.node, near)
            await near.lost.wait()
            self.faults["link lost"] += 1


async def _connect(machine: Machine, node: CellNode, end: WireEnd) -> None:
    trust = PinnedCore(DOMAIN, machine.pins)
    epoch = trust.pin.epoch if trust.pin else 0
    hello = Hello(name=machine.name, kind="cell", domain=DOMAIN, version=Core.version, epoch=epoch)
    try:
        with plain_errors():
            async with anyio.create_task_group() as tasks:
                end.events = link = StreamLink(end, node.offer, tasks, SETTINGS, connector=True)
                await tasks.start(Connector(link, trust, hello, SETTINGS).run)
                await link.closed.wait()
                tasks.cancel_scope.cancel()
    except NanoError:
        end.close("no link")  # the cable tries again
    finally:
        end.lose("ended")


async def _accept(node: Core, end: WireEnd) -> None:
    welcome = Welcome(name=node.name, domain=DOMAIN, version=node.version, epoch=node.ledger.log.epoch, approved=False)
    try:
        with plain_errors():
            async with anyio.create_task_group() as tasks:
                end.events = link = AcceptedLink(end, TakesNoOrders(), tasks, SETTINGS, connector=False)
                await link.greet(CellTrust(node.zone), welcome, None)
                async with anyio.create_task_group() as attending:
                    attending.start_soon(node.cells.on_link, link)
                    await link.closed.wait()
                tasks.cancel_scope.cancel()
    except NanoError:
        end.close("no link")
    finally:
        end.close("ended")
