"""why: the chain from a field to the request, over journals that real ledgers of three nodes wrote."""

from collections.abc import Callable
from datetime import datetime, timedelta
from itertools import count
from pathlib import Path
from typing import Any, get_args

import anyio
import msgspec
import pytest

from nano.domain import account as ac
from nano.domain import cell as ce
from nano.domain import domain_snapshot as ds
from nano.domain import domain_vnc as dv
from nano.domain import guest_commands as gc
from nano.domain import host_domain as hd
from nano.domain import session as se
from nano.domain.facts import Command, Context, Model
from nano.domain.guest import GuestRequested, Power
from nano.domain.machine import MachineSpec
from nano.domain.office import Office
from nano.domain.report import RecordReport, Reported, ReportedFact
from nano.domain.site import Site
from nano.domain.snapshot import Snapshot
from nano.domain.task import Problem
from nano.domain.zone import FoundZone, Zone
from nano.journal.commit_log import CommitLog
from nano.journal.feed import Feed
from nano.journal.ledger import Ledger
from nano.journal.line import Tracked
from nano.tools.replay import exits
from nano.tools.replay.causes import said_by_cell

START = datetime.fromisoformat("2026-11-21T03:00:00+00:00")
CELL = "Cell_0a1b2c3d4e5f"
SPEC = MachineSpec(name="web", cores=1, memory=64 << 20, disks=(1 << 20,), mac="52:54:00:00:00:01")
ASKED = "frontend/eve:~5e1f"


class Zones:
    """Three nodes that write in turns, one second after another."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.zone, self.site, self.office = Zone(), Site(), Office()
        ids, ticks = count(1), count()

        def clock() -> datetime:
            return START + timedelta(seconds=next(ticks))

        def ledger(kind: str, name: str, model: Model) -> Ledger:
            (folder / kind / "data").mkdir(parents=True)
            card = msgspec.json.encode({"kind": kind, "name": name})
            (folder / kind / "data" / "node.json").write_bytes(card)
            log = CommitLog(folder / kind / "data" / "journal", clock=clock)
            new_id = lambda: f"{next(ids):06x}aa-0000-4000-8000-000000000000"  # noqa: E731
            return Ledger(log, model, clock=clock, new_id=new_id, feed=Feed())

        self.core = ledger("core", "Core_aabbccddeeff", self.zone)
        self.cell = ledger("cell", CELL, self.site)
        self.frontend = ledger("frontend", "FrontEnd_aabbccddeeff", self.office)
        self._told = 0

    async def ask(
        self, command: Command, actor: str = "admin", command_id: str = "nanoctl:~1", cause: str = ""
    ) -> None:
        await self.core.execute(command, actor=actor, command_id=command_id, cause=cause)

    async def work(self, command: Command, actor: str = "core", cause: str = "") -> None:
        await self.cell.execute(command, actor=actor, command_id="", cause=cause)

    async def report(self, *events: Any, guest: str) -> None:
        """What Core takes over of the cell's journal up to its end."""
        upstream, position = f"cell/{CELL}", self.cell.position
        facts = tuple(ReportedFact(guest, event) for event in events)
        await self.core.execute(
            RecordReport(cell=CELL, facts=facts), actor=upstream, command_id="", cause=f"{upstream}@{position}",
            tracking=Tracked(upstream, position),
        )  # fmt: skip


