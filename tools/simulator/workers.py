"""The journal's blocking work on virtual time: done on the loop, at an instant drawn from the seed.

Invariant: a batch is written at one instant after a delay, one batch at a time, in order, as the writing thread does;
what a dead process had not written by then is never written (its ``DiskSession`` refuses).
"""

import asyncio
from collections import deque
from collections.abc import Callable
from random import Random
from typing import Any, Final, Generic, TypeVar

import anyio.lowlevel

from nano.journal.log import Log
from nano.journal.resource_journals import IDLE_S, LAG_S, SYNC_AT_REST_MAX, ResourceJournals

T = TypeVar("T")
B = TypeVar("B")
R = TypeVar("R")

SYNC_S: Final = (0.000_1, 0.004)  # a write with its sync on a quick disk
STALL_S: Final = (0.1, 3.0)
STALLS: Final = 0.002  # of all writes


class VirtualWriter(Generic[B, R]):
    def __init__(self, write: Callable[[B], R], written: Callable[[B, R], None], random: Random) -> None:
        self._write = write
        self._written = written
        self._random = random
        self._queue: deque[B] = deque()

    def put(self, batch: B) -> None:
        self._queue.append(batch)
        if len(self._queue) == 1:
            self._plan()

    def close(self) -> None:
        """Nothing is under way."""

    def _plan(self) -> None:
        low, high = STALL_S if self._random.random() < STALLS else SYNC_S
        asyncio.get_running_loop().call_later(self._random.uniform(low, high), self._do)

    def _do(self) -> None:
        batch = self._queue.popleft()
        outcome = self._write(batch)
        if self._queue:
            self._plan()
        self._written(batch, outcome)


class VirtualWorkers:
    def __init__(self, random: Random) -> None:
        self._random = random

    async def run(self, work: Callable[..., T], *arguments: Any) -> T:
        await anyio.lowlevel.checkpoint()
        return work(*arguments)

    def writer(self, write: Callable[[B], R], written: Callable[[B, R], None]) -> VirtualWriter[B, R]:
        return VirtualWriter(write, written, self._random)


class VirtualJournals(ResourceJournals):
    """Resource journals without their thread: a step LAG_S after something moved, a sync when nothing has for IDLE_S."""

    def __init__(self, commit_log: Log) -> None:
        super().__init__(commit_log)
        self._loop = asyncio.get_running_loop()
        self._planned: asyncio.TimerHandle | None = None

    def start(self) -> None:
        self.moved()

    def moved(self) -> None:
        if self._planned is None and not self._closing:
            self._planned = self._loop.call_later(LAG_S, self._tick)

    def flush(self, timeout_s: float = 5.0) -> bool:  # noqa: ARG002 - it is done at once
        self.step()
        return self.written >= self._log.position

    def close(self) -> None:
        if self._planned is not None:
            self._planned.cancel()
        self._closing = True
        self.step()

    def _tick(self) -> None:
        self._planned = None
        self.step()
        if self.trouble or self._unsynced:
            self._planned = self._loop.call_later(IDLE_S, self._rest_tick)

    def _rest_tick(self) -> None:
        self._planned = None
        self.step()
        try:
            self._sync(SYNC_AT_REST_MAX)
        except OSError as error:
            self._note_trouble(error)
        if self.trouble or self._unsynced:
            self._planned = self._loop.call_later(IDLE_S, self._rest_tick)
