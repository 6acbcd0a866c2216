"""kill -9 under load, again and again, of Core, Cell and FrontEnd as real programs on a real disk and a real libvirtd.

In each round callers work on all three; one, two or all of them are killed at a moment drawn from a seed and started
again while the rest goes on. Then everything that was acknowledged must be in the journals exactly once and at the
position that was told, nothing of what was refused; what was not answered is asked again under the same key; every task ends;
the host, the cell's journal and Core agree; Core's rows are, byte for byte, those of its journal folded anew; and
sessions are as they were left.

``NANO_KILL_ROUNDS`` and ``NANO_KILL_SEED`` ask for more rounds, and for others.
"""

import json
import logging
import os
from collections import Counter
from collections.abc import AsyncIterator, Iterator
from pathlib import Path
from random import Random
from typing import Any, Final

import anyio
import anyio.to_thread
import pytest

from nano.domain.catalogue import COLLECTIONS
from nano.domain.cell import Cell
from nano.domain.facts import Model
from nano.domain.office import Office
from nano.domain.session import SessionOpened
from nano.domain.site import Site
from nano.domain.zone import Zone as ZoneModel
from nano.http.client import load_async_client
from nano.hypervisor import local_libvirtd
from nano.journal.line import Line
from nano.journal.reader import JournalReader
from nano.journal.verify import verify
from nano.projections.zone_views import KINDS, ZoneViews
from nano.tools import processes
from nano.tools.testbed.zone import Zone
from nano.tools.testbed.zone_load import ZoneLoad
from nano.ui.doorman import digest_of

log = logging.getLogger("nano.tests")

ROUNDS = int(os.environ.get("NANO_KILL_ROUNDS", "50"))
SEED = int(os.environ.get("NANO_KILL_SEED", "1"))
PORT: Final = 17760
MODELS: Final[dict[str, type[Model]]] = {"core": ZoneModel, "cell": Site, "frontend": Office}
QUIET_LIMIT_S: Final = 120.0

pytestmark = [pytest.mark.anyio, pytest.mark.timeout(60 + 30 * ROUNDS)]


@pytest.fixture
def zone(private_libvirtd: Path, tmp_path: Path) -> Iterator[Zone]:
    zone = Zone(tmp_path / "zone", local_libvirtd.uri_of(private_libvirtd), PORT)
    config = zone.state / "frontend" / "config" / "frontend.toml"
    config.parent.mkdir(parents=True)
    config.write_text(f"[listen]\nport = {PORT + 1}\n")
    zone.up()
    zone.start("frontend")
    try:
        yield zone
    finally:
        zone.program("nano-frontend", "stop")
        zone.stop()


class Journal:
    """One node's journal, read on as it grows: the chain is checked on the way, and it is folded anew here."""

    def __init__(self, node: str, state: Path) -> None:
        self.node = node
        self.folder = state / node / "data" / "journal"
        self.model = MODELS[node]()
        self.versions: Counter[str] = Counter()
        self.commands: Counter[str] = Counter()
        self.ends: dict[str, int] = {}  # command id -> the last position of its line
        self.logins: Counter[str] = Counter()
        self._reader = JournalReader(self.folder, self.model.rules.event_types())

    @property
    def position(self) -> int:
        return self._reader.position

    def read_on(self) -> None:
        for line in self._reader.lines():
            self._take(line)

    def _take(self, line: Line[Any]) -> None:
        if line.command:
            self.commands[line.command] += 1
            self.ends[line.command] = line.last
        for entry in line.events:
            self.model.apply(entry.resource, entry.event, line.time)
            self.versions[entry.resource] += 1
            if isinstance(entry.event, SessionOpened):
                self.logins[entry.event.digest] += 1

    def rows(self) -> dict[str, bytes]:
        views = ZoneViews("replayed")
        views.load(self.model, self.versions.__getitem__, self.position)
        return {kind: without_position(views.tables[kind].page(limit=1000).body) for kind in KINDS}


def without_position(body: bytes) -> bytes:
    return body.rpartition(b',"position"')[0]


