"""The ledger over a real folder, with a toy model."""

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path

import anyio
import pytest

from nano.domain.errors import Conflict
from nano.journal.commit_log import CommitLog
from nano.journal.disk import Disk
from nano.journal.feed import Feed
from nano.journal.ledger import Ledger
from nano.journal.testing import Count, Counters, Make, numbered, ticking

pytestmark = pytest.mark.anyio


@asynccontextmanager
async def opened(folder: Path, disk: Disk | None = None, feed: Feed | None = None) -> AsyncIterator[Ledger]:
    clock = ticking()
    log = CommitLog(folder / "journal", clock=clock, disk=disk)
    async with Ledger.open(log, Counters(), clock=clock, new_id=numbered(), feed=feed or Feed()) as ledger:
        yield ledger


def values(ledger: Ledger) -> dict[str, int]:
    assert isinstance(ledger.model, Counters)
    return ledger.model.values()


async def test_a_command_becomes_facts_and_survives_a_restart(tmp_path: Path) -> None:
    async with opened(tmp_path) as ledger:
        made = await ledger.execute(Make("a"), actor="admin", command_id="1")
        counted = await ledger.execute(Count("a", 5), actor="admin", command_id="2", cause="task/t")
        assert (made.position, counted.position) == (1, 2)
        fact = counted.facts[0]
        assert (fact.resource, fact.version, fact.actor, fact.command_id, fact.cause) == (
            "counter/a", 2, "admin", "2", "task/t",
        )  # fmt: skip
    async with opened(tmp_path) as ledger:
        assert values(ledger) == {"a": 5}
        assert (ledger.position, ledger.version("counter/a")) == (2, 2)
        assert await ledger.facts() == [*made.facts, *counted.facts]


async def test_concurrent_commands_each_see_the_one_before(tmp_path: Path) -> None:
    async with opened(tmp_path) as ledger:
        await ledger.execute(Make("a"), actor="admin", command_id="make")
        refused = []

        async def one(number: int) -> None:
            await ledger.execute(Count("a"), actor="admin", command_id=f"count-{number}")
            try:
                await ledger.execute(Make("b"), actor="admin", command_id=f"make-{number}")
            except Conflict:
                refused.append(number)

        async with anyio.create_task_group() as group:
            for number in range(200):
                group.start_soon(one, number)
        assert values(ledger) == {"a": 200, "b": 0}
        assert len(refused) == 199
