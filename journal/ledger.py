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

It does not know what commands mean (``Model``), how lines are kept (``CommitLog``) or who listens (``Feed``).
"""

from collections.abc import AsyncIterator, Callable, Iterable
from contextlib import asynccontextmanager
from datetime import datetime
from typing import Any, Final

import anyio
import msgspec

from nano.domain.errors import JournalError, NanoError, Stale, TooLarge
from nano.domain.facts import Change, Command, Context, Emitted, Fact, Model
from nano.domain.naming import require_name
from nano.journal.commit_log import BEGINNING, CommitLog
from nano.journal.engine import Batch, GroupCommit, fresh
from nano.journal.feed import Feed
from nano.journal.history import LogHistory
from nano.journal.line import Body, Entry, Line, Tracked, encode_line, format_time, line_decoder
from nano.journal.reader import facts_of, read_lines
from nano.journal.receipts import Receipt, Receipts, receipts_key
from nano.journal.resource_journals import ResourceJournals
from nano.journal.segments import damaged
from nano.journal.workers import THREADS, Workers

__all__ = ["Ledger", "Receipt"]

WAITING_MAX: Final = 50_000
"""Commands that may wait for one sync; more are refused (journal_busy) instead of piling up."""

LINE_BYTES_MAX: Final = 16 << 20
"""Most that the events of one command may take in the log."""


class Ledger:
    def __init__(
        self,
        log: CommitLog,
        model: Model,
        *,
        clock: Callable[[], datetime],
        new_id: Callable[[], str],
        feed: Feed,
        workers: Workers = THREADS,
        journals: Callable[[CommitLog], ResourceJournals] = ResourceJournals,
    ) -> None:
        self.log = log
        self.model = model
        self.feed = feed
        self._clock = clock
        self._new_id = new_id
        self._decoder = line_decoder(model.rules.event_types())
        self._workers = workers
        self._journals = journals(log)
        self.history = LogHistory(log, self._journals, model.rules.event_types(), workers)
        self._versions: dict[str, int] = {}
        self._tracking: dict[str, int] = {}
        self._staged = 0
        self._hash = log.hash
        self._time = BEGINNING
        self._receipts: Receipts | None = None
        self._engine: GroupCommit | None = None
        self._broken: NanoError | None = None

    @classmethod
    @asynccontextmanager
    async def open(
        cls,
        log: CommitLog,
        model: Model,
        *,
        clock: Callable[[], datetime],
        new_id: Callable[[], str],
        feed: Feed,
        workers: Workers = THREADS,
        journals: Callable[[CommitLog], ResourceJournals] = ResourceJournals,
    ) -> "AsyncIterator[Ledger]":
        ledger = cls(log, model, clock=clock, new_id=new_id, feed=feed, workers=workers, journals=journals)
        await ledger.start()
        try:
            yield ledger
        finally:
            await ledger.aclose()

    async def start(self) -> None:
        """Open the log, fold all of it into the model. Raises JournalError, JournalDamaged, DiskFull."""
        await self._workers.run(self._open_and_fold)
        self._journals.start()
        self.feed.attach(self.history, self.log.position)
        self._engine = GroupCommit(self.log, self._durable, self._failed, self._workers)

    async def aclose(self) -> None:
        """Wait until what was accepted is durable, then let go of the journal. May be called twice."""
        engine, self._engine = self._engine, None
        if engine is not None:
            with anyio.CancelScope(shield=True):
                await engine.close()
                await self._workers.run(self._journals.close)
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
        tracking: tuple[str, int] | None = None,
    ) -> Receipt:
        """Carry out one command; returns when its events are durable and published.

        ``command_id`` is the idempotency key ("" = none): a repeated one gets the first receipt with ``repeated``.
        ``expect`` = (resource, version) it must still have. ``tracking`` = (upstream, position) that is recorded
        together with the outcome; a position that was recorded already makes the command a repeated one. Where there is
        no outcome nothing is written, so that position is known until a restart, and may then be followed again.
        Raises any Refusal of the model, Stale, Conflict(idempotency_key_reused), DiskFull, JournalError.
        """
        engine = self._ready()
        if engine.refused is not None:
            await engine.recovered()
            engine = self._ready()  # it may have been closed meanwhile
        assert self._receipts is not None
        digest = ""
        if command_id:
            digest = self._receipts.digest(command)
            known = self._receipts.find(command_id, digest)
            if known is not None:
                if known > self.feed.position:
                    await engine.join()
                return await self._receipt_of(known)
        if tracking is not None and tracking[1] <= self._tracking.get(tracking[0], 0):
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

    def version(self, resource: str) -> int:
        """How many events the resource has had, staged ones included; 0 for one that never was."""
        return self._versions.get(resource, 0)

    def tracking(self, upstream: str) -> int:
        """The last position of that node's journal which was taken in here; 0 when none was."""
        return self._tracking.get(upstream, 0)

    async def facts(self, after: int = 0, limit: int = 1_000, resource: str | None = None) -> list[Fact]:
        """Durable facts above ``after``: a position, or a version when a resource is named."""
        return await self.history.facts(after, limit, resource)

    # ------------------------------------------------------------------ staging

    def _ready(self) -> GroupCommit:
        if self._broken is not None:
            raise fresh(self._broken)
        if self.log.poisoned is not None:
            raise fresh(self.log.poisoned)
        engine = self._engine
        if engine is None:
            raise JournalError("The journal is not open.", hint="The node is starting or stopping; try again.")
        if len(engine.waiting.waiters) >= WAITING_MAX:
            raise JournalError(
                f"More than {WAITING_MAX} commands wait for the disk.", code="journal_busy", hint="Try again shortly."
            )
        return engine

    def _now(self) -> datetime:
        """The clock, but never before the time of the last line."""
        return max(self._clock(), self._time)

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
        tracking: tuple[str, int] | None,
    ) -> Receipt:
        at = self._now()
        emitted = self.model.decide(command, Context(at, actor, command_id, self._new_id, cause))
        if tracking is not None and not emitted:
            self._tracking[tracking[0]] = tracking[1]
        if not emitted:
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
            self._address(emitted),
            Tracked(*tracking) if tracking is not None else None,
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
        self._time = line.time
        if tracking is not None:
            self._tracking[tracking[0]] = tracking[1]
        assert self._receipts is not None
        self._receipts.remember(command_id, digest, first)
        return Receipt(self._staged, tuple([change.fact for change in changes]))

    def _address(self, emitted: list[Emitted]) -> tuple[Entry[Any], ...]:
        """Give each event the next version of its resource."""
        versions = self._versions
        ahead: dict[str, int] = {}
        entries = []
        for resource, event in emitted:
            version = ahead.get(resource) or versions.get(resource, 0)
            if version == 0:
                _require_resource(resource)
            ahead[resource] = version + 1
            entries.append(Entry(resource, version + 1, event))
        return tuple(entries)

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
        changes = []
        apply = self.model.apply
        try:
            for fact in facts_of(line):
                before, after = apply(fact.resource, fact.event, fact.at)
                changes.append(Change(fact, before, after))
        except BaseException:
            self._restore_model()
            raise
        for entry in line.events:
            self._versions[entry.resource] = entry.version
        return changes

    # ------------------------------------------------------------------ outcome of a batch

    def _durable(self, batch: Batch) -> None:
        self.feed.publish(batch.changes, batch.wide)
        self._journals.moved()

    def _failed(self, error: NanoError) -> None:
        """Forget everything that was staged: it did not happen."""
        try:
            self._refold()
        except Exception as broken:  # noqa: BLE001 (kept and raised at every later use)
            self._broken = JournalError(
                f"After a failed write ({error.message}) the journal could not be read back: {broken!r}.",
                code="journal_poisoned",
                hint="Check the disk, then restart the node.",
            )

    # ------------------------------------------------------------------ folding

    def _open_and_fold(self) -> None:
        log = self.log
        log.open()
        try:
            try:
                self._receipts = Receipts(receipts_key(log.disk, log.folder.parent))
            except OSError as error:
                raise log.refusal(error, "open") from error
            self._forget()
            self._fold(log.replay(self._decoder), check=True)
        except BaseException:
            log.close()
            raise
        self._staged, self._hash = log.position, log.hash

    def _refold(self) -> None:
        """Back to durable state in everything."""
        self._forget()
        log = self.log
        self._fold(read_lines(log.disk, log.segments, self._decoder, 0), check=False)
        self._staged, self._hash = log.position, log.hash

    def _restore_model(self) -> None:
        """The model as it was before an event broke in the middle of a command: durable facts, then staged ones."""
        model, log, position = self.model, self.log, 0
        model.clear()
        for lines in read_lines(log.disk, log.segments, self._decoder, 0):
            for line in lines:
                for entry in line.events:
                    model.apply(entry.resource, entry.event, line.time)
                position = line.last
        for fact, _, _ in self._engine.pending() if self._engine is not None else ():
            if fact.position > position:
                model.apply(fact.resource, fact.event, fact.at)

    def _forget(self) -> None:
        self.model.clear()
        self._versions.clear()
        self._tracking.clear()
        if self._receipts is not None:
            self._receipts.clear()
        self._time = BEGINNING

    def _fold(self, blocks: Iterable[list[Line[Any]]], *, check: bool) -> None:
        versions = self._versions
        apply = self.model.apply
        assert self._receipts is not None
        for lines in blocks:
            for number, line in enumerate(lines):
                at = line.time
                for entry in line.events:
                    resource = entry.resource
                    version = versions.get(resource, 0) + 1
                    if check and entry.version != version:
                        raise damaged(*self.log.place(number), f"{resource} should have version {version}")
                    versions[resource] = version
                    apply(resource, entry.event, at)
                if line.tracking is not None:
                    self._tracking[line.tracking.upstream] = line.tracking.position
            self._receipts.remember_lines(lines)
            self._time = lines[-1].time

    async def _receipt_of(self, position: int) -> Receipt:
        """The receipt that the line at this position gave when it was written."""
        try:
            line = await self._workers.run(self._line_at, position)
        except OSError as error:
            raise self.log.refusal(error, "read") from error
        return Receipt(line.last, tuple(facts_of(line)), repeated=True)

    def _line_at(self, position: int) -> Line[Any]:
        return next(read_lines(self.log.disk, self.log.segments, self._decoder, position - 1))[0]


def _require_resource(resource: str) -> None:
    """A resource's name is the path of its journal: nothing odd may get in."""
    kind, _, name = resource.partition("/")
    require_name(kind, "kind of resource")
    require_name(name, "resource id", dotted=True)
