"""Decisions about changing a guest: what is refused, with which code, and what spec a yes carries."""

import json
from typing import Any

import msgspec
import pytest

from nano.domain import guest_change as gx
from nano.domain import guest_commands as gc
from nano.domain.errors import NanoError
from nano.domain.guest import GuestChanged
from nano.domain.guest_hold import AbandonWork, EndWork
from nano.domain.machine import GIBI, MEBI, DiskLimits, MachineSpec, NetworkLimits
from nano.domain.placement import Load
from nano.domain.task import Problem, Task
from tests.unit.domain.test_guest_commands import AT, Bench, create


@pytest.fixture
def bench() -> Bench:
    return Bench()


def wanted(bench: Bench, **changes: Any) -> MachineSpec:
    """The spec that the task of this change carries."""
    bench.do(gx.SetGuest(guest="web", **changes))
    return gx.spec_of(open_task(bench))


def open_task(bench: Bench) -> Task:
    (task,) = bench.zone.open_tasks.values()
    return task


def test_a_change_opens_one_task_that_carries_the_whole_spec(bench: Bench) -> None:
    bench.ready("web", running=True)
    before = bench.zone.find_guest("web").spec
    events = bench.do(gx.SetGuest(guest="web", cores=2, memory=256 * MEBI, priority="low", autostart=True))
    assert [type(event).__name__ for _, event in events] == ["GuestWorkStarted", "TaskStarted", "TaskStepStarted"]
    task = open_task(bench)
    assert (task.kind, task.plan) == ("guest.set", (gx.CHANGE,))
    assert gx.spec_of(task) == msgspec.structs.replace(
        before, cores=2, memory=256 * MEBI, priority="low", autostart=True
    )
    assert bench.zone.find_guest("web").spec == before


def test_limits_change_one_by_one(bench: Bench) -> None:
    bench.ready("web")
    spec = wanted(bench, read_bytes=MEBI, write_operations=100, send_bytes=2 * MEBI)
    assert spec.disk_limits == DiskLimits(read_bytes=MEBI, write_operations=100)
    assert spec.network_limits == NetworkLimits(send_bytes=2 * MEBI)
    task = open_task(bench)
    bench.zone.apply(task.resource, GuestChanged(spec=spec), AT)
    bench.do(EndWork(task.id))
    spec = wanted(bench, read_bytes=0, read_operations=7)
    assert spec.disk_limits == DiskLimits(read_operations=7, write_operations=100)


@pytest.mark.parametrize(
    ("changes", "code"),
    [
        ({}, "nothing_to_change"),
        ({"name": ""}, "invalid_name"),
        ({"name": "../etc/passwd"}, "invalid_name"),
        ({"name": "a\0b"}, "invalid_name"),
        ({"name": "a\nb"}, "invalid_name"),
        ({"name": "a;b"}, "invalid_name"),
        ({"name": "<script>"}, "invalid_name"),
        ({"name": "n" * 10_000}, "invalid_name"),
        ({"name": "other"}, "duplicate_name"),
        ({"cores": 0}, "invalid_cores"),
        ({"cores": -1}, "invalid_cores"),
        ({"cores": 256}, "invalid_cores"),
        ({"memory": 0}, "invalid_memory"),
        ({"memory": 32 * MEBI - 1024}, "invalid_memory"),
        ({"memory": 64 * MEBI + 1}, "invalid_memory"),
        ({"memory": 10**30}, "invalid_memory"),
        ({"cores_max": -1}, "invalid_cores_max"),
        ({"cores_max": 256}, "invalid_cores_max"),
        ({"cores": 4, "cores_max": 2}, "invalid_cores_max"),
        ({"memory_max": 64 * MEBI}, "invalid_memory_max"),
        ({"memory_max": 512 * MEBI + 1}, "invalid_memory_max"),
        ({"memory_max": 10**30}, "invalid_memory_max"),
        ({"read_bytes": -1}, "invalid_read_bytes"),
        ({"read_bytes": 1023}, "invalid_read_bytes"),
        ({"write_bytes": 10**30}, "invalid_write_bytes"),
        ({"read_operations": -5}, "invalid_read_operations"),
        ({"write_operations": 10**10}, "invalid_write_operations"),
        ({"receive_bytes": 1}, "invalid_receive_bytes"),
        ({"send_bytes": -(2**63)}, "invalid_send_bytes"),
        ({"memory": 16 * GIBI}, "no_memory"),
    ],
)
def test_bad_values_are_refused_and_change_nothing(bench: Bench, changes: dict[str, Any], code: str) -> None:
    bench.ready("other")
    bench.ready("web")
    states = dict(bench.zone.states)
    with pytest.raises(NanoError) as refusal:
        bench.do(gx.SetGuest(guest="web", **changes))
    assert refusal.value.code == code
    assert bench.zone.states == states


