"""What every log has to do, whatever keeps its lines."""

import os
import signal
import subprocess
import sys
from pathlib import Path
from typing import Any

import anyio
import anyio.lowlevel
import msgspec
import pytest

from nano.domain.errors import Conflict, JournalError, Stale, Unknown
from nano.journal.engines.opening import journal_disk
from nano.journal.engines.settings import EngineSettings
from nano.journal.line import Line, Tracked
from nano.journal.reader import JournalReader
from nano.journal.snapshots import SnapshotSettings
from nano.journal.testing import Count, CountAll, Counters, Remove, make_counters, values

pytestmark = pytest.mark.anyio

KILLS = 3
ACKNOWLEDGED_MIN = 200

CHILD = """
import sys, anyio, msgspec
from datetime import UTC, datetime
from pathlib import Path
from uuid import uuid4
from nano.journal.engines.opening import log_for
from nano.journal.engines.settings import EngineSettings
from nano.journal.feed import Feed
from nano.journal.ledger import Ledger
from nano.journal.testing import Count, CountAll, Counters, Make

async def main():
    clock = lambda: datetime.now(UTC)
    settings = msgspec.json.decode(sys.argv[2], type=EngineSettings)
    log = log_for(settings, Path(sys.argv[1]), clock=clock, owner="node")
    async with Ledger.open(log, Counters(), clock=clock, new_id=lambda: str(uuid4()), feed=Feed()) as ledger:
        async def work(number):
            name = f"n{number}"
            if ledger.model.get(f"counter/{name}") is None:
                await ledger.execute(Make(name), actor="admin", command_id="")
            while True:
                command = CountAll() if number == 0 else Count(name)
                receipt = await ledger.execute(command, actor="admin", command_id=str(uuid4()))
                sys.stdout.write(f"{receipt.facts[0].position} {receipt.facts[0].command_id}\\n")
                sys.stdout.flush()
        async with anyio.create_task_group() as group:
            for number in range(20):
                group.start_soon(work, number)

anyio.run(main)
"""


async def test_what_was_answered_is_there_after_a_restart(place: Any) -> None:
    async with place.opened() as ledger:
        await make_counters(ledger, "a", "b")
        receipt = await ledger.execute(CountAll(5), actor="admin", command_id="all", cause="task/1")
        with pytest.raises(Unknown):
            await ledger.execute(Count("nobody"), actor="admin", command_id="")
        assert (receipt.position, ledger.log.epoch) == (4, 1)
    written = place.lines()
    async with place.opened() as ledger:
        assert values(ledger) == {"a": 5, "b": 5}
        assert (ledger.position, ledger.log.epoch, ledger.version("counter/a")) == (4, 2, 2)
        assert (await ledger.execute(Remove("a"), actor="admin", command_id="")).position == 5
        with pytest.raises(Stale):
            await ledger.execute(Count("b"), actor="admin", command_id="", expect=("counter/b", 1))
    assert place.lines().startswith(written)
    lines = [msgspec.json.decode(text, type=Line[msgspec.Raw]) for text in place.lines().splitlines()]
    assert [(line.position, line.epoch, line.cause) for line in lines] == [
        (1, 1, ""), (2, 1, ""), (3, 1, "task/1"), (5, 2, ""),
    ]  # fmt: skip
    async with place.opened() as ledger:
        assert (values(ledger), ledger.version("counter/a")) == ({"b": 5}, 3)


async def test_many_at_once(place: Any) -> None:
    async with place.opened() as ledger:
        await make_counters(ledger, "a")
        async with anyio.create_task_group() as tasks:
            for number in range(300):
                tasks.start_soon(lambda number=number: ledger.execute(Count("a"), actor="x", command_id=f"c{number}"))
        assert values(ledger) == {"a": 300}
    assert place.verified().damage is None
    async with place.opened() as ledger:
        assert values(ledger) == {"a": 300}


async def test_a_command_id_is_carried_out_once(place: Any) -> None:
    async with place.opened() as ledger:
        await make_counters(ledger, "a")
        first = await ledger.execute(Count("a", 2), actor="admin", command_id="one")
    async with place.opened() as ledger:
        again = await ledger.execute(Count("a", 2), actor="admin", command_id="one")
        assert (again.position, again.repeated, again.facts) == (first.position, True, first.facts)
        with pytest.raises(Conflict) as refused:
            await ledger.execute(Count("a", 3), actor="admin", command_id="one")
        assert refused.value.code == "idempotency_key_reused"
        assert values(ledger) == {"a": 2}


async def test_tracking_is_recorded_with_its_outcome(place: Any) -> None:
    async with place.opened() as ledger:
        await make_counters(ledger, "a")
        await ledger.execute(Count("a"), actor="cell", command_id="", tracking=Tracked("cell/1", 7))
    async with place.opened() as ledger:
        assert ledger.tracking("cell/1") == 7
        again = await ledger.execute(Count("a"), actor="cell", command_id="", tracking=Tracked("cell/1", 7))
        assert again.repeated
        await ledger.execute(Count("a"), actor="cell", command_id="", tracking=Tracked("cell/1", 8))
        assert (values(ledger), ledger.tracking("cell/1")) == ({"a": 2}, 8)


async def test_a_second_writer_is_refused(place: Any, tmp_path: Path) -> None:
    async with place.opened() as ledger:
        await make_counters(ledger, "a")
        with pytest.raises(JournalError) as refused:
            async with place.opened():
                pass
        assert refused.value.code == "journal_locked"
        if place.settings.engine == "postgres":  # the same database from another folder
            with pytest.raises(JournalError) as refused:
                async with place.opened(place.log(node=tmp_path / "other")):
                    pass
            assert refused.value.code == "journal_locked"
        await ledger.execute(Count("a"), actor="admin", command_id="")
    async with place.opened() as ledger:
        assert values(ledger) == {"a": 1}


