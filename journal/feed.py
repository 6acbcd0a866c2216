"""The feed: everything that became true, in order, after it became durable.

Invariants. Positions grow by one; nobody sees a change before its line is on disk. Listeners run on the event loop,
right before the replies of the commands that caused the changes, so whoever got a reply reads its own write.
Subscribers go at their own pace from a bounded ring and never hold up the writer: one that fell behind the ring
continues from the journal (then ``before`` and ``after`` are None).

It keeps nothing durable and does not depend on how the journal is stored: it is given a ``History``.
"""

import logging
from bisect import bisect_left, bisect_right
from collections.abc import AsyncIterator, Callable, Sequence
from contextlib import asynccontextmanager
from typing import Final, Protocol

import anyio

from nano.domain.facts import Change, Fact

log = logging.getLogger("nano.journal")

RING_MAX: Final = 20_000
"""Changes kept in memory for subscribers: some 15 MB at most. Who is further behind reads the journal."""
BATCH_MAX: Final = 1_000

Listener = Callable[[list[Change]], None]


class History(Protocol):
    async def mark_at(self, position: int) -> str:
        """Hash of the line that ends with this position; "" when none does."""
        ...

    async def transactions(self, after: int, last: int, limit: int) -> list[Fact]:
        """Durable facts above ``after`` up to ``last``: ``limit`` of them, and more where a transaction would be cut."""
        ...


class Feed:
    """Made empty; the ledger attaches its history and position when it starts."""

    def __init__(self, ring_max: int = RING_MAX) -> None:
        self.position = 0
        self._ring: list[Change] = []
        self._ring_max = ring_max
        self._wide: list[tuple[int, int]] = []
        self._listeners: list[Listener] = []
        self._moved = anyio.Event()
        self._closed = False
        self._history: History | None = None
        self._mark = (0, "")

    def attach(self, history: History, position: int, line_hash: bytes) -> None:
        """``line_hash`` is that of the line which ends with the position."""
        self._history = history
        self.position = position
        self._mark = position, line_hash.decode()
        self._closed = False

    def add_listener(self, listener: Listener) -> None:
        """Called with every batch of changes, in order, on the event loop. It must be quick and must not await.

        One that raises is logged with its traceback and is called again for the next batch: a broken view must not
        keep the node from answering.
        """
        self._listeners.append(listener)

    def remove_listener(self, listener: Listener) -> None:
        self._listeners.remove(listener)

    def publish(self, changes: list[Change], wide: Sequence[tuple[int, int]] = (), line_hash: bytes = b"") -> None:
        """Called by the ledger when these changes are durable. ``wide`` has the first and last position of each
        transaction with more than one event; ``line_hash`` is that of the last line."""
        if not changes:
            return
        assert changes[0].fact.position == self.position + 1, "the feed has no gaps"
        self._ring.extend(changes)
        self._wide.extend(wide)
        if len(self._ring) > self._ring_max + self._ring_max // 8:
            del self._ring[: len(self._ring) - self._ring_max]
            del self._wide[: bisect_left(self._wide, (self._ring[0].fact.position, 0))]
        self.position = changes[-1].fact.position
        self._mark = self.position, line_hash.decode()
        for listener in self._listeners:
            try:
                listener(changes)
            except Exception:
                log.exception("feed.listener_failed listener=%r position=%d", listener, self.position)
        self._wake()

    async def mark(self, position: int) -> str:
        """What says that a journal is this one up to a position: the hash of the line that ends there; "" when none does.
        Raises JournalError when the disk can't be read."""
        if position == self._mark[0]:
            return self._mark[1]
        if not 0 < position < self.position or self._history is None:
            return ""
        return await self._history.mark_at(position)

    async def wait_for(self, position: int) -> None:
        """Return when the feed has reached ``position``; raises anyio.ClosedResourceError when it ends before."""
        while self.position < position:
            if self._closed:
                raise anyio.ClosedResourceError
            await self._moved.wait()

    @asynccontextmanager
    async def subscribe(self, after: int) -> AsyncIterator[AsyncIterator[list[Change]]]:
        """Batches of changes above ``after``, then those to come, until the feed is closed.

        A batch has whole transactions: BATCH_MAX changes, and more only where one would be cut.
        """
        changes = self._follow(after)
        try:
            yield changes
        finally:
            await changes.aclose()  # type: ignore[attr-defined]

    def close(self) -> None:
        """End every subscription."""
        self._closed = True
        self._wake()

    def _wake(self) -> None:
        moved, self._moved = self._moved, anyio.Event()
        moved.set()

    async def _follow(self, after: int) -> AsyncIterator[list[Change]]:
        while True:
            if after >= self.position:
                if self._closed:
                    return
                await self._moved.wait()
                continue
            behind = self.position - after
            if behind <= len(self._ring):
                start = len(self._ring) - behind
                changes = self._ring[start : start + self._whole(after + BATCH_MAX) - after]
            else:
                changes = await self._from_history(after)
                if not changes:
                    return
            after = changes[-1].fact.position
            yield changes

    def _whole(self, position: int) -> int:
        """The position itself, or the end of the transaction that reaches beyond it."""
        index = bisect_right(self._wide, (position, self.position)) - 1
        return max(position, self._wide[index][1]) if index >= 0 else position

    async def _from_history(self, after: int) -> list[Change]:
        assert self._history is not None, "attach() comes before changes"
        facts = await self._history.transactions(after, self.position, BATCH_MAX)
        return [Change(fact, None, None) for fact in facts]
