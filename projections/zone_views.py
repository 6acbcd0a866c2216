"""ZoneViews: Core's readable state, one table a kind, folded from durable changes.

Rows lean on each other (a guest shows whether its cell is there, a pool counts its guests), so a change touches the rows
that show it too. ``progress`` of running tasks is the only thing here that is not a fact: it is told live and forgotten.
"""

from collections import Counter
from collections.abc import Callable, Mapping

from nano.domain.alarm import Alarm
from nano.domain.cell import Cell
from nano.domain.compute_pool import ComputePool
from nano.domain.facts import Change, Model, State, id_of, kind_of
from nano.domain.guest import Guest
from nano.domain.image import Image
from nano.domain.limits import LIMITS
from nano.domain.task import Task
from nano.projections import rows
from nano.projections.table import Table

KINDS = ("compute_pool", "cell", "guest", "image", "task")
SHOWN = ("alarm", "backup")
"""Kinds whose rows are no facts: told as they are now, and gone with the process."""


class ZoneViews:
    """``generation`` distinguishes this run of the node in ETags."""

    def __init__(self, generation: str) -> None:
        self.position = 0
        self.states: dict[str, dict[str, State]] = {kind: {} for kind in KINDS}
        self.versions: dict[str, int] = {}
        self.names: dict[tuple[str, str], str] = {}
        self.progress: dict[str, tuple[int, str]] = {}
        self.shown: dict[str, dict[str, rows.Row]] = {kind: {} for kind in SHOWN}
        self._listeners: list[Callable[[str, str], None]] = []
        self._on_cell: dict[str, set[str]] = {}
        self._ended: dict[str, None] = {}
        self.tables = {
            "compute_pool": Table("compute_pool", self._pool, str, generation),
            "cell": Table("cell", self._cell, str, generation),
            "guest": Table("guest", self._guest, lambda key: self._state_of("guest", key).name, generation),
            "image": Table("image", self._image, lambda key: self._state_of("image", key).name, generation),
            "task": Table("task", self._task, self._newest_first, generation),
            "alarm": Table("alarm", self.shown["alarm"].__getitem__, self._gravest_first, generation),
            "backup": Table("backup", self.shown["backup"].__getitem__, str, generation),
        }

    def load(self, zone: Model, version: Callable[[str], int], position: int) -> None:
        """Take over a replayed model of a zone as it stands."""
        for kind in KINDS:
            self.tables[kind].clear()
        for states in self.states.values():
            states.clear()
        self.versions.clear()
        self.names.clear()
        self._on_cell.clear()
        self._ended.clear()
        self.position = position
        for resource, state in zone.states.items():
            if kind_of(resource) in self.states:
                self._put(resource, state, version(resource), position)

    def fold(self, changes: list[Change]) -> None:
        for fact, before, after in changes:
            kind = kind_of(fact.resource)
            if kind not in self.states:
                self.position = fact.position
                continue
            if after is None:
                self._drop(fact.resource, before, fact.position)
            else:
                self._put(fact.resource, after, fact.version, fact.position)
            self.position = fact.position
            if isinstance(before, Cell) and isinstance(after, Cell) and before.online != after.online:
                self._tell_guests_of(after.name)

    def find(self, kind: str, reference: str) -> str | None:
        """The id of a row by id or name; None when there is none."""
        if reference in self.tables[kind]:
            return reference
        return self.names.get((kind, reference))

    def set_progress(self, task_id: str, percent: int, step: str) -> None:
        """Live word of a running task; listeners hear of it, the journal does not."""
        if self.progress.get(task_id) == (percent, step) or task_id not in self.tables["task"]:
            return
        self.progress[task_id] = (percent, step)
        self.tables["task"].touch(task_id, self.position)
        self._tell("task", task_id)

    def show(self, kind: str, found: Mapping[str, rows.Row]) -> None:
        """Make these the rows of a kind in SHOWN; listeners hear of each that came, changed or went."""
        shown, table = self.shown[kind], self.tables[kind]
        differing = [key for key in shown.keys() | found.keys() if shown.get(key) != found.get(key)]
        for key in sorted(differing):
            if key in found:
                shown[key] = found[key]
                table.put(key, self.position)
            else:
                del shown[key]
                table.drop(key, self.position)
            self._tell(kind, key)

    def on_live(self, listener: Callable[[str, str], None]) -> None:
        """Call ``listener(kind, id)`` when a row changes without a fact."""
        self._listeners.append(listener)

    def _tell_guests_of(self, cell: str) -> None:
        """They are lost, or found again, without a fact of their own."""
        for guest_id in self._on_cell.get(cell, ()):
            self._tell("guest", guest_id)

    def _tell(self, kind: str, row_id: str) -> None:
        for listener in self._listeners:
            listener(kind, row_id)

    def _state_of(self, kind: str, row_id: str) -> Guest | Image:
        state = self.states[kind][row_id]
        assert isinstance(state, Guest | Image)
        return state

    def _newest_first(self, task_id: str) -> str:
        task = self.states["task"][task_id]
        assert isinstance(task, Task)
        return f"{10**17 - int(task.started_at.timestamp() * 1e6):018d}"

    def _gravest_first(self, alarm_id: str) -> str:
        alarm = self.shown["alarm"][alarm_id]
        assert isinstance(alarm, Alarm)
        return f"{alarm.severity} {alarm.since.isoformat()}"

    def _put(self, resource: str, state: State, version: int, position: int) -> None:
        kind, row_id = kind_of(resource), id_of(resource)
        self.states[kind][row_id] = state
        self.versions[resource] = version
        if isinstance(state, Guest | Image):
            self.names[(kind, state.name)] = row_id
        if isinstance(state, Guest):
            self._on_cell.setdefault(state.cell, set()).add(row_id)
        self.tables[kind].put(row_id, position)
        if isinstance(state, Task) and state.ended:
            self.progress.pop(row_id, None)
            self._trim_tasks(row_id, position)
        self._touch_dependants(state, position)

    def _drop(self, resource: str, before: State | None, position: int) -> None:
        kind, row_id = kind_of(resource), id_of(resource)
        state = self.states[kind].pop(row_id, before)
        self.versions.pop(resource, None)
        if isinstance(state, Guest | Image):
            self.names.pop((kind, state.name), None)
        if isinstance(state, Guest):
            self._on_cell.get(state.cell, set()).discard(row_id)
        self.tables[kind].drop(row_id, position)
        self._touch_dependants(state, position)

    def _trim_tasks(self, ended: str, position: int) -> None:
        """Ended tasks beyond the limit are told by the journal only."""
        self._ended[ended] = None
        while len(self._ended) > LIMITS.tasks_kept:
            oldest = next(iter(self._ended))
            del self._ended[oldest]
            self.states["task"].pop(oldest, None)
            self.versions.pop(f"task/{oldest}", None)
            self.tables["task"].drop(oldest, position)

    def _touch_dependants(self, state: State | None, position: int) -> None:
        if isinstance(state, Guest):
            self.tables["cell"].touch(state.cell, position)
            self.tables["compute_pool"].touch(state.pool, position)
        elif isinstance(state, Cell):
            for pool in self.tables["compute_pool"].ids():
                self.tables["compute_pool"].touch(pool, position)
            for guest_id in self._on_cell.get(state.name, ()):
                self.tables["guest"].touch(guest_id, position)

    def cell_of(self, guest: Guest) -> Cell | None:
        cell = self.states["cell"].get(guest.cell)
        return cell if isinstance(cell, Cell) else None

    def _guest(self, row_id: str) -> rows.GuestRow:
        guest = self.states["guest"][row_id]
        assert isinstance(guest, Guest)
        return rows.guest_row(guest, self.versions[f"guest/{row_id}"], self.cell_of(guest))

    def _pool(self, name: str) -> rows.ComputePoolRow:
        pool = self.states["compute_pool"][name]
        assert isinstance(pool, ComputePool)
        cells = sum(isinstance(cell, Cell) and cell.pool == name for cell in self.states["cell"].values())
        counts = Counter(
            rows.guest_state(guest, self.cell_of(guest))
            for guest in self.states["guest"].values()
            if isinstance(guest, Guest) and guest.pool == name
        )
        return rows.pool_row(pool, self.versions[f"compute_pool/{name}"], cells, dict(sorted(counts.items())))

    def _cell(self, name: str) -> rows.CellRow:
        cell = self.states["cell"][name]
        assert isinstance(cell, Cell)
        return rows.cell_row(cell, self.versions[f"cell/{name}"], len(self._on_cell.get(name, ())))

    def _image(self, row_id: str) -> rows.ImageRow:
        image = self.states["image"][row_id]
        assert isinstance(image, Image)
        return rows.image_row(image, self.versions[f"image/{row_id}"])

    def _task(self, row_id: str) -> rows.TaskRow:
        task = self.states["task"][row_id]
        assert isinstance(task, Task)
        return rows.task_row(task, self.versions[f"task/{row_id}"], self.progress.get(row_id))