async def test_history_reads_any_stretch(place: Any) -> None:
    async with place.opened() as ledger:
        await make_counters(ledger, "a", "b")
        for number in range(700):
            await ledger.execute(CountAll() if number % 100 == 50 else Count("a"), actor="admin", command_id="")
        last = ledger.position
        assert last == 709
        for after, limit in ((0, 10), (51, 3), (340, 200), (last - 1, 5), (last, 5)):
            facts = await ledger.facts(after, limit)
            assert [fact.position for fact in facts] == list(range(after + 1, min(after + limit, last) + 1))
        whole = await ledger.history.transactions(51, 54, 1)
        assert [fact.position for fact in whole] == [52]
        assert [fact.version for fact in await ledger.facts(600, 5, "counter/a")] == [601, 602, 603, 604, 605]
        async with ledger.feed.subscribe(700) as changes:
            async for batch in changes:
                assert [change.fact.position for change in batch] == list(range(701, 710))
                break
    async with place.opened() as ledger:  # from the files and rows, not from memory
        assert [fact.position for fact in await ledger.facts(640, 5)] == [641, 642, 643, 644, 645]


async def test_a_start_from_a_snapshot_gives_the_same(place: Any) -> None:
    often = SnapshotSettings(every_events=200, at_stop_events=10_000)
    async with place.opened(snapshots=often) as ledger:
        await make_counters(ledger, "a", "b")
        for number in range(560):
            await ledger.execute(Count("ab"[number % 2]), actor="admin", command_id=f"c{number}")
            with anyio.fail_after(20):
                while ledger.position - ledger.snapshots.position >= 200:
                    await anyio.lowlevel.checkpoint()
        assert ledger.snapshots.position == 400
        head = ledger.log.hash
    for keep in (True, False):
        async with place.opened(snapshots=often if keep else SnapshotSettings(every_events=0)) as ledger:
            assert ledger.snapshots.position == (400 if keep else 0)
            assert (values(ledger), ledger.position, ledger.log.hash) == ({"a": 280, "b": 280}, 562, head)
            assert [fact.position for fact in await ledger.facts(100, 3)] == [101, 102, 103]
            found = await ledger.snapshot(450, 0, lambda _, state: state)
            assert (found.position if found else 0) == (400 if keep else 0)
            assert (await ledger.execute(Count("b"), actor="admin", command_id="c3")).repeated


async def test_resource_journals_say_what_the_log_says(place: Any) -> None:
    async with place.opened() as ledger:
        await make_counters(ledger, "a", "b")
        await ledger.execute(CountAll(), actor="admin", command_id="")
    report = place.verified()
    assert (report.damage, report.resource_rows, report.position, report.lines) == (None, 4, 4, 3)
    (place.journal / "resources" / "counter" / "a.jsonl").unlink()
    async with place.opened() as ledger:
        await ledger.execute(CountAll(), actor="admin", command_id="")
    report = place.verified()
    assert (report.damage, report.resource_rows) == (None, 6)


async def test_settings_that_name_another_engine_are_refused(place: Any) -> None:
    async with place.opened() as ledger:
        await make_counters(ledger, "a")
    was = place.settings
    place.settings = EngineSettings(engine="sqlite" if was.engine == "json" else "json")
    with pytest.raises(JournalError) as refused:
        place.log()
    assert refused.value.code == "journal_elsewhere"
    place.settings = was
    async with place.opened() as ledger:
        assert values(ledger) == {"a": 0}


def acknowledged_until_killed(place: Any) -> dict[int, str]:
    """Positions and command ids a child said were durable before it was killed in the middle of its work."""
    found: dict[int, str] = {}
    command = [sys.executable, "-c", CHILD, str(place.journal), msgspec.json.encode(place.settings).decode()]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as child:
        assert child.stdout is not None
        for row in child.stdout:
            if not row.endswith("\n"):
                break
            position, command_id = row.split()
            found[int(position)] = command_id
            if len(found) == ACKNOWLEDGED_MIN:
                os.kill(child.pid, signal.SIGKILL)
    assert len(found) >= ACKNOWLEDGED_MIN
    return found


async def test_kill_9_loses_nothing_that_was_acknowledged(place: Any) -> None:
    acknowledged: dict[int, str] = {}
    for _ in range(KILLS):
        acknowledged |= acknowledged_until_killed(place)
    lines = [msgspec.json.decode(text, type=Line[msgspec.Raw]) for text in place.lines().splitlines()]
    recorded = {line.position: line.command for line in lines}
    assert {position: recorded[position] for position in acknowledged} == acknowledged
    assert place.verified().damage is None
    async with place.opened() as ledger:
        assert sum(values(ledger).values()) == sum(len(line.events) for line in lines) - 20


async def test_a_ledger_without_commands_leaves_an_empty_log(place: Any) -> None:
    for _ in range(2):
        async with place.opened(model=Counters()) as ledger:
            assert (ledger.position, ledger.feed.position) == (0, 0)
            assert await ledger.facts() == []
    assert place.lines() == b""


async def test_a_reader_beside_a_running_node_goes_on_where_it_was(place: Any) -> None:
    async with place.opened() as ledger:
        await make_counters(ledger, "a")
        with journal_disk(place.journal) as disk:
            reader = JournalReader(place.journal, disk=disk)
            assert [line.position for line in reader.lines()] == [1]
            assert list(reader.lines()) == []
            for first in (2, 42, 82):
                for _ in range(40):
                    await ledger.execute(Count("a"), actor="admin", command_id="")
                assert [line.position for line in reader.lines()] == list(range(first, first + 40))
            assert reader.hash == ledger.log.hash
