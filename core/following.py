"""Following one cell's journal: from its facts to Core's, with the position read recorded in the same transaction.

Facts that concern no guest write nothing: should Core restart, they are read once more and again write nothing.
"""

from collections.abc import AsyncIterator
from typing import Final, get_args

import msgspec

from nano.core.alarms import AlarmDesk
from nano.core.usage import UsageBoard
from nano.domain.cell import DescribeCell, FaultCell
from nano.domain.facts import id_of
from nano.domain.report import RecordReport, Reported, ReportedFact
from nano.journal.ledger import Ledger
from nano.transports.messages import HealthIs, Heartbeat, LogBatch, LoggedFact, Message

ACTOR: Final = "core"
_TAGS: Final = frozenset(kind.__struct_config__.tag for kind in get_args(Reported))


class _Tag(msgspec.Struct):
    type: str


_tag = msgspec.json.Decoder(_Tag)
_reported: msgspec.json.Decoder[Reported] = msgspec.json.Decoder(Reported)


class Follower:
    """``reached`` is the position of the cell's journal up to which everything is recorded here."""

    def __init__(self, cell: str, ledger: Ledger, usage: UsageBoard, alarms: AlarmDesk) -> None:
        self.cell = cell
        self.reached = ledger.tracking(f"cell/{cell}")
        self._ledger = ledger
        self._usage = usage
        self._alarms = alarms

    async def read(self, messages: AsyncIterator[Message]) -> AsyncIterator[None]:
        """Take in what the cell sends; yields after each message, when its outcome is durable."""
        async for message in messages:
            if isinstance(message, LogBatch):
                await self._batch(message)
            elif isinstance(message, Heartbeat):
                await self._beat(message)
            elif isinstance(message, HealthIs):
                self._alarms.heard(self.cell, message)
            yield

    async def _batch(self, batch: LogBatch) -> None:
        if batch.head < self.reached:
            error = (
                f"Its journal ends at {batch.head}, but Core has read it up to {self.reached}: it was replaced or cut."
            )
            await self._ledger.execute(FaultCell(self.cell, error), actor=ACTOR, command_id="")
            return
        facts = tuple(fact for logged in batch.facts if (fact := report_of(logged)) is not None)
        position = batch.facts[-1].position if batch.facts else self.reached
        if facts:
            upstream = f"cell/{self.cell}"
            await self._ledger.execute(
                RecordReport(cell=self.cell, facts=facts),
                actor=upstream,
                command_id="",
                cause=f"{upstream}@{position}",
                tracking=(upstream, position),
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
        )
        await self._ledger.execute(described, actor=f"cell/{self.cell}", command_id="")


def report_of(logged: LoggedFact) -> ReportedFact | None:
    """The fact in Core's terms; None for one that is the cell's own affair (orders)."""
    if _tag.decode(logged.event).type not in _TAGS:
        return None
    return ReportedFact(id_of(logged.resource), _reported.decode(logged.event))
