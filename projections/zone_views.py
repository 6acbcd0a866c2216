"""ZoneViews: Core's readable state, one table a kind, folded from durable changes.

Rows lean on each other (a guest shows whether its cell is there, a pool counts its guests), so a change touches the rows
that show it too. ``progress`` of running tasks is the only thing here that is not a fact: it is told live and forgotten.
"""

from collections import Counter, OrderedDict
from collections.abc import Callable, Mapping
from operator import attrgetter

from nano.domain.alarm import Alarm
from nano.domain.cell import Cell
from nano.domain.compute_pool import ComputePool
from nano.domain.facts import Change, Model, State, id_of, kind_of
from nano.domain.guest import Guest
from nano.domain.image import Image
from nano.domain.limits import LIMITS
from nano.domain.placement import Candidate
from nano.domain.task import Task
from nano.domain.template import Template
from nano.domain.zone import ZONE, ZoneInfo
from nano.projections import rows
from nano.projections.held import Held
from nano.projections.table import Table

KINDS = ("compute_pool", "cell", "guest", "image", "media", "template", "task")
SHOWN = ("alarm", "backup")
"""Kinds whose rows are no facts: told as they are now, and gone with the process."""
NAMED = ("guest", "image", "media", "template")  # kinds whose rows have an id and a name of their own

_name: Callable[[State], str] = attrgetter("name")


