"""A node's folder with a journal that a real ledger wrote: a zone in which a guest was made, started, lost and deleted.

Clock and ids are counted, so that golden files can hold what is told of it.
"""

import contextlib
import io
from collections.abc import Callable, Iterator
from datetime import UTC, datetime, timedelta
from itertools import count
from pathlib import Path
from typing import Any, NamedTuple

import anyio
import msgspec
import pytest

from nano.domain import cell as ce
from nano.domain import compute_pool as cp
from nano.domain import guest_commands as gc
from nano.domain import guest_hold as gh
from nano.domain import host_domain as hd
from nano.domain.facts import Command
from nano.domain.report import RecordReport, ReportedFact
from nano.domain.task import BeginUndo, Problem, StartStep
from nano.domain.zone import FoundZone, Zone
from nano.journal.commit_log import CommitLog
from nano.journal.feed import Feed
from nano.journal.ledger import Ledger
from nano.tools.display.terminal import Terminal
from nano.tools.replay import backups, rebuild
from nano.tools.replay import main as program

Told = dict[str, tuple[int, int]]
"""Of each part of a work its last (done, total), as a bar was told."""

START = datetime(2026, 11, 21, 3, 0, tzinfo=UTC)
CELL = "Cell_0a1b2c3d4e5f"


class Writer:
    """Carries out commands on a zone's ledger, one second apart."""

    def __init__(self, journal: Path, segment_bytes_max: int = 64 << 20) -> None:
        ids, ticks = count(1), count()
        self.zone = Zone()

        def clock() -> datetime:
            return START + timedelta(seconds=next(ticks))

        log = CommitLog(journal, clock=clock, segment_bytes_max=segment_bytes_max)
        self.ledger = Ledger(
            log, self.zone, clock=clock, new_id=lambda: f"{next(ids):06x}aa-0000-4000-8000-000000000000", feed=Feed()
        )

    async def __call__(self, command: Command, actor: str = "admin", cause: str = "") -> None:
        await self.ledger.execute(command, actor=actor, command_id="", cause=cause)

    async def report(self, guest: str, *events: Any) -> None:
        facts = tuple(ReportedFact(self.zone.find_guest(guest).id, event) for event in events)
        await self(RecordReport(cell=CELL, facts=facts), actor=f"cell/{CELL}", cause=f"cell/{CELL}@7")

    async def end(self, name: str, command: type[Any] = gh.EndWork) -> None:
        task = self.zone.find_guest(name).task
        await self(command(task), actor="core", cause=f"task/{task}")


async def write_life(write: Writer) -> None:
    await write(FoundZone(), actor="core")
    await write(ce.MeetCell(name=CELL, fingerprint="ab12cd34" * 8, address="127.0.0.1:5601"), actor=f"cell/{CELL}")
    described = ce.DescribeCell(
        name=CELL,
        cores=8,
        memory=16 << 30,
        disk=200 << 30,
        virt_type="qemu",
        virt_note="as configured",
        hypervisor="libvirt",
    )
    await write(described, actor=f"cell/{CELL}")
    await write(ce.AddCell(cell=CELL))
    await write(gc.CreateGuest(name="web", cores=2, memory=1 << 30, disks=(10 << 30,), start=True))
    task = write.zone.find_guest("web").task
    await write(StartStep(task, "make domain"), actor="core", cause=f"task/{task}")
    await write.report("web", hd.DomainCreated(), hd.DomainPowerChanged("running", "start on order"))
    await write.end("web", gc.EndCreate)
    await write.report("web", hd.DomainAgentChanged(True, ("10.90.0.12",)))
    await write(gc.CreateGuest(name="db", memory=1 << 30, disks=(1 << 30,)), actor="eve")
    task = write.zone.find_guest("db").task
    full = Problem("disk_full", "No room left.", "Free some space.")
    await write(BeginUndo(task, full), actor="core", cause=f"task/{task}")
    await write(gc.AbandonCreate(task=task, error=full, undone=("volume removed",)), actor="core", cause=f"task/{task}")
    await write.report("web", hd.DomainPowerChanged("stopped", "shutdown by guest"))
    await write(gc.DeleteGuest(guest="web"))
    await write.end("web")
    await write(gc.CreateGuest(name="web", cores=1, memory=512 << 20, disks=(64 << 20,)), actor="eve")
    await write.report("web", hd.DomainCreated())
    await write.end("web", gc.EndCreate)
    await write(cp.CreateComputePool(name="fast"))


def write_node(folder: Path, kind: str = "core", segment_bytes_max: int = 64 << 20) -> Path:
    (folder / "data").mkdir(parents=True)
    (folder / "data" / "node.json").write_bytes(msgspec.json.encode({"kind": kind, "name": "Core_aabbccddeeff"}))

    async def work() -> None:
        write = Writer(folder / "data" / "journal", segment_bytes_max)
        await write.ledger.start()
        await write_life(write)
        await write.ledger.aclose()

    anyio.run(work)
    return folder


@pytest.fixture
def node(tmp_path: Path) -> Path:
    return write_node(tmp_path / "S" / "core")


@pytest.fixture
def many_segments(tmp_path: Path) -> Path:
    """The same life over several segments, all but the last sealed."""
    return write_node(tmp_path / "many" / "core", segment_bytes_max=3000)


class Outcome(NamedTuple):
    code: int
    out: str
    err: str

    @property
    def json(self) -> list[Any]:
        return [msgspec.json.decode(line) for line in self.out.splitlines()]


class _Stream(io.StringIO):
    encoding = "utf-8"  # type: ignore[assignment]


Replay = Callable[..., Outcome]


@pytest.fixture
def replay(node: Path) -> Replay:
    """Run one command line over the node, an hour after its journal began, in UTC."""

    def run(*words: str, width: int = 100, folder: Path | None = node) -> Outcome:
        out, err = _Stream(), _Stream()
        terminal = Terminal(out, err, now=lambda: START + timedelta(hours=1), zone=UTC, width=width)
        with contextlib.redirect_stdout(out), contextlib.redirect_stderr(err):
            try:
                code = program.run([*(("--node", str(folder)) if folder else ()), *words], terminal)
            except SystemExit as ended:
                code = int(ended.code or 0)
        return Outcome(code, out.getvalue(), err.getvalue())

    return run


@pytest.fixture
def told(monkeypatch: pytest.MonkeyPatch) -> Told:
    heard: Told = {}

    @contextlib.contextmanager
    def bar(_: Any) -> Iterator[Any]:
        yield lambda part, done, total: heard.update({part: (done, total)})

    for verb in (backups, rebuild):
        monkeypatch.setattr(verb, "bar", bar)
    return heard
