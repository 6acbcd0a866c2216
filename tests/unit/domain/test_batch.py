"""Decisions about batches: what is wrong with the whole changes nothing, what is wrong with one guest is told of that one."""

import itertools
from typing import Any

import pytest

from nano.domain import batch as ba
from nano.domain import guest_commands as gc
from nano.domain.cloud_init import CloudInit
from nano.domain.errors import Conflict, NanoError
from nano.domain.guest import GuestCreated, GuestStarted
from nano.domain.limits import LIMITS
from nano.domain.machine import GIBI, MEBI
from nano.domain.task import Problem, Task
from nano.domain.task_items import ItemEnd
from tests.unit.domain.test_guest_commands import AT, Bench


@pytest.fixture
def bench() -> Bench:
    return Bench()


def batch(prefix: str = "web", count: int = 3, **changes: Any) -> ba.CreateBatch:
    return ba.CreateBatch(**{"prefix": prefix, "count": count, "memory": 128 * MEBI, "disks": (64 * MEBI,)} | changes)


def the_batch(bench: Bench) -> Task:
    return next(task for task in bench.zone.of_kind("task") if isinstance(task, Task) and task.items)


def made(bench: Bench, number: int) -> str:
    """Item ``number`` of the batch is created; the guest's id."""
    task = the_batch(bench)
    bench.do(ba.BeginItem(task=task.id, number=number))
    item = the_batch(bench).items[number]
    bench.zone.apply(f"guest/{item.guest}", GuestCreated(), AT)
    bench.do(gc.EndCreate(item.task))
    bench.do(ba.EndItems(task.id, (ItemEnd(number, "done"),)))
    return item.guest


def test_a_batch_is_one_task_with_an_item_for_each_name(bench: Bench) -> None:
    events = bench.do(batch(first=7))
    assert [type(event).__name__ for _, event in events] == ["TaskStarted", "TaskItemsListed"]
    task = the_batch(bench)
    assert [(item.name, item.state) for item in task.items] == [(f"web_{n}", "waiting") for n in (7, 8, 9)]
    assert (task.kind, task.resource, task.resource_name) == ("batch.create", f"task/{task.id}", "web")
    assert not list(bench.zone.guests())


def test_an_item_is_begun_as_if_it_had_been_asked_for_alone_by_whoever_asked_for_all(bench: Bench) -> None:
    bench.do(batch(start=True, autostart=True))
    task = the_batch(bench)
    bench.do(ba.BeginItem(task=task.id, number=1, cell="one"))
    guest = bench.zone.find_guest("web_1")
    own = bench.zone.get(f"task/{guest.task}")
    assert isinstance(own, Task)
    assert (guest.owner, guest.spec.autostart, own.kind, own.plan) == (
        "admin",
        True,
        "guest.create",
        ("make domain", "start"),
    )
    item = the_batch(bench).items[1]
    assert (item.state, item.guest, item.task) == ("running", guest.id, own.id)
    assert bench.do(ba.BeginItem(task=task.id, number=1)) == []


@pytest.mark.parametrize(
    ("changes", "code"),
    [
        ({"count": 0}, "invalid_count"),
        ({"count": -1}, "invalid_count"),
        ({"count": LIMITS.batch_items + 1}, "invalid_count"),
        ({"count": 10**12}, "invalid_count"),
        ({"first": -1}, "invalid_first"),
        ({"first": 10**9}, "invalid_first"),
        ({"prefix": ""}, "invalid_name"),
        ({"prefix": "../x"}, "invalid_name"),
        ({"prefix": "a\0b"}, "invalid_name"),
        ({"prefix": "a\nb"}, "invalid_name"),
        ({"prefix": "a;b"}, "invalid_name"),
        ({"prefix": "<b>"}, "invalid_name"),
        ({"prefix": "x" * 10_000}, "invalid_name"),
        ({"prefix": "x" * 63}, "invalid_name"),  # its numbers make the names too long
        ({"cloud_init": CloudInit(address="10.0.0.5/24")}, "invalid_address"),
        ({"memory": 1}, "invalid_memory"),
        ({"disks": ()}, "invalid_disks"),
        ({"pool": "nowhere"}, "unknown_compute_pool"),
        ({"image": "nothing"}, "unknown_image"),
        ({"cell": "nobody"}, "unknown_cell"),
        ({"memory": 4096 * GIBI}, "no_memory"),
    ],
)
def test_what_is_wrong_with_all_is_refused_at_once(bench: Bench, changes: dict[str, Any], code: str) -> None:
    before = dict(bench.zone.states)
    with pytest.raises(NanoError) as refused:
        bench.do(batch(**changes))
    assert refused.value.code == code
    assert bench.zone.states == before


