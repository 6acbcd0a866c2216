"""The same commands on each engine give the same: lines, states, projections, resource journals, snapshots, byte for byte."""

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from random import Random
from typing import Any

import anyio
import msgspec
import pytest

from nano.core.past import Past
from nano.domain import guest_commands as gc
from nano.domain.cell import AddCell, DescribeCell, MeetCell
from nano.domain.compute_pool import CreateComputePool, DeleteComputePool, ModifyComputePool
from nano.domain.errors import Refusal
from nano.domain.facts import Command
from nano.domain.host_domain import DomainCreated, DomainPowerChanged
from nano.domain.machine import MEBI
from nano.domain.report import RecordReport, ReportedFact
from nano.domain.zone import FoundZone, Zone
from nano.journal.engines.settings import EngineSettings
from nano.journal.ledger import Ledger
from nano.journal.line import Tracked
from nano.journal.snapshots import SnapshotSettings
from nano.journal.testing import ticking
from nano.projections.zone_views import ZoneViews

pytestmark = pytest.mark.anyio

COMMANDS = 250
AT_STOP = SnapshotSettings(every_events=100_000, at_stop_events=1)


class Life:
    """A zone's life from a seed: pools come and go, guests are made, start and stop, some commands are refused."""

    def __init__(self, ledger: Ledger, zone: Zone, seed: int) -> None:
        self._ledger = ledger
        self._zone = zone
        self._random = Random(seed)
        self._done = 0

    async def do(self, command: Command) -> None:
        self._done += 1
        number = self._done
        tracking = Tracked("cell/one", number) if isinstance(command, RecordReport) else None
        try:
            await self._ledger.execute(command, actor="admin", command_id=f"c{number}", cause="", tracking=tracking)
        except Refusal:
            return

    async def begin(self) -> None:
        await self.do(FoundZone())
        await self.do(MeetCell(name="one", fingerprint="f1", address="10.0.0.1:1"))
        await self.do(AddCell(cell="one"))
        described = {"virt_type": "qemu", "virt_note": "«名»", "hypervisor": "libvirt"}
        await self.do(DescribeCell(name="one", cores=64, memory=1 << 40, disk=1 << 44, **described))

    async def go_on(self, commands: int) -> None:
        for _ in range(commands):
            guests = list(self._zone.guests())
            match self._random.randrange(6):
                case 0:
                    await self.do(CreateComputePool(name=f"p{self._random.randrange(20)}"))
                case 1:
                    pool = f"p{self._random.randrange(20)}"
                    await self.do(
                        self._random.choice([DeleteComputePool(pool=pool), ModifyComputePool(pool=pool, enabled=False)])
                    )
                case 2:
                    name = f"g{self._random.randrange(40)}"
                    await self.do(gc.CreateGuest(name=name, memory=128 * MEBI, disks=(64 * MEBI,), cell="one"))
                case 3 if guests:
                    guest = self._random.choice(guests)
                    await self.do(RecordReport(cell="one", facts=(ReportedFact(guest.id, DomainCreated()),)))
                    if guest.task:
                        await self.do(gc.EndCreate(guest.task))
                case 4 if guests:
                    guest = self._random.choice(guests)
                    power = DomainPowerChanged("running" if guest.power != "running" else "stopped", "test")
                    await self.do(RecordReport(cell="one", facts=(ReportedFact(guest.id, power),)))
                case _:  # several that share a batch
                    async with anyio.create_task_group() as tasks:
                        for _ in range(3):
                            tasks.start_soon(self.do, CreateComputePool(name=f"p{self._random.randrange(60)}"))


@asynccontextmanager
async def opened(place: Any, **ports: Any) -> AsyncIterator[tuple[Ledger, Zone]]:
    zone = Zone()
    async with place.opened(model=zone, snapshots=AT_STOP, **ports) as ledger:
        yield ledger, zone


async def live(place: Any, seed: int) -> dict[str, Any]:
    """Everything that can be told of the zone after its life, which a restart cuts in two."""
    secret = place.journal.parent / "receipts.key"
    secret.parent.mkdir(parents=True)
    secret.write_bytes(b"the same for all")
    clock = ticking()
    async with opened(place, clock=clock) as (ledger, zone):
        life = Life(ledger, zone, seed)
        await life.begin()
        await life.go_on(COMMANDS // 2)
        done, draws = life._done, life._random.getstate()
    async with opened(place, clock=clock) as (ledger, zone):
        life = Life(ledger, zone, seed)
        life._done = done
        life._random.setstate(draws)
        await life.go_on(COMMANDS // 2)
        told = await tell(ledger, zone)
    files = {
        str(path.relative_to(place.journal)): path.read_bytes()
        for folder in ("resources", "snapshots")
        for path in sorted((place.journal / folder).rglob("*.json*"))
    }
    return {**told, "lines": place.lines(), "files": files, "verified": msgspec.to_builtins(place.verified())}


async def tell(ledger: Ledger, zone: Zone) -> dict[str, Any]:
    views = ZoneViews("same")
    views.load(zone, ledger.version, ledger.position)
    middle = ledger.position // 2
    past = await Past(ledger, "same").look(
        middle, lambda then: {kind: then.tables[kind].page().body for kind in views.tables}
    )
    return {
        "position": ledger.position,
        "states": msgspec.json.encode(list(zone.states.items())),
        "pages": {kind: table.page().body for kind, table in views.tables.items()},
        "past": past,
        "facts": msgspec.json.encode(await ledger.facts(0, 10_000)),
        "tracking": ledger.tracking("cell/one"),
    }


@pytest.mark.parametrize("seed", [1, 2, 3])
async def test_all_engines_give_the_same(tmp_path: Path, postgres: EngineSettings, make_place: Any, seed: int) -> None:
    engines = [EngineSettings(), EngineSettings(engine="sqlite"), postgres]
    told = [await live(make_place(tmp_path / settings.engine, settings), seed) for settings in engines]
    assert told[0]["position"] > COMMANDS // 2
    assert told[0]["verified"]["damage"] is None
    assert b'"joined":true' in told[0]["lines"]
    assert len(told[0]["files"]) > 20
    for other in told[1:]:
        for what, value in told[0].items():
            if what == "verified":  # only files have a mark that says so
                assert {**other[what], "segments": 0} == {**value, "segments": 0}
            else:
                assert other[what] == value, what


async def test_a_replay_of_each_engine_gives_the_same(
    tmp_path: Path, postgres: EngineSettings, make_place: Any
) -> None:
    """From the first line, without snapshots."""
    told = []
    for settings in (EngineSettings(), EngineSettings(engine="sqlite"), postgres):
        place = make_place(tmp_path / settings.engine, settings)
        await live(place, seed=9)
        for path in (place.journal / "snapshots").iterdir():
            path.unlink()
        async with opened(place) as (ledger, zone):
            told.append(await tell(ledger, zone))
    assert told[0] == told[1] == told[2]
