"""Core reads a cell's journal: what comes while a report is written is taken in together."""

from collections.abc import AsyncIterator
from typing import Any, cast

import anyio
import msgspec
import pytest

from nano.core import following
from nano.core.alarms import AlarmDesk
from nano.core.following import Follower, joined
from nano.core.usage import UsageBoard
from nano.domain.cell import FaultCell
from nano.domain.errors import Conflict, JournalError
from nano.journal.ledger import Ledger
from nano.journal.line import Tracked
from nano.transports.messages import LogBatch, LoggedFact, Message, Ok

pytestmark = pytest.mark.anyio


def batch(first: int, count: int = 1, *, head: int = 0) -> LogBatch:
    event = msgspec.Raw(b'{"type":"domain.created"}')
    facts = [
        LoggedFact(
            position=position, at="", actor="", command_id="", resource=f"domain/{position}", version=1, event=event
        )
        for position in range(first, first + count)
    ]
    return LogBatch(head or first + count - 1, facts, f"mark-{first + count - 1}")


class SlowLedger:
    """Each command waits until ``disk`` lets it pass; ``done`` are the commands with what they were recorded with."""

    def __init__(self) -> None:
        self.disk = anyio.Semaphore(0)
        self.begun = anyio.Semaphore(0)
        self.done: list[tuple[Any, Any]] = []
        self.error: JournalError | None = None

    def read_of(self, upstream: str) -> tuple[int, str]:
        return 0, ""

    async def execute(self, command: object, *, tracking: object = None, **_: object) -> None:
        self.begun.release()
        await self.disk.acquire()
        if self.error is not None:
            raise self.error
        self.done.append((command, tracking))

    def reports(self) -> list[list[str]]:
        return [[fact.guest_id for fact in command.facts] for command, _ in self.done]


def follower(ledger: SlowLedger) -> Follower:
    return Follower("one", cast(Ledger, ledger), cast(UsageBoard, None), cast(AlarmDesk, None))


def test_facts_in_a_row_are_joined_and_everything_else_keeps_its_place() -> None:
    empty = LogBatch(7, [])
    messages: list[Message] = [empty, batch(1), batch(2, 2), Ok(), batch(4), batch(5), empty, batch(6)]
    assert list(joined(messages)) == [empty, batch(1, 3), Ok(), batch(4, 2), empty, batch(6)]
    assert list(joined([])) == []


async def test_what_comes_while_a_report_is_written_is_one_report() -> None:
    ledger, moves = SlowLedger(), 0
    reading = follower(ledger)
    sent, messages = anyio.create_memory_object_stream[Message](10)

    def moved() -> None:
        nonlocal moves
        moves += 1

    async with sent, messages, anyio.create_task_group() as tasks:
        tasks.start_soon(reading.read, messages, moved)
        await sent.send(batch(1))
        await ledger.begun.acquire()
        for position in (2, 3, 4):
            await sent.send(batch(position))
        await anyio.wait_all_tasks_blocked()
        assert reading.reached == 0, "nothing is reached before it is durable"
        ledger.disk.release()
        await ledger.begun.acquire()
        assert reading.reached == 1
        ledger.disk.release()
        await anyio.wait_all_tasks_blocked()
        assert ledger.reports() == [["1"], ["2", "3", "4"]]
        assert [tracking for _, tracking in ledger.done] == [
            Tracked("cell/one", 1, "mark-1"),
            Tracked("cell/one", 4, "mark-4"),
        ]
        assert (reading.reached, moves) == (4, 2)
        sent.close()


async def test_what_is_held_is_bounded(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(following, "FACTS_MAX", 3)
    ledger, taken = SlowLedger(), 0

    async def many() -> AsyncIterator[Message]:
        nonlocal taken
        for position in range(1, 21):
            taken += 1
            yield batch(position)

    async with anyio.create_task_group() as tasks:
        tasks.start_soon(follower(ledger).read, many(), lambda: None)
        await ledger.begun.acquire()
        await anyio.wait_all_tasks_blocked()
        assert taken <= 3 + 3 + 1, "three being written, three held, one in hand"
        for _ in range(20):
            ledger.disk.release()
    assert [name for report in ledger.reports() for name in report] == [str(position) for position in range(1, 21)]
    assert max(map(len, ledger.reports())) <= 3


async def test_a_journal_that_was_cut_is_a_fault_also_when_more_has_come() -> None:
    ledger = SlowLedger()
    ledger.disk = anyio.Semaphore(10)
    reading = follower(ledger)
    reading.reached = 10

    async def cut() -> AsyncIterator[Message]:
        yield LogBatch(5, [])
        yield batch(6, 1)
        yield batch(7, 10)

    await reading.read(cut(), lambda: None)
    assert [type(command) for command, _ in ledger.done] == [FaultCell], "and nothing of it was taken in"
    assert not reading.has(10), "whatever the cell says now is not recorded"


async def test_what_the_cell_refuses_is_a_fault_that_ends_when_it_is_followed_again() -> None:
    ledger = SlowLedger()
    ledger.disk = anyio.Semaphore(10)
    reading = follower(ledger)
    reading.reached = 10
    await reading.refused(Conflict("It says something else.", code="journal_diverged"))
    assert not reading.has(10)

    async def followed() -> AsyncIterator[Message]:
        yield LogBatch(12, [])

    again = follower(ledger)
    await again.read(followed(), lambda: None)
    assert [command for command, _ in ledger.done] == [
        FaultCell("one", "It says something else."),
        FaultCell("one", ""),
    ]


async def test_what_could_not_be_recorded_ends_the_reading() -> None:
    ledger = SlowLedger()
    ledger.disk, ledger.error = anyio.Semaphore(1), JournalError("no disk")

    async def endless() -> AsyncIterator[Message]:
        yield batch(1)
        await anyio.sleep_forever()

    with pytest.raises(ExceptionGroup) as caught:
        await follower(ledger).read(endless(), lambda: None)
    assert caught.group_contains(JournalError)
