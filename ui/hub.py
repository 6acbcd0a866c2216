"""The hub: one subscription to Core, fanned out to every open browser page.

A page is told *what* changed, never the change itself: it then asks for the fragment it shows, in its own language and
with its own rights. So what waits for a slow browser is a small set of topics and the latest measurement, nothing that
can grow; past a bound the set becomes "everything".
"""

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any, Final

import anyio

from nano.domain.errors import Refusal

TOPICS_MAX: Final = 200
SEATS_MAX: Final = 500
SEATS_PER_SESSION_MAX: Final = 30
EVERYTHING: Final = "*"


class Seat:
    """One browser page that listens."""

    def __init__(self, session: str) -> None:
        self.session = session
        self.topics: set[str] = set()
        self.usage: dict[str, Any] | None = None
        self.link_changed = False
        self.closed = False
        self.wake = anyio.Event()

    def tell(self, topics: set[str]) -> None:
        if EVERYTHING not in self.topics:
            self.topics |= topics
            if len(self.topics) > TOPICS_MAX:
                self.topics = {EVERYTHING}
        self.wake.set()

    def take(self) -> tuple[list[str], dict[str, Any] | None, bool]:
        """Everything that waited, and start anew."""
        topics, usage, link = sorted(self.topics), self.usage, self.link_changed
        self.topics, self.usage, self.link_changed = set(), None, False
        self.wake = anyio.Event()
        return topics, usage, link


class Hub:
    def __init__(self) -> None:
        self._seats: set[Seat] = set()

    @contextmanager
    def seat(self, session: str) -> Iterator[Seat]:
        """Raises Refusal(too_many_listeners)."""
        mine = sum(seat.session == session for seat in self._seats)
        if len(self._seats) >= SEATS_MAX or mine >= SEATS_PER_SESSION_MAX:
            raise Refusal("Too many pages listen at once.", code="too_many_listeners", hint="Close some tabs.")
        seat = Seat(session)
        self._seats.add(seat)
        try:
            yield seat
        finally:
            self._seats.discard(seat)

    def publish(self, topics: set[str]) -> None:
        if topics:
            for seat in self._seats:
                seat.tell(topics)

    def measure(self, usage: dict[str, Any]) -> None:
        for seat in self._seats:
            seat.usage = usage
            seat.wake.set()

    def link(self) -> None:
        """Core came or went."""
        for seat in self._seats:
            seat.link_changed = True
            seat.wake.set()

    def close(self, session: str = "") -> None:
        """End the pages of one session, or all of them."""
        for seat in self._seats:
            if not session or seat.session == session:
                seat.closed = True
                seat.wake.set()
