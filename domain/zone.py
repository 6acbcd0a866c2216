"""Zone: the model of a Core; every resource of one installation, with the indexes that decisions need.

All indexes are functions of the states, kept up by ``changed``: names, MACs, guests by cell, what is promised of each
cell; only the order in which tasks ended is not, it is ``memory``. ``loads`` is the one exception: the cells' last
heartbeats, put there by the node that runs the model and never part of a fact. Replay, dry run and what-if work without it.
"""

from collections import defaultdict, deque
from collections.abc import Iterator, Mapping
from typing import Final

import msgspec

from nano.domain import batch as ba
from nano.domain import cell as ce
from nano.domain import cell_probe as cb
from nano.domain import compute_pool as cp
from nano.domain import guest as gu
from nano.domain import guest_about as ga
from nano.domain import guest_bin as gb
from nano.domain import guest_change as gx
from nano.domain import guest_commands as gc
from nano.domain import guest_compact as gk
from nano.domain import guest_devices as gd
from nano.domain import guest_hold as gh
from nano.domain import guest_media as gm
from nano.domain import guest_migrate as mi
from nano.domain import guest_password as gp
from nano.domain import guest_repair as gr
from nano.domain import guest_rules as ru
from nano.domain import guest_snapshot as gs
from nano.domain import guest_vnc as gv
from nano.domain import image as im
from nano.domain import image_commands as ic
from nano.domain import image_sync as iy
from nano.domain import orphan as orp
from nano.domain import report as rp
from nano.domain import snapshot_schedule as ss
from nano.domain import task as ta
from nano.domain import task_items as ti
from nano.domain import template as te
from nano.domain.errors import Conflict, Unknown
from nano.domain.facts import Command, Context, Emitted, Event, Model, Rules, State
from nano.domain.limits import LIMITS, Limits
from nano.domain.placement import Candidate, Load, Need, Score, Verdict, grow, place


class FoundZone(Command, frozen=True, tag="zone.found"):
    """First start of a Core: give the zone its id and an empty default pool (feature M01)."""


class ZoneFounded(Event, frozen=True, tag="zone.founded"):
    id: str


class StockTemplates(Command, frozen=True, tag="zone.stock_templates"):
    """Give the zone its first templates, once: a zone that lost them all on purpose does not get them again."""


class ZoneTemplatesStocked(Event, frozen=True, tag="zone.templates_stocked"):
    pass


class ZoneInfo(msgspec.Struct, frozen=True, gc=False):
    id: str
    stocked: bool = False


ZONE: Final = "zone/zone"
NOTHING: Final = Need(0, 0, 0)


def decide_found(zone: "Zone", command: FoundZone, context: Context) -> list[Emitted]:
    if zone.get(ZONE) is not None:
        return []
    default = cp.ComputePoolCreated(name=cp.DEFAULT_POOL)
    return [Emitted(ZONE, ZoneFounded(context.new_id())), Emitted(f"compute_pool/{cp.DEFAULT_POOL}", default)]


def decide_stock(zone: "Zone", command: StockTemplates, context: Context) -> list[Emitted]:
    info = zone.get(ZONE)
    if isinstance(info, ZoneInfo) and not info.stocked:
        return [*te.default_events(context), Emitted(ZONE, ZoneTemplatesStocked())]
    return []


def evolve_stocked(state: ZoneInfo, event: ZoneTemplatesStocked, at: object) -> ZoneInfo:
    return msgspec.structs.replace(state, stocked=True)


def evolve_founded(state: ZoneInfo | None, event: ZoneFounded, at: object) -> ZoneInfo:
    return ZoneInfo(event.id)


def decide_delete_pool(zone: "Zone", command: cp.DeleteComputePool, context: Context) -> list[Emitted]:
    pool = cp.pool_named(zone, command.pool)
    cells = sorted(cell.name for cell in zone.cells_of(pool.name))
    if cells:
        raise Conflict(
            f"Pool {pool.name} still has cells.", code="pool_not_empty", hint="Remove its cells first.", cells=cells
        )
    return [Emitted(f"compute_pool/{pool.name}", cp.ComputePoolDeleted())]


def decide_remove_cell(zone: "Zone", command: ce.RemoveCell, context: Context) -> list[Emitted]:
    cell = ce.cell_named(zone, command.cell)
    if not cell.pool:
        raise Conflict(f"Cell {cell.name} is in no pool.", code="cell_unallocated", hint="Nothing needs to be done.")
    held = zone.guests_on(cell.name) + mi.incoming(zone, cell.name)
    if held:
        raise Conflict(
            f"Cell {cell.name} still holds {len(held)} guests.",
            code="cell_not_empty",
            hint="Delete or move them first.",
            guests=len(held),
        )
    if cell.online and cell.debts:
        raise Conflict(
            f"Cell {cell.name} still has to remove parts of {len(cell.debts)} guests.",
            code="cell_in_debt",
            hint="It does so within a minute while it is there. A cell that is gone for good can be removed.",
            debts=len(cell.debts),
        )
    return [Emitted(f"cell/{cell.name}", ce.CellRemoved(pool=cell.pool))]


