"""The ``Workers`` port: where a journal's blocking work (writes, syncs, folding, reading back) is done.

On a node that is a thread, so that the event loop goes on answering. The simulator does the same work on the loop, at an
instant of its virtual time, so that the same seed gives the same bytes. Invariant: what one ``Writer`` is given is
written one by one, in order, and each outcome is told on the event loop in that order.

It does not know what is written, nor what a failure means.
"""

import asyncio
import contextlib
import threading
from collections.abc import Callable
from queue import SimpleQueue
from typing import Any, Generic, Protocol, TypeVar

import anyio.to_thread

T = TypeVar("T")
B = TypeVar("B")
R = TypeVar("R")
Given_contra = TypeVar("Given_contra", contravariant=True)


class Writer(Protocol[Given_contra]):
    def put(self, batch: Given_contra) -> None:
        """Have it written after those before; never waits."""
        ...

    def close(self) -> None:
        """Nothing is under way any more: end."""
        ...


class Workers(Protocol):
    async def run(self, work: Callable[..., T], *arguments: Any) -> T:
        """What ``work(*arguments)`` returns or raises, without blocking the event loop meanwhile."""
        ...

    def writer(self, write: Callable[[B], R], written: Callable[[B, R], None]) -> Writer[B]:
        """``write(batch)`` is called off the loop and must not raise; then ``written(batch, outcome)`` on it."""
        ...


class ThreadWriter(Generic[B, R]):
    def __init__(self, write: Callable[[B], R], written: Callable[[B, R], None]) -> None:
        self._write = write
        self._written = written
        self._queue: SimpleQueue[B | None] = SimpleQueue()
        self._loop = asyncio.get_running_loop()
        self._thread = threading.Thread(target=self._run, name="nano-journal", daemon=True)
        self._thread.start()

    def put(self, batch: B) -> None:
        self._queue.put(batch)

    def close(self) -> None:
        self._queue.put(None)
        self._thread.join()

    def _run(self) -> None:
        while (batch := self._queue.get()) is not None:
            outcome = self._write(batch)
            with contextlib.suppress(RuntimeError):  # the loop is gone, and with it everyone who waited
                self._loop.call_soon_threadsafe(self._written, batch, outcome)


class Threads:
    """Real threads: one for each writer, the event loop's pool for the rest."""

    async def run(self, work: Callable[..., T], *arguments: Any) -> T:
        return await anyio.to_thread.run_sync(work, *arguments)

    def writer(self, write: Callable[[B], R], written: Callable[[B, R], None]) -> ThreadWriter[B, R]:
        return ThreadWriter(write, written)


THREADS = Threads()
