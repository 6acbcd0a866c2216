"""Zone: the model of a Core; every resource of one installation, with the indexes that decisions need.

All indexes are functions of the states, kept up by ``changed``: names, MACs, guests by cell, what is promised of each
cell; only the order in which tasks ended is not, it is ``memory``. ``loads`` is the one exception: the cells' last
heartbeats, put there by the node that runs the model and never part of a fact. Replay, dry run and what-if work without it.
"""

from collections import defaultdict
from collections.abc import Iterator, Mapping
from typing import Final

import msgspec

from nano.domain import cell as ce
from nano.domain import compute_pool as cp
from nano.domain import guest as gu
from nano.domain import guest_commands as gc
from nano.domain import image as im
from nano.domain import report as rp
from nano.domain import task as ta
from nano.domain.errors import Conflict, Unknown
from nano.domain.facts import Command, Context, Emitted, Event, Model, Rules, State
from nano.domain.limits import LIMITS, Limits
from nano.domain.placement import Candidate, Load, Need, Verdict, place


class FoundZone(Command, frozen=True, tag="zone.found"):
    """First start of a Core: give the zone its id and an empty default pool (feature M01)."""


class ZoneFounded(Event, frozen=True, tag="zone.founded"):
    id: str


class ZoneInfo(msgspec.Struct, frozen=True):
    id: str


ZONE: Final = "zone/zone"
NOTHING: Final = Need(0, 0, 0)


def decide_found(zone: "Zone", command: FoundZone, context: Context) -> list[Emitted]:
    if zone.get(ZONE) is not None:
        return []
    default = cp.ComputePoolCreated(name=cp.DEFAULT_POOL)
    return [Emitted(ZONE, ZoneFounded(context.new_id())), Emitted(f"compute_pool/{cp.DEFAULT_POOL}", default)]


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
    held = zone.guests_on(cell.name)
    if held:
        raise Conflict(
            f"Cell {cell.name} still holds {len(held)} guests.",
            code="cell_not_empty",
            hint="Delete or move them first.",
            guests=len(held),
        )
    return [Emitted(f"cell/{cell.name}", ce.CellRemoved(pool=cell.pool))]


def decide_forget_image(zone: "Zone", command: im.ForgetImage, context: Context) -> list[Emitted]:
    image = im.find_image(zone, command.image)
    if image.task:
        raise Conflict(
            f"Image {image.name} is being inspected.",
            code="image_not_ready",
            hint="Wait, or cancel that task.",
            task=image.task,
        )
    users = [guest.name for guest in zone.guests() if guest.phase == "creating" and guest.spec.image == image.id]
    if users:
        raise Conflict(
            f"Image {image.name} is being cloned.", code="image_in_use", hint="Wait for these guests.", guests=users
        )
    return [Emitted(f"image/{image.id}", im.ImageForgotten())]


