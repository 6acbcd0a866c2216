"""The hub: one subscription to Core, fanned out to every open browser page.

A page is told *what* changed, never the change itself: it then asks for the fragment it shows, in its own language and
with its own rights. So what waits for a slow browser is a small set of topics and the latest measurement, nothing that
can grow; past a bound the set becomes "everything".

A page also says up to which ``mark`` it has seen changes (the one it was rendered at, or the last it was told), so nothing
is missed between rendering and listening, or while a connection was broken.
"""

from collections import deque
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any, Final

import anyio

from nano.domain.errors import Refusal

TOPICS_MAX: Final = 200
SEATS_MAX: Final = 500
SEATS_PER_SESSION_MAX: Final = 30
EVERYTHING: Final = "*"
REMEMBERED: Final = 1_000  # changes that a page may have missed and is told one by one


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
    """``generation`` tells this run's marks from those of a run before."""

    def __init__(self, generation: str = "") -> None:
        self._seats: dict[Seat, None] = {}
        self._generation = generation
        self._number = 0
        self._recent: deque[frozenset[str]] = deque(maxlen=REMEMBERED)

    @property
    def mark(self) -> str:
        """How far changes have come."""
        return f"{self._generation}.{self._number}"

    def missed(self, mark: str) -> set[str]:
        """The topics that changed since a mark; everything when that is not known any more."""
        generation, _, number = mark.rpartition(".")
        behind = self._number - int(number) if number.isdigit() and len(number) < 16 else -1
        if generation != self._generation or not 0 <= behind <= len(self._recent):
            return {EVERYTHING}
        return set().union(*list(self._recent)[len(self._recent) - behind :])

    @contextmanager
    def seat(self, session: str, since: str = "") -> Iterator[Seat]:
        """``since``: the mark up to which the page is true. Raises Refusal(too_many_listeners)."""
        mine = sum(seat.session == session for seat in self._seats)
        if len(self._seats) >= SEATS_MAX or mine >= SEATS_PER_SESSION_MAX:
            raise Refusal("Too many pages listen at once.", code="too_many_listeners", hint="Close some tabs.")
        seat = Seat(session)
        self._seats[seat] = None
        if since and (missed := self.missed(since)):
            seat.tell(missed)
        try:
            yield seat
        finally:
            self._seats.pop(seat, None)

    def publish(self, topics: set[str]) -> None:
        if topics:
            self._number += 1
            self._recent.append(frozenset(topics))
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
