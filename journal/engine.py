"""Group commit: a batch is whatever arrived while the last write and sync ran. No timer, no lock on the hot path.

Everything here runs on the event loop but ``Log.append``, which runs where the ``Workers`` say. A batch moves
waiting → flying → done; batches complete in order. A failed one takes everything behind it along, because what was
decided behind it was decided on facts that do not exist.

It does not know commands or models; ``ledger`` fills the batches and is told how they ended.
"""

import asyncio
import time
from collections.abc import Callable
from typing import Any, Final

import anyio

from nano.domain.errors import JournalError, NanoError
from nano.domain.facts import Change
from nano.journal.append_stats import AppendStats
from nano.journal.log import Log
from nano.journal.workers import THREADS, Workers

WAITING_MAX: Final = 50_000
"""Commands that may wait for one sync; more are refused (journal_busy) instead of piling up."""


class Batch:
    """Lines that become durable together, and who waits for that. Without lines it only waits for those before it."""

    __slots__ = ("changes", "digest", "first", "last", "lines", "waiters", "wide")

    def __init__(self) -> None:
        self.lines: list[bytes] = []
        self.changes: list[Change] = []
        self.wide: list[tuple[int, int]] = []  # first and last position of lines with more than one event
        self.waiters: list[asyncio.Future[None]] = []
        self.first = 0
        self.last = 0
        self.digest = b""


class GroupCommit:
    """Owns the writer. ``durable(batch)`` and ``failed(error)`` are called on the event loop; when ``failed``
    is called, ``flying`` and ``waiting`` are already empty, and their waiters get the error after it returns."""

    def __init__(
        self,
        commit_log: Log,
        durable: Callable[[Batch], None],
        failed: Callable[[NanoError], None],
        stats: AppendStats,
        workers: Workers = THREADS,
    ) -> None:
        self.waiting = Batch()
        self.flying: Batch | None = None
        self._log = commit_log
        self._durable = durable
        self._failed = failed
        self._workers = workers
        self._loop = asyncio.get_running_loop()
        self._launch_planned = False
        self._idle: asyncio.Future[None] | None = None
        self.refused: NanoError | None = None
        self._trial: anyio.Event | None = None
        self.stats = stats
        self._writer = workers.writer(self._append, self._written)

    def admit(self) -> None:
        """Raises JournalError(journal_busy) when too many wait already."""
        if len(self.waiting.waiters) >= WAITING_MAX:
            raise JournalError(
                f"More than {WAITING_MAX} commands wait for the disk.", code="journal_busy", hint="Try again shortly."
            )

    def join(self) -> "asyncio.Future[None]":
        """Done when everything added to ``waiting`` so far is durable; raises what prevented it.

        The write starts after the event loop's present round, so that all commands of that round share it.
        """
        future = self._loop.create_future()
        self.waiting.waiters.append(future)
        if self.flying is None and not self._launch_planned:
            self._launch_planned = True
            self._loop.call_soon(self._launch)
        return future

    def pending(self) -> list[Change]:
        """Changes that are staged and not yet durable, in order."""
        return [*(self.flying.changes if self.flying else ()), *self.waiting.changes]

    async def recovered(self) -> None:
        """After a failed write (``refused``): returns when the disk takes writes again, raises while it does not.

        Nothing should be staged before: each failed batch costs a whole replay, a trial write next to nothing.
        Callers share one trial.
        """
        trial = self._trial
        if trial is not None:
            await trial.wait()
        elif self.refused is not None:
            await self._try()
        refused = self.refused
        if refused is not None:
            raise fresh(refused)

    async def _try(self) -> None:
        trial = self._trial = anyio.Event()
        try:
            await self._workers.run(self._log.try_writing)
            self.refused = None
        except NanoError as error:
            self.refused = error
        finally:
            self._trial = None
            trial.set()

    async def close(self) -> None:
        """Wait for what is under way, then end the writer."""
        while self.flying is not None or self.waiting.waiters:
            self._idle = self._loop.create_future()
            await self._idle
        self._writer.close()

    def _launch(self) -> None:
        self._launch_planned = False
        batch = self.waiting
        if self.flying is not None or not batch.waiters:
            return
        self.waiting = Batch()
        if batch.lines:
            self.flying = batch
            self._writer.put(batch)
        else:
            self._finish(batch, None)

    def _append(self, batch: Batch) -> NanoError | None:
        """Off the event loop."""
        began = time.perf_counter()
        try:
            self._log.append(b"".join(batch.lines), batch.first, batch.last, batch.digest)
        except NanoError as refused:
            return refused
        except Exception as broken:  # noqa: BLE001 (handed to every waiter; a lost reply would be worse)
            self._log.poisoned = JournalError(
                f"The journal failed: {broken!r}.", hint="This is a defect; restart the node."
            )
            return self._log.poisoned
        self.stats.appended(len(batch.lines), time.perf_counter() - began)
        return None

    def _written(self, batch: Batch, error: NanoError | None) -> None:
        self.flying = None
        if error is None and self.waiting.lines:
            self._launch()  # first: the next sync runs while these replies are sent
        self._finish(batch, error)
        if self.flying is None:
            self._launch()

    def _finish(self, batch: Batch, error: NanoError | None) -> None:
        if error is None:
            self._durable(batch)
            for future in batch.waiters:
                if not future.done():
                    future.set_result(None)
        else:
            self.refused = error
            self.stats.failures += 1
            waiters = batch.waiters + self.waiting.waiters
            self.waiting = Batch()
            self._failed(error)
            for future in waiters:
                if not future.done():
                    future.set_exception(fresh(error))
        idle = self._idle
        if idle is not None and not idle.done() and self.flying is None and not self.waiting.waiters:
            idle.set_result(None)


def fresh(error: NanoError) -> NanoError:
    """The same error as a new object: tracebacks must not pile up on a shared one."""
    context: dict[str, Any] = error.context
    copy = type(error)(error.message, code=error.code, hint=error.hint, **context)
    copy.__cause__ = error.__cause__
    return copy