async def write(zones: Zones) -> None:
    for ledger in (zones.core, zones.cell, zones.frontend):
        await ledger.start()
    await zones.frontend.execute(ac.CreateFirstAccount(name="eve", password_hash="$x"), actor="eve", command_id="")
    await zones.frontend.execute(
        se.OpenSession(account="eve", digest="feed" * 16, address="10.1.2.3"), actor="eve", command_id=""
    )
    await zones.ask(FoundZone(), actor="core", command_id="")
    await zones.ask(ce.MeetCell(name=CELL, fingerprint="ab" * 32, address="10.9.9.9:5601"), f"cell/{CELL}", "")
    described = ce.DescribeCell(
        name=CELL, cores=8, memory=16 << 30, disk=200 << 30, virt_type="qemu", virt_note="", hypervisor="libvirt"
    )
    await zones.ask(described, f"cell/{CELL}", "")
    await zones.ask(ce.AddCell(cell=CELL))
    await zones.ask(gc.CreateGuest(name="web", cores=2, memory=1 << 30, disks=(1 << 30,), start=True), "eve", ASKED)
    guest = zones.zone.find_guest("web")
    make, on = f"{guest.task}.make", f"{guest.task}.start"
    task = f"task/{guest.task}"
    await zones.work(hd.TakeOrder(id=make, kind="create", guest_id=guest.id, spec=guest.spec), cause=f"order/{make}")
    await zones.work(hd.CloseOrder(id=make, events=(hd.DomainCreated(),)), cause=f"order/{make}")
    await zones.report(hd.DomainCreated(), guest=guest.id)
    await zones.work(hd.TakeOrder(id=on, kind="power", guest_id=guest.id, action="start"), cause=f"order/{on}")
    started = hd.ObserveDomain(guest_id=guest.id, power="running", reason="start on order")
    await zones.work(started, "hypervisor", f"order/{on}")
    await zones.work(hd.CloseOrder(id=on), cause=f"order/{on}")
    await zones.work(hd.ObserveAgent(guest_id=guest.id, connected=True, addresses=("10.90.0.12",)), "hypervisor")
    await zones.report(
        hd.DomainPowerChanged("running", "start on order"), hd.DomainAgentChanged(True, ("10.90.0.12",)), guest=guest.id
    )
    await zones.ask(gc.EndCreate(task=guest.task), "core", "", task)
    await zones.ask(gc.CreateGuest(name="db", memory=1 << 30, disks=(1 << 30,)), command_id="nanoctl:~2")
    db = zones.zone.find_guest("db")
    full = Problem("disk_full", "No room left.")
    make = f"{db.task}.make"
    await zones.work(hd.TakeOrder(id=make, kind="create", guest_id=db.id, spec=db.spec), cause=f"order/{make}")
    await zones.work(
        hd.FailOrder(id=make, error=full, events=(hd.DomainDiscarded(full.message),)), cause=f"order/{make}"
    )
    await zones.ask(gc.AbandonCreate(task=db.task, error=full, undone=(), debt=True), "core", "", f"task/{db.task}")
    for ledger in (zones.core, zones.cell, zones.frontend):
        await ledger.aclose()


@pytest.fixture
def zone(tmp_path: Path) -> Path:
    async def work() -> None:
        await write(Zones(tmp_path / "Z"))

    anyio.run(work)
    return tmp_path / "Z"


Why = Callable[..., list[dict[str, Any]]]


@pytest.fixture
def why(replay: Any, zone: Path) -> Why:
    def run(resource: str, *words: str, kind: str = "core") -> list[dict[str, Any]]:
        outcome = replay("why", resource, *words, "-o", "json", folder=zone / kind)
        assert outcome.code == 0, outcome.err
        found: list[dict[str, Any]] = outcome.json
        assert [link["link"] for link in found] == list(range(1, len(found) + 1))
        return found

    return run


def told(links: list[dict[str, Any]]) -> list[tuple[str, str]]:
    return [(link["relation"], link.get("event", {}).get("type", link["kind"])) for link in links]


WHOLE = [
    ("change", "guest.started"),
    ("report", "domain.power_changed"),
    ("order", "order.taken"),
    ("task", "task.started"),
    ("request", "core"),
    ("session", "session.opened"),
]


def test_from_a_field_to_the_request_over_three_journals(why: Why) -> None:
    links = why("guest/web.power")
    assert told(links) == WHOLE
    assert all(link["certain"] for link in links)
    request = links[4]
    assert (request["actor"], request["command_id"], request["through"]) == ("eve", ASKED, "frontend")
    assert request["at"] == links[3]["at"]
    assert links[5]["event"]["address"] == "10.1.2.3"
    assert "feedfeed" not in str(links)


def test_each_field_has_its_own_fact(why: Why) -> None:
    assert told(why("guest/web.phase"))[:2] == [("change", "guest.created"), ("report", "domain.created")]
    assert told(why("guest/web.cores")) == [("change", "guest.requested"), *WHOLE[4:]]
    assert told(why("guest/web.spec.cores")) == told(why("guest/web.cores"))
    assert told(why("guest/web.task"))[:2] == [("change", "guest.work_ended"), ("task", "task.started")]
    assert told(why("guest/web.state")) == WHOLE, "what is called the state is phase and power"
    assert told(why("guest/web"))[0] == ("change", "guest.work_ended"), "the last change of all"


