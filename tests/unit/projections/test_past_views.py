"""Views of the past: whatever way leads to a position, it shows the same; steps can be taken back, tasks that made room too."""

import random
from datetime import UTC, datetime, timedelta
from itertools import count

import pytest

from nano.domain import cell as ce
from nano.domain import compute_pool as cp
from nano.domain import guest_commands as gc
from nano.domain import task as ta
from nano.domain.facts import Command, Context, Event, Fact
from nano.domain.guest import GuestCreated, GuestDeleted, GuestStarted
from nano.domain.limits import Limits
from nano.domain.machine import MEBI
from nano.domain.zone import ZONE_RULES, FoundZone, Zone
from nano.projections.past_views import PastViews
from nano.projections.zone_views import ZoneViews

BEGIN = datetime(2026, 11, 21, tzinfo=UTC)
KEPT = Limits(tasks_kept=3)


class Life:
    """Facts of a zone that did a bit of everything."""

    def __init__(self) -> None:
        self.zone = Zone(KEPT)
        self.facts: list[Fact] = []
        self.versions: dict[str, int] = {}
        self._ids = count(1)
        self.do(FoundZone())
        for name in ("one", "two"):
            self.do(ce.MeetCell(name=name, fingerprint="f", address="a"))
            self.do(ce.AddCell(cell=name))
            described = {"virt_type": "qemu", "virt_note": "", "hypervisor": "h"}
            self.do(ce.DescribeCell(name=name, cores=8, memory=1 << 34, disk=1 << 40, **described))
        for index in range(8):
            guest_id = self.create(f"g{index}")
            if index == 2:
                self.do(ce.LoseCell(name="one", reason="silent"))
            if index == 4:
                self.do(ce.MeetCell(name="one", fingerprint="f", address="b"))
                self.do(cp.CreateComputePool(name="lab"))
            if index % 3 == 1:
                self.apply((f"guest/{guest_id}", GuestDeleted()))
                self.create(f"g{index}")
            if index == 6:
                self.do(cp.DeleteComputePool(pool="lab"))
                self.do(cp.CreateComputePool(name="lab"))

    def create(self, name: str) -> str:
        self.do(gc.CreateGuest(name=name, memory=128 * MEBI, disks=(64 * MEBI,)))
        guest = self.zone.find_guest(name)
        self.apply((f"guest/{guest.id}", GuestCreated()))
        self.do(gc.EndCreate(guest.task))
        self.apply((f"guest/{guest.id}", GuestStarted()))
        return guest.id

    def do(self, command: Command) -> None:
        context = Context(BEGIN, "admin", "c", lambda: f"{next(self._ids):032x}")
        self.apply(*self.zone.decide(command, context))

    def apply(self, *emitted: tuple[str, Event]) -> None:
        for resource, event in emitted:
            position = len(self.facts) + 1
            version = self.versions[resource] = self.versions.get(resource, 0) + 1
            at = BEGIN + timedelta(seconds=position)
            self.zone.apply(resource, event, at)
            self.facts.append(Fact(position, at, "admin", "c", "", resource, version, event))

    def fresh(self, position: int) -> PastViews:
        """Loaded from a model that was folded that far, and nothing else."""
        zone, versions = Zone(KEPT), {}
        for fact in self.facts[:position]:
            zone.apply(fact.resource, fact.event, fact.at)
            versions[fact.resource] = fact.version
        views = PastViews("run", ZONE_RULES.evolve)
        at = self.facts[position - 1].at if position else None
        views.begin(zone, lambda resource: versions.get(resource, 0), position, at)
        return views


@pytest.fixture(autouse=True)
def few_tasks(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("nano.projections.zone_views.LIMITS", KEPT)


@pytest.fixture
def life() -> Life:
    return Life()


def shown(views: ZoneViews) -> dict[str, object]:
    """Everything that can be asked of views."""
    found: dict[str, object] = {kind: table.page(1000).body for kind, table in views.tables.items()}
    found["names"] = {name: key for name, key in views.names.items() if key}
    found["candidates"] = [views.candidates(pool) for pool in ("default", "lab")]
    found["rest"] = (views.position, views.zone_id, sorted(views.open_tasks), views.versions, list(views._ended))
    return found


def test_every_way_to_a_position_shows_the_same(life: Life) -> None:
    expected = {position: shown(life.fresh(position)) for position in range(len(life.facts) + 1)}
    assert b'"lost"' in b"".join(body for one in expected.values() for body in one.values() if isinstance(body, bytes))
    assert any(b'"total":3' in one["task"] for one in expected.values() if isinstance(one["task"], bytes))
    moving, chance = life.fresh(0), random.Random(1)
    for _ in range(300):
        position = chance.randrange(len(life.facts) + 1)
        if position >= moving.position:
            moving.forward(life.facts[moving.position : position])
        else:
            moving.back(position)
        assert shown(moving) == expected[position]
        assert moving.at == (life.facts[position - 1].at if position else None)


def test_a_copy_goes_its_own_way(life: Life) -> None:
    end = len(life.facts)
    first = life.fresh(end - 30)
    first.forward(life.facts[end - 30 : end - 10])
    other = first.copy()
    other.forward(life.facts[end - 10 :])
    assert shown(first) == shown(life.fresh(end - 10))
    assert shown(other) == shown(life.fresh(end))
    other.back(end - 25)
    assert shown(other) == shown(life.fresh(end - 25))
    first.back(end - 30)
    assert shown(first) == shown(life.fresh(end - 30))


def test_only_the_last_steps_can_be_taken_back(life: Life) -> None:
    views = PastViews("run", ZONE_RULES.evolve, undo_max=5)
    views.begin(Zone(), lambda _: 0, 0, None)
    views.forward(life.facts[:20])
    assert views.floor == 15
    views.back(15)
    assert shown(views)["rest"] == shown(life.fresh(15))["rest"]
    with pytest.raises(AssertionError):
        views.back(14)


def test_a_step_leaves_rows_alone_that_it_does_not_touch(life: Life) -> None:
    views = life.fresh(len(life.facts) - 1)
    before = {row_id: views.tables["guest"].row(row_id) for row_id in views.tables["guest"].ids()}
    views.forward(life.facts[-1:])
    after = {row_id: views.tables["guest"].row(row_id) for row_id in views.tables["guest"].ids()}
    changed = life.facts[-1].resource.partition("/")[2]
    assert {row_id for row_id, row in after.items() if row is not before[row_id]} == {changed}


def test_a_task_that_ended_is_open_again_before_its_end(life: Life) -> None:
    end = next(fact for fact in life.facts if isinstance(fact.event, ta.TaskEnded))
    views = life.fresh(0)
    views.forward(life.facts[: end.position])
    assert not views.open_tasks
    views.back(end.position - 1)
    assert views.open_tasks == {end.resource.partition("/")[2]}
