"""Cell: a hypervisor host as Core knows it (features M03, M04, M53).

A cell that says hello for the first time is *discovered* and waits. Adding it to a pool approves the fingerprint of
its certificate; removing it takes that back. ``online`` is a fact: it changes when a cell connects, and when it has
been silent for longer than ``Limits.cell_silence_s``, so a restarted Core knows at once what was true. A *debt* is a
guest whose creation was given up while the cell could not be reached: the cell must remove what it may have of it
when it returns, and gets no new guests before.
"""

from datetime import datetime
from typing import Final

import msgspec

from nano.domain.ability import Ability
from nano.domain.compute_pool import pool_named
from nano.domain.errors import Conflict, Forbidden, Unknown
from nano.domain.facts import Command, Context, Emitted, Event, Model, Rules
from nano.domain.naming import require_name


class Cell(msgspec.Struct, frozen=True, kw_only=True, gc=False):
    """Sizes in bytes; ``cores``, ``memory``, ``disk`` are the host's totals, 0 until it has described itself.
    ``abilities`` is empty of a cell that tells none, ``storage`` too: the id of the storage that its volumes are on."""

    name: str
    fingerprint: str
    address: str
    discovered_at: datetime
    seen_at: datetime
    pool: str = ""
    enabled: bool = True
    online: bool = False
    cores: int = 0
    memory: int = 0
    disk: int = 0
    virt_type: str = ""
    virt_note: str = ""
    hypervisor: str = ""
    abilities: tuple[Ability, ...] = ()
    storage: str = ""
    error: str = ""
    debts: tuple[str, ...] = ()

    @property
    def usable(self) -> bool:
        """Whether it may get new guests at all."""
        return self.enabled and not self.debts


class CellDiscovered(Event, frozen=True, kw_only=True, tag="cell.discovered"):
    name: str
    fingerprint: str
    address: str


class CellConnected(Event, frozen=True, tag="cell.connected"):
    address: str


class CellDisconnected(Event, frozen=True, tag="cell.disconnected"):
    reason: str


class CellDescribed(Event, frozen=True, kw_only=True, tag="cell.described"):
    cores: int
    memory: int
    disk: int
    virt_type: str
    virt_note: str
    hypervisor: str
    abilities: tuple[Ability, ...] = ()
    storage: str = ""


class CellAdded(Event, frozen=True, tag="cell.added"):
    pool: str


class CellEnabled(Event, frozen=True, tag="cell.enabled"):
    pass


class CellDisabled(Event, frozen=True, tag="cell.disabled"):
    pass


class CellRemoved(Event, frozen=True, tag="cell.removed"):
    pool: str


class CellFaulted(Event, frozen=True, tag="cell.faulted"):
    """Something about the cell needs a person; ``error`` empty = it is mended."""

    error: str


class CellDebtRecorded(Event, frozen=True, tag="cell.debt_recorded"):
    guest_id: str


class CellDebtSettled(Event, frozen=True, tag="cell.debt_settled"):
    guest_id: str


class AddCell(Command, frozen=True, kw_only=True, tag="cell.add"):
    """Add a discovered cell to a compute pool, approving its certificate."""

    cell: str
    pool: str = "default"


class RemoveCell(Command, frozen=True, kw_only=True, tag="cell.remove"):
    """Take a cell without guests out of its pool; it waits as discovered again."""

    cell: str


class EnableCell(Command, frozen=True, kw_only=True, tag="cell.enable"):
    """Let new guests be placed on a cell."""

    cell: str


class DisableCell(Command, frozen=True, kw_only=True, tag="cell.disable"):
    """Place no new guests on a cell; those on it go on."""

    cell: str


class MeetCell(Command, frozen=True, kw_only=True, tag="cell.meet"):
    """A cell has said hello over a link that proved this fingerprint."""

    name: str
    fingerprint: str
    address: str


