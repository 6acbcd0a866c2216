"""Placement: the score, the refusals and their order."""

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from nano.domain.ability import DISK_LIMITS, NETWORK_LIMITS, PACKET_FILTER, REFLINK, Ability
from nano.domain.limits import Limits
from nano.domain.machine import GIBI
from nano.domain.placement import Candidate, Load, Need, place

LIMITS = Limits()
NEED = Need(cores=2, memory=GIBI, disk=10 * GIBI)
IDLE = Load(
    cpu_percent=0.0,
    memory_total=16 * GIBI,
    memory_available=16 * GIBI,
    disk_total=100 * GIBI,
    disk_available=100 * GIBI,
)
NOTHING = Need(0, 0, 0)


def candidate(name: str = "a", **changes: object) -> Candidate:
    return Candidate(name, True, True, 8, 0, NOTHING, IDLE)._replace(**changes)


def load(**changes: float) -> Load:
    return Load(**{field: getattr(IDLE, field) for field in IDLE.__struct_fields__} | changes)  # type: ignore[arg-type]


def test_the_score_is_the_documented_one() -> None:
    verdict = place([candidate()], NEED, LIMITS)
    real = 2 * 8 / 2 + 1.5 * 16 + 0.5 * 10
    configured = 2 * (24 // 2) + 1.5 * 48 + 0.5 * 30
    assert verdict.cell == "a"
    assert verdict.scores[0].score == pytest.approx((real + configured) / 2)


def test_the_lighter_cell_wins_and_ties_go_to_the_first_name() -> None:
    busy = candidate("a", load=load(cpu_percent=50.0))
    assert place([busy, candidate("b")], NEED, LIMITS).cell == "b"
    assert place([candidate("b"), candidate("a")], NEED, LIMITS).cell == "a"


@pytest.mark.parametrize(
    ("cell", "code", "summary"),
    [
        (candidate(online=False), "cell_offline", "all_cells_unavailable"),
        (candidate(enabled=False), "cell_disabled", "all_cells_unavailable"),
        (candidate(guests=100), "cell_full", "cells_full"),
        (candidate(load=load(cpu_percent=80.5)), "cell_busy", "cores_busy"),
        (candidate(load=load(memory_available=GIBI - 1)), "no_memory", "no_memory"),
        (candidate(load=load(disk_available=10 * GIBI - 1)), "no_disk", "no_disk"),
    ],
)
def test_each_refusal_names_its_cause(cell: Candidate, code: str, summary: str) -> None:
    verdict = place([cell], NEED, LIMITS)
    assert (verdict.cell, verdict.code, verdict.scores[0].code) == ("", summary, code)
    assert verdict.message
    assert verdict.scores[0].reason


def test_what_is_missing_everywhere_is_named() -> None:
    def lacking(name: str, *abilities: str, **changes: object) -> Candidate:
        return candidate(name, abilities=tuple(Ability(one, False, "kernel", "x") for one in abilities), **changes)

    need = msgspec.structs.replace(NEED, abilities=(DISK_LIMITS, NETWORK_LIMITS, PACKET_FILTER))
    cells = [
        lacking("a", NETWORK_LIMITS, PACKET_FILTER),
        lacking("b", PACKET_FILTER),
        lacking("c", REFLINK, online=False),
    ]
    verdict = place(cells, need, LIMITS)
    assert [score.lacks for score in verdict.scores] == [(NETWORK_LIMITS, PACKET_FILTER), (PACKET_FILTER,), ()]
    assert (verdict.code, verdict.message) == ("ability_missing", "No cell of the pool can filter packets.")
    each = place([lacking("a", NETWORK_LIMITS), lacking("b", PACKET_FILTER)], need, LIMITS)
    assert "limit disks and limit network interfaces and filter packets" in each.message, "none is missing everywhere"
    assert place([*cells, candidate("d")], need, LIMITS).cell == "d"


def test_an_empty_pool_and_a_mixed_one() -> None:
    assert place([], NEED, LIMITS).code == "no_cell"
    mixed = [candidate("a", load=load(memory_available=0)), candidate("b", load=load(disk_available=0))]
    assert place(mixed, NEED, LIMITS).code == "no_capacity"


@given(st.integers(0, 10**6), st.integers(0, 2**50), st.integers(0, 2**60))
def test_what_is_promised_away_scores_nothing_and_never_underflows(cores: int, memory: int, disk: int) -> None:
    free = place([candidate()], NEED, LIMITS).scores[0].score
    taken = place([candidate(promised=Need(cores, memory, disk))], NEED, LIMITS).scores[0].score
    assert 0 <= taken <= free
