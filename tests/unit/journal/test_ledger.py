"""The ledger over a real folder, with a toy model."""

from pathlib import Path

import anyio
import pytest

from nano.domain.errors import Conflict, JournalError, Stale, Unknown
from nano.domain.facts import Change
from nano.journal.feed import Feed
from nano.journal.ledger import Receipt
from nano.journal.line import Tracked
from nano.journal.reader import JournalReader
from nano.journal.testing import BadDisk, Count, CountAll, Make, Remove, Spoil, make_counters, opened, values

pytestmark = pytest.mark.anyio


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
        assert (await ledger.execute(Count("a"), actor="admin", command_id="3")).position == 3


async def test_concurrent_commands_each_see_the_one_before(tmp_path: Path) -> None:
    async with opened(tmp_path) as ledger:
        await make_counters(ledger, "a")
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


async def test_commands_that_arrive_together_share_one_sync(tmp_path: Path) -> None:
    disk = BadDisk()
    async with opened(tmp_path, disk) as ledger:
        await make_counters(ledger, "a")
        before = disk.syncs

        async def one(number: int) -> None:
            await ledger.execute(Count("a"), actor="admin", command_id=str(number))

        async with anyio.create_task_group() as group:
            for number in range(500):
                group.start_soon(one, number)
        assert disk.syncs - before <= 3
        assert ledger.position == 501


async def test_many_events_of_one_command_are_one_line(tmp_path: Path) -> None:
    async with opened(tmp_path) as ledger:
        await make_counters(ledger, "a", "b", "c")
        receipt = await ledger.execute(CountAll(2), actor="admin", command_id="all")
        assert [fact.position for fact in receipt.facts] == [4, 5, 6]
    lines = list(JournalReader(tmp_path / "journal").lines())
    assert [len(line.events) for line in lines] == [1, 1, 1, 3]
    async with opened(tmp_path) as ledger:
        assert values(ledger) == {"a": 2, "b": 2, "c": 2}


async def test_a_refusal_changes_nothing(tmp_path: Path) -> None:
    async with opened(tmp_path) as ledger:
        with pytest.raises(Unknown):
            await ledger.execute(Count("a"), actor="admin", command_id="1")
        assert ledger.position == 0
        await make_counters(ledger, "a")  # the refused one's id is free again
        receipt = await ledger.execute(Count("a"), actor="admin", command_id="1")
        assert not receipt.repeated


async def test_no_events_write_nothing(tmp_path: Path) -> None:
    async with opened(tmp_path) as ledger:
        await make_counters(ledger, "a")
        assert await ledger.execute(Count("a", 0), actor="admin", command_id="1") == Receipt(1)
        assert ledger.position == 1


async def test_no_events_are_answered_after_what_they_were_decided_on(tmp_path: Path) -> None:
    disk = BadDisk()
    async with opened(tmp_path, disk) as ledger:
        await make_counters(ledger, "a")
        disk.hold()
        answered = []

        async def one(by: int) -> None:
            answered.append(await ledger.execute(Count("a", by), actor="admin", command_id=f"by-{by}"))

        async with anyio.create_task_group() as group:
            group.start_soon(one, 1)
            await anyio.to_thread.run_sync(disk.holding.wait, 10)
            group.start_soon(one, 0)
            await anyio.wait_all_tasks_blocked()
            assert not answered
            disk.release()
        assert [receipt.position for receipt in answered] == [2, 2]


async def test_nothing_is_published_or_answered_before_it_is_durable(tmp_path: Path) -> None:
    disk, feed = BadDisk(), Feed()
    seen: list[Change] = []
    feed.add_listener(seen.extend)
    async with opened(tmp_path, disk, feed) as ledger:
        await make_counters(ledger, "a")
        disk.hold()
        done = anyio.Event()

        async def one() -> None:
            await ledger.execute(Count("a"), actor="admin", command_id="1")
            assert len(seen) == 2  # published before the reply: whoever got it reads its own write
            done.set()

        async with anyio.create_task_group() as group:
            group.start_soon(one)
            await anyio.to_thread.run_sync(disk.holding.wait, 10)
            assert (len(seen), ledger.position, feed.position, done.is_set()) == (1, 1, 1, False)
            disk.release()
        assert done.is_set()
        assert seen[1].before == seen[0].after


async def test_a_repeated_command_gets_its_first_receipt(tmp_path: Path) -> None:
    async with opened(tmp_path) as ledger:
        await make_counters(ledger, "a")
        first = await ledger.execute(Count("a", 3), actor="admin", command_id="1")
        for _ in range(2):
            again = await ledger.execute(Count("a", 3), actor="admin", command_id="1")
            assert again == Receipt(first.position, first.facts, repeated=True)
        with pytest.raises(Conflict) as caught:
            await ledger.execute(Count("a", 4), actor="admin", command_id="1")
        assert caught.value.code == "idempotency_key_reused"
    async with opened(tmp_path) as ledger:
        again = await ledger.execute(Count("a", 3), actor="admin", command_id="1")
        assert again == Receipt(first.position, first.facts, repeated=True)
        with pytest.raises(Conflict):
            await ledger.execute(Remove("a"), actor="admin", command_id="1")
        assert values(ledger) == {"a": 3}