class LoseCell(Command, frozen=True, kw_only=True, tag="cell.lose"):
    """The link is gone, or silent for too long."""

    name: str
    reason: str


class DescribeCell(Command, frozen=True, kw_only=True, tag="cell.describe"):
    name: str
    cores: int
    memory: int
    disk: int
    virt_type: str
    virt_note: str
    hypervisor: str
    abilities: tuple[Ability, ...] = ()
    storage: str = ""


class FaultCell(Command, frozen=True, tag="cell.fault"):
    name: str
    error: str


class SettleDebt(Command, frozen=True, tag="cell.settle_debt"):
    name: str
    guest_id: str


def cell_named(model: Model, name: str) -> Cell:
    cell = model.get(f"cell/{name}")
    if not isinstance(cell, Cell):
        raise Unknown(f"There is no cell {name!r}.", code="unknown_cell", hint="List cells to see those discovered.")
    return cell


def share_storage(model: Model, one: str, other: str) -> bool:
    """Whether the volumes of both cells are on one storage, as far as they have told."""
    first, second = model.get(f"cell/{one}"), model.get(f"cell/{other}")
    return isinstance(first, Cell) and isinstance(second, Cell) and first.storage == second.storage != ""


def _in_pool(cell: Cell) -> None:
    if not cell.pool:
        raise Conflict(f"Cell {cell.name} is in no pool.", code="cell_unallocated", hint="Add it to a pool first.")


def decide_meet(model: Model, command: MeetCell, context: Context) -> list[Emitted]:
    """A known name with another fingerprint is refused unless the cell was never approved: then it is a new machine."""
    name = require_name(command.name, "cell name")
    resource = f"cell/{name}"
    known = model.get(resource)
    connected = Emitted(resource, CellConnected(address=command.address))
    discovered = Emitted(resource, CellDiscovered(name=name, fingerprint=command.fingerprint, address=command.address))
    if not isinstance(known, Cell):
        return [discovered, connected]
    if known.fingerprint != command.fingerprint:
        if known.pool:
            raise Forbidden(
                f"A node calls itself {name}, but its certificate is not the one that was approved.",
                code="cell_fingerprint_mismatch",
                hint="If the host was rebuilt, remove the cell from its pool and add it again.",
                expected=known.fingerprint,
                presented=command.fingerprint,
            )
        return [discovered, connected]
    if known.online and known.address == command.address:
        return []
    return [connected]


def decide_lose(model: Model, command: LoseCell, context: Context) -> list[Emitted]:
    cell = model.get(f"cell/{command.name}")
    if not isinstance(cell, Cell) or not cell.online:
        return []
    return [Emitted(f"cell/{cell.name}", CellDisconnected(reason=command.reason))]


def decide_describe(model: Model, command: DescribeCell, context: Context) -> list[Emitted]:
    cell = cell_named(model, command.name)
    event = CellDescribed(
        cores=command.cores,
        memory=command.memory,
        disk=command.disk,
        virt_type=command.virt_type,
        virt_note=command.virt_note,
        hypervisor=command.hypervisor,
        abilities=command.abilities,
        storage=command.storage,
    )
    same = all(getattr(cell, field) == getattr(event, field) for field in event.__struct_fields__)
    return [] if same else [Emitted(f"cell/{cell.name}", event)]


def decide_add(model: Model, command: AddCell, context: Context) -> list[Emitted]:
    cell = cell_named(model, command.cell)
    pool = pool_named(model, command.pool)
    if cell.pool:
        raise Conflict(
            f"Cell {cell.name} belongs to pool {cell.pool} already.",
            code="cell_allocated",
            hint="Remove it there first.",
        )
    return [Emitted(f"cell/{cell.name}", CellAdded(pool=pool.name))]


def decide_enable(model: Model, command: EnableCell, context: Context) -> list[Emitted]:
    cell = cell_named(model, command.cell)
    _in_pool(cell)
    if cell.enabled:
        raise Conflict(f"Cell {cell.name} is enabled already.", code="no_change")
    return [Emitted(f"cell/{cell.name}", CellEnabled())]


