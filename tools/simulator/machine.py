"""A machine of the simulated zone and the process that runs on it: started, killed, stopped, started again.

``Machine`` outlives its processes: disk, clock, hypervisor, pins. ``Process`` is one life of its node (``nodes``). Invariant:
killing is final and instant; what the node's code still does
while it unwinds has no effect, because every port of a dead process is void.
"""

import asyncio
import hashlib
from collections import Counter
from collections.abc import AsyncIterator, Callable
from contextlib import AbstractAsyncContextManager, asynccontextmanager
from datetime import datetime, timedelta
from pathlib import Path
from random import Random
from typing import Final

import anyio
import anyio.abc

from nano.domain.errors import JournalDamaged, NanoError
from nano.domain.facts import Model
from nano.hypervisor.simulated import SimulatedHost
from nano.journal.backup import JOURNAL
from nano.journal.commit_log import CommitLog
from nano.journal.feed import Feed
from nano.journal.ledger import Ledger
from nano.journal.receipts import KEY_FILE
from nano.tools.simulator.bed import numbered_ids
from nano.tools.simulator.carrier import App, Served
from nano.tools.simulator.disk import DiskSession, SimulatedDisk
from nano.tools.simulator.host import HostConnection, Trouble
from nano.tools.simulator.invariants import Audit
from nano.tools.simulator.nodes import EPOCH, Node
from nano.tools.simulator.upkeep import SEGMENT_BYTES, SNAPSHOTS, limits_of
from nano.tools.simulator.workers import VirtualJournals, VirtualWorkers
from nano.transports.trust import MemoryPinStore

UNWIND_S: Final = 300.0  # a stopped node must have ended by then
RESTART_S: Final = (0.5, 40.0)

Opener = Callable[["Process", Ledger], AbstractAsyncContextManager[Node]]


class WallClock:
    def __init__(self) -> None:
        self.offset_s = 0.0
        self._loop = asyncio.get_running_loop()

    def __call__(self) -> datetime:
        return EPOCH + timedelta(seconds=round(self._loop.time() + self.offset_s, 6))


class Machine:
    """``model`` makes what its journal folds into, ``open_node`` what runs on that. ``on_up(machine, process)`` is called
    when its node answers."""

    def __init__(
        self,
        name: str,
        model: Callable[[], Model],
        open_node: "Opener",
        seed: str,
        tasks: anyio.abc.TaskGroup,
        report: Callable[[str], None],
        on_up: Callable[["Machine", "Process"], None],
    ) -> None:
        self.name = name
        self.model = model
        self.open_node = open_node
        self.random = Random(f"{seed}/{name}")  # noqa: S311 - a simulation
        self.disk = SimulatedDisk(Random(f"{seed}/{name}/disk"))  # noqa: S311
        self.clock = WallClock()
        self.new_id = numbered_ids(self.random.getrandbits(64))
        self.trouble = Trouble(Random(f"{seed}/{name}/trouble"))  # noqa: S311
        self.host = SimulatedHost(cell=name, seed=self.random.getrandbits(32))
        self.pins = MemoryPinStore()
        self.folder = Path("/") / name
        self.kept: Counter[str] = Counter()  # what it did to its journal, beside writing it
        self.audit = Audit(self.disk, self.folder, name, model, report)
        self.process: Process | None = None
        self.disk.install(self.folder / "data" / KEY_FILE, self.random.randbytes(32))  # a node draws it from the system
        self.report = report
        self.starts = 0
        self.tasks = tasks
        self.quick = False  # restart at once
        self.on_up = on_up
        self.restart_soon = anyio.Event()

    @property
    def node(self) -> Node | None:
        process = self.process
        return process.node if process is not None and process.alive else None

    def note_start(self, ledger: Ledger) -> None:
        begins = ledger.log.begins.position
        self.kept["start from a snapshot"] += ledger.snapshots.position > begins
        self.kept["start behind a horizon"] += begins > 0

    def check_image(self, path: Path) -> None:
        """Disks are cloned from it: it must be there, and what its name says."""
        inode = self.disk.names.get(path)
        if inode is None or hashlib.sha256(inode.data).hexdigest() != path.stem:
            self.report(f"{self.name}: a guest's disk is cloned from {path.name}, which is missing or damaged")

    async def live(self) -> None:
        """Keep a process running here for ever."""
        while True:
            self.starts += 1
            process = self.process = Process(self)
            self.tasks.start_soon(process.run)
            await process.over.wait()
            self.restart_soon = anyio.Event()
            with anyio.move_on_after(1.0 if self.quick else self.random.uniform(*RESTART_S)):
                await self.restart_soon.wait()

    def kill(self, *, power: bool) -> None:
        """End the process where it stands; with ``power``, the machine and its guests too."""
        if self.process is not None:
            self.process.kill()
        if power:
            self.disk.lose_power()
            for domain in self.host.machine.values():
                if domain.state != "stopped":
                    domain.state = "stopped"
                    domain.boots += 1


