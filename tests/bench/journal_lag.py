"""How far followers lag behind: from durable at the source until visible, under a steady 500 commands/s

Every node is a process of its own, all on this machine, so one clock serves all. *Durable* is when the source's feed gives out
the fact; *visible* is

* Core following a cell's journal over a QUIC link: when the fact is durable and published in Core's own journal too;
* FrontEnd following Core's event stream over HTTP: when its mirror has taken it in;
* ``nano-replay log -f -o json`` on the live node's folder: when another process has read the line it prints.

A command that begins late tells of the machine, not of a follower: on a busy one nothing runs when it should.
"""

import gc
import itertools
import json
import subprocess
import sys
import tempfile
import time
from bisect import bisect_left
from collections.abc import Callable, Coroutine, Iterable
from contextlib import ExitStack
from functools import partial
from pathlib import Path
from typing import Any, Final

import anyio
import anyio.to_thread
import msgspec
import uvloop

from nano.cell.cell import CellNode
from nano.core.core import Core
from nano.core.trust import CellTrust
from nano.domain.cell import AddCell
from nano.domain.compute_pool import ModifyComputePool
from nano.domain.facts import Change
from nano.domain.guest_commands import CreateGuest
from nano.domain.host_domain import ObserveDomain
from nano.domain.machine import MEBI
from nano.http.app import make_app
from nano.http.client import AsyncSignedClient, Signer
from nano.http.credentials import Credential, Credentials
from nano.http.server import run_server
from nano.journal.feed import Feed
from nano.tools.daemon import GIVE_WAY_S
from nano.tools.simulator.bed import Bed, ended, task_of
from nano.transports import quic_link
from nano.transports.messages import Hello, Welcome
from nano.transports.node_side import NodeSide
from nano.transports.testing import FunctionHandler, make_nodes
from nano.transports.trust import MemoryPinStore, PinnedCore
from nano.ui.core_api import CoreApi, CoreClient
from nano.ui.follower import Follower
from nano.ui.hub import Hub
from nano.ui.mirror import COLLECTIONS, Mirror, Row
from nano.ui.usage_ring import UsageRing

ROOT: Final = Path(__file__).resolve().parents[2]
RATE: Final = 500  # commands a second
SECONDS: Final = 10
WARM_UP: Final = RATE  # the first second is not counted
GUESTS: Final = 20
REACH_MS: Final = 20
KEY_ID, KEY = "bench", "a-key-that-is-long-enough-for-a-bench"
NAME: Final = "one"
DOMAIN: Final = "nano"

Times = list[tuple[int, float]]  # positions of the source's journal, growing, and when each was there


