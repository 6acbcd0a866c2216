"""Past: the zone as it was, folded from the journal by the same ``evolve`` that runs live (feature B11; decision 0031).

A few *windows* are kept: views of one moment each, which move by single facts. A reader near one moves it; one further off
gets a copy of it; one far from all gets a new one, folded from the nearest journal snapshot (or a checkpoint left by an
earlier fold, where there are no snapshots). All of that, and what the reader makes of the views, happens off the event
loop. Of windows WINDOWS_MAX are kept, the one looked at least recently goes. A window serves one reader at a time, and one
is made at a time; others wait, but not those near another window.

It reads durable facts only, never touches the live model, and knows no samples: loads and rates have no past.
"""

from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from datetime import datetime
from operator import attrgetter
from typing import Final, NamedTuple, TypeVar

import anyio
import msgspec

from nano.domain.errors import Invalid
from nano.domain.facts import Fact, Model, State
from nano.domain.guest import Guest
from nano.domain.limits import LIMITS
from nano.domain.task import Task
from nano.domain.zone import ZONE_RULES
from nano.journal.horizon import before_horizon
from nano.journal.ledger import Ledger
from nano.projections.past_views import UNDO_MAX, PastViews

WINDOWS_MAX: Final = 3
NEAR: Final = 1_000  # events that a window is moved for a reader
COPY: Final = 20_000  # events forward for which a copy of a window is quicker than a snapshot
STRIDE: Final = 100_000  # events between checkpoints
CHECKPOINTS_MAX: Final = 4
READ_MAX: Final = 10_000  # events read and folded at a time: each time the place is searched, dear in archived segments
SEARCH_MAX: Final = 250  # events read to find an instant among them

LASTING: Final = ("id", "spec", "pool", "cell", "owner", "image_name", "created_at")  # of a guest
_lasting = attrgetter(*LASTING)

Moment = int | datetime  # a position, or an instant (aware)
T = TypeVar("T")


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
        self.versions = dict(start.versions)
        self._ended: dict[str, None] = dict.fromkeys(start.memory.get("ended", ()))

    def fold(self, facts: list[Fact]) -> None:
        for fact in facts:
            self.apply(fact.resource, fact.event, fact.at)
            self.versions[fact.resource] = fact.version

    def memory(self) -> dict[str, list[str]]:
        return {"ended": list(self._ended)}

    def changed(self, resource: str, before: State | None, after: State | None) -> None:  # noqa: ARG002 (a hook)
        if isinstance(after, Task) and after.ended:
            self._ended[after.id] = None
            while len(self._ended) > LIMITS.tasks_kept:
                oldest = next(iter(self._ended))
                del self._ended[oldest]
                self.states.pop(f"task/{oldest}", None)


class _Window:
    def __init__(self, views: PastViews) -> None:
        self.views = views
        self.turn = anyio.Lock()

    def distance(self, position: int) -> int | None:
        """Events to the position; None when it lies further back than the window remembers."""
        there = self.views.position
        return abs(position - there) if position >= min(there, self.views.floor) else None


