"""PastViews: the views of one moment, which can be moved: forwards by facts, backwards by what those facts replaced.

A step changes a few rows, so looking at the moment next to one that was looked at costs a few rows, not a zone. The last
``undo_max`` steps can be taken back; further back another one has to be made (``core.past`` does). Invariant: whatever the
way to a position was, what is shown there is the same.

It reads nothing and is used by one reader at a time.
"""

from collections import deque
from collections.abc import Callable, Iterable, Mapping
from datetime import datetime
from typing import Any, Final

import msgspec

from nano.domain.facts import Change, Event, Evolve, Fact, Model, State, id_of, kind_of
from nano.domain.task import Task
from nano.domain.zone import ZONE, ZoneInfo
from nano.projections.zone_views import KINDS, ZoneViews

UNDO_MAX: Final = 4_000


class Forgotten(msgspec.Struct, frozen=True, gc=False):
    """An ended task that had to make room."""

    id: str
    state: State
    version: int


class Step(msgspec.Struct, frozen=True, gc=False):
    """One fact, taken in: what its resource was before it (None = nothing), and which tasks it pushed out."""

    position: int
    at: datetime
    resource: str
    before: State | None
    version: int
    forgotten: tuple[Forgotten, ...]


class PastViews(ZoneViews):
    """``at`` is the time of the last fact in it, None before the first."""

    def __init__(self, generation: str, evolve: Mapping[type[Event], Evolve], undo_max: int = UNDO_MAX) -> None:
        super().__init__(generation)
        self._generation = generation
        self.at: datetime | None = None
        self._evolve = evolve
        self._steps: deque[Step] = deque(maxlen=undo_max)
        self._floor: tuple[int, datetime | None] = (0, None)  # before the oldest step
        self._forgotten: list[Forgotten] = []

    def begin(self, zone: Model, version: Callable[[str], int], position: int, at: datetime | None) -> None:
        """Show a replayed zone as it stands; nothing can be taken back yet."""
        self.load(zone, version, position)
        self._steps.clear()
        self._floor = (position, at)
        self.at = at

    def copy(self) -> "PastViews":
        """Another one at the same position that goes its own way; states and rows are frozen and shared."""
        other = PastViews(self._generation, self._evolve, self._steps.maxlen or UNDO_MAX)
        other.take(self)
        other.at, other._floor = self.at, self._floor
        other._steps.extend(self._steps)
        return other

    def release(self) -> None:
        """Nobody looks at it any more: give its memory back at once, and bit by bit, for other threads wait for their turn."""
        stores: list[Any] = [*self.states.values(), self.versions, self.names, self.held, self._ended]
        for kind in KINDS:
            stores += self.tables[kind].stores()
        for store in stores:
            while store:
                store.popitem()
        for kind in KINDS:
            self.tables[kind].clear()
        self._steps.clear()

    @property
    def floor(self) -> int:
        """The lowest position that can be gone back to."""
        return self._floor[0]

    def etag(self, kind: str) -> str:
        """What was at a position does not change any more."""
        return f'"{self._generation}-at-{self.position}-{kind}"'

    def forward(self, facts: Iterable[Fact]) -> None:
        for fact in facts:
            before = self._state(fact.resource)
            after = self._evolve[type(fact.event)](before, fact.event, fact.at)
            self._forgotten.clear()
            self.fold([Change(fact, before, after)])
            if len(self._steps) == self._steps.maxlen:
                self._floor = (self._steps[0].position, self._steps[0].at)
            version = fact.version - 1
            self._steps.append(Step(fact.position, fact.at, fact.resource, before, version, tuple(self._forgotten)))
            self.at = fact.at
        self._settle()

    def back(self, position: int) -> None:
        """Take back every step above the position, which is not below the floor."""
        assert position >= self.floor, "that far back nothing is remembered"
        while self._steps and self._steps[-1].position > position:
            self._take_back(self._steps.pop())
        self.position, self.at = (self._steps[-1].position, self._steps[-1].at) if self._steps else self._floor
        self._settle()

    def _settle(self) -> None:
        for kind in KINDS:
            self.tables[kind].settle(self.position)

    def _state(self, resource: str) -> State | None:
        kind = kind_of(resource)
        if kind in self.states:
            return self.states[kind].get(id_of(resource))
        return ZoneInfo(self.zone_id) if resource == ZONE and self.zone_id else None

    def _take_back(self, step: Step) -> None:
        if isinstance(step.before, Task) and not step.before.ended:
            self._ended.pop(step.before.id, None)
        self._change(step.resource, step.before, step.version, step.position)
        for task in reversed(step.forgotten):
            self._change(f"task/{task.id}", task.state, task.version, step.position)
            self._ended.move_to_end(task.id, last=False)

    def _forget_task(self, task_id: str, position: int) -> None:
        resource = f"task/{task_id}"
        if (state := self.states["task"].get(task_id)) is not None:
            self._forgotten.append(Forgotten(task_id, state, self.versions[resource]))
        super()._forget_task(task_id, position)