def test_room_to_grow_that_is_used_up_is_none(bench: Bench) -> None:
    bench.ready("web")
    assert wanted(bench, cores=2, cores_max=4).cores_max == 4
    task = open_task(bench)
    bench.zone.apply(task.resource, GuestChanged(spec=gx.spec_of(task)), AT)
    bench.do(EndWork(task.id))
    assert (wanted(bench, cores=4).cores, wanted_max(bench)) == (4, 0)


def wanted_max(bench: Bench) -> int:
    return gx.spec_of(open_task(bench)).cores_max


def test_growing_needs_room_on_its_own_cell_and_shrinking_does_not(bench: Bench) -> None:
    bench.ready("web")
    bench.zone.loads = {"one": Load(99.0, 8 * GIBI, 100 * MEBI, 100 * GIBI, 0)}
    with pytest.raises(NanoError) as refusal:
        bench.do(gx.SetGuest(guest="web", memory=512 * MEBI))
    assert (refusal.value.code, refusal.value.status) == ("no_memory", 409)
    assert wanted(bench, memory=64 * MEBI).memory == 64 * MEBI


def test_a_new_name_is_taken_before_the_guest_has_it_and_free_when_it_fails(bench: Bench) -> None:
    bench.ready("other")
    bench.ready("web")
    bench.do(gx.SetGuest(guest="web", name="shop"))
    for command in (create("shop"), gx.SetGuest(guest="other", name="shop")):
        with pytest.raises(NanoError) as refusal:
            bench.do(command)
        assert refusal.value.code == "duplicate_name"
    bench.do(AbandonWork(task=open_task(bench).id, error=Problem("x", "x")))
    bench.do(create("shop"))


def test_a_renamed_guest_is_found_by_its_new_name_only(bench: Bench) -> None:
    guest_id = bench.ready("web")
    spec = wanted(bench, name="shop")
    bench.zone.apply(f"guest/{guest_id}", GuestChanged(spec=spec), AT)
    assert bench.zone.find_guest("shop").id == guest_id
    assert "web" not in bench.zone.guest_ids


@pytest.mark.parametrize("phase", ["creating", "busy", "missing"])
def test_only_a_guest_that_is_there_and_idle_is_changed(bench: Bench, phase: str) -> None:
    from nano.domain.guest import GuestVanished

    if phase == "creating":
        bench.do(create("web"))
    else:
        guest_id = bench.ready("web")
        if phase == "busy":
            bench.do(gc.StartGuest(guest="web"))
        else:
            bench.zone.apply(f"guest/{guest_id}", GuestVanished(), AT)
    with pytest.raises(NanoError) as refusal:
        bench.do(gx.SetGuest(guest="web", cores=2))
    assert refusal.value.code == ("guest_missing" if phase == "missing" else "guest_busy")


def test_the_spec_in_the_tasks_arguments_is_json(bench: Bench) -> None:
    bench.ready("web")
    wanted(bench, cores=3)
    assert json.loads(open_task(bench).arguments["spec"])["cores"] == 3
