"""Placement: which cell of a pool takes a new guest, and why each of the others does not (features M05, M06).

The score follows nano-behaviour §3 and keeps its weights: twice the cores, one and a half times the memory, half the
disk, counted in "how many more guests of this size would fit", averaged over what is free right now (load) and what
is not yet promised (configured, with an overcommit of three). The highest score wins; ties go to the first name. The
original's unsigned underflow on over-committed cells is gone: a resource that is promised away scores zero.
"""

from typing import NamedTuple

import msgspec

from nano.domain.ability import ABILITY_MISSING, Ability, in_words, lacking, why_unfit
from nano.domain.limits import Limits
from nano.domain.naming import format_size

_CORES, _MEMORY, _DISK = 2.0, 1.5, 0.5


class Need(msgspec.Struct, frozen=True):
    """``abilities``: names of what its host must be able to do (``ability``)."""

    cores: int
    memory: int
    disk: int
    abilities: tuple[str, ...] = ()


class Load(msgspec.Struct, frozen=True):
    """A cell's last heartbeat, as far as placement cares. An observation, never journaled."""

    cpu_percent: float
    memory_total: int
    memory_available: int
    disk_total: int
    disk_available: int


class Candidate(NamedTuple):
    """One cell of the pool. ``promised`` sums the guests placed there, running or not; ``load`` None = nothing heard yet;
    so is it with ``abilities`` when there are none."""

    name: str
    online: bool
    enabled: bool
    cores: int
    guests: int
    promised: Need
    load: Load | None
    abilities: tuple[Ability, ...] = ()


class Score(msgspec.Struct, frozen=True):
    """``code`` is empty for a cell that fits, else: cell_offline, cell_disabled, ability_missing,
    cell_full, cell_busy, no_memory, no_disk. ``lacks``: abilities that are needed and not there, whatever the code."""

    cell: str
    score: float
    code: str = ""
    reason: str = ""
    lacks: tuple[str, ...] = ()


class Verdict(msgspec.Struct, frozen=True):
    """``cell`` is empty when none fits; ``code`` and ``message`` then sum up why (nano-behaviour §3, same order)."""

    cell: str
    scores: tuple[Score, ...]
    code: str = ""
    message: str = ""


def place(candidates: list[Candidate], need: Need, limits: Limits) -> Verdict:
    scores = tuple(_score(candidate, need, limits) for candidate in sorted(candidates, key=lambda c: c.name))
    best = max((score for score in scores if not score.code), key=lambda s: s.score, default=None)
    if best is not None:
        return Verdict(best.cell, scores)
    code, message = _sum_up(scores, need, limits)
    return Verdict("", scores, code, message)


def grow(cell: str, load: Load | None, more: Need, abilities: tuple[Ability, ...]) -> Score:
    """Whether a cell takes it that a guest of its own grows by so much: it has that guest already, so all that counts is
    what is free of what it asks for, and what it can do. Being busy or disabled is no reason against it."""
    return Score(cell, 0.0, *(_unfit(abilities, more) or _too_little(load, more) or ()))


def _score(cell: Candidate, need: Need, limits: Limits) -> Score:
    refusal = _refusal(cell, need, limits)
    if refusal:
        return Score(cell.name, 0.0, *refusal, lacks=lacking(cell.abilities, need.abilities))
    configured = _configured(cell, need, limits)
    if cell.load is None:
        return Score(cell.name, round(configured, 3))
    real = (
        _CORES * (cell.cores * (100 - cell.load.cpu_percent) / 100) / need.cores
        + _MEMORY * cell.load.memory_available / need.memory
        + _DISK * (cell.load.disk_available // need.disk)
    )
    return Score(cell.name, round((real + configured) / 2, 3))


def _configured(cell: Candidate, need: Need, limits: Limits) -> float:
    memory, disk = (cell.load.memory_total, cell.load.disk_total) if cell.load else (0, 0)

    def room(total: int, promised: int, wanted: int) -> int:
        return max(0, limits.overcommit * total - promised) // wanted

    return (
        _CORES * room(cell.cores, cell.promised.cores, need.cores)
        + _MEMORY * room(memory, cell.promised.memory, need.memory)
        + _DISK * room(disk, cell.promised.disk, need.disk)
    )


def _refusal(cell: Candidate, need: Need, limits: Limits) -> tuple[str, str] | None:
    if not cell.online:
        return "cell_offline", "it is offline"
    if not cell.enabled:
        return "cell_disabled", "it is disabled for new guests"
    if unfit := _unfit(cell.abilities, need):
        return unfit
    if cell.guests >= limits.guests_per_cell:
        return "cell_full", f"it holds {cell.guests} guests, the most allowed"
    load = cell.load
    if load is not None and load.cpu_percent > limits.cpu_percent_busy:
        return "cell_busy", f"its cores are {load.cpu_percent:.0f} % busy, over {limits.cpu_percent_busy:.0f} %"
    return _too_little(load, need)


def _unfit(abilities: tuple[Ability, ...], need: Need) -> tuple[str, str] | None:
    why = why_unfit(abilities, need.abilities)
    return (ABILITY_MISSING, why) if why else None


def _too_little(load: Load | None, need: Need) -> tuple[str, str] | None:
    if load is None:
        return None
    if load.memory_available < need.memory:
        return (
            "no_memory",
            f"{format_size(load.memory_available)} of memory is free, {format_size(need.memory)} is needed",
        )
    if load.disk_available < need.disk:
        return "no_disk", f"{format_size(load.disk_available)} of disk is free, {format_size(need.disk)} is needed"
    return None


def _sum_up(scores: tuple[Score, ...], need: Need, limits: Limits) -> tuple[str, str]:
    codes = {score.code for score in scores}
    if not codes:
        return "no_cell", "The pool has no cell."
    if codes <= {"cell_offline", "cell_disabled"}:
        return "all_cells_unavailable", "Every cell of the pool is disabled or offline."
    usable = codes - {"cell_offline", "cell_disabled"}
    if usable == {ABILITY_MISSING}:
        unfit = [score.lacks for score in scores if score.code == ABILITY_MISSING]
        nowhere = [name for name in need.abilities if all(name in lacks for lacks in unfit)]
        return ABILITY_MISSING, f"No cell of the pool can {in_words(nowhere or need.abilities)}."
    if usable == {"no_disk"}:
        return "no_disk", f"No cell has enough disk: {format_size(need.disk)}."
    if usable == {"no_memory"}:
        return "no_memory", f"No cell has enough memory: {format_size(need.memory)}."
    if usable == {"cell_busy"}:
        return "cores_busy", f"All cell cores are busy (load over {limits.cpu_percent_busy:.2f}%)."
    if usable == {"cell_full"}:
        return "cells_full", f"Every cell holds {limits.guests_per_cell} guests already."
    return "no_capacity", "No cell fulfils the resource requirement."
