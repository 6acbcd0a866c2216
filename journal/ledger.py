"""The ledger: the one door through which anything changes on a node.

A command is decided on the event loop against *staged* state, its events are applied to that state at once, and the
caller gets its receipt when they are durable. So a thousand commands share one sync and still each saw the result of
the one before. Invariants:

* nothing is answered, published or acted upon before it is durable; readers follow the feed, not the model;
* one command is one line: all of its events, or none;
* live state is replayed state: events are applied as they read back from their line, never as they were made;
* when a write fails, staged state is thrown away and folded again from the durable log, and every command that was
  waiting fails with the reason;
* a command id that was carried out is not carried out again.

It does not know what commands mean (``Model``), how lines are kept (``Log``) or who listens (``Feed``).
"""

from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager, suppress
from datetime import datetime
from functools import partial
from typing import Any, Final

import anyio
import msgspec

from nano.domain.errors import JournalError, NanoError, Stale, TooLarge
from nano.domain.facts import Change, Command, Context, Emitted, Fact, Model
from nano.journal.append_stats import AppendStats
from nano.journal.engine import Batch, GroupCommit, fresh
from nano.journal.feed import Feed
from nano.journal.folded import Capture, Folded, Read
from nano.journal.history import LogHistory
from nano.journal.line import Body, Line, Tracked, encode_line, format_time, line_decoder
from nano.journal.log import Log
from nano.journal.reader import facts_of
from nano.journal.receipts import Receipt, Receipts, receipts_key
from nano.journal.resource_journals import ResourceJournals
from nano.journal.snapshot_text import Share
from nano.journal.snapshots import SNAPSHOTS, Snapshots, SnapshotSettings
from nano.journal.workers import THREADS, Workers

__all__ = ["Ledger", "Receipt"]

LINE_BYTES_MAX: Final = 16 << 20
"""Most that the events of one command may take in the log."""