class Past:
    """``generation`` distinguishes this run of the node in ETags."""

    def __init__(self, ledger: Ledger, generation: str) -> None:
        self._ledger = ledger
        self._workers = ledger.workers
        self._generation = generation
        self._checkpoints: list[Checkpoint] = [BEGINNING]
        self._windows: list[_Window] = []  # looked at least recently first
        self._making = anyio.Lock()

    async def look(self, moment: Moment, see: Callable[[PastViews], T]) -> T:
        """What ``see`` makes of what readers saw after the last fact up to the moment. It runs in a thread and must not
        keep the views. Raises Invalid(invalid_at), and whatever ``see`` raises."""
        position = await self.position(moment)
        async with self._window(position) as views:
            return await self._workers.run(see, views)

    async def position(self, moment: Moment) -> int:
        """The last position up to the moment. Raises Invalid(invalid_at, before_horizon)."""
        newest, begins = self._ledger.position, self._ledger.log.begins
        if begins.position and (moment < begins.time if isinstance(moment, datetime) else moment < begins.position):
            raise before_horizon(begins)
        if isinstance(moment, datetime):
            return await self._search(moment, begins.position, newest)
        if not 0 <= moment <= newest:
            raise Invalid(
                f"Position {moment} is not in the journal.",
                code="invalid_at",
                hint=f"Positions go from {begins.position} to {newest}.",
                field="at",
            )
        return moment

    async def _search(self, instant: datetime, low: int, high: int) -> int:
        """Times never go backwards in a journal: by halves, after a look near what was looked at last."""
        still = [window.views for window in self._windows if not window.turn.locked()]  # a moving one says nothing yet
        for position, at in [(views.position, views.at) for views in still]:
            if at is None or at <= instant:
                low = max(low, min(position, high))
            else:
                high = min(high, position - 1)
        guesses = [low + SEARCH_MAX, high, high - SEARCH_MAX]
        while high - low > SEARCH_MAX:
            middle = guesses.pop() if guesses else (low + high + 1) // 2
            if not low < middle <= high:
                continue
            (fact,) = await self._ledger.facts(middle - 1, 1)
            low, high = (middle, high) if fact.at <= instant else (low, middle - 1)
        facts = await self._ledger.facts(low, high - low)
        return low + sum(fact.at <= instant for fact in facts)

    # ------------------------------------------------------------------ windows

    @asynccontextmanager
    async def _window(self, position: int) -> AsyncIterator[PastViews]:
        """Views at the position, for this reader alone."""
        while True:
            window = self._nearest(position, NEAR)
            if window is None:
                async with self._making:
                    if self._nearest(position, NEAR) is None:
                        self._windows.append(_Window(await self._make(position)))
                        if len(self._windows) > WINDOWS_MAX:
                            await self._release(self._windows.pop(0))
                continue
            async with window.turn:
                if window is not self._nearest(position, NEAR):
                    continue  # somebody moved it meanwhile, or a nearer one was made
                self._windows.remove(window)
                self._windows.append(window)
                try:
                    await self._move(window.views, position)
                except Exception:
                    self._windows.remove(window)  # half of a step may have happened
                    raise
                yield window.views
                return

    async def _release(self, window: _Window) -> None:
        with anyio.CancelScope(shield=True):
            async with window.turn:
                await self._workers.run(window.views.release)

    def _nearest(self, position: int, reach: int) -> _Window | None:
        near = [
            (distance, -number, window)
            for number, window in enumerate(self._windows)
            if (distance := window.distance(position)) is not None and distance <= reach
        ]
        return min(near, key=lambda one: one[:2])[2] if near else None

    async def _move(self, views: PastViews, position: int) -> None:
        if position < views.position:
            await self._workers.run(views.back, position)
        while views.position < position:
            facts = await self._facts(views.position, position)
            await self._workers.run(views.forward, facts)

    async def _facts(self, after: int, last: int) -> list[Fact]:
        return await self._ledger.facts(after, min(READ_MAX, last - after))

    # ------------------------------------------------------------------ making one

    async def _make(self, position: int) -> PastViews:
        known = self._nearest(position, COPY)
        if known is not None:
            async with known.turn:
                if (distance := known.distance(position)) is not None and distance <= COPY:
                    views = await self._workers.run(known.views.copy)
                    await self._move(views, position)
                    return views
        start = await self._start(position)
        model, there, at = _Bare(start), start.position, start.at
        while there < position - UNDO_MAX:
            facts = await self._facts(there, position - UNDO_MAX)
            await self._workers.run(model.fold, facts)
            there, at = facts[-1].position, facts[-1].at
            if there - start.position >= STRIDE:
                self._mark(there, at, model)
        views = PastViews(self._generation, ZONE_RULES.evolve, UNDO_MAX)
        await self._workers.run(views.begin, model, model.versions.__getitem__, there, at)
        await self._move(views, position)
        return views

    async def _start(self, position: int) -> Checkpoint:
        """The nearest place to begin: a checkpoint, or a snapshot that saves a stride."""
        start = max((point for point in self._checkpoints if point.position <= position), key=lambda one: one.position)
        saves = STRIDE // 2 if start.position >= self._ledger.log.begins.position else 0
        found = await self._ledger.snapshot(position, start.position + saves, self._share)
        if found is None:
            return start
        return Checkpoint(found.position, found.time, found.states, found.versions, found.memory)

    def _share(self, resource: str, state: State) -> State:
        """Most states are as they are now, and of a guest most of the rest: keep that once."""
        now = self._ledger.model.states.get(resource)
        if now == state:
            return now
        if isinstance(state, Guest) and isinstance(now, Guest) and (kept := _lasting(now)) == _lasting(state):
            return msgspec.structs.replace(state, **dict(zip(LASTING, kept, strict=True)))
        return state

    def _mark(self, position: int, at: datetime, model: _Bare) -> None:
        """Keep a copy of this point, where no snapshot was near; thin them out when they are too many."""
        if any(abs(position - known.position) < STRIDE for known in self._checkpoints):
            return
        self._checkpoints.append(Checkpoint(position, at, dict(model.states), dict(model.versions), model.memory()))
        self._checkpoints.sort(key=lambda known: known.position)
        if len(self._checkpoints) > CHECKPOINTS_MAX:
            del self._checkpoints[1::2]
