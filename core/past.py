"""Past: the zone as it was, folded from the journal by the same ``evolve`` that runs live (feature B11).

A fold starts at the nearest checkpoint or journal snapshot before the wanted moment; checkpoints are left on the way, so
stepping near a moment that was looked at is quick. States are frozen and shared, so a checkpoint costs two dictionaries. It
reads durable facts only and never touches the live model. One fold runs at a time; others wait for it.
"""

from collections import OrderedDict
from datetime import datetime
from typing import Final, NamedTuple

import anyio
import anyio.lowlevel

from nano.domain.errors import Invalid
from nano.domain.facts import Model, State
from nano.domain.limits import LIMITS
from nano.domain.task import Task
from nano.domain.zone import ZONE_RULES
from nano.journal.ledger import Ledger
from nano.projections.zone_views import ZoneViews

STRIDE: Final = 20_000  # events between checkpoints
CHECKPOINTS_MAX: Final = 6
VIEWS_MAX: Final = 4
READ_MAX: Final = 1_000  # events folded before other work of the loop gets its turn

Moment = int | datetime  # a position, or an instant (aware)


class Checkpoint(NamedTuple):
    position: int
    at: datetime | None
    states: dict[str, State]
    versions: dict[str, int]
    memory: dict[str, list[str]]


BEGINNING: Final = Checkpoint(0, None, {}, {}, {})


class _Bare(Model):
    """States without the indexes that only decisions need; ended tasks are forgotten in the same order as in a Zone."""

    rules = ZONE_RULES

    def __init__(self, start: Checkpoint) -> None:
        super().__init__()
        self.states.update(start.states)
        self._ended: dict[str, None] = dict.fromkeys(start.memory.get("ended", ()))

    def memory(self) -> dict[str, list[str]]:
        return {"ended": list(self._ended)}

    def changed(self, resource: str, before: State | None, after: State | None) -> None:  # noqa: ARG002 (a hook)
        if isinstance(after, Task) and after.ended:
            self._ended[after.id] = None
            while len(self._ended) > LIMITS.tasks_kept:
                oldest = next(iter(self._ended))
                del self._ended[oldest]
                self.states.pop(f"task/{oldest}", None)


class Past:
    def __init__(self, ledger: Ledger) -> None:
        self._ledger = ledger
        self._checkpoints: list[Checkpoint] = [BEGINNING]
        self._views: OrderedDict[int, ZoneViews] = OrderedDict()
        self._turn = anyio.Lock()

    async def views(self, moment: Moment) -> ZoneViews:
        """What readers would have seen after the last transaction up to the moment. Raises Invalid(invalid_at)."""
        if isinstance(moment, int) and not 0 <= moment <= self._ledger.position:
            raise Invalid(
                f"Position {moment} is not in the journal.",
                code="invalid_at",
                hint=f"Positions go from 0 to {self._ledger.position}.",
                field="at",
            )
        async with self._turn:
            if isinstance(moment, int) and moment in self._views:
                self._views.move_to_end(moment)
                return self._views[moment]
            return await self._fold(moment)

    async def _fold(self, moment: Moment) -> ZoneViews:
        start = await self._start(moment)
        model, versions = _Bare(start), dict(start.versions)
        position, at = start.position, start.at
        while True:
            facts = await self._ledger.facts(position, READ_MAX)
            if not facts:
                break
            for fact in facts:
                if fact.position > moment if isinstance(moment, int) else fact.at > moment:
                    return self._show(model, versions, position)
                model.apply(fact.resource, fact.event, fact.at)
                versions[fact.resource] = fact.version
                position, at = fact.position, fact.at
            self._mark(position, at, model, versions)
            await anyio.lowlevel.checkpoint()
        return self._show(model, versions, position)

    async def _start(self, moment: Moment) -> Checkpoint:
        """The nearest place to begin: a checkpoint, or a snapshot that saves a stride."""
        start = max((point for point in self._checkpoints if _before(point, moment)), key=lambda point: point.position)
        found = await self._ledger.snapshot(moment, start.position + STRIDE)
        if found is None:
            return start
        live = self._ledger.model.states  # most states are as they were: keep them once
        states = {name: now if (now := live.get(name)) == state else state for name, state in found.states.items()}
        start = Checkpoint(found.position, found.time, states, found.versions, found.memory)
        self._keep(start)
        return start

    def _mark(self, position: int, at: datetime | None, model: Model, versions: dict[str, int]) -> None:
        """Keep a copy of this point when there is none near it."""
        if all(abs(position - known.position) >= STRIDE for known in self._checkpoints):
            self._keep(Checkpoint(position, at, dict(model.states), dict(versions), model.memory()))

    def _keep(self, point: Checkpoint) -> None:
        """Thin them out, evenly, when they are too many."""
        self._checkpoints.append(point)
        self._checkpoints.sort(key=lambda known: known.position)
        if len(self._checkpoints) > CHECKPOINTS_MAX:
            del self._checkpoints[1::2]

    def _show(self, model: Model, versions: dict[str, int], position: int) -> ZoneViews:
        views = self._views.get(position)
        if views is None:
            views = ZoneViews(f"at-{position}")
            views.load(model, lambda resource: versions.get(resource, 0), position)
            self._views[position] = views
            while len(self._views) > VIEWS_MAX:
                self._views.popitem(last=False)
        return views


def _before(point: Checkpoint, moment: Moment) -> bool:
    if isinstance(moment, int):
        return point.position <= moment
    return point.at is None or point.at <= moment