async def test_a_repeated_command_waits_for_the_first_one(tmp_path: Path) -> None:
    disk = BadDisk()
    async with opened(tmp_path, disk) as ledger:
        await make_counters(ledger, "a")
        disk.hold()
        receipts = []

        async def one() -> None:
            receipts.append(await ledger.execute(Count("a"), actor="admin", command_id="1"))

        async with anyio.create_task_group() as group:
            for _ in range(3):
                group.start_soon(one)
            await anyio.to_thread.run_sync(disk.holding.wait, 10)
            assert not receipts
            disk.release()
        assert sorted(receipt.repeated for receipt in receipts) == [False, True, True]
        assert {receipt.position for receipt in receipts} == {2}
        assert values(ledger) == {"a": 1}


async def test_a_command_without_id_is_never_a_repeated_one(tmp_path: Path) -> None:
    async with opened(tmp_path) as ledger:
        await make_counters(ledger, "a")
        for _ in range(2):
            await ledger.execute(Count("a"), actor="admin", command_id="")
        assert values(ledger) == {"a": 2}


async def test_expect_refuses_another_version(tmp_path: Path) -> None:
    async with opened(tmp_path) as ledger:
        await make_counters(ledger, "a")
        await ledger.execute(Count("a"), actor="admin", command_id="1", expect=("counter/a", 1))
        with pytest.raises(Stale) as caught:
            await ledger.execute(Count("a"), actor="admin", command_id="2", expect=("counter/a", 1))
        assert caught.value.context["version"] == 2
        assert values(ledger) == {"a": 1}


async def test_versions_count_on_after_a_resource_is_gone(tmp_path: Path) -> None:
    async with opened(tmp_path) as ledger:
        await make_counters(ledger, "a")
        await ledger.execute(Remove("a"), actor="admin", command_id="1")
        assert values(ledger) == {}
        receipt = await ledger.execute(Make("a"), actor="admin", command_id="2")
        assert receipt.facts[0].version == 3
    async with opened(tmp_path) as ledger:
        assert ledger.version("counter/a") == 3


async def test_tracking_is_recorded_once_and_survives(tmp_path: Path) -> None:
    async with opened(tmp_path) as ledger:
        await make_counters(ledger, "a")
        for _ in range(2):  # the link sends it twice
            await ledger.execute(Count("a"), actor="core", command_id="", tracking=Tracked("cell/one", 7))
        assert (ledger.tracking("cell/one"), ledger.tracking("cell/two")) == (7, 0)
        await ledger.execute(Count("a", 0), actor="core", command_id="", tracking=Tracked("cell/one", 9))
        assert ledger.tracking("cell/one") == 9
    async with opened(tmp_path) as ledger:
        assert ledger.tracking("cell/one") == 7
        assert values(ledger) == {"a": 1}


async def test_dry_run_changes_nothing(tmp_path: Path) -> None:
    async with opened(tmp_path) as ledger:
        await make_counters(ledger, "a")
        emitted = ledger.dry_run(Count("a", 5), actor="admin")
        assert [resource for resource, _ in emitted] == ["counter/a"]
        assert (values(ledger), ledger.position) == ({"a": 0}, 1)


@pytest.mark.parametrize("how", ["type", "unlisted", "evolve"])
async def test_a_bad_event_harms_neither_state_nor_log(tmp_path: Path, how: str) -> None:
    async with opened(tmp_path) as ledger:
        await make_counters(ledger, "a")
        await ledger.execute(Count("a", 3), actor="admin", command_id="1")
        model = ledger.model
        with pytest.raises(RuntimeError if how == "evolve" else JournalError):
            await ledger.execute(Spoil("a", how), actor="admin", command_id="2")
        assert ledger.model is model
        assert (values(ledger), ledger.version("counter/a"), ledger.position) == ({"a": 3}, 2, 2)
        await ledger.execute(Count("a"), actor="admin", command_id="3")
    async with opened(tmp_path) as ledger:
        assert values(ledger) == {"a": 4}


async def test_a_bad_event_keeps_what_is_on_its_way(tmp_path: Path) -> None:
    disk = BadDisk()
    async with opened(tmp_path, disk) as ledger:
        await make_counters(ledger, "a")
        disk.hold()

        async def one(number: int) -> None:
            await ledger.execute(Count("a"), actor="admin", command_id=str(number))

        async with anyio.create_task_group() as group:
            group.start_soon(one, 1)
            await anyio.to_thread.run_sync(disk.holding.wait, 10)
            group.start_soon(one, 2)
            await anyio.wait_all_tasks_blocked()
            with pytest.raises(RuntimeError):
                await ledger.execute(Spoil("a", "evolve"), actor="admin", command_id="bad")
            assert values(ledger) == {"a": 2}
            disk.release()
    async with opened(tmp_path) as ledger:
        assert values(ledger) == {"a": 2}


async def test_an_odd_resource_name_is_refused(tmp_path: Path) -> None:
    async with opened(tmp_path) as ledger:
        for name in ("../etc", "", "a b", "a/b", "..", "x" * 65):
            with pytest.raises(Exception, match="resource id"):
                await ledger.execute(Make(name), actor="admin", command_id="")
        assert ledger.position == 0
