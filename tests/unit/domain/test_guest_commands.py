"""Decisions about guests: what is refused, with which code, and what a yes consists of."""

from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from itertools import count

import pytest

from nano.domain import cell as ce
from nano.domain import guest_commands as gc
from nano.domain.errors import NanoError
from nano.domain.facts import Command, Context, Emitted
from nano.domain.guest import GuestCreated, GuestStarted
from nano.domain.image_commands import EndImage, RegisterImage
from nano.domain.machine import GIBI, MEBI, Hardware
from nano.domain.placement import Load
from nano.domain.task import ENDED, Task
from nano.domain.zone import FoundZone, Zone

AT = datetime(2026, 11, 21, tzinfo=UTC)


class Bench:
    """A zone with one online cell; ``do`` decides and applies."""

    def __init__(self) -> None:
        self.zone = Zone()
        self._ids = count(1)
        self.do(FoundZone())
        self.do(ce.MeetCell(name="one", fingerprint="f1", address="a"))
        self.do(ce.AddCell(cell="one"))
        self.zone.loads = {"one": Load(0.0, 8 * GIBI, 8 * GIBI, 100 * GIBI, 100 * GIBI)}

    def context(self) -> Context:
        return Context(AT, "admin", "c", lambda: f"{next(self._ids):032x}")

    def do(self, command: Command) -> list[Emitted]:
        events = self.zone.decide(command, self.context())
        for resource, event in events:
            self.zone.apply(resource, event, AT)
        return events

    def ready(self, name: str, *, running: bool = False) -> str:
        self.do(create(name))
        guest = self.zone.find_guest(name)
        self.zone.apply(f"guest/{guest.id}", GuestCreated(), AT)
        self.do(gc.EndCreate(guest.task))
        if running:
            self.zone.apply(f"guest/{guest.id}", GuestStarted(), AT)
        return guest.id


def create(name: str = "web", **changes: object) -> gc.CreateGuest:
    return gc.CreateGuest(**{"name": name, "memory": 128 * MEBI, "disks": (64 * MEBI,)} | changes)  # type: ignore[arg-type]


@pytest.fixture
def bench() -> Bench:
    return Bench()


def test_creation_takes_name_room_and_opens_the_task_in_one_transaction(bench: Bench) -> None:
    events = bench.do(create(start=True))
    assert [type(event).__name__ for _, event in events] == ["GuestRequested", "TaskStarted", "TaskStepStarted"]
    guest = bench.zone.find_guest("web")
    task = bench.zone.get(f"task/{guest.task}")
    assert isinstance(task, Task)
    assert task.plan == (gc.MADE, gc.STARTED)
    assert task.deadline_at == AT + timedelta(minutes=30)
    assert (guest.cell, guest.phase) == ("one", "creating")
    assert guest.spec.mac.startswith("52:54:00:")
    assert bench.zone.guests_on("one") == [guest]


@pytest.mark.parametrize(
    ("changes", "code"),
    [
        ({"name": ""}, "invalid_name"),
        ({"name": "a b"}, "invalid_name"),
        ({"name": "../etc"}, "invalid_name"),
        ({"name": "x" * 65}, "invalid_name"),
        ({"name": "web\n"}, "invalid_name"),
        ({"name": "网"}, "invalid_name"),
        ({"cores": 0}, "invalid_cores"),
        ({"cores": 256}, "invalid_cores"),
        ({"memory": 0}, "invalid_memory"),
        ({"memory": -1}, "invalid_memory"),
        ({"memory": 128 * MEBI + 1}, "invalid_memory"),
        ({"memory": 1 << 60}, "invalid_memory"),
        ({"disks": ()}, "invalid_disks"),
        ({"disks": (0,)}, "invalid_disks"),
        ({"disks": (64 * MEBI + 1,)}, "invalid_disks"),
        ({"disks": (MEBI,) * 17}, "invalid_disks"),
        ({"disks": (1 << 62,)}, "invalid_disks"),
        ({"pool": "nowhere"}, "unknown_compute_pool"),
        ({"cell": "nobody"}, "unknown_cell"),
        ({"image": "none"}, "unknown_image"),
        ({"memory": 9 * GIBI}, "no_memory"),
        ({"disks": (101 * GIBI,)}, "no_disk"),
    ],
)
def test_bad_creations_are_refused_with_a_stable_code(bench: Bench, changes: dict[str, object], code: str) -> None:
    before = dict(bench.zone.states)
    with pytest.raises(NanoError) as refused:
        bench.do(create(**changes))
    assert refused.value.code == code
    assert refused.value.message
    assert refused.value.hint
    assert bench.zone.states == before


