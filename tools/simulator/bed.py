"""Bed: the one place that puts a zone together from simulated parts.

The journals are real (a folder is given), hosts and links are simulated; a test keeps the hosts while it stops and starts
nodes, as a machine outlives the processes on it. ``Core`` and ``CellNode`` are the very ones that the daemons run.
"""

import hashlib
from collections.abc import AsyncIterator, Callable, Iterator
from contextlib import AsyncExitStack, asynccontextmanager
from datetime import UTC, datetime
from pathlib import Path
from random import Random

import anyio
import anyio.abc

from nano.cell.cell import CellNode
from nano.cell.image_cache import ImageCache
from nano.cell.image_work import SendFile, no_way
from nano.cell.viewers import VncOffer
from nano.core.core import Core
from nano.core.image_store import ImageStore
from nano.core.intake import Intake
from nano.core.trust import CellTrust
from nano.core.vault import Vault
from nano.domain.errors import NanoError
from nano.domain.site import Site
from nano.domain.task import Task
from nano.domain.zone import Zone
from nano.hypervisor.simulated import SimulatedHost
from nano.journal.commit_log import CommitLog
from nano.journal.disk import Disk
from nano.journal.engines.opening import log_for
from nano.journal.engines.settings import EngineSettings
from nano.journal.feed import Feed
from nano.journal.health import NO_UPKEEP
from nano.journal.ledger import Ledger
from nano.journal.sealing import SealingKey
from nano.tools.simulator.doors import MemoryDoors
from nano.transports.link import Link, Pipe
from nano.transports.memory_link import FAIR, MemoryNode, Weather, memory_pair
from nano.transports.messages import Hello, ImageSource, Message, Welcome
from nano.transports.trust import MemoryPinStore, PinnedCore

DOMAIN = "bed"
KEY = SealingKey(bytes(32))  # that everybody knows: nothing here is secret
VAULT = Vault(KEY)


def numbered_ids(seed: int) -> Callable[[], str]:
    """UUID-shaped texts drawn from a seed."""
    random = Random(seed)  # noqa: S311 - ids of a simulation

    def new_id() -> str:
        digits = f"{random.getrandbits(128):032x}"
        return f"{digits[:8]}-{digits[8:12]}-{digits[12:16]}-{digits[16:20]}-{digits[20:]}"

    return new_id


def utc_now() -> datetime:
    return datetime.now(UTC)


class _Deaf:
    """Core offers nothing to its cells."""

    async def on_request(self, link: Link, message: Message) -> Message:  # noqa: ARG002
        raise NanoError("Core takes no orders.")

    def on_follow(self, link: Link, message: Message) -> AsyncIterator[Message]:  # noqa: ARG002
        raise NanoError("Core takes no orders.")

    async def on_pipe(self, link: Link, message: Message) -> tuple[Message, Pipe | None]:  # noqa: ARG002
        raise NanoError("Core takes no orders.")


