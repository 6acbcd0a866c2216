"""Decisions about snapshots on a schedule: when one is due, which expire, and what is no schedule."""

from datetime import timedelta
from typing import Any

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from nano.domain import snapshot as sn
from nano.domain import snapshot_schedule as ss
from nano.domain.errors import NanoError
from tests.unit.domain.test_guest_commands import AT, Bench

HOUR = timedelta(hours=1)
SIX = sn.SnapshotSchedule(every_hours=6, keep=2, since=AT)


@pytest.fixture
def bench() -> Bench:
    made = Bench()
    made.ready("web")
    return made


def taken(number: int, hours: float, *, scheduled: bool = True) -> sn.Snapshot:
    at = AT + hours * HOUR
    return sn.Snapshot(id=str(number), name=f"s{number}", created_at=at, disks=(1,), volumes=(0,), scheduled=scheduled)


@pytest.mark.parametrize(
    "wrong",
    [
        {"every_hours": 0},
        {"every_hours": -1},
        {"every_hours": 745},
        {"every_hours": 1 << 80},
        {"keep": 0},
        {"keep": 33},
        {"expire_hours": -1},
        {"expire_hours": 8785},
        {"guest": "../web"},
        {"guest": "nobody"},
    ],
)
def test_what_is_no_schedule_is_refused_and_changes_nothing(bench: Bench, wrong: dict[str, Any]) -> None:
    states = dict(bench.zone.states)
    with pytest.raises(NanoError):
        bench.do(ss.ScheduleSnapshots(**{"guest": "web", "every_hours": 6, **wrong}))
    with pytest.raises(NanoError, match="No snapshots"):
        bench.do(ss.UnscheduleSnapshots(guest="web"))
    assert bench.zone.states == states


def test_the_same_again_is_no_change_and_another_number_keeps_the_rhythm(bench: Bench) -> None:
    bench.do(ss.ScheduleSnapshots(guest="web", every_hours=6))
    with pytest.raises(NanoError, match="like that already"):
        bench.do(ss.ScheduleSnapshots(guest="web", every_hours=6))
    bench.do(ss.TakeScheduled(bench.zone.find_guest("web").id))
    begun = bench.zone.find_guest("web").snapshot_schedule
    assert begun is not None
    bench.do(ss.ScheduleSnapshots(guest="web", every_hours=6, keep=3))
    assert bench.zone.find_guest("web").snapshot_schedule == msgspec.structs.replace(begun, keep=3)


def test_one_that_is_not_due_opens_no_task(bench: Bench) -> None:
    bench.do(ss.TakeScheduled(bench.zone.find_guest("web").id))
    bench.do(ss.ExpireScheduled(bench.zone.find_guest("web").id))
    bench.do(ss.TakeScheduled("nobody"))
    assert not bench.zone.open_tasks


@given(st.floats(0, 10_000), st.integers(1, 744))
def test_each_time_is_due_once(hours: float, every: int) -> None:
    schedule = sn.SnapshotSchedule(every_hours=every, keep=1, since=AT)
    due = sn.due_at(schedule, AT + hours * HOUR)
    assert due is not None
    assert due <= AT + hours * HOUR < due + every * HOUR
    begun = msgspec.structs.replace(schedule, begun=due)
    assert sn.due_at(begun, AT + hours * HOUR) is None
    assert sn.due_at(begun, sn.next_at(begun)) == sn.next_at(begun)


def test_before_it_began_nothing_is_due() -> None:
    assert sn.due_at(SIX, AT - HOUR) is None


def test_only_its_own_beyond_keep_or_age_expire_and_never_the_newest() -> None:
    kept = [taken(0, -900, scheduled=False), *(taken(n, n) for n in range(1, 5))]
    assert [one.name for one in sn.expired(SIX, kept, AT + 5 * HOUR)] == ["s1", "s2"]
    aged = msgspec.structs.replace(SIX, keep=9, expire_hours=10)
    assert [one.name for one in sn.expired(aged, kept, AT + 12 * HOUR)] == ["s1", "s2"]
    assert [one.name for one in sn.expired(aged, kept, AT + 999 * HOUR)] == ["s1", "s2", "s3"]
