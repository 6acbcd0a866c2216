"""What hosts can do: what needs it, who is refused for the lack of it, and what the refusal says."""

from datetime import UTC, datetime
from itertools import count

import msgspec
import pytest

from nano.domain import cell as ce
from nano.domain import guest_commands as gc
from nano.domain.ability import DISK_LIMITS, NETWORK_LIMITS, Ability, needed
from nano.domain.cell_probe import EndProbe, ProbeCell
from nano.domain.compute_pool import CreateComputePool
from nano.domain.errors import Conflict, NoCapacity
from nano.domain.facts import Command, Context, Emitted
from nano.domain.guest import GuestCreated
from nano.domain.guest_change import SetGuest
from nano.domain.machine import GIBI, MEBI, DiskLimits, MachineSpec, NetworkLimits
from nano.domain.placement import Load, Need
from nano.domain.zone import FoundZone, Zone

AT = datetime(2026, 11, 21, tzinfo=UTC)
LACKS = Ability(NETWORK_LIMITS, False, "kernel", "sch_sfq")
HAS = Ability(NETWORK_LIMITS, True, detail="tc")
PLAIN = MachineSpec(name="web", cores=1, memory=64 * MEBI, disks=(MEBI,), mac="52:54:00:00:00:01")


class Bench:
    """Cell one is in pool default, cell two in pool lab; ``do`` decides and applies."""

    def __init__(self) -> None:
        self.zone = Zone()
        self._ids = count(1)
        self.do(FoundZone())
        self.do(CreateComputePool(name="lab"))
        for name, pool in (("one", "default"), ("two", "lab")):
            self.do(ce.MeetCell(name=name, fingerprint=name, address="a"))
            self.do(ce.AddCell(cell=name, pool=pool))
        load = Load(0.0, 8 * GIBI, 8 * GIBI, 100 * GIBI, 100 * GIBI)
        self.zone.loads = {"one": load, "two": load}

    def do(self, command: Command) -> list[Emitted]:
        events = self.zone.decide(command, Context(AT, "admin", "c", lambda: f"{next(self._ids):032x}"))
        for resource, event in events:
            self.zone.apply(resource, event, AT)
        return events

    def told(self, name: str, *abilities: Ability) -> None:
        size = {"cores": 8, "memory": 8 * GIBI, "disk": 100 * GIBI}
        self.do(ce.DescribeCell(name=name, virt_type="qemu", virt_note="", hypervisor="q", abilities=abilities, **size))


@pytest.fixture
def bench() -> Bench:
    return Bench()


def create(**changes: object) -> gc.CreateGuest:
    return gc.CreateGuest(**{"name": "web", "memory": 128 * MEBI, "disks": (64 * MEBI,)} | changes)  # type: ignore[arg-type]


def test_a_guest_needs_what_its_limits_take_and_a_change_only_what_is_new() -> None:
    limited = msgspec.structs.replace(PLAIN, network_limits=NetworkLimits(send_bytes=MEBI))
    both = msgspec.structs.replace(limited, disk_limits=DiskLimits(read_bytes=MEBI))
    assert needed(PLAIN) == ()
    assert needed(limited) == (NETWORK_LIMITS,)
    assert needed(both) == (DISK_LIMITS, NETWORK_LIMITS)
    assert needed(both, limited) == (DISK_LIMITS,)
    assert needed(PLAIN, both) == ()
    assert needed(msgspec.structs.replace(limited, network_limits=NetworkLimits(send_bytes=2 * MEBI)), limited)


def test_it_goes_to_the_cell_that_can(bench: Bench) -> None:
    bench.do(ce.MeetCell(name="three", fingerprint="three", address="a"))
    bench.do(ce.AddCell(cell="three"))
    bench.told("one", LACKS)
    bench.told("three", HAS)
    bench.do(create(send_bytes=MEBI))
    assert bench.zone.find_guest("web").cell == "three"


def test_a_refusal_names_what_is_missing_and_who_can(bench: Bench) -> None:
    bench.told("one", LACKS)
    bench.told("two", HAS)
    with pytest.raises(NoCapacity) as refusal:
        bench.do(create(send_bytes=MEBI))
    error = refusal.value
    assert (error.code, error.status) == ("ability_missing", 409)
    assert error.message == "No cell of the pool can limit network interfaces."
    assert error.hint == "Leave it out, or use a cell that can: two."
    assert error.context["cells"] == {"one": "it can't limit network interfaces (its kernel lacks sch_sfq)"}
    bench.told("two", LACKS)
    with pytest.raises(NoCapacity, match="can limit network") as refusal:
        bench.do(create(send_bytes=MEBI))
    assert "No cell of this zone can." in refusal.value.hint
    assert bench.do(create()), "without the limit there is no need of it"


def test_a_change_is_refused_before_its_cell_is_asked(bench: Bench) -> None:
    bench.told("one", LACKS)
    bench.do(create())
    guest = bench.zone.find_guest("web")
    bench.zone.apply(f"guest/{guest.id}", GuestCreated(), AT)
    bench.do(gc.EndCreate(guest.task))
    with pytest.raises(NoCapacity) as refusal:
        bench.do(SetGuest(guest="web", receive_bytes=MEBI))
    assert refusal.value.code == "ability_missing"
    assert "two" in refusal.value.hint  # of which nothing is known, so nothing is held against it
    assert bench.do(SetGuest(guest="web", read_bytes=MEBI))


def test_nothing_is_held_against_a_cell_that_told_nothing(bench: Bench) -> None:
    assert bench.do(create(send_bytes=MEBI, read_bytes=MEBI))


def test_placement_says_it_of_each_cell(bench: Bench) -> None:
    bench.told("one", LACKS)
    verdict = bench.zone.explain_placement("default", Need(1, MEBI, MEBI, (NETWORK_LIMITS,)))
    assert (verdict.cell, verdict.code, verdict.scores[0].code) == ("", "ability_missing", "ability_missing")


def test_a_probe_records_news_only_and_one_at_a_time(bench: Bench) -> None:
    bench.told("one", LACKS)
    (started, *_) = bench.do(ProbeCell(cell="one"))
    task = started.resource.removeprefix("task/")
    with pytest.raises(Conflict) as refusal:
        bench.do(ProbeCell(cell="one"))
    assert refusal.value.code == "cell_busy"
    bench.do(EndProbe(task=task, abilities=(HAS,)))
    cell = ce.cell_named(bench.zone, "one")
    assert (cell.abilities, cell.memory) == ((HAS,), 8 * GIBI)
    (again, *_) = bench.do(ProbeCell(cell="one"))
    ends = bench.do(EndProbe(task=again.resource.removeprefix("task/"), abilities=(HAS,)))
    assert {event.resource.partition("/")[0] for event in ends} == {"task"}


def test_a_cell_that_is_away_is_not_probed(bench: Bench) -> None:
    bench.do(ce.LoseCell(name="one", reason="silent"))
    with pytest.raises(Conflict) as refusal:
        bench.do(ProbeCell(cell="one"))
    assert refusal.value.code == "cell_offline"