ZONE_RULES: Final = Rules(
    decide={
        FoundZone: decide_found,
        cp.CreateComputePool: cp.decide_create,
        cp.ModifyComputePool: cp.decide_modify,
        cp.DeleteComputePool: decide_delete_pool,
        ce.AddCell: ce.decide_add,
        ce.RemoveCell: decide_remove_cell,
        ce.EnableCell: ce.decide_enable,
        ce.DisableCell: ce.decide_disable,
        ce.MeetCell: ce.decide_meet,
        ce.LoseCell: ce.decide_lose,
        ce.DescribeCell: ce.decide_describe,
        ce.FaultCell: ce.decide_fault,
        ce.SettleDebt: ce.decide_settle_debt,
        im.RegisterImage: im.decide_register,
        im.ForgetImage: decide_forget_image,
        im.FinishRegister: im.decide_finish_register,
        im.FailRegister: im.decide_fail_register,
        gc.CreateGuest: gc.decide_create,
        gc.StartGuest: gc.decide_power,
        gc.StopGuest: gc.decide_power,
        gc.ForceStopGuest: gc.decide_power,
        gc.RebootGuest: gc.decide_power,
        gc.ForceRebootGuest: gc.decide_power,
        gc.RedefineGuest: gc.decide_power,
        gc.DeleteGuest: gc.decide_delete,
        gc.OpenConsole: gc.decide_open_console,
        gc.EndCreate: gc.decide_end_create,
        gc.AbandonCreate: gc.decide_abandon_create,
        gc.EndWork: gc.decide_end_work,
        gc.AbandonWork: gc.decide_abandon_work,
        rp.RecordReport: rp.decide_report,
        ta.CancelTask: ta.decide_cancel,
        ta.StartStep: ta.decide_start_step,
        ta.BeginUndo: ta.decide_begin_undo,
    },
    evolve={
        ZoneFounded: evolve_founded,
        cp.ComputePoolCreated: cp.evolve_created,
        cp.ComputePoolModified: cp.evolve_modified,
        cp.ComputePoolDeleted: cp.evolve_deleted,
        ce.CellDiscovered: ce.evolve_discovered,
        ce.CellConnected: ce.evolve_connected,
        ce.CellDisconnected: ce.evolve_disconnected,
        ce.CellDescribed: ce.evolve_described,
        ce.CellAdded: ce.evolve_added,
        ce.CellEnabled: ce.evolve_enabled,
        ce.CellDisabled: ce.evolve_disabled,
        ce.CellRemoved: ce.evolve_removed,
        ce.CellFaulted: ce.evolve_faulted,
        ce.CellDebtRecorded: ce.evolve_debt_recorded,
        ce.CellDebtSettled: ce.evolve_debt_settled,
        im.ImageRequested: im.evolve_requested,
        im.ImageRegistered: im.evolve_registered,
        im.ImageRefused: im.evolve_refused,
        im.ImageForgotten: im.evolve_forgotten,
        gu.GuestRequested: gu.evolve_requested,
        gu.GuestCreated: gu.evolve_created,
        gu.GuestCreateUndone: gu.evolve_create_undone,
        gu.GuestWorkStarted: gu.evolve_work_started,
        gu.GuestWorkEnded: gu.evolve_work_ended,
        gu.GuestDeleted: gu.evolve_deleted,
        gu.GuestStarted: gu.evolve_started,
        gu.GuestStopped: gu.evolve_stopped,
        gu.GuestPaused: gu.evolve_paused,
        gu.GuestCrashed: gu.evolve_crashed,
        gu.GuestVanished: gu.evolve_vanished,
        gu.GuestRedefined: gu.evolve_redefined,
        gu.GuestAgentChanged: gu.evolve_agent_changed,
        gu.GuestConsoleOpened: gu.evolve_console_opened,
        ta.TaskStarted: ta.evolve_started,
        ta.TaskStepStarted: ta.evolve_step_started,
        ta.TaskStepEnded: ta.evolve_step_ended,
        ta.TaskCancelRequested: ta.evolve_cancel_requested,
        ta.TaskUndoing: ta.evolve_undoing,
        ta.TaskEnded: ta.evolve_ended,
    },
    states={
        "zone": ZoneInfo,
        "compute_pool": cp.ComputePool,
        "cell": ce.Cell,
        "image": im.Image,
        "guest": gu.Guest,
        "task": ta.Task,
    },
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
        self._ended: dict[str, None] = {}
        self._on_cell: defaultdict[str, dict[str, gu.Guest]] = defaultdict(dict)

    def clear(self) -> None:
        super().clear()
        for index in (self.kinds, self.guest_ids, self.macs, self.open_tasks, self._ended, self._on_cell):
            index.clear()

    def memory(self) -> dict[str, list[str]]:
        return {"ended": list(self._ended)}

    def recall(self, memory: Mapping[str, list[str]]) -> None:
        self._ended.update(dict.fromkeys(memory.get("ended", ())))

    def of_kind(self, kind: str) -> Iterator[State]:
        return iter(self.kinds.get(kind, {}).values())

    def guests(self) -> Iterator[gu.Guest]:
        return (state for state in self.of_kind("guest") if isinstance(state, gu.Guest))

    def guests_on(self, cell: str) -> list[gu.Guest]:
        return list(self._on_cell.get(cell, {}).values())

    def cells_of(self, pool: str) -> list[ce.Cell]:
        return [state for state in self.of_kind("cell") if isinstance(state, ce.Cell) and state.pool == pool]

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

    def _candidate(self, cell: ce.Cell) -> Candidate:
        held = self._on_cell.get(cell.name, {}).values()
        promised = Need(
            cores=sum(guest.spec.cores for guest in held),
            memory=sum(guest.spec.memory for guest in held),
            disk=sum(guest.spec.disk_total for guest in held),
        )
        usable = cell.enabled and not cell.debts
        return Candidate(cell.name, cell.online, usable, cell.cores, len(held), promised, self.loads.get(cell.name))

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
        if isinstance(after, gu.Guest):
            self._on_cell[after.cell][after.id] = after
            if before is None:
                self.guest_ids[after.name] = after.id
                self.macs.add(after.spec.mac)
        elif isinstance(before, gu.Guest):
            self.guest_ids.pop(before.name, None)
            self.macs.discard(before.spec.mac)
            self._on_cell[before.cell].pop(before.id, None)

    def _task_changed(self, task: ta.Task) -> None:
        if not task.ended:
            self.open_tasks[task.id] = task
            return
        self.open_tasks.pop(task.id, None)
        self._ended[task.id] = None
        while len(self._ended) > self.limits.tasks_kept:
            oldest = next(iter(self._ended))
            del self._ended[oldest]
            self.states.pop(f"task/{oldest}", None)
            self.kinds["task"].pop(f"task/{oldest}", None)
