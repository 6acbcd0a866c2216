"""Following one cell's journal: from its facts to Core's, with the position read recorded in the same transaction.

Facts that concern no guest write nothing: should Core restart, they are read once more and again write nothing. What comes
while a report is being written goes into the next one together, as commands share a sync: a slow disk makes larger reports
and no queue. What is held meanwhile is bounded.
"""

from collections.abc import AsyncIterator, Callable, Iterable, Iterator
from typing import Final, get_args

import anyio
import msgspec

from nano.core.alarms import AlarmDesk
from nano.core.usage import UsageBoard
from nano.domain.cell import DescribeCell, FaultCell
from nano.domain.errors import Conflict
from nano.domain.facts import id_of
from nano.domain.report import RecordReport, Reported, ReportedFact
from nano.journal.ledger import Ledger
from nano.journal.line import Tracked
from nano.transports.messages import HealthIs, Heartbeat, LogBatch, LoggedFact, Message

ACTOR: Final = "core"
FACTS_MAX: Final = 1_000
"""In one report, unless a single message has more; also how many are held while one is written."""
_TAGS: Final = frozenset(kind.__struct_config__.tag for kind in get_args(Reported))


class _Tag(msgspec.Struct):
    type: str


_tag = msgspec.json.Decoder(_Tag)
_reported: msgspec.json.Decoder[Reported] = msgspec.json.Decoder(Reported)


class Follower:
    """``reached`` is the position of the cell's journal up to which everything is recorded here, ``mark`` what it said there.
    ``diverged``: its journal is no longer the one that was read, so nothing of it is taken in, and it gets no orders."""

    def __init__(self, cell: str, ledger: Ledger, usage: UsageBoard, alarms: AlarmDesk) -> None:
        self.cell = cell
        self.reached, self.mark = ledger.read_of(f"cell/{cell}")
        self.diverged = False
        self._ledger = ledger
        self._usage = usage
        self._alarms = alarms

    async def read(self, messages: AsyncIterator[Message], moved: Callable[[], None]) -> None:
        """Take in what the cell sends until it ends; ``moved`` is called when the outcome of something is durable."""
        held = _Held()
        async with anyio.create_task_group() as tasks:
            tasks.start_soon(held.fill, messages)
            while taken := await held.take():
                for message in joined(taken):
                    await self._take_in(message)
                    moved()

    async def _take_in(self, message: Message) -> None:
        if isinstance(message, LogBatch):
            await self._batch(message)
        elif isinstance(message, Heartbeat):
            await self._beat(message)
        elif isinstance(message, HealthIs):
            self._alarms.heard(self.cell, message)

    def has(self, position: int) -> bool:
        """Whether what the cell's journal says up to there is recorded here."""
        return self.reached >= position and not self.diverged

    async def refused(self, error: Conflict) -> None:
        """The cell says that what was read of its journal is not in it."""
        self.diverged = True
        await self._fault(error.message)

    async def _fault(self, error: str) -> None:
        await self._ledger.execute(FaultCell(self.cell, error), actor=ACTOR, command_id="")

    async def _batch(self, batch: LogBatch) -> None:
        if self.diverged:
            return
        if batch.head < self.reached:  # as a cell says it that was never told a mark
            self.diverged = True
            await self._fault(
                f"Its journal ends at {batch.head}, but Core has read it up to {self.reached}: it was replaced or cut."
            )
            return
        if not batch.facts:
            await self._fault("")
        facts = tuple(fact for logged in batch.facts if (fact := report_of(logged)) is not None)
        position = batch.facts[-1].position if batch.facts else self.reached
        if facts:
            upstream = f"cell/{self.cell}"
            await self._ledger.execute(
                RecordReport(cell=self.cell, facts=facts),
                actor=upstream,
                command_id="",
                cause=f"{upstream}@{position}",
                tracking=Tracked(upstream, position, batch.mark),
            )
        self.reached = max(self.reached, position)

    async def _beat(self, beat: Heartbeat) -> None:
        self._usage.heard(self.cell, beat)
        described = DescribeCell(
            name=self.cell,
            cores=beat.cores,
            memory=beat.memory_total,
            disk=beat.disk_total,
            virt_type=beat.virt_type,
            virt_note=beat.virt_note,
            hypervisor=beat.hypervisor,
            abilities=beat.abilities,
            storage=beat.storage,
        )
        await self._ledger.execute(described, actor=f"cell/{self.cell}", command_id="")


class _Held:
    """Messages that came while earlier ones were taken in, up to FACTS_MAX facts and as many other messages."""

    def __init__(self) -> None:
        self._messages: list[Message] = []
        self._room = FACTS_MAX
        self._ended = False
        self._changed = anyio.Event()

    async def fill(self, messages: AsyncIterator[Message]) -> None:
        async for message in messages:
            while self._room <= 0:
                await self._changed.wait()
            self._messages.append(message)
            self._room -= max(1, len(message.facts)) if isinstance(message, LogBatch) else 1
            self._wake()
        self._ended = True
        self._wake()

    async def take(self) -> list[Message]:
        """All that there are, at least one; none when no more come."""
        while not self._messages and not self._ended:
            await self._changed.wait()
        taken, self._messages, self._room = self._messages, [], FACTS_MAX
        self._wake()
        return taken

    def _wake(self) -> None:
        changed, self._changed = self._changed, anyio.Event()
        changed.set()


def joined(messages: Iterable[Message]) -> Iterator[Message]:
    """The same, but facts that come one after the other in one batch. An empty batch only tells how far the journal goes,
    and stays by itself."""
    batch: LogBatch | None = None
    for message in messages:
        if batch is not None and isinstance(message, LogBatch) and batch.facts and message.facts:
            batch = LogBatch(message.head, [*batch.facts, *message.facts], message.mark)
            continue
        if batch is not None:
            yield batch
            batch = None
        if isinstance(message, LogBatch):
            batch = message
        else:
            yield message
    if batch is not None:
        yield batch


def report_of(logged: LoggedFact) -> ReportedFact | None:
    """The fact in Core's terms; None for one that is the cell's own affair (orders)."""
    if _tag.decode(logged.event).type not in _TAGS:
        return None
    return ReportedFact(id_of(logged.resource), _reported.decode(logged.event), logged.position)
