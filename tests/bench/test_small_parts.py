"""The small parts that every request or replay goes through, by pytest-benchmark; nothing here is held to a time."""

from datetime import UTC, datetime
from itertools import count
from typing import Any

import msgspec

from nano.domain.cell import AddCell, DescribeCell, MeetCell
from nano.domain.facts import Command, Context
from nano.domain.guest import GuestStarted
from nano.domain.guest_commands import CreateGuest
from nano.domain.limits import LIMITS
from nano.domain.machine import GIBI, MEBI
from nano.domain.placement import Candidate, Load, Need, place
from nano.domain.zone import FoundZone, Zone
from nano.projections.rows import guest_row

AT = datetime(2026, 11, 21, tzinfo=UTC)
CREATE = CreateGuest(name="web", memory=128 * MEBI, disks=(64 * MEBI,))


def small_zone() -> tuple[Zone, Context]:
    zone, ids = Zone(), count(1)
    context = Context(AT, "admin", "c", lambda: f"{next(ids):032x}")

    def do(command: Command) -> None:
        for resource, event in zone.decide(command, context):
            zone.apply(resource, event, AT)

    do(FoundZone())
    do(MeetCell(name="one", fingerprint="f", address="a"))
    do(AddCell(cell="one"))
    do(DescribeCell(name="one", cores=8, memory=GIBI, disk=GIBI, virt_type="kvm", virt_note="", hypervisor=""))
    return zone, context


def test_deciding_a_creation(benchmark: Any) -> None:
    zone, context = small_zone()
    events = benchmark(zone.decide, CREATE, context)
    assert len(events) == 3


def test_folding_one_event(benchmark: Any) -> None:
    zone, context = small_zone()
    for resource, event in zone.decide(CREATE, context):
        zone.apply(resource, event, AT)
    guest = zone.find_guest("web")
    _, after = benchmark(zone.apply, f"guest/{guest.id}", GuestStarted("on order"), AT)
    assert after.power == "running"


def test_encoding_a_row(benchmark: Any) -> None:
    zone, context = small_zone()
    for resource, event in zone.decide(CREATE, context):
        zone.apply(resource, event, AT)
    row = guest_row(zone.find_guest("web"), 1, None)
    assert len(benchmark(msgspec.json.encode, row)) > 400


def test_placing_among_a_hundred_cells(benchmark: Any) -> None:
    load = Load(10.0, 64 * GIBI, 32 * GIBI, 1024 * GIBI, 512 * GIBI)
    cells = [Candidate(f"cell{n:03d}", True, True, 32, n, Need(n, n * GIBI, n * GIBI), load) for n in range(100)]
    verdict = benchmark(place, cells, Need(2, GIBI, 10 * GIBI), LIMITS)
    assert verdict.cell == "cell000"