class Ledger:
    def __init__(
        self,
        log: Log,
        model: Model,
        *,
        clock: Callable[[], datetime],
        new_id: Callable[[], str],
        feed: Feed,
        workers: Workers = THREADS,
        journals: Callable[[Log], ResourceJournals] = ResourceJournals,
        snapshots: SnapshotSettings = SNAPSHOTS,
    ) -> None:
        self.log = log
        self.model = model
        self.feed = feed
        self._clock = clock
        self._new_id = new_id
        self._decoder = line_decoder(model.rules.event_types())
        self.workers = workers
        self.journals = journals(log)
        self.history = LogHistory(log, self.journals, model.rules.event_types(), workers)
        self.snapshots = Snapshots(log, model, snapshots, workers)
        self._folded = Folded(model)
        self._versions = self._folded.versions
        self._seen: dict[str, Read] = {}  # positions of others that had no outcome here, and so no line
        self._staged = 0
        self._hash = log.hash
        self._engine: GroupCommit | None = None
        self.stats = AppendStats()
        self.disturbed: Callable[[], None] = lambda: None
        """Called when a batch could not be written."""

    @classmethod
    @asynccontextmanager
    async def open(
        cls,
        log: Log,
        model: Model,
        *,
        clock: Callable[[], datetime],
        new_id: Callable[[], str],
        feed: Feed,
        workers: Workers = THREADS,
        journals: Callable[[Log], ResourceJournals] = ResourceJournals,
        snapshots: SnapshotSettings = SNAPSHOTS,
    ) -> "AsyncIterator[Ledger]":
        ports: dict[str, Any] = {"workers": workers, "journals": journals, "snapshots": snapshots}
        ledger = cls(log, model, clock=clock, new_id=new_id, feed=feed, **ports)
        await ledger.start()
        try:
            yield ledger
        finally:
            await ledger.aclose()

    async def start(self) -> None:
        """Open the log, fold it into the model: the newest snapshot that fits and what came after it, or all of it.

        Raises JournalError, JournalDamaged, DiskFull.
        """
        await self.workers.run(self._open_and_fold)
        self.journals.expect(self._versions)
        self.journals.start()
        self.feed.attach(self.history, self.log.position, self.log.hash)
        self._engine = GroupCommit(self.log, self._durable, self._failed, self.stats, self.workers)
        self.snapshots.moved(self.log.position, self._capture)

    async def aclose(self) -> None:
        """Wait until what was accepted is durable, then let go of the journal. May be called twice."""
        engine, self._engine = self._engine, None
        if engine is not None:
            with anyio.CancelScope(shield=True):
                await engine.close()
                await self.workers.run(self.journals.close)
                await self.snapshots.close(self._capture if self.log.poisoned is None else None)
        self.feed.close()
        self.log.close()

    # ------------------------------------------------------------------ changing

    async def execute(
        self,
        command: Command,
        *,
        actor: str,
        command_id: str,
        cause: str = "",
        expect: tuple[str, int] | None = None,
        tracking: Tracked | None = None,
    ) -> Receipt:
        """Carry out one command; returns when its events are durable and published.

        ``command_id`` is the idempotency key ("" = none): a repeated one gets the first receipt with ``repeated``.
        ``expect`` = (resource, version) it must still have. ``tracking`` is recorded together with the outcome; a position
        that was recorded already makes the command a repeated one. Where there is no outcome nothing is written, so that
        position is known until a restart, and may then be followed again.
        Raises any Refusal of the model, Stale, Conflict(idempotency_key_reused), DiskFull, JournalError.
        """
        engine = self._ready()
        if engine.refused is not None:
            await engine.recovered()
            engine = self._ready()  # it may have been closed meanwhile
        digest = ""
        if command_id:
            digest = self._folded.receipts.digest(command)
            known = self._folded.receipts.find(command_id, digest)
            if known is not None:
                if known > self.feed.position:
                    await engine.join()
                return await self._receipt_of(known)
        if tracking is not None and tracking.position <= self.tracking(tracking.upstream):
            return Receipt(self.feed.position, repeated=True)
        if expect is not None:
            self._expect(*expect)
        receipt = self._stage(engine, command, actor, command_id, cause, digest, tracking)
        if receipt.position > self.feed.position:
            await engine.join()
        return receipt

    def dry_run(self, command: Command, *, actor: str, command_id: str = "", cause: str = "") -> list[Emitted]:
        """What ``execute`` would record now. Nothing changes. Raises the model's refusals."""
        return self.model.decide(command, Context(self._now(), actor, command_id, self._new_id, cause))

    # ------------------------------------------------------------------ reading

    @property
    def position(self) -> int:
        """The last position that is durable and published."""
        return self.feed.position

    @property
    def time(self) -> datetime:
        """That of the last fact; no later one gets an earlier time."""
        return self._folded.time

    @property
    def trouble(self) -> NanoError | None:
        """Why no command is taken now."""
        return self.log.poisoned or (self._engine.refused if self._engine is not None else None)

    async def retry(self) -> None:
        """After a failed write: see whether the disk takes writes again, as the next command would."""
        if self._engine is not None:
            with suppress(NanoError):
                await self._engine.recovered()

    def version(self, resource: str) -> int:
        """How many events the resource has had, staged ones included; 0 for one that never was."""
        return self._versions.get(resource, 0)

    def tracking(self, upstream: str) -> int:
        """The last position of that node's journal which was taken in here; 0 when none was."""
        return self.read_of(upstream)[0]

    def read_of(self, upstream: str) -> Read:
        return max(self._folded.tracking.get(upstream, (0, "")), self._seen.get(upstream, (0, "")))

    async def facts(self, after: int = 0, limit: int = 1_000, resource: str | None = None) -> list[Fact]:
        """Durable facts above ``after``: a position, or a version when a resource is named."""
        return await self.history.facts(after, limit, resource)

    async def snapshot(self, up_to: int, above: int, share: Share) -> Capture | None:
        """The newest snapshot up to a position and above another, read with ``share``: where a fold may begin."""
        found = await self.workers.run(partial(self.snapshots.newest, up_to=up_to, above=above, share=share))
        return found[0] if found is not None else None

    # ------------------------------------------------------------------ staging

    def _ready(self) -> GroupCommit:
        if self.log.poisoned is not None:
            raise fresh(self.log.poisoned)
        engine = self._engine
        if engine is None:
            raise JournalError("The journal is not open.", hint="The node is starting or stopping; try again.")
        engine.admit()
        return engine

    def _now(self) -> datetime:
        """The clock, but never before the time of the last line."""
        return max(self._clock(), self.time)

    def _expect(self, resource: str, version: int) -> None:
        actual = self._versions.get(resource, 0)
        if actual != version:
            raise Stale(
                f"{resource} is at version {actual}, not {version}.",
                hint="Read it again and decide anew.",
                resource=resource,
                expected=version,
                version=actual,
            )

    def _stage(
        self,
        engine: GroupCommit,
        command: Command,
        actor: str,
        command_id: str,
        cause: str,
        digest: str,
        tracking: Tracked | None,
    ) -> Receipt:
        at = self._now()
        emitted = self.model.decide(command, Context(at, actor, command_id, self._new_id, cause))
        if not emitted:
            if tracking is not None:
                self._seen[tracking.upstream] = tracking.position, tracking.mark
            return Receipt(self._staged)
        first = self._staged + 1
        body = Body(
            first,
            format_time(at),
            self.log.epoch,
            actor,
            command_id,
            cause,
            digest,
            self._folded.address(emitted),
            tracking,
            joined=bool(engine.waiting.lines),
        )
        text, line_hash = encode_line(self._hash, body)
        if len(text) > LINE_BYTES_MAX:
            raise TooLarge(
                f"The events of this command take {len(text)} bytes, more than {LINE_BYTES_MAX}.",
                code="line_too_large",
                hint="Do it in smaller steps.",
            )
        line = self._read_back(text, emitted)
        changes = self._apply(line)
        batch = engine.waiting
        if not batch.lines:
            batch.first = first
        batch.lines.append(text)
        batch.changes += changes
        if len(changes) > 1:
            batch.wide.append((first, line.last))
        batch.last = self._staged = line.last
        batch.digest = self._hash = line_hash
        return Receipt(self._staged, tuple([change.fact for change in changes]))

    def _read_back(self, text: bytes, emitted: list[Emitted]) -> Line[Any]:
        """The line as any later start will see it. An event that would not read back is refused before it harms."""
        try:
            return self._decoder.decode(text)
        except msgspec.DecodeError as error:
            kinds = ", ".join(sorted({type(event).__name__ for _, event in emitted}))
            raise JournalError(
                f"An event ({kinds}) would not read back: {error}.",
                code="event_unreadable",
                hint="This is a defect: a field holds a value of the wrong type, or the event is missing in the rules.",
            ) from error

    def _apply(self, line: Line[Any]) -> list[Change]:
        try:
            return self._folded.apply(line)
        except BaseException:
            self._restore_model()
            raise

    # ------------------------------------------------------------------ outcome of a batch

    def _durable(self, batch: Batch) -> None:
        self.feed.publish(batch.changes, batch.wide, batch.digest)
        self.journals.moved()
        self.snapshots.moved(batch.last, self._capture)

    def _capture(self) -> Capture:
        """Everything as staged now; durable once the log is at its position."""
        return self._folded.capture(self._staged, self._hash)

    def _failed(self, error: NanoError) -> None:
        """Forget everything that was staged: it did not happen."""
        self.snapshots.undone()
        try:
            self._refold()
        except Exception as broken:  # noqa: BLE001 (kept and raised at every later use)
            self.log.poisoned = JournalError(
                f"After a failed write ({error.message}) the journal could not be read back: {broken!r}.",
                code="journal_poisoned",
                hint="Check the disk, then restart the node.",
            )
        self.disturbed()

    # ------------------------------------------------------------------ folding

    def _open_and_fold(self) -> None:
        log_ = self.log
        log_.open()
        try:
            try:
                self._folded.receipts = Receipts(receipts_key(log_.disk, log_.folder.parent))
            except OSError as error:
                raise log_.refusal(error, "open") from error
            if not self._fold_from_snapshot():
                self._folded.begin(self.snapshots.base())
                self._folded.fold(log_.replay(self._decoder), log_.damage)
        except BaseException:
            log_.close()
            raise
        self._staged, self._hash = log_.position, log_.hash

    def _fold_from_snapshot(self) -> bool:
        """Whether the newest snapshot and the log after it gave the state. Whatever is wrong, the whole log tells better."""
        found = self.snapshots.newest()
        if found is None:
            return False
        capture, anchor = found
        blocks = self.log.replay(self._decoder, anchor)
        try:
            self._folded.restore(capture)
            self._folded.fold(blocks, self.log.damage)
        except Exception as error:  # noqa: BLE001 (all of it is read next, and raises what is really wrong)
            self.snapshots.passed_over(self.snapshots.path(capture.position), error)
            blocks.close()
            self.log.close()
            self.log.open()
            return False
        self.snapshots.begin(capture)
        return True

    def _refold(self) -> None:
        """Back to durable state in everything."""
        log_ = self.log
        self._folded.clear()
        self._seen.clear()
        after = 0
        if (found := self.snapshots.newest(up_to=log_.position)) is not None:
            self._folded.restore(found[0])
            after = found[0].position
        self._folded.fold(log_.lines(self._decoder, after))
        self._staged, self._hash = log_.position, log_.hash

    def _restore_model(self) -> None:
        """The model as it was before an event broke in the middle of a command: durable facts, then staged ones."""
        model, log_, position = self.model, self.log, 0
        model.clear()
        if (found := self.snapshots.newest(up_to=log_.position)) is not None:
            model.restore(found[0].states, found[0].memory)
            position = found[0].position
        for lines in log_.lines(self._decoder, position):
            for line in lines:
                for entry in line.events:
                    model.apply(entry.resource, entry.event, line.time)
                position = line.last
        for fact, _, _ in self._engine.pending() if self._engine is not None else ():
            if fact.position > position:
                model.apply(fact.resource, fact.event, fact.at)

    async def _receipt_of(self, position: int) -> Receipt:
        """The receipt that the line at this position gave when it was written."""
        line = await self.history.line_at(position)
        return Receipt(line.last, tuple(facts_of(line)), repeated=True)