def test_two_facts_of_one_batch_find_their_own(why: Why) -> None:
    links = why("guest/web.addresses")
    assert told(links) == [("change", "guest.agent_changed"), ("report", "domain.agent_changed"), ("origin", "cell")]
    assert links[-1]["actor"] == "hypervisor"


def test_what_is_gone_and_what_nobody_asked_for(why: Why) -> None:
    links = why("guest/db.power")
    assert told(links) == [
        ("change", "guest.create_undone"),
        ("failure", "order.failed"),
        ("task", "task.started"),
        ("request", "core"),
    ]
    assert links[1]["event"]["error"]["code"] == "disk_full"
    assert told(why(f"cell/{CELL}.cores"))[-1] == ("origin", "core")
    assert told(why(f"cell/{CELL}.debts"))[-2:] == [("task", "task.started"), ("request", "core")]


def test_beginning_at_a_cell(why: Why) -> None:
    assert told(why("domain/web.power", kind="cell")) == [("change", "domain.power_changed"), *WHOLE[2:]]


def test_a_journal_that_is_not_at_hand(why: Why, zone: Path, tmp_path: Path) -> None:
    away = tmp_path / "elsewhere"
    (zone / "cell").rename(away)
    links = why("guest/web.power")
    assert told(links) == [("change", "guest.started"), ("missing", "cell"), ("task", "task.started"), *WHOLE[4:]]
    assert links[1]["node"] == CELL
    assert links[2]["certain"] is False
    assert told(why("guest/web.power", "--node", str(away))) == WHOLE


def test_words_that_name_nothing(replay: Any, zone: Path) -> None:
    outcome = replay("why", "guest/none", folder=zone / "core")
    assert (outcome.code, outcome.out) == (exits.REFUSED, "")
    outcome = replay("why", "guest/web.colour", folder=zone / "core")
    assert outcome.code == exits.REFUSED
    assert "spec.memory" in outcome.err, "the fields there are"


SNAPSHOT = Snapshot(id="s", name="one", created_at=START, disks=(1,), volumes=(0,))
REPORTED = [
    hd.DomainCreated(),
    hd.DomainRedefined(),
    hd.DomainChanged(spec=SPEC),
    hd.DomainVanished("gone"),
    hd.DomainAgentChanged(True),
    hd.DomainRemoved(),
    ds.DomainSnapshotMade(SNAPSHOT),
    ds.DomainSnapshotRestored(SNAPSHOT.id, SNAPSHOT.name),
    ds.DomainSnapshotDeleted(SNAPSHOT.id, SNAPSHOT.name),
    dv.DomainVncOpened(address="192.0.2.1", port=5901, sealed="s", kept="k"),
    dv.DomainVncClosed(),
    *(hd.DomainPowerChanged(power, "so") for power in get_args(Power)),
]


@pytest.mark.parametrize("event", REPORTED, ids=lambda event: f"{type(event).__name__}-{getattr(event, 'power', '')}")
def test_whatever_core_makes_of_a_report_is_found_again(event: Any) -> None:
    assert {type(known) for known in REPORTED} == set(get_args(Reported))
    tag = type(event).__struct_config__.tag
    for phase in ("creating", "ready", "deleting"):
        zone = Zone()
        zone.apply(
            "guest/g", GuestRequested(id="g", spec=SPEC, pool="p", cell="c", owner="o", image_name="", task="t"), START
        )
        zone.states["guest/g"] = msgspec.structs.replace(zone.states["guest/g"], phase=phase)
        context = Context(START, "cell/c", "", lambda: "x")
        for emitted in zone.decide(RecordReport(cell="c", facts=(ReportedFact("g", event),)), context):
            made = type(emitted.event).__struct_config__.tag
            assert (tag, str(getattr(event, "power", ""))) in said_by_cell(str(made))


@pytest.mark.parametrize("width", [100, 60])
def test_golden(replay: Any, zone: Path, regenerate: bool, width: int) -> None:
    told = "".join(
        replay("why", words, width=width, folder=zone / "core").out + "\n"
        for words in ("guest/web.power", "guest/db", f"cell/{CELL}.pool")
    )
    path = Path(__file__).parents[3] / "golden" / "replay_why" / f"why-{width}.txt"
    if regenerate:
        path.parent.mkdir(exist_ok=True)
        path.write_text(told)
    assert told == path.read_text()
    assert all(len(line) <= width for line in told.splitlines())