class Process:
    """One life of a node."""

    def __init__(self, machine: Machine) -> None:
        self.machine = machine
        self.alive = True
        self.stopping = False
        self.node: Node | None = None
        self.apps: dict[str, App] = {}  # what it answers HTTP with, by name
        self.workers = VirtualWorkers(Random(machine.random.getrandbits(64)))  # noqa: S311
        self.over = anyio.Event()
        self.session = DiskSession(machine.disk, self._on_crash)
        self.host = HostConnection(machine.host, machine.trouble, machine.check_image)
        self.died: dict[str, Callable[[], None]] = {}  # by cable: told when it is killed
        self.scope = anyio.CancelScope()
        self.tasks: anyio.abc.TaskGroup | None = None
        self.power_at_crash = False

    def served(self, name: str) -> Served | None:
        """What answers HTTP under this name, None while nothing does."""
        app = self.apps.get(name)
        if not self.alive or self.node is None or app is None or self.tasks is None:
            return None
        return Served(app, self.tasks, self.died, self._broke)

    def kill(self) -> None:
        if not self.alive:
            return
        self.alive = False
        self.session.end()
        self.host.end()
        for tell in list(self.died.values()):
            tell()
        self.over.set()
        self.scope.cancel()

    def stop(self) -> None:
        """As a service manager does: it may finish what it must."""
        if self.alive and not self.stopping:
            self.stopping = True
            self.scope.cancel()
            asyncio.get_running_loop().call_later(UNWIND_S, self._must_have_ended)

    async def run(self) -> None:
        machine = self.machine
        try:
            with self.scope:
                async with anyio.create_task_group() as tasks:
                    self.tasks = tasks
                    async with self._open() as node:
                        self.node = node
                        machine.on_up(machine, self)
                        await anyio.sleep_forever()
        except Exception as error:  # noqa: BLE001 - judged here
            if self.alive:
                self._judge(error)
        finally:
            self.kill()

    def _judge(self, error: Exception) -> None:
        leaves = _leaves(error)
        for leaf in leaves:
            if isinstance(leaf, JournalDamaged):
                self.machine.report(f"{self.machine.name} finds its journal damaged: {leaf}")
            elif not isinstance(leaf, NanoError):
                self.machine.report(f"{self.machine.name} broke: {leaf!r}")
            elif self.node is not None and self.node.ledger.log.poisoned is None and not self.stopping:
                self.machine.report(f"{self.machine.name} gave up at work: {leaf!r}")
        self.machine.disk.failures["node ended by an error"] += 1

    def _broke(self, error: Exception) -> None:
        if self.alive:
            self.machine.report(f"{self.machine.name} broke in a request: {error!r}")

    def _must_have_ended(self) -> None:
        if self.alive:
            self.machine.report(f"{self.machine.name} did not stop within {UNWIND_S:.0f} s")
            self.kill()

    def _on_crash(self) -> None:
        self.machine.disk.failures["crash at an operation"] += 1
        self.machine.kill(power=self.power_at_crash)

    @asynccontextmanager
    async def _open(self) -> AsyncIterator[Node]:
        machine = self.machine
        log = CommitLog(
            machine.folder / JOURNAL,
            clock=machine.clock,
            disk=self.session,
            limits=limits_of(machine.name),
            segment_bytes_max=SEGMENT_BYTES,
        )
        async with Ledger.open(
            log,
            machine.model(),
            clock=machine.clock,
            new_id=machine.new_id,
            feed=Feed(),
            workers=self.workers,
            journals=VirtualJournals,
            snapshots=SNAPSHOTS,
        ) as ledger:
            machine.note_start(ledger)
            machine.audit.opened(ledger)
            async with machine.open_node(self, ledger) as node:
                yield node


def _leaves(error: BaseException) -> list[BaseException]:
    if isinstance(error, BaseExceptionGroup):
        return [leaf for inner in error.exceptions for leaf in _leaves(inner)]
    return [error]