def test_hardware_is_a_closed_set(bench: Bench) -> None:
    with pytest.raises(NanoError) as refused:
        bench.do(create(hardware=Hardware(disk="floppy'/>")))
    assert refused.value.code == "invalid_hardware"


def test_an_image_must_be_ready_and_fit(bench: Bench) -> None:
    bench.do(RegisterImage(name="tiny", path="/i.qcow2"))
    with pytest.raises(NanoError) as early:
        bench.do(create(image="tiny"))
    assert early.value.code == "image_not_ready"
    (task,) = (task for task in bench.zone.open_tasks.values())
    bench.do(EndImage(task=task.id, format="qcow2", size=1, virtual_size=128 * MEBI, sha256="0"))
    with pytest.raises(NanoError) as small:
        bench.do(create(image="tiny"))
    assert small.value.code == "disk_smaller_than_image"
    bench.do(create(image="tiny", disks=(128 * MEBI,)))
    assert bench.zone.find_guest("web").image_name == "tiny"


@pytest.mark.parametrize(
    ("command", "running", "code"),
    [
        (gc.StartGuest, True, "guest_running"),
        (gc.StopGuest, False, "guest_stopped"),
        (gc.ForceStopGuest, False, "guest_stopped"),
        (gc.RebootGuest, False, "guest_stopped"),
        (gc.ForceRebootGuest, False, "guest_stopped"),
        (gc.RedefineGuest, False, "guest_stopped"),
        (gc.DeleteGuest, True, "guest_running"),
        (gc.OpenConsole, False, "guest_stopped"),
        (gc.OpenSerial, False, "guest_stopped"),
    ],
)
def test_power_needs_the_right_state(bench: Bench, command: Callable[..., Command], running: bool, code: str) -> None:
    bench.ready("web", running=running)
    with pytest.raises(NanoError) as refused:
        bench.do(command(guest="web"))
    assert refused.value.code == code


def test_one_task_holds_a_guest_at_a_time(bench: Bench) -> None:
    bench.ready("web")
    bench.do(gc.StartGuest(guest="web"))
    holder = bench.zone.find_guest("web").task
    with pytest.raises(NanoError) as busy:
        bench.do(gc.DeleteGuest(guest="web", force=True))
    assert (busy.value.code, busy.value.context["task"]) == ("guest_busy", holder)


def test_an_offline_cell_gets_no_work(bench: Bench) -> None:
    bench.ready("web")
    bench.do(ce.LoseCell(name="one", reason="silent"))
    with pytest.raises(NanoError) as refused:
        bench.do(gc.StartGuest(guest="web"))
    assert refused.value.code == "cell_offline"


def test_an_abandoned_creation_gives_everything_back_and_leaves_a_debt(bench: Bench) -> None:
    from nano.domain.task import Problem

    bench.do(create())
    guest = bench.zone.find_guest("web")
    bench.do(gc.AbandonCreate(task=guest.task, error=Problem("x", "it broke"), undone=("name given back",), debt=True))
    assert not list(bench.zone.guests())
    assert not bench.zone.guest_ids
    assert not bench.zone.macs
    task = bench.zone.get(f"task/{guest.task}")
    assert isinstance(task, Task)
    assert task.state in ENDED
    with pytest.raises(NanoError) as refused:
        bench.do(create("next"))
    assert refused.value.code == "all_cells_unavailable", "a cell that owes something gets no new guests"
    bench.do(ce.SettleDebt("one", guest.id))
    bench.do(create("next"))