def decide_disable(model: Model, command: DisableCell, context: Context) -> list[Emitted]:
    cell = cell_named(model, command.cell)
    _in_pool(cell)
    if not cell.enabled:
        raise Conflict(f"Cell {cell.name} is disabled already.", code="no_change")
    return [Emitted(f"cell/{cell.name}", CellDisabled())]


def decide_fault(model: Model, command: FaultCell, context: Context) -> list[Emitted]:
    cell = cell_named(model, command.name)
    return [] if cell.error == command.error else [Emitted(f"cell/{cell.name}", CellFaulted(error=command.error))]


def decide_settle_debt(model: Model, command: SettleDebt, context: Context) -> list[Emitted]:
    cell = cell_named(model, command.name)
    if command.guest_id not in cell.debts:
        return []
    return [Emitted(f"cell/{cell.name}", CellDebtSettled(guest_id=command.guest_id))]


def evolve_discovered(state: Cell | None, event: CellDiscovered, at: datetime) -> Cell:
    if state is not None:
        return msgspec.structs.replace(state, fingerprint=event.fingerprint, address=event.address, seen_at=at)
    return Cell(name=event.name, fingerprint=event.fingerprint, address=event.address, discovered_at=at, seen_at=at)


def evolve_connected(state: Cell, event: CellConnected, at: datetime) -> Cell:
    return msgspec.structs.replace(state, online=True, address=event.address, seen_at=at)


def evolve_disconnected(state: Cell, event: CellDisconnected, at: datetime) -> Cell:
    return msgspec.structs.replace(state, online=False, seen_at=at)


def evolve_described(state: Cell, event: CellDescribed, at: datetime) -> Cell:
    return msgspec.structs.replace(state, **msgspec.structs.asdict(event))


def evolve_added(state: Cell, event: CellAdded, at: datetime) -> Cell:
    return msgspec.structs.replace(state, pool=event.pool, enabled=True)


def evolve_enabled(state: Cell, event: CellEnabled, at: datetime) -> Cell:
    return msgspec.structs.replace(state, enabled=True)


def evolve_disabled(state: Cell, event: CellDisabled, at: datetime) -> Cell:
    return msgspec.structs.replace(state, enabled=False)


def evolve_removed(state: Cell, event: CellRemoved, at: datetime) -> Cell:
    return msgspec.structs.replace(state, pool="", enabled=True, error="")


def evolve_faulted(state: Cell, event: CellFaulted, at: datetime) -> Cell:
    return msgspec.structs.replace(state, error=event.error)


def evolve_debt_recorded(state: Cell, event: CellDebtRecorded, at: datetime) -> Cell:
    return msgspec.structs.replace(state, debts=(*state.debts, event.guest_id))


def evolve_debt_settled(state: Cell, event: CellDebtSettled, at: datetime) -> Cell:
    return msgspec.structs.replace(state, debts=tuple(debt for debt in state.debts if debt != event.guest_id))


RULES: Final = Rules(
    decide={
        AddCell: decide_add,
        EnableCell: decide_enable,
        DisableCell: decide_disable,
        MeetCell: decide_meet,
        LoseCell: decide_lose,
        DescribeCell: decide_describe,
        FaultCell: decide_fault,
        SettleDebt: decide_settle_debt,
    },
    evolve={
        CellDiscovered: evolve_discovered,
        CellConnected: evolve_connected,
        CellDisconnected: evolve_disconnected,
        CellDescribed: evolve_described,
        CellAdded: evolve_added,
        CellEnabled: evolve_enabled,
        CellDisabled: evolve_disabled,
        CellRemoved: evolve_removed,
        CellFaulted: evolve_faulted,
        CellDebtRecorded: evolve_debt_recorded,
        CellDebtSettled: evolve_debt_settled,
    },
    states={"cell": Cell},
)