class Rounds:
    def __init__(self, zone: Zone, random: Random, load: ZoneLoad) -> None:
        self.zone = zone
        self.random = random
        self.load = load
        self.core = load_async_client(zone.state)
        self.journals = {node: Journal(node, zone.state) for node in MODELS}
        self.killed: Counter[str] = Counter()

    async def one(self) -> None:
        victims = self.random.sample(sorted(MODELS), self.random.choice((1, 1, 2, 3)))
        async with self.load.running():
            await self.load.reach(self.load.acknowledged + self.random.randint(1, 30))
            await anyio.sleep(self.random.uniform(0, 0.03))  # the moment is the point
            for node in victims:
                self.kill(node)
            async with anyio.create_task_group() as group:
                for node in self.random.sample(victims, len(victims)):
                    group.start_soon(anyio.to_thread.run_sync, self.zone.start, node)
        await self.load.ask_again()
        await self.quiet()
        await self.check()

    def kill(self, node: str) -> None:
        process = processes.read_record(self.zone.state / node / "run" / f"nano-{node}.pid")
        assert process is not None
        self.zone.kill(node)
        assert processes.wait_gone(process, 30)
        self.killed[node] += 1

    # ------------------------------------------------------------------ afterwards

    async def quiet(self) -> None:
        """Every task ends, the cell is there and owes nothing, and Core has read all that it says."""
        found = ["nobody has looked"]
        with anyio.move_on_after(QUIET_LIMIT_S):
            while found:
                await anyio.sleep(0.05)
                found = await self.unrest()
        assert not found, found

    async def unrest(self) -> list[str]:
        tasks = (await self.core.request("GET", "/api/v2/tasks", params={"limit": 1000})).json()["items"]
        found = [f"task {row['id']} is {row['state']}" for row in tasks if not row["ended_at"]]
        for journal in self.journals.values():
            await anyio.to_thread.run_sync(journal.read_on)
        for state in self.journals["core"].model.of_kind("cell"):
            if isinstance(state, Cell) and (not state.online or state.debts):
                found.append(f"cell {state.name} is offline, or owes {state.debts}")
        site = self.journals["cell"].model
        assert isinstance(site, Site)
        found += [f"order {order.id} is open" for order in site.open_orders.values()]
        live = await self.live_rows() if not found else {}
        return found or [kind for kind, rows in self.journals["core"].rows().items() if live[kind] != rows]

    async def live_rows(self) -> dict[str, bytes]:
        paths = {kind: f"/api/v2/{COLLECTIONS[kind]}" for kind in KINDS}
        return {
            kind: without_position((await self.core.request("GET", path, params={"limit": 1000})).content)
            for kind, path in paths.items()
        }

    async def check(self) -> None:
        self.check_journals()
        self.check_acknowledged()
        await anyio.to_thread.run_sync(self.check_host)
        for token in sorted(self.load.sessions - self.load.unsure_sessions):
            assert await self.load.is_open(token) == (token not in self.load.ended)

    def check_journals(self) -> None:
        for journal in self.journals.values():
            report = verify(journal.folder)
            assert report.damage is None, f"{journal.node}: {report.damage}"
            assert report.pending_bytes == 0

    def check_acknowledged(self) -> None:
        core, office = self.journals["core"], self.journals["frontend"]
        assert set(core.commands.values()) <= {1}, "a command is there twice"
        told = {f"nanoctl:{key}": position for key, position in self.load.positions.items()}
        assert {command: core.ends.get(command) for command in told} == told
        assert not {f"nanoctl:{key}" for key in self.load.refused} & core.commands.keys()
        assert {office.logins[digest_of(token)] for token in self.load.sessions} <= {1}

    def check_host(self) -> None:
        """Domains and volumes are those of the guests, and the cell's journal knows the same."""
        guests = {row.rpartition("/")[2] for row in self.journals["core"].model.states if row.startswith("guest/")}
        site = self.journals["cell"].model
        assert isinstance(site, Site)
        assert {domain.guest_id for domain in site.domains()} == guests
        assert set(self.zone.domains()) == guests
        assert self.zone.files() == guests


@pytest.fixture
async def rounds(zone: Zone) -> AsyncIterator[Rounds]:
    random = Random(SEED)
    portal = json.loads((zone.state / "frontend" / "run" / "endpoint.json").read_text())["portal"]
    async with load_async_client(zone.state) as client:
        load = ZoneLoad(client, portal, random)
        await load.first_visit()
        made = Rounds(zone, random, load)
        yield made
        await made.core.aclose()


async def test_nothing_acknowledged_is_lost_and_all_ends_well(rounds: Rounds) -> None:
    for number in range(ROUNDS):
        try:
            await rounds.one()
        except BaseException as error:
            error.add_note(f"round {number} with seed {SEED}; state in {rounds.zone.state}")
            raise
    told = len(rounds.load.positions), len(rounds.load.sessions), len(rounds.load.refused)
    log.info("%d rounds, kills %s, commands %d, logins %d, refusals %d", ROUNDS, dict(rounds.killed), *told)
    assert all(rounds.killed[node] >= ROUNDS // 5 for node in MODELS)
    assert len(rounds.load.positions) > ROUNDS
    for journal in rounds.journals.values():  # from the first byte, as whoever reads them later will
        again = Journal(journal.node, rounds.zone.state)
        again.read_on()
        assert again.model.states == journal.model.states
        assert again.ends == journal.ends
