"""The network between two nodes on virtual time: chunks take a while, streams overtake one another, links break.

A ``Wire`` carries one link. As over QUIC, bytes of one stream arrive in order and once or not at all (a stream of which
something is lost is reset at both ends); between streams there is no order. A request may arrive twice, as from a sender
that was not sure of the first: the answer to the second goes nowhere. A partition holds back everything; an end that hears
nothing for LOST_AFTER_S loses the link, each end by itself, so for a while one may believe in it and the other not. An end
whose process died says nothing.
"""

import asyncio
import itertools
from collections import Counter
from collections.abc import Callable
from random import Random
from typing import Final, NamedTuple

import anyio

from nano.transports.carrier import CarrierEvents
from nano.transports.settings import LinkSettings

LOST_AFTER_S: Final = LinkSettings().lost_after_s
STEP_S: Final = 1e-6  # between chunks of one stream that would arrive together

SLOW_S: Final = 0.1  # a chunk that takes longer counts as delayed
DOUBLED: Final = 20  # requests are few among chunks
GHOST: Final = 1 << 40  # streams from here on carry requests that arrive for the second time

Call = Callable[[CarrierEvents], None]


class LinkWeather(NamedTuple):
    """Seconds a chunk takes; how likely the link breaks, a chunk is lost or a request is doubled, at each of them."""

    delay_s: tuple[float, float]
    cut: float
    lost: float


class WireEnd:
    """A ``Carrier``."""

    def __init__(self, wire: "Wire", fingerprint: str, public_key: bytes, address: str, first_stream: int) -> None:
        self.fingerprint = fingerprint
        self.remote_public_key = public_key
        self.address = address
        self.events: CarrierEvents | None = None
        self.lost = anyio.Event()
        self._wire = wire
        self._ids = itertools.count(first_stream, 4)
        self._ghosts = itertools.count(GHOST + first_stream, 4)
        self._fresh: set[int] = set()  # opened here, and nothing sent yet

    def open_stream(self) -> int:
        stream_id = next(self._ids)
        self._fresh.add(stream_id)
        return stream_id

    def send(self, stream_id: int, data: bytes, end: bool = False) -> None:
        if stream_id in self._fresh:
            self._fresh.discard(stream_id)
            if end and self._wire.doubles():
                ghost = next(self._ghosts)
                self._wire.post(self, ghost, lambda events: events.stream_data(ghost, data, end))
        self._wire.post(self, stream_id, lambda events: events.stream_data(stream_id, data, end))

    def reset(self, stream_id: int) -> None:
        def tell(events: CarrierEvents) -> None:
            events.stream_reset(stream_id)
            events.stream_stopped(stream_id)

        self._wire.post(self, stream_id, tell)

    def widen(self) -> None:
        """Nothing is held here."""

    def close(self, reason: str) -> None:
        self._wire.close(self, reason)

    def lose(self, reason: str) -> None:
        """This end gives up; its link is told, once."""
        if not self.lost.is_set():
            self.lost.set()
            self._wire.ended(self)
            if self.events is not None:
                self.events.carrier_lost(reason)


class Wire:
    def __init__(self, random: Random, weather: Callable[[], LinkWeather], faults: Counter[str]) -> None:
        self.ends: tuple[WireEnd, ...] = ()
        self._weather = weather
        self._faults = faults
        self._loop = asyncio.get_running_loop()
        self._random = random
        self._last: dict[tuple[int, int], float] = {}
        self._latest = [0.0, 0.0]  # by end: when the last of what is under way arrives
        self._broken: set[int] = set()  # streams of which something was lost
        self._is_cut = False
        self._held: list[tuple[WireEnd, Call]] | None = None

    def post(self, sender: WireEnd, stream_id: int, call: Call) -> None:
        if sender.lost.is_set() or self._is_cut or stream_id in self._broken:
            return
        target = self._other(sender)
        side = self.ends.index(target)
        if stream_id >= GHOST and stream_id % 2 == side:
            return  # an answer to a doubled request
        weather, now = self._weather(), self._loop.time()
        if weather.cut and self._random.random() < weather.cut:
            self._faults["link cut"] += 1
            self.cut("network failed")
            return
        if weather.lost and self._random.random() < weather.lost:
            self._lose(stream_id)
            return
        key = (side, stream_id)
        delay = self._random.uniform(*weather.delay_s)
        due = max(now + delay, self._last.get(key, 0.0) + STEP_S)
        self._faults["message delayed"] += delay > SLOW_S
        self._faults["message reordered"] += due < self._latest[side]
        self._last[key] = due
        self._latest[side] = max(due, self._latest[side])
        if len(self._last) > 1024:
            self._last = {known: at for known, at in self._last.items() if at > now}
        self._loop.call_at(due, self._deliver, target, call)

    def doubles(self) -> bool:
        """Whether the next request is to arrive twice."""
        lost = self._weather().lost
        doubled = bool(lost) and self._random.random() < DOUBLED * lost
        self._faults["message duplicated"] += doubled
        return doubled

    def _lose(self, stream_id: int) -> None:
        """Of a stream that lacks something nothing more is delivered: both ends are told that it is no more."""
        self._faults["message lost"] += 1
        self._broken.add(stream_id)

        def tell(events: CarrierEvents) -> None:
            events.stream_reset(stream_id)
            events.stream_stopped(stream_id)

        for end in self.ends:
            self._loop.call_later(self._random.uniform(*self._weather().delay_s), self._deliver, end, tell)

    def close(self, sender: WireEnd, reason: str) -> None:
        """An orderly goodbye: it arrives after what was sent before."""
        if sender.lost.is_set():
            return
        sender.lost.set()
        self.ended(sender)
        target = self._other(sender)
        side = self.ends.index(target)
        last = max((at for (end, _), at in self._last.items() if end == side), default=0.0)
        due = max(last, self._loop.time() + self._weather().delay_s[1]) + STEP_S
        self._loop.call_at(due, self._deliver, target, lambda _: target.lose(reason))

    def cut(self, reason: str) -> None:
        """The path is gone for good: each end notices in its own time, nothing more arrives."""
        for end in self.ends:
            self._loop.call_later(self._random.uniform(0.0, LOST_AFTER_S), end.lose, reason)
        self._held = []
        self._is_cut = True

    def died(self, end: WireEnd) -> None:
        """The process at this end is gone without a word."""
        if not end.lost.is_set():
            end.lost.set()
            self.ended(end)

    def ended(self, end: WireEnd) -> None:
        """Nothing answers at this end any more: the other notices, should it not be told before."""
        self._loop.call_later(LOST_AFTER_S * self._random.uniform(0.75, 1.25), self._other(end).lose, "silent")

    def hold(self) -> None:
        """A partition begins."""
        if self._held is None:
            self._held = []
            for end in self.ends:
                self._loop.call_later(LOST_AFTER_S * self._random.uniform(0.75, 1.25), self._silent, end)

    def release(self) -> None:
        """The partition is over: what was held back arrives where the link is still believed in."""
        held, self._held = self._held, None
        for target, call in held or ():
            self._deliver(target, call)

    def _silent(self, end: WireEnd) -> None:
        if self._held is not None:
            end.lose("silent")

    def _deliver(self, target: WireEnd, call: Call) -> None:
        if self._held is not None:
            self._held.append((target, call))
        elif not target.lost.is_set() and target.events is not None:
            call(target.events)

    def _other(self, end: WireEnd) -> WireEnd:
        return self.ends[1] if end is self.ends[0] else self.ends[0]