class Bed:
    """Folders and machines of one zone; nodes are started and stopped on it."""

    def __init__(self, folder: Path, *, seed: int = 0, clock: Callable[[], datetime] = utc_now) -> None:
        self.folder = folder
        self.clock = clock
        self.new_id = numbered_ids(seed)
        self.hosts: dict[str, SimulatedHost] = {}
        self.pins: dict[str, MemoryPinStore] = {}
        self.disks: dict[str, Disk] = {}  # by name of cell, or "core"; a real one where there is none
        self.engine = EngineSettings()  # of Core's journal
        self.weather: Weather = FAIR
        self.upkeep = NO_UPKEEP  # of Core
        self.send: SendFile = no_way  # how cells send images to Core
        self.doors = MemoryDoors()
        self.vnc = VncOffer("192.0.2.1", range(5901, 5905), KEY)  # of every cell
        self._starts = 0

    def host(self, name: str, **options: float) -> SimulatedHost:
        """The machine of that name; quick unless told otherwise."""
        if name not in self.hosts:
            quick = {"copy_s": 0.02, "boot_s": 0.02, "shutdown_s": 0.02} | options
            self.hosts[name] = SimulatedHost(cell=name, **quick)  # type: ignore[arg-type]
        return self.hosts[name]

    @asynccontextmanager
    async def core(self) -> AsyncIterator[Core]:
        self._starts += 1
        folder, disk = self.folder / "core" / "journal", self.disks.get("core")
        log = log_for(self.engine, folder, clock=self.clock, owner="Core_bed", disk=disk)
        zone, store = Zone(), ImageStore(self.folder / "core" / "images")
        async with Ledger.open(log, zone, clock=self.clock, new_id=self.new_id, feed=Feed()) as ledger:
            core = Core(
                "Core_bed",
                ledger,
                zone,
                clock=self.clock,
                source=lambda image: ImageSource(
                    image.id, str(store.path(image)), image.size, image.sha256, image.format
                ),
                images=store,
                intake=Intake(self.folder / "intake"),
                vault=VAULT,
                generation=str(self._starts),
                upkeep=self.upkeep,
            )
            async with core.running():
                yield core

    @asynccontextmanager
    async def cell(self, name: str) -> AsyncIterator[CellNode]:
        log = CommitLog(self.folder / name / "journal", clock=self.clock, disk=self.disks.get(name))
        site = Site()
        images = ImageCache(self.folder / name / "images", _fetch)
        async with Ledger.open(log, site, clock=self.clock, new_id=self.new_id, feed=Feed()) as ledger:
            cell = CellNode(
                name,
                ledger,
                site,
                self.host(name),
                images,
                clock=self.clock,
                now=anyio.current_time,
                outgoing=self.folder / name / "outgoing",
                send=self.send,
                peers=self.doors.of(name),
                vnc=self.vnc,
            )
            async with cell.running():
                yield cell

    @asynccontextmanager
    async def link(self, cell: CellNode, core: Core) -> AsyncIterator[None]:
        """A link between the two while entered."""
        trust = PinnedCore(DOMAIN, self.pins.setdefault(cell.name, MemoryPinStore()))
        connector = _node(cell.name, trust, cell.offer)
        acceptor = _node(core.name, CellTrust(core.zone), _Deaf())
        hello = Hello(name=cell.name, kind="cell", domain=DOMAIN, version=core.version)
        welcome = Welcome(
            name=core.name, domain=DOMAIN, version=core.version, epoch=core.ledger.log.epoch, approved=False
        )
        async with (
            memory_pair(connector, hello, acceptor, welcome, weather=self.weather) as (_, accepted),
            anyio.create_task_group() as tasks,
        ):
            tasks.start_soon(core.cells.on_link, accepted)
            yield
            tasks.cancel_scope.cancel()

    @asynccontextmanager
    async def zone(self, *cells: str) -> AsyncIterator[tuple[Core, list[CellNode]]]:
        """Core and connected cells, all running."""
        async with AsyncExitStack() as stack:
            core = await stack.enter_async_context(self.core())
            nodes = [await stack.enter_async_context(self.cell(name)) for name in cells]
            for node in nodes:
                await stack.enter_async_context(self.link(node, core))
            yield core, nodes


def _node(name: str, trust: object, handler: object) -> MemoryNode:
    key = name.encode()
    return MemoryNode(hashlib.sha256(key).hexdigest(), trust, handler, key)  # type: ignore[arg-type]


async def _fetch(source: ImageSource, target: Path, progress: Callable[[int], None]) -> None:
    data = await anyio.Path(source.url).read_bytes()
    await anyio.Path(target.parent).mkdir(exist_ok=True)
    await anyio.Path(target).write_bytes(data)
    progress(100)


async def ended(core: Core, task_id: str, *, limit_s: float = 20.0) -> Task:
    """The task once it has ended. Raises TimeoutError."""
    with anyio.fail_after(limit_s):
        while True:
            state = core.views.states["task"].get(task_id)
            if isinstance(state, Task) and state.ended:
                return state
            await core.feed.wait_for(core.feed.position + 1)


def task_of(facts: Iterator[object] | tuple[object, ...]) -> str:
    """The id of the task that a receipt's facts opened."""
    for fact in facts:
        resource = getattr(fact, "resource", "")
        if resource.startswith("task/"):
            return str(resource.removeprefix("task/"))
    raise AssertionError("no task was opened")
