"""The zone's views: rows that lean on each other, live words, and loading a replayed model."""

from datetime import UTC, datetime
from itertools import count

import msgspec
import pytest

from nano.domain import cell as ce
from nano.domain import guest_commands as gc
from nano.domain import guest_hold as gh
from nano.domain.facts import Change, Command, Context, Fact
from nano.domain.guest import GuestCreated, GuestStarted
from nano.domain.limits import LIMITS
from nano.domain.machine import GIBI, MEBI
from nano.domain.placement import Load
from nano.domain.task import ENDED, Task
from nano.domain.zone import FoundZone, Zone
from nano.projections.zone_views import KINDS, ZoneViews

AT = datetime(2026, 11, 21, tzinfo=UTC)


class Bench:
    """A zone and its views, fed with the changes that a ledger would publish."""

    def __init__(self) -> None:
        self.zone = Zone()
        self.views = ZoneViews("run")
        self.versions: dict[str, int] = {}
        self.position = 0
        self._ids = count(1)
        self.do(FoundZone())
        self.do(ce.MeetCell(name="one", fingerprint="f", address="a"))
        self.do(ce.AddCell(cell="one"))
        self.zone.loads = {"one": Load(0.0, 8 * GIBI, 8 * GIBI, 100 * GIBI, 100 * GIBI)}

    def do(self, command: Command) -> None:
        context = Context(AT, "admin", "c", lambda: f"{next(self._ids):032x}")
        self.apply(*self.zone.decide(command, context))

    def apply(self, *emitted: tuple[str, object]) -> None:
        changes = []
        for resource, event in emitted:
            self.position += 1
            version = self.versions[resource] = self.versions.get(resource, 0) + 1
            before, after = self.zone.apply(resource, event, AT)  # type: ignore[arg-type]
            fact = Fact(self.position, AT, "admin", "c", "", resource, version, event)  # type: ignore[arg-type]
            changes.append(Change(fact, before, after))
        self.views.fold(changes)

    def create(self, name: str) -> str:
        self.do(gc.CreateGuest(name=name, memory=128 * MEBI, disks=(64 * MEBI,)))
        guest = self.zone.find_guest(name)
        self.apply((f"guest/{guest.id}", GuestCreated()))
        self.do(gc.EndCreate(guest.task))
        return guest.id

    def row(self, kind: str, row_id: str) -> dict[str, object]:
        fragment = self.views.tables[kind].fragment(row_id)
        assert fragment is not None
        row: dict[str, object] = msgspec.json.decode(fragment)
        return row


@pytest.fixture
def bench() -> Bench:
    return Bench()


def test_rows_follow_what_they_lean_on(bench: Bench) -> None:
    guest_id = bench.create("web")
    assert bench.row("guest", guest_id)["state"] == "stopped"
    assert bench.row("cell", "one")["guests"] == 1
    assert bench.row("compute_pool", "default")["guests"] == {"stopped": 1}
    bench.apply((f"guest/{guest_id}", GuestStarted()))
    assert bench.row("compute_pool", "default")["guests"] == {"running": 1}
    told: list[tuple[str, str]] = []
    bench.views.on_live(lambda kind, row_id: told.append((kind, row_id)))
    bench.do(ce.LoseCell(name="one", reason="silent"))
    assert bench.row("guest", guest_id)["state"] == "lost"
    assert bench.row("compute_pool", "default")["guests"] == {"lost": 1}
    assert told == [("guest", guest_id)], "readers hear of rows that changed without a fact of their own"


def test_names_find_rows_and_are_given_back(bench: Bench) -> None:
    guest_id = bench.create("web")
    assert bench.views.find("guest", "web") == guest_id == bench.views.find("guest", guest_id)
    bench.do(gc.DeleteGuest(guest="web"))
    bench.do(gh.EndWork(bench.zone.find_guest("web").task))
    assert bench.views.find("guest", "web") is None
    assert bench.row("cell", "one")["guests"] == 0


def test_progress_is_told_live_and_forgotten_at_the_end(bench: Bench) -> None:
    bench.do(gc.CreateGuest(name="web", memory=128 * MEBI, disks=(64 * MEBI,), start=True))
    task_id = bench.zone.find_guest("web").task
    assert bench.row("task", task_id)["progress"] == 0
    bench.views.set_progress(task_id, 50, "make disks")
    assert (bench.row("task", task_id)["progress"], bench.row("task", task_id)["step"]) == (25, "make disks")
    bench.apply((f"guest/{bench.zone.find_guest('web').id}", GuestCreated()))
    bench.do(gc.EndCreate(task_id))
    assert bench.row("task", task_id)["progress"] == 100
    assert not bench.views.progress


def test_loading_a_replayed_model_shows_the_same(bench: Bench) -> None:
    for name in ("a", "b", "c"):
        bench.create(name)
    loaded = ZoneViews("run")
    loaded.load(bench.zone, lambda resource: bench.versions.get(resource, 0), bench.position)
    for kind in KINDS:
        table = bench.views.tables[kind]
        items = [msgspec.json.decode(views.tables[kind].page().body)["items"] for views in (bench.views, loaded)]
        assert items[0] == items[1], kind
        assert len(table) > 0 or kind in ("image", "media", "template")


def test_ended_tasks_are_bounded(bench: Bench, monkeypatch: pytest.MonkeyPatch) -> None:
    limits = msgspec.structs.replace(LIMITS, tasks_kept=2)
    monkeypatch.setattr("nano.projections.zone_views.LIMITS", limits)
    bench.zone.limits = limits
    for name in ("a", "b", "c", "d"):
        bench.create(name)
    bench.do(gc.StartGuest(guest="d"))
    states = [state for state in bench.views.states["task"].values() if isinstance(state, Task)]
    assert sorted(state.state in ENDED for state in states) == [False, True, True]
    assert set(bench.views.states["task"]) == {
        name.removeprefix("task/") for name in bench.zone.states if name.startswith("task/")
    }