def test_names_that_are_taken_are_told_all_at_once(bench: Bench) -> None:
    bench.ready("web_0")
    bench.ready("web_2")
    with pytest.raises(Conflict) as refused:
        bench.do(batch())
    assert refused.value.code == "duplicate_name"
    assert refused.value.context["names"] == ["web_0", "web_2"]


def test_a_name_that_is_taken_meanwhile_fails_its_item_only(bench: Bench) -> None:
    bench.do(batch())
    bench.ready("web_1")
    task = the_batch(bench)
    with pytest.raises(Conflict) as refused:
        bench.do(ba.BeginItem(task=task.id, number=1))
    bench.do(ba.EndItems(task.id, (ItemEnd(1, "failed", Problem(refused.value.code, refused.value.message)),)))
    made(bench, 0)
    made(bench, 2)
    bench.do(ba.EndBatch(task.id))
    task = the_batch(bench)
    assert task.state == "failed"
    assert task.error is not None
    assert (task.error.code, task.error.message) == (
        "batch_incomplete",
        "1 of 3 guests were not made: web_1. web_1: A guest 'web_1' exists already.",
    )


def test_a_batch_whose_items_are_done_is_done(bench: Bench) -> None:
    bench.do(batch())
    for number in range(3):
        made(bench, number)
    task = the_batch(bench)
    assert task.parts_done == 3
    bench.do(ba.EndBatch(task.id))
    assert (the_batch(bench).state, the_batch(bench).error) == ("done", None)


def test_what_a_cancelled_batch_has_done_stays_done(bench: Bench) -> None:
    bench.do(batch())
    guest = made(bench, 0)
    task = the_batch(bench)
    bench.do(ba.AbandonBatch(task=task.id, error=Problem("task_cancelled", "x"), cancelled=True))
    assert [item.state for item in the_batch(bench).items] == ["done", "cancelled", "cancelled"]
    assert the_batch(bench).state == "cancelled"
    assert bench.zone.find_guest("web_0").id == guest
    bench_ended = bench.zone.open_tasks
    assert not bench_ended


def test_guests_already_as_wanted_are_done_without_a_task_of_their_own(bench: Bench) -> None:
    off, on = bench.ready("off"), bench.ready("on", running=True)
    bench.do(ba.StopBatch(guests=("off", "on", on, "off")))
    task = the_batch(bench)
    assert [(item.name, item.guest) for item in task.items] == [("off", off), ("on", on)]
    for number in (0, 1):
        bench.do(ba.BeginItem(task=task.id, number=number))
    assert [item.state for item in the_batch(bench).items] == ["done", "running"]


@pytest.mark.parametrize(
    ("command", "kind"),
    [
        (ba.StartBatch(guests=("off",)), "guest.start"),
        (ba.StopBatch(guests=("on",)), "guest.stop"),
        (ba.StopBatch(guests=("on",), force=True), "guest.force_stop"),
        (ba.DeleteBatch(guests=("off",)), "guest.delete"),
        (ba.DeleteBatch(guests=("on",), force=True), "guest.delete"),
    ],
)
def test_each_is_done_by_the_task_it_would_have_alone(bench: Bench, command: Any, kind: str) -> None:
    bench.ready("off")
    guest = bench.ready("on")
    bench.zone.apply(f"guest/{guest}", GuestStarted(), AT)
    bench.do(command)
    task = the_batch(bench)
    bench.do(ba.BeginItem(task=task.id, number=0))
    own = bench.zone.get(f"task/{the_batch(bench).items[0].task}")
    assert isinstance(own, Task)
    assert (own.kind, own.actor) == (kind, "admin")


@pytest.mark.parametrize("command", [ba.StartBatch, ba.StopBatch, ba.DeleteBatch])
def test_unknown_guests_refuse_the_whole_request(bench: Bench, command: Any) -> None:
    bench.ready("web")
    before = dict(bench.zone.states)
    for guests, code in (
        (("web", "nobody", "../x", "x" * 10_000), "unknown_guest"),
        ((), "invalid_count"),
        (tuple(itertools.repeat("web", LIMITS.batch_items + 1)), "invalid_count"),
    ):
        with pytest.raises(NanoError) as refused:
            bench.do(command(guests=guests))
        assert refused.value.code == code
        assert len(refused.value.message) < 500
    assert bench.zone.states == before


def test_a_running_guest_is_not_deleted_without_force(bench: Bench) -> None:
    bench.ready("on", running=True)
    bench.do(ba.DeleteBatch(guests=("on",)))
    with pytest.raises(Conflict) as refused:
        bench.do(ba.BeginItem(task=the_batch(bench).id, number=0))
    assert refused.value.code == "guest_running"