RULES: Final = Rules(
    decide={
        FoundZone: decide_found,
        StockTemplates: decide_stock,
        cp.DeleteComputePool: decide_delete_pool,
        ce.RemoveCell: decide_remove_cell,
    },
    evolve={ZoneFounded: evolve_founded, ZoneTemplatesStocked: evolve_stocked},
    states={"zone": ZoneInfo},
)
ZONE_RULES: Final = Rules.joined(
    RULES,
    cp.RULES,
    ce.RULES,
    cb.RULES,
    im.RULES,
    ic.RULES,
    iy.RULES,
    gu.RULES,
    gh.RULES,
    gc.RULES,
    gx.RULES,
    gd.RULES,
    gk.RULES,
    gm.RULES,
    ru.RULES,
    ga.RULES,
    mi.RULES,
    gb.RULES,
    gr.RULES,
    gp.RULES,
    orp.RULES,
    gs.RULES,
    gv.RULES,
    ss.RULES,
    ba.RULES,
    rp.RULES,
    ta.RULES,
    ti.RULES,
    te.RULES,
)


class Zone(Model):
    rules = ZONE_RULES

    def __init__(self, limits: Limits = LIMITS) -> None:
        super().__init__()
        self.limits = limits
        self.loads: Mapping[str, Load] = {}
        self.kinds: defaultdict[str, dict[str, State]] = defaultdict(dict)
        self.guest_ids: dict[str, str] = {}
        self.macs: set[str] = set()
        self.open_tasks: dict[str, ta.Task] = {}
        self._ended: deque[str] = deque()
        self._on_cell: defaultdict[str, dict[str, gu.Guest]] = defaultdict(dict)

    def clear_indexes(self) -> None:
        for index in (self.kinds, self.guest_ids, self.macs, self.open_tasks, self._on_cell):
            index.clear()

    def memory(self) -> dict[str, list[str]]:
        return {"ended": list(self._ended)}

    def recall(self, memory: Mapping[str, list[str]]) -> None:
        self._ended = deque(memory.get("ended", ()))

    def of_kind(self, kind: str) -> Iterator[State]:
        return iter(self.kinds.get(kind, {}).values())

    def guests(self) -> Iterator[gu.Guest]:
        return (state for state in self.of_kind("guest") if isinstance(state, gu.Guest))

    def guests_on(self, cell: str) -> list[gu.Guest]:
        return list(self._on_cell.get(cell, {}).values())

    def cells(self) -> Iterator[ce.Cell]:
        return (state for state in self.of_kind("cell") if isinstance(state, ce.Cell))

    def cells_of(self, pool: str) -> list[ce.Cell]:
        return [cell for cell in self.cells() if cell.pool == pool]

    def find_guest(self, reference: str) -> gu.Guest:
        """By id or name. Raises Unknown(unknown_guest)."""
        guest = self.get(f"guest/{self.guest_ids.get(reference, reference)}")
        if isinstance(guest, gu.Guest):
            return guest
        raise Unknown(f"There is no guest {reference!r}.", code="unknown_guest", hint="List guests to see their names.")

    def explain_placement(self, pool: str, need: Need, *, only: str = "") -> Verdict:
        """Where such a guest would go in the pool, and a reason for every cell; ``only`` narrows it to one cell."""
        cells = [cell for cell in self.cells_of(pool) if not only or cell.name == only]
        return place([self._candidate(cell) for cell in cells], need, self.limits)

    def explain_growth(self, cell: str, more: Need) -> Score:
        """Whether the cell has room for what a guest of its own grows by."""
        known = self.get(f"cell/{cell}")
        return grow(cell, self.loads.get(cell), more, known.abilities if isinstance(known, ce.Cell) else ())

    def claims(self, what: str, value: str) -> bool:
        """Whether an open task will give this value ("name", "mac", "image") to its guest."""
        return any(task.arguments.get(what) == value for task in self.open_tasks.values())

    def _candidate(self, cell: ce.Cell) -> Candidate:
        held = [*self._on_cell.get(cell.name, {}).values(), *mi.incoming(self, cell.name)]
        promised = Need(
            cores=sum(guest.spec.cores for guest in held),
            memory=sum(guest.spec.memory for guest in held),
            disk=sum(guest.spec.disk_total for guest in held),
        )
        load = self.loads.get(cell.name)
        return Candidate(cell.name, cell.online, cell.usable, cell.cores, len(held), promised, load, cell.abilities)

    def changed(self, resource: str, before: State | None, after: State | None) -> None:
        kind = resource.partition("/")[0]
        if after is None:
            self.kinds[kind].pop(resource, None)
        else:
            self.kinds[kind][resource] = after
        if kind == "guest":
            self._guest_changed(before, after)
        elif kind == "task" and isinstance(after, ta.Task):
            self._task_changed(after)

    def _guest_changed(self, before: State | None, after: State | None) -> None:
        if isinstance(before, gu.Guest) and (not isinstance(after, gu.Guest) or _moved(before, after)):
            self.guest_ids.pop(before.name, None)
            self.macs.difference_update(before.spec.macs)
            self._on_cell[before.cell].pop(before.id, None)
            before = None
        if isinstance(after, gu.Guest):
            self._on_cell[after.cell][after.id] = after
            if before is None:
                self.guest_ids[after.name] = after.id
                self.macs.update(after.spec.macs)

    def _task_changed(self, task: ta.Task) -> None:
        if task.ended:
            self.open_tasks.pop(task.id, None)
        else:
            self.open_tasks[task.id] = task

    def over(self, state: State | None) -> None:
        """Of ended tasks only the last are kept."""
        assert isinstance(state, ta.Task)
        self._ended.append(state.id)
        while len(self._ended) > self.limits.tasks_kept:
            oldest = self._ended.popleft()
            self.states.pop(f"task/{oldest}", None)
            self.kinds["task"].pop(f"task/{oldest}", None)


def _moved(before: gu.Guest, after: gu.Guest) -> bool:
    """Whether it is found under other keys now."""
    return before.spec is not after.spec or before.cell != after.cell