def run() -> dict[str, Any]:
    with tempfile.TemporaryDirectory(dir=ROOT, prefix=".bench-") as folder:
        link, late_at_cell = _follow_cell(Path(folder) / "link")
        mirror, tail, late_at_core = _follow_core(Path(folder) / "stream")
    figures: dict[str, Any] = {"commands/s": RATE, "commands": RATE * SECONDS - WARM_UP}
    for name, late in (("cell", late_at_cell), ("Core", late_at_core)):
        title = f"99 of 100 commands at the {name} begin late by no more than"
        figures[title] = {"value": round(late[len(late) * 99 // 100], 2), "unit": "ms"}
    for name, lags in (
        ("Core behind a cell's journal", link),
        ("FrontEnd's mirror behind Core's event stream", mirror),
        ("nano-replay log -f behind Core's journal", tail),
    ):
        most = lags[len(lags) * 99 // 100]
        figures[name] = {
            "half are seen within": {"value": round(lags[len(lags) // 2], 2), "unit": "ms"},
            "99 of 100 within": {
                "value": round(most, 2),
                "unit": "ms",
                "reach": f"< {REACH_MS}",
                "ok": most < REACH_MS,
            },
            "the last within": {"value": round(lags[-1], 2), "unit": "ms"},
        }
    return figures


def _follow_cell(folder: Path) -> tuple[list[float], list[float]]:
    make_nodes("quic", folder / "keys")  # before two processes look for them
    with ExitStack() as stack:
        core = stack.enter_context(_Role("core", folder))
        cell = stack.enter_context(_Role("cell", folder, core.told()))
        assert core.told() == "ready"
        cell.tell("go")
        durable, late = json.loads(cell.told())
        core.tell(str(durable[-1][0]))
        visible = json.loads(core.told())
    return _lags(durable, visible), late


def _follow_core(folder: Path) -> tuple[list[float], list[float], list[float]]:
    with ExitStack() as stack:
        source = stack.enter_context(_Role("source", folder))
        port, begins = source.told().split()
        mirror = stack.enter_context(_Role("mirror", port))
        assert mirror.told() == "ready"
        tail = stack.enter_context(_Role("tail", folder / "core" / "journal", begins))
        assert tail.told() == "ready"
        source.tell("go")
        durable, late = json.loads(source.told())
        followers = []
        for follower in (mirror, tail):
            follower.tell(str(durable[-1][0]))
            followers.append(_lags(durable, json.loads(follower.told())))
    return followers[0], followers[1], late


def _lags(durable: Times, visible: Times) -> list[float]:
    """ms, sorted. What is visible at a position shows everything up to it; a reader of the file may be ahead of the sync."""
    positions = [position for position, _ in visible]
    seen = [visible[bisect_left(positions, position)][1] - at for position, at in durable[WARM_UP:]]
    return sorted(max(0.0, lag * 1e3) for lag in seen)


class _Role:
    """A process of this module: lines in, lines out."""

    def __init__(self, *arguments: object) -> None:
        command = [sys.executable, __file__, *map(str, arguments)]
        self._name = " ".join(command)
        self._process: subprocess.Popen[str] = subprocess.Popen(
            command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
        )

    def __enter__(self) -> "_Role":
        return self

    def __exit__(self, *_: object) -> None:
        self._process.communicate(timeout=60)  # closes its input: it stops

    def told(self) -> str:
        assert self._process.stdout
        line: str = self._process.stdout.readline()
        assert line, f"{self._name} has ended"
        return line.rstrip("\n")

    def tell(self, line: str) -> None:
        assert self._process.stdin
        self._process.stdin.write(line + "\n")
        self._process.stdin.flush()


# ---------------------------------------------------------------------- in the processes


def _tell(value: object) -> None:
    sys.stdout.write((value if isinstance(value, str) else json.dumps(value)) + "\n")
    sys.stdout.flush()


async def _heard() -> str:
    return await anyio.to_thread.run_sync(sys.stdin.readline)


class _Noted:
    """When each position was there."""

    def __init__(self) -> None:
        self.times: Times = []
        self._moved = anyio.Event()

    def note(self, position: int) -> None:
        self.times.append((position, time.perf_counter()))
        self._moved.set()
        self._moved = anyio.Event()

    async def until(self, last: int) -> Times:
        while not self.times or self.times[-1][0] < last:
            await self._moved.wait()
        return self.times


def _noted(feed: Feed) -> _Noted:
    noted = _Noted()

    def listen(changes: list[Change]) -> None:
        for change in changes:
            noted.note(change.fact.position)

    feed.add_listener(listen)
    return noted


def _serving() -> None:
    """What the programs do when they are ready (``Daemon``)."""
    gc.collect()
    gc.freeze()
    sys.setswitchinterval(GIVE_WAY_S)


async def _steadily(command: Callable[[int], Coroutine[Any, Any, object]]) -> list[float]:
    """RATE times a second, whether or not the ones before have been answered; how late they began, ms, sorted."""
    began, late = anyio.current_time(), []
    async with anyio.create_task_group() as tasks:
        for number in range(RATE * SECONDS):
            due = began + number / RATE
            await anyio.sleep_until(due)
            late.append((anyio.current_time() - due) * 1e3)
            tasks.start_soon(command, number)
    return sorted(late)


async def source(folder: Path) -> None:
    """A Core with its API, and people who modify its pool."""
    bed = Bed(folder)
    async with bed.core() as core, anyio.create_task_group() as tasks:
        app = make_app(core, Credentials([Credential(KEY_ID, KEY, "frontend")]), clock=bed.clock)
        _serving()
        _tell(f"{await tasks.start(run_server, app, '127.0.0.1', 0)} {core.feed.position}")
        await _heard()
        noted = _noted(core.feed)

        async def modify(number: int) -> None:
            command = ModifyComputePool(pool="default", enabled=number % 2 == 1)
            await core.execute(command, actor="bench", command_id=f"bench-{number}")

        late = await _steadily(modify)
        _tell([noted.times, late])
        await _heard()
        tasks.cancel_scope.cancel()


class _NotedMirror(Mirror):
    def __init__(self, *arguments: Any) -> None:
        super().__init__(*arguments)
        self.noted = _Noted()
        self.filled = anyio.Event()

    def replace(self, kind: str, rows: Iterable[Row]) -> tuple[set[str], set[str]]:
        outcome = super().replace(kind, rows)
        if kind == list(COLLECTIONS)[-1]:
            self.filled.set()
        return outcome

    def apply(self, resource: str, row: Row | None, position: int) -> tuple[set[str], set[str]]:
        outcome = super().apply(resource, row, position)
        if position:
            self.noted.note(position)
        return outcome


async def mirror(port: int) -> None:
    """The part of a FrontEnd that follows Core."""
    bed = Bed(Path())

    async def find() -> CoreClient:
        return AsyncSignedClient(f"http://127.0.0.1:{port}", Signer(KEY_ID, KEY))

    seen = _NotedMirror(bed.clock())
    follower = Follower(CoreApi(find), seen, Hub(), UsageRing(), clock=bed.clock)
    async with anyio.create_task_group() as tasks:
        tasks.start_soon(follower.run)
        await seen.filled.wait()
        _serving()
        _tell("ready")
        _tell(await seen.noted.until(int(await _heard())))
        tasks.cancel_scope.cancel()


def tail(journal: Path, begins: int) -> None:
    """A person, or a program, that reads what ``nano-replay log -f`` prints; ``begins`` is what a new zone has before."""
    program = Path(sys.executable).parent / "nano-replay"
    command = [str(program), "--node", str(journal), "log", "-f", "-o", "json"]
    process = subprocess.Popen(command, stdout=subprocess.PIPE)
    assert process.stdout
    position = msgspec.json.Decoder(_Positioned)
    times: Times = []
    try:
        for line in process.stdout:
            times.append((position.decode(line).position, time.perf_counter()))
            if times[-1][0] == begins:
                _tell("ready")
            if times[-1][0] == begins + RATE * SECONDS:
                break
        sys.stdin.readline()
        _tell(times)
    finally:
        process.terminate()
        process.wait(30)


class _Positioned(msgspec.Struct):
    position: int


async def core(folder: Path) -> None:
    """A Core that cells reach over QUIC; it takes the first one in and gives it guests."""
    bed, keys = Bed(folder), make_nodes("quic", folder / "keys")
    async with bed.core() as node, anyio.create_task_group() as tasks:
        side = NodeSide(keys.core, CellTrust(node.zone), FunctionHandler())
        welcome = Welcome(
            name=node.name, domain=DOMAIN, version=node.version, epoch=node.ledger.log.epoch, approved=False
        )
        at = await tasks.start(quic_link.serve, "127.0.0.1", 0, side, welcome, node.cells.on_link)
        _tell(at.address)
        while node.zone.get(f"cell/{NAME}") is None:
            await node.feed.wait_for(node.feed.position + 1)
        await node.execute(AddCell(cell=NAME), actor="bench", command_id="add")
        while (state := node.zone.get(f"cell/{NAME}")) is None or not getattr(state, "cores", 0):
            await node.feed.wait_for(node.feed.position + 1)
        await _make_guests(node)
        reached = _reached(node)
        _serving()
        _tell("ready")
        _tell(await reached.until(int(await _heard())))
        await _heard()
        tasks.cancel_scope.cancel()


async def _make_guests(node: Core) -> None:
    for number in range(GUESTS):
        command = CreateGuest(name=f"guest-{number}", memory=128 * MEBI, disks=(64 * MEBI,), cell=NAME)
        receipt = await node.execute(command, actor="bench", command_id=f"guest-{number}")
        await ended(node, task_of(receipt.facts))


def _reached(node: Core) -> _Noted:
    """Up to where Core has taken in the cell's journal."""
    reached = _Noted()

    def listen(changes: list[Change]) -> None:
        for change in changes:
            upstream, _, position = change.fact.cause.partition("@")
            if upstream == f"cell/{NAME}":
                reached.note(int(position))

    node.feed.add_listener(listen)
    return reached


async def cell(folder: Path, address: str) -> None:
    """A cell on whose host guests start and stop all the time."""
    bed, keys = Bed(folder), make_nodes("quic", folder / "keys")
    bed.host(NAME, copy_s=0.0)
    async with bed.cell(NAME) as node, anyio.create_task_group() as tasks:
        side = NodeSide(keys.cell, PinnedCore(DOMAIN, MemoryPinStore(), keys.cell), node.offer)
        hello = Hello(name=NAME, kind="cell", domain=DOMAIN, version="0")
        async with quic_link.connect(address, side, hello):
            await _heard()
            _serving()
            _tell(await _restless(node))
            await _heard()
        tasks.cancel_scope.cancel()


async def _restless(node: CellNode) -> tuple[Times, list[float]]:
    guests = itertools.cycle([domain.guest_id for domain in node.site.domains()])
    turns = [(next(guests), "running" if number // GUESTS % 2 == 0 else "stopped") for number in range(RATE * SECONDS)]
    noted = _noted(node.ledger.feed)

    async def observe(number: int) -> None:
        guest, power = turns[number]
        observed = ObserveDomain(guest_id=guest, power=power, reason="by itself")  # type: ignore[arg-type]
        await node.ledger.execute(observed, actor="bench", command_id="")

    late = await _steadily(observe)
    return noted.times, late


if __name__ == "__main__":
    role, arguments = sys.argv[1], sys.argv[2:]
    if role == "tail":
        tail(Path(arguments[0]), int(arguments[1]))
    elif role == "mirror":
        uvloop.run(mirror(int(arguments[0])))
    else:
        first = Path(arguments[0])
        roles: dict[str, Callable[[Path], Coroutine[Any, Any, None]]] = {
            "source": source,
            "core": core,
            "cell": partial(cell, address=arguments[-1]),
        }
        uvloop.run(roles[role](first))