class ZoneViews:
    """``generation`` distinguishes this run of the node in ETags."""

    def __init__(self, generation: str) -> None:
        self.position = 0
        self.states: dict[str, dict[str, State]] = {kind: {} for kind in KINDS}
        self.zone_id = ""
        self.open_tasks: set[str] = set()
        self.versions: dict[str, int] = {}
        self.names: dict[tuple[str, str], str] = {}
        self.progress: dict[str, tuple[int, str]] = {}
        self.shown: dict[str, dict[str, rows.Row]] = {kind: {} for kind in SHOWN}
        self._listeners: list[Callable[[str, str], None]] = []
        self.held: dict[str, Held] = {}
        self._ended: OrderedDict[str, None] = OrderedDict()
        self.tables = {
            "compute_pool": Table("compute_pool", self._pool, str, generation),
            "cell": Table("cell", self._cell, str, generation),
            "guest": Table("guest", self._guest, lambda key: _name(self.states["guest"][key]), generation),
            "image": Table("image", self._image, lambda key: _name(self.states["image"][key]), generation),
            "template": Table("template", self._template, lambda key: _name(self.states["template"][key]), generation),
            "media": Table("media", self._media, lambda key: _name(self.states["media"][key]), generation),
            "task": Table("task", self._task, self._newest_first, generation),
            "alarm": Table("alarm", self.shown["alarm"].__getitem__, self._gravest_first, generation),
            "backup": Table("backup", self.shown["backup"].__getitem__, str, generation),
        }

    def load(self, zone: Model, version: Callable[[str], int], position: int) -> None:
        """Take over a replayed model of a zone as it stands."""
        for states in self.states.values():
            states.clear()
        for index in (self.versions, self.names, self.held, self.open_tasks, self._ended):
            index.clear()
        self.position, self.zone_id = position, ""
        for resource, state in zone.states.items():
            kind, _, row_id = resource.partition("/")
            rows_of_kind = self.states.get(kind)
            if rows_of_kind is not None:
                if isinstance(state, Guest):
                    row_id = state.id  # the same text, kept once
                rows_of_kind[row_id] = state
                self.versions[resource] = version(resource)
            elif isinstance(state, ZoneInfo):
                self.zone_id = state.id
        self._load_indexes()
        self._ended.update(dict.fromkeys(zone.memory().get("ended", ())))
        for kind in KINDS:
            self.tables[kind].load(self.states[kind], position)

    def _load_indexes(self) -> None:
        """The same as ``_index`` of every state, quicker."""
        for kind in NAMED:
            self.names.update({(kind, _name(state)): row_id for row_id, state in self.states[kind].items()})
        self.open_tasks.update(
            key for key, task in self.states["task"].items() if isinstance(task, Task) and not task.ended
        )
        guests: dict[str, list[Guest]] = {}
        for guest in self.states["guest"].values():
            assert isinstance(guest, Guest)
            guests.setdefault(guest.cell, []).append(guest)
        self.held.update((cell, Held(there)) for cell, there in guests.items())

    def take(self, other: "ZoneViews") -> None:
        """Show what another one shows, in dictionaries of its own."""
        self.position, self.zone_id = other.position, other.zone_id
        self.states = {kind: dict(states) for kind, states in other.states.items()}
        self.versions, self.names = dict(other.versions), dict(other.names)
        self.held = {cell: held.copy() for cell, held in other.held.items()}
        self.open_tasks, self._ended = set(other.open_tasks), OrderedDict(other._ended)
        for kind in KINDS:
            self.tables[kind].take(other.tables[kind])

    def fold(self, changes: list[Change]) -> None:
        for fact, before, after in changes:
            self._change(fact.resource, after, fact.version, fact.position)
            if isinstance(before, Cell) and isinstance(after, Cell) and before.online != after.online:
                self._tell_guests_of(after.name)

    def etag(self, kind: str) -> str:
        return self.tables[kind].etag

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
        for guest_id in self.guests_on(cell):
            self._tell("guest", guest_id)

    def _tell(self, kind: str, row_id: str) -> None:
        for listener in self._listeners:
            listener(kind, row_id)

    def _newest_first(self, task_id: str) -> str:
        task = self.states["task"][task_id]
        assert isinstance(task, Task)
        return f"{10**17 - int(task.started_at.timestamp() * 1e6):018d}"

    def _gravest_first(self, alarm_id: str) -> str:
        alarm = self.shown["alarm"][alarm_id]
        assert isinstance(alarm, Alarm)
        return f"{alarm.severity} {alarm.since.isoformat()}"

    def _change(self, resource: str, after: State | None, version: int, position: int) -> None:
        """The resource is so from now on (None = gone); rows that show it too are marked."""
        self.position = position
        kind, row_id = kind_of(resource), id_of(resource)
        if kind not in self.states:
            if resource == ZONE:
                self.zone_id = after.id if isinstance(after, ZoneInfo) else ""
            return
        before = self.states[kind].get(row_id)
        if after is None:
            self.states[kind].pop(row_id, None)
            self.versions.pop(resource, None)
        else:
            self.states[kind][row_id] = after
            self.versions[resource] = version
        self._index(kind, row_id, before, after)
        if after is None:
            self.tables[kind].drop(row_id, position)
        else:
            self.tables[kind].put(row_id, position)
        if isinstance(after, Task) and after.ended:
            self.progress.pop(row_id, None)
            self._trim_tasks(row_id, position)
        self._touch_dependants(before if after is None else after, position)
        if isinstance(before, Guest) and isinstance(after, Guest) and before.cell != after.cell:
            self._touch_dependants(before, position)

    def _index(self, kind: str, row_id: str, before: State | None, after: State | None) -> None:
        if isinstance(before, Guest):
            self.held[before.cell].remove(before)
        if isinstance(before, Guest | Image) and self.names.get((kind, before.name)) == row_id:
            del self.names[(kind, before.name)]
        if isinstance(after, Guest | Image):
            self.names[(kind, after.name)] = row_id
        if isinstance(after, Guest):
            held = self.held.get(after.cell)
            if held is None:
                held = self.held[after.cell] = Held()
            held.add(after)
        elif isinstance(after, Task) and not after.ended:
            self.open_tasks.add(row_id)
        elif isinstance(before, Task) or isinstance(after, Task):
            self.open_tasks.discard(row_id)

    def _trim_tasks(self, ended: str, position: int) -> None:
        """Ended tasks beyond the limit are told by the journal only."""
        self._ended[ended] = None
        while len(self._ended) > LIMITS.tasks_kept:
            oldest, _ = self._ended.popitem(last=False)
            self._forget_task(oldest, position)

    def _forget_task(self, task_id: str, position: int) -> None:
        self.states["task"].pop(task_id, None)
        self.versions.pop(f"task/{task_id}", None)
        self.tables["task"].drop(task_id, position)

    def _touch_dependants(self, state: State | None, position: int) -> None:
        if isinstance(state, Guest):
            self.tables["cell"].touch(state.cell, position)
            self.tables["compute_pool"].touch(state.pool, position)
        elif isinstance(state, Cell):
            for pool in self.tables["compute_pool"].ids():
                self.tables["compute_pool"].touch(pool, position)
            for guest_id in self.guests_on(state.name):
                self.tables["guest"].touch(guest_id, position)

    def guests_on(self, cell: str) -> set[str]:
        held = self.held.get(cell)
        return held.guests if held is not None else set()

    def cells_of(self, pool: str) -> list[Cell]:
        return [cell for cell in self.states["cell"].values() if isinstance(cell, Cell) and cell.pool == pool]

    def candidates(self, pool: str) -> list[Candidate]:
        """What placement would choose from, by promises alone: loads are observations and no part of a view."""
        nothing = Held()
        return [
            Candidate(
                cell.name, cell.online, cell.usable, cell.cores, len(held.guests), held.promised, None, cell.abilities
            )
            for cell in self.cells_of(pool)
            for held in (self.held.get(cell.name, nothing),)
        ]

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
        counts: Counter[rows.GuestState] = Counter()
        for name_of_cell, held in self.held.items():
            cell = self.states["cell"].get(name_of_cell)
            assert cell is None or isinstance(cell, Cell)
            for (pool_name, own), number in held.counts.items():
                if pool_name == name:
                    counts[rows.seen_state(own, cell)] += number
        version = self.versions[f"compute_pool/{name}"]
        return rows.pool_row(pool, version, len(self.cells_of(name)), dict[str, int](sorted(counts.items())))

    def _cell(self, name: str) -> rows.CellRow:
        cell = self.states["cell"][name]
        assert isinstance(cell, Cell)
        return rows.cell_row(cell, self.versions[f"cell/{name}"], len(self.guests_on(name)))

    def _image(self, row_id: str, kind: str = "image") -> rows.ImageRow:
        image = self.states[kind][row_id]
        assert isinstance(image, Image)
        return rows.image_row(image, self.versions[f"{kind}/{row_id}"])

    def _media(self, row_id: str) -> rows.ImageRow:
        return self._image(row_id, "media")

    def _template(self, row_id: str) -> rows.TemplateRow:
        template = self.states["template"][row_id]
        assert isinstance(template, Template)
        return rows.template_row(template, self.versions[f"template/{row_id}"])

    def _task(self, row_id: str) -> rows.TaskRow:
        task = self.states["task"][row_id]
        assert isinstance(task, Task)
        return rows.task_row(task, self.versions[f"task/{row_id}"], self.progress.get(row_id))
