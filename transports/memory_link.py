"""Two ends of a link in one process: for tests, and for the simulator's whole zones on virtual time.

It is the real engine (framing, credit, errors, handshake) over a carrier that moves bytes between two objects. Faults
come from a seeded ``random.Random``: delay per chunk, reordering between streams (never within one: no carrier does
that), loss of the whole connection. Invariant: with the same seed, the same calls and the same clock, the same bytes
arrive in the same order. Time comes from ``sleep`` and ``now``, so a virtual clock rules it. There is no encryption;
the "proven" fingerprints are those it is given.
"""

import heapq
import itertools
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from random import Random

import anyio
import anyio.abc
import msgspec

from nano.transports.carrier import CarrierEvents
from nano.transports.handshake import AcceptedLink, Connector, Issue
from nano.transports.link import Handler
from nano.transports.messages import Hello, Welcome
from nano.transports.settings import LinkSettings
from nano.transports.stream_link import StreamLink
from nano.transports.trust import Trust
from nano.transports.unwrap import plain_errors


class Weather(msgspec.Struct, frozen=True, kw_only=True):
    """How the network between the two ends behaves. Seconds; probabilities per chunk, 0..1."""

    delay_min_s: float = 0.0
    delay_max_s: float = 0.0
    cut_probability: float = 0.0


FAIR = Weather()

Sleep = Callable[[float], Awaitable[None]]


class MemoryCarrier:
    """One end. ``peer`` is the other; both are pumped by ``Wire.run``."""

    def __init__(self, wire: "Wire", fingerprint: str, public_key: bytes, address: str, first_stream: int) -> None:
        self.fingerprint = fingerprint
        self.remote_public_key = public_key
        self.address = address
        self.events: CarrierEvents | None = None
        self._wire = wire
        self._ids = itertools.count(first_stream, 4)

    def open_stream(self) -> int:
        return next(self._ids)

    def send(self, stream_id: int, data: bytes, end: bool = False) -> None:
        self._wire.post(self, stream_id, lambda events: events.stream_data(stream_id, data, end))

    def reset(self, stream_id: int) -> None:
        def tell(events: CarrierEvents) -> None:
            events.stream_reset(stream_id)
            events.stream_stopped(stream_id)

        self._wire.post(self, stream_id, tell)

    def widen(self) -> None:
        """Nothing is held here."""

    def close(self, reason: str) -> None:
        self._wire.cut(reason)


class Wire:
    """Carries calls from each end to the other, in the order and at the time the weather gives."""

    def __init__(self, weather: Weather, random: Random, now: Callable[[], float], sleep: Sleep) -> None:
        self.ends: tuple[MemoryCarrier, ...] = ()
        self._weather = weather
        self._random = random
        self._now = now
        self._sleep = sleep
        self._queue: list[tuple[float, int, MemoryCarrier, Callable[[CarrierEvents], None]]] = []
        self._last: dict[tuple[MemoryCarrier, int], float] = {}
        self._count = itertools.count()
        self._posted = anyio.Event()
        self._cut_reason: str | None = None

    def post(self, sender: MemoryCarrier, stream_id: int, call: Callable[[CarrierEvents], None]) -> None:
        if self._cut_reason is not None:
            return
        if self._weather.cut_probability and self._random.random() < self._weather.cut_probability:
            self.cut("network failed")
            return
        target = self.ends[1] if sender is self.ends[0] else self.ends[0]
        delay = self._random.uniform(self._weather.delay_min_s, self._weather.delay_max_s)
        due = max(self._now() + delay, self._last.get((target, stream_id), 0.0))
        self._last[target, stream_id] = due
        heapq.heappush(self._queue, (due, next(self._count), target, call))
        self._posted.set()

    def cut(self, reason: str) -> None:
        """Both ends lose the link, after what was sent before has arrived."""
        if self._cut_reason is None:
            self._cut_reason = reason
            self._posted.set()

    async def _sleep_or_posted(self, seconds: float) -> None:
        """What is posted meanwhile may be due earlier."""
        self._posted = anyio.Event()
        async with anyio.create_task_group() as tasks:

            async def first(wait: Awaitable[None]) -> None:
                await wait
                tasks.cancel_scope.cancel()

            tasks.start_soon(first, self._sleep(seconds))
            tasks.start_soon(first, self._posted.wait())

    async def run(self) -> None:
        while self._queue or self._cut_reason is None:
            if not self._queue:
                self._posted = anyio.Event()
                await self._posted.wait()
                continue
            due, _, target, call = self._queue[0]
            wait = due - self._now()
            if wait > 0 and self._cut_reason is None:
                await self._sleep_or_posted(wait)
                continue
            heapq.heappop(self._queue)
            if target.events is not None:
                call(target.events)
            if len(self._last) > 4096:
                horizon = self._now()
                self._last = {key: at for key, at in self._last.items() if at > horizon}
        for end in self.ends:
            if end.events is not None:
                end.events.carrier_lost(self._cut_reason)


class MemoryNode(msgspec.Struct, frozen=True):
    """What one end is: its claimed key, its trust and what it offers."""

    fingerprint: str
    trust: Trust
    handler: Handler
    public_key: bytes = b""


@asynccontextmanager
async def memory_pair(
    connector: MemoryNode,
    hello: Hello,
    acceptor: MemoryNode,
    welcome: Welcome,
    *,
    settings: LinkSettings | None = None,
    weather: Weather = FAIR,
    random: Random | None = None,
    now: Callable[[], float] = anyio.current_time,
    sleep: Sleep = anyio.sleep,
    issue: Issue | None = None,
) -> AsyncIterator[tuple[StreamLink, AcceptedLink]]:
    """Both ends of one link, after Hello and Welcome. Raises Forbidden when either end refuses the other.
    On leaving, the link is closed and all its handlers have ended."""
    settings = settings or LinkSettings()
    wire = Wire(weather, random or Random(0), now, sleep)  # noqa: S311 - weather, not secrets
    near = MemoryCarrier(wire, acceptor.fingerprint, acceptor.public_key, "memory:acceptor", 0)
    far = MemoryCarrier(wire, connector.fingerprint, connector.public_key, "memory:connector", 1)
    wire.ends = (near, far)
    greeted = anyio.Event()

    async def greet(link: AcceptedLink) -> None:
        await link.greet(acceptor.trust, welcome, issue)
        greeted.set()

    with plain_errors():
        async with anyio.create_task_group() as tasks:
            near.events = one = StreamLink(near, connector.handler, tasks, settings, connector=True)
            far.events = other = AcceptedLink(far, acceptor.handler, tasks, settings, connector=False)
            tasks.start_soon(wire.run)
            tasks.start_soon(greet, other)
            await tasks.start(Connector(one, connector.trust, hello, settings).run)
            await greeted.wait()
            try:
                yield one, other
            finally:
                wire.cut("closed")
                tasks.cancel_scope.cancel()
