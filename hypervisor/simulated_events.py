"""Events and due things of the simulated host, without a task of their own.

What is due later is kept in a heap and happens when somebody settles it: a call of the host, or a listener, which
sleeps (on the given clock) until the next due time or the next event, whichever comes first.
"""

import collections
import heapq
import itertools
import weakref
from collections.abc import AsyncIterator, Awaitable, Callable
from typing import Final

import anyio

from nano.hypervisor.host import DomainEvent

WAITING_MAX: Final = 4096


class SimulatedEvents:
    def __init__(self, now: Callable[[], float], sleep: Callable[[float], Awaitable[None]]) -> None:
        self._now = now
        self._sleep = sleep
        self._due: list[tuple[float, int, Callable[[], None]]] = []
        self._order = itertools.count()
        self._listeners: weakref.WeakSet[SimulatedEventStream] = weakref.WeakSet()

    def later(self, delay_s: float, action: Callable[[], None]) -> None:
        heapq.heappush(self._due, (self._now() + delay_s, next(self._order), action))
        for listener in list(self._listeners):
            listener.wake()

    def settle(self) -> None:
        """Let everything happen that is due by now, in order."""
        while self._due and self._due[0][0] <= self._now():
            heapq.heappop(self._due)[2]()

    def tell(self, event: DomainEvent) -> None:
        for listener in list(self._listeners):
            listener.offer(event)

    def listen(self) -> "SimulatedEventStream":
        stream = SimulatedEventStream(self)
        self._listeners.add(stream)
        return stream

    def end_all(self) -> None:
        for listener in list(self._listeners):
            listener.end()
        self._listeners.clear()

    async def until_next(self, news: anyio.Event) -> None:
        """Return when ``news`` is set or the next due time has come."""
        if not self._due:
            await news.wait()
            return

        due = self._due[0][0]  # now: by the time that the task runs, somebody else may have taken it

        async def sleep() -> None:
            await self._sleep(max(0.0, due - self._now()))
            waiting.cancel_scope.cancel()

        async with anyio.create_task_group() as waiting:
            waiting.start_soon(sleep)
            await news.wait()
            waiting.cancel_scope.cancel()


class SimulatedEventStream(AsyncIterator[DomainEvent]):
    def __init__(self, source: SimulatedEvents) -> None:
        self._source = source
        self._waiting: collections.deque[DomainEvent] = collections.deque()
        self._news = anyio.Event()
        self._ended = False

    def offer(self, event: DomainEvent) -> None:
        if len(self._waiting) >= WAITING_MAX:
            self.end()  # as with libvirt: a listener that is too slow must look afresh
        elif not self._ended:
            self._waiting.append(event)
            self.wake()

    def wake(self) -> None:
        self._news.set()

    def end(self) -> None:
        self._ended = True
        self.wake()

    async def __anext__(self) -> DomainEvent:
        while True:
            self._source.settle()
            if self._waiting:
                return self._waiting.popleft()
            if self._ended:
                raise StopAsyncIteration
            self._news = anyio.Event()
            await self._source.until_next(self._news)

    async def aclose(self) -> None:
        self._waiting.clear()
        self.end()
