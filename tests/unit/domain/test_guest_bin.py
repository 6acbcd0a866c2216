"""The recycle bin: what gets in, what may be done with it there, and how it comes out as it was."""

from datetime import timedelta
from typing import Any

import msgspec
import pytest

from nano.domain import guest_about as ga
from nano.domain import guest_bin as gb
from nano.domain import guest_change as gx
from nano.domain import guest_commands as gc
from nano.domain import guest_devices as gd
from nano.domain.errors import NanoError
from nano.domain.guest import Guest, GuestDeleted
from nano.domain.guest_hold import AbandonWork
from nano.domain.image_commands import BuildImage
from nano.domain.task import Problem, Task
from tests.unit.domain.test_guest_commands import AT, Bench


@pytest.fixture
def bench() -> Bench:
    made = Bench()
    made.ready("web")
    return made


def guest(bench: Bench) -> Guest:
    return bench.zone.find_guest("web")


def move(bench: Bench, command: Any) -> Task:
    """As Core's saga does, once the cell has done its part."""
    bench.do(command)
    task = bench.zone.get(f"task/{guest(bench).task}")
    assert isinstance(task, Task)
    bench.do(gb.EndBinWork(task.id))
    assert guest(bench).task == ""
    return task


def code_of(bench: Bench, command: Any) -> str:
    states = dict(bench.zone.states)
    with pytest.raises(NanoError) as refusal:
        bench.do(command)
    assert bench.zone.states == states
    return refusal.value.code


def test_it_rests_for_so_long_and_comes_out_as_it_was(bench: Bench) -> None:
    bench.zone.apply(f"guest/{guest(bench).id}", _autostarted(guest(bench)), AT)
    task = move(bench, gb.RecycleGuest(guest="web", hours=24))
    assert (task.kind, gx.spec_of(task).autostart) == ("guest.recycle", False), "its host does not start it meanwhile"
    resting = guest(bench)
    assert (resting.phase, resting.recycled_until) == ("recycled", AT + timedelta(hours=24))
    task = move(bench, gb.RestoreGuest(guest="web"))
    assert (task.kind, gx.spec_of(task).autostart) == ("guest.restore", True)
    assert (guest(bench).phase, guest(bench).recycled_until) == ("ready", None)


def _autostarted(state: Guest) -> Any:
    from nano.domain.guest import GuestChanged

    spec = gx.changed_spec(state.spec, {"autostart": True})
    return GuestChanged(spec=spec)


@pytest.mark.parametrize(
    "command",
    [
        gc.StartGuest(guest="web"),
        gx.SetGuest(guest="web", cores=2),
        gd.AddDisk(guest="web", size=1 << 30),
        gb.RecycleGuest(guest="web"),
        BuildImage(name="copy", guest="web"),
    ],
)
def test_nothing_works_on_it_there(bench: Bench, command: Any) -> None:
    move(bench, gb.RecycleGuest(guest="web"))
    assert code_of(bench, command) == "guest_recycled"
    bench.do(ga.DescribeGuest(guest="web", notes="may go"))


def test_it_can_be_deleted_at_once_and_is_back_in_the_bin_when_that_fails(bench: Bench) -> None:
    move(bench, gb.RecycleGuest(guest="web"))
    bench.do(gc.DeleteGuest(guest="web"))
    assert guest(bench).phase == "deleting"
    bench.do(AbandonWork(task=guest(bench).task, error=Problem("cell_offline", "away", "wait")))
    assert guest(bench).phase == "recycled"
    bench.do(gc.DeleteGuest(guest="web"))
    bench.zone.apply(f"guest/{guest(bench).id}", GuestDeleted(), AT)
    assert list(bench.zone.guests()) == []


def test_without_a_time_it_is_cores(bench: Bench) -> None:
    bench.zone.limits = msgspec.structs.replace(bench.zone.limits, recycle_hours=48)
    move(bench, gb.RecycleGuest(guest="web"))
    assert bench.zone.find_guest("web").recycled_until == AT + timedelta(hours=48)


def test_its_name_and_room_stay_its_own(bench: Bench) -> None:
    from tests.unit.domain.test_guest_commands import create

    move(bench, gb.RecycleGuest(guest="web"))
    assert code_of(bench, create("web")) == "duplicate_name"
    assert len(bench.zone.guests_on("one")) == 1


@pytest.mark.parametrize("hours", [0, -1, gb.HOURS_MAX + 1, 10**12])
def test_time_has_bounds(bench: Bench, hours: int) -> None:
    assert code_of(bench, gb.RecycleGuest(guest="web", hours=hours)) == "invalid_hours"


def test_what_does_not_get_in_or_out(bench: Bench) -> None:
    assert code_of(bench, gb.RestoreGuest(guest="web")) == "not_recycled"
    bench.ready("busy", running=True)
    assert code_of(bench, gb.RecycleGuest(guest="busy")) == "guest_running"
    bench.do(ga.ProtectGuest(guest="web"))
    assert code_of(bench, gb.RecycleGuest(guest="web")) == "guest_protected"
    bench.do(ga.UnprotectGuest(guest="web"))
    move(bench, gb.RecycleGuest(guest="web"))
    bench.do(ga.ProtectGuest(guest="web"))
    assert code_of(bench, gc.DeleteGuest(guest="web")) == "guest_protected"
