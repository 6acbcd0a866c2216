"""Inspection: where a host is not as the journals say, and what on it belongs to nobody. Only looked at, never recorded.

A *deviation* is one attribute of a guest's domain that is not what its cell journaled; ``repair`` says what would mend it. A
*leftover* is something that Nano made on a host and no journal knows. What is not Nano's is not seen here at all.
Pure: cells look, Core puts together what they say (``told_drift``, ``told_orphans``).
"""

from collections.abc import Collection, Iterable, Mapping
from typing import Final, Literal

import msgspec

from nano.domain.guest import Guest

Repair = Literal["at_once", "next_start", "define_again", "not_here", "by_hand"]
Where = Literal["domain", "definition", "running", "disk", "filter"]
OrphanKind = Literal["domain", "volume", "seed", "media", "filter", "snapshot", "allocation"]

FOUND_MAX: Final = 1000
"""Of deviations, and of leftovers, that one cell tells in one answer; the rest when these are gone."""

PLANS: Final[dict[Repair, str]] = {
    "at_once": "a repair mends it at once",
    "next_start": "a repair mends it; a running guest follows at its next start",
    "define_again": "a repair defines the domain again",
    "not_here": "its host can't do it: use another one, or leave it out",
    "by_hand": "nothing safe mends it by itself: look at it",
}


class Deviation(msgspec.Struct, frozen=True, kw_only=True):
    """``where``: in what the domain starts as, in what it runs as, in its disks' files, or in its packet
    filter. Values are texts for people."""

    guest_id: str
    attribute: str
    where: Where
    expected: str
    found: str
    repair: Repair


class Leftover(msgspec.Struct, frozen=True):
    """``name``: the guest id of a domain or packet filter, the name of a file of any kind (which are all "volume" here), or
    guest id and snapshot id with "_" between."""

    kind: Literal["domain", "volume", "filter", "snapshot"]
    name: str
    guest_id: str


class Inspection(msgspec.Struct, frozen=True, kw_only=True):
    """What a cell found. ``held``: guests that its journal has, whatever the host has of them."""

    deviations: tuple[Deviation, ...] = ()
    leftovers: tuple[Leftover, ...] = ()
    held: tuple[str, ...] = ()


class DriftRow(msgspec.Struct, frozen=True, kw_only=True):
    guest: str
    guest_id: str
    cell: str
    attribute: str
    where: str
    expected: str
    found: str
    repair: Repair
    plan: str


class OrphanRow(msgspec.Struct, frozen=True, kw_only=True):
    """``id`` is what it is removed by: cell/kind/name."""

    id: str
    cell: str
    kind: OrphanKind
    name: str
    guest_id: str
    why: str


class Unasked(msgspec.Struct, frozen=True):
    """A cell that could not be asked, so nothing is known of it."""

    cell: str
    reason: str


def told_drift(cell: str, seen: Inspection, guests: Mapping[str, Guest]) -> list[DriftRow]:
    """``guests``: those that Core had on this cell before the cell was asked, and still has, that no task is at work on."""
    rows = [_row(guests[item.guest_id], cell, item) for item in seen.deviations if item.guest_id in guests]
    for guest_id in sorted(guests.keys() - set(seen.held)):
        lost = Deviation(
            guest_id=guest_id,
            attribute="domain",
            where="domain",
            expected="known to its cell",
            found="not in its cell's journal",
            repair="by_hand",
        )
        rows.append(_row(guests[guest_id], cell, lost))
    return rows


def _row(guest: Guest, cell: str, item: Deviation) -> DriftRow:
    fields = msgspec.structs.asdict(item)
    return DriftRow(guest=guest.spec.name, cell=cell, plan=PLANS[item.repair], **fields)


def told_orphans(
    cell: str, seen: Inspection, owned: Collection[str], elsewhere: Collection[str] = ()
) -> list[OrphanRow]:
    """``owned``: guests that Core had on this cell before or after the cell was asked; ``elsewhere``: on another cell that
    has its storage, which tells of their files."""
    rows = [
        orphan_row(cell, "domain", guest_id, guest_id, "its cell has it, and Core has no such guest there")
        for guest_id in seen.held
        if guest_id not in owned
    ]
    rows += [
        orphan_row(cell, "domain", item.name, item.guest_id, "no journal has this domain")
        for item in seen.leftovers
        if item.kind == "domain" and item.guest_id not in owned
    ]
    with_domain = {row.guest_id for row in rows}  # removing the domain takes its volumes and its filter
    for item in seen.leftovers:
        if item.kind == "volume" and item.guest_id in elsewhere:
            continue
        if item.kind != "domain" and item.guest_id not in with_domain and (why := _nobodys(item, seen, owned)):
            rows.append(orphan_row(cell, _kind_of(item), item.name, item.guest_id, why))
    return rows


def _nobodys(item: Leftover, seen: Inspection, owned: Collection[str]) -> str:
    """Why it is an orphan; "" when it may be somebody's."""
    held = item.guest_id in seen.held
    if held and item.kind in ("volume", "snapshot"):
        return f"its guest has no such {'file' if item.kind == 'volume' else 'snapshot'}"
    if item.guest_id in owned or item.kind == "snapshot":
        return ""  # of a guest that its cell has lost, disks may be all that is left
    return "no journal has its guest" if item.kind == "filter" or not held else ""


def _kind_of(item: Leftover) -> OrphanKind:
    if item.kind != "volume" or item.name.endswith(".qcow2"):
        return item.kind
    return "seed" if item.name.endswith("_seed.iso") else "media"


def told_debts(cell: str, debts: Iterable[str]) -> list[OrphanRow]:
    why = "its creation was given up while the cell was away; the cell removes it before it takes new guests"
    return [orphan_row(cell, "allocation", guest_id, guest_id, why) for guest_id in debts]


def orphan_row(cell: str, kind: OrphanKind, name: str, guest_id: str, why: str) -> OrphanRow:
    return OrphanRow(id=f"{cell}/{kind}/{name}", cell=cell, kind=kind, name=name, guest_id=guest_id, why=why)
