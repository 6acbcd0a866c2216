"""The ledger when things go wrong or pile up: failed writes, callers that give up, closing, clocks, limits, followers."""

import errno
from datetime import UTC, datetime, timedelta
from pathlib import Path

import anyio
import pytest

from nano.domain.errors import DiskFull, JournalDamaged, JournalError, TooLarge
from nano.domain.facts import Change
from nano.journal.feed import Feed
from nano.journal.testing import (
    BadDisk,
    Count,
    CountAll,
    make_counters,
    opened,
    reached,
    values,
)

pytestmark = pytest.mark.anyio


@pytest.mark.parametrize(("error", "raised"), [(errno.ENOSPC, DiskFull), (errno.EIO, JournalError)])
async def test_a_failed_write_throws_staged_state_away(tmp_path: Path, error: int, raised: type[Exception]) -> None:
    disk, feed = BadDisk(), Feed()
    seen: list[Change] = []
    feed.add_listener(seen.extend)
    async with opened(tmp_path, disk, feed) as ledger:
        await make_counters(ledger, "a")
        model = ledger.model
        failed = []

        async def one(number: int) -> None:
            try:
                await ledger.execute(Count("a"), actor="admin", command_id=str(number))
            except raised as caught:
                failed.append(caught)

        disk.order("append", error)
        disk.hold()
        async with anyio.create_task_group() as group:
            for number in range(10):
                group.start_soon(one, number)
            disk.release()
        assert len(failed) == 10
        assert ledger.model is model
        assert (values(ledger), ledger.version("counter/a"), ledger.position, len(seen)) == ({"a": 0}, 1, 1, 1)
        receipt = await ledger.execute(Count("a"), actor="admin", command_id="3")  # the same id, not a repeated one
        assert not receipt.repeated
    async with opened(tmp_path) as ledger:
        assert values(ledger) == {"a": 1}


async def test_a_failed_batch_takes_those_behind_it_along(tmp_path: Path) -> None:
    disk = BadDisk()
    async with opened(tmp_path, disk) as ledger:
        await make_counters(ledger, "a")
        failed = []

        async def one(number: int) -> None:
            try:
                await ledger.execute(Count("a"), actor="admin", command_id=str(number))
            except JournalError as caught:
                failed.append(caught.code)

        disk.hold()
        disk.order("fdatasync")
        async with anyio.create_task_group() as group:
            group.start_soon(one, 1)
            await anyio.to_thread.run_sync(disk.holding.wait, 10)
            for number in range(2, 6):
                group.start_soon(one, number)
            await anyio.wait_all_tasks_blocked()
            disk.release()
        assert failed == ["journal_poisoned"] * 5
        assert values(ledger) == {"a": 0}
        with pytest.raises(JournalError, match="takes no more facts"):
            await ledger.execute(Count("a"), actor="admin", command_id="6")
        assert [fact.position for fact in await ledger.facts()] == [1]  # reading goes on


async def test_a_caller_that_gives_up_does_not_disturb_the_others(tmp_path: Path) -> None:
    disk = BadDisk()
    async with opened(tmp_path, disk) as ledger:
        await make_counters(ledger, "a")
        disk.hold()
        with anyio.move_on_after(0):
            await ledger.execute(Count("a"), actor="admin", command_id="1")

        async def two() -> None:
            await ledger.execute(Count("a"), actor="admin", command_id="2")

        async with anyio.create_task_group() as group:
            group.start_soon(two)
            await anyio.wait_all_tasks_blocked()
            disk.release()
        assert values(ledger) == {"a": 2}
        assert (await ledger.execute(Count("a"), actor="admin", command_id="1")).repeated


async def test_closing_waits_for_what_was_accepted(tmp_path: Path) -> None:
    results = []
    async with anyio.create_task_group() as group:
        async with opened(tmp_path) as ledger:
            await make_counters(ledger, "a")

            async def one(number: int) -> None:
                results.append(await ledger.execute(Count("a"), actor="admin", command_id=str(number)))

            for number in range(20):
                group.start_soon(one, number)
            await reached(lambda: ledger.version("counter/a") == 21)
        with pytest.raises(JournalError):
            await ledger.execute(Count("a"), actor="admin", command_id="late")
    assert len(results) == 20
    async with opened(tmp_path) as ledger:
        assert values(ledger) == {"a": 20}


async def test_time_never_goes_backwards(tmp_path: Path) -> None:
    times = iter(datetime(2026, 11, 21, tzinfo=UTC) + timedelta(seconds=s) for s in (9, 5, 1, 20, 3, 2, 1, 1, 1))
    async with opened(tmp_path, clock=lambda: next(times)) as ledger:
        for name in "abcd":
            await make_counters(ledger, name)
        seconds = [fact.at.second for fact in await ledger.facts()]
        assert seconds == [9, 9, 9, 20]
    async with opened(tmp_path) as ledger:  # its clock starts at 0 s
        await make_counters(ledger, "e")
        assert (await ledger.facts(after=4))[0].at.second == 20


async def test_a_wrong_version_in_the_log_refuses_to_start(tmp_path: Path) -> None:
    from nano.journal.line import Body, Entry, encode_line, format_time
    from nano.journal.testing import Counted, Made, make_counters, opened

    async with opened(tmp_path) as ledger:
        await make_counters(ledger, "a")
        log = ledger.log
        events = (Entry("counter/a", 3, Counted(1)), Entry("counter/b", 1, Made("b")))
        text, digest = encode_line(log.hash, Body(2, format_time(datetime.now(UTC)), 1, "x", "", "", "", events))
        log.append(text, 2, 3, digest)
    with pytest.raises(JournalDamaged) as caught:
        async with opened(tmp_path):
            pytest.fail("it started")
    first = (tmp_path / "journal/commits/0000000000000001.jsonl").read_bytes().index(b"\n") + 1
    assert caught.value.context["byte"] == first


async def test_history_by_position_and_by_resource(tmp_path: Path) -> None:
    async with opened(tmp_path) as ledger:
        await make_counters(ledger, "a", "b")
        for number in range(5):
            await ledger.execute(CountAll(number + 1), actor="admin", command_id=str(number))
        everything = await ledger.facts()
        assert [fact.position for fact in everything] == list(range(1, 13))
        assert await ledger.facts(after=4, limit=3) == everything[4:7]
        of_b = [fact for fact in everything if fact.resource == "counter/b"]
        assert await ledger.facts(resource="counter/b") == of_b
        assert await ledger.facts(after=2, limit=2, resource="counter/b") == of_b[2:4]
        assert await ledger.facts(resource="counter/none") == []


async def test_a_command_with_too_many_events_is_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    async with opened(tmp_path) as ledger:
        await make_counters(ledger, "a", "b", "c")
        monkeypatch.setattr("nano.journal.ledger.LINE_BYTES_MAX", 400)
        with pytest.raises(TooLarge):
            await ledger.execute(CountAll(), actor="admin", command_id="")
        assert (values(ledger), ledger.position) == ({"a": 0, "b": 0, "c": 0}, 3)


async def test_while_the_disk_is_full_nothing_is_staged_and_then_it_goes_on(tmp_path: Path) -> None:
    disk = BadDisk()
    async with opened(tmp_path, disk) as ledger:
        await make_counters(ledger, "a")
        disk.order("append", errno.ENOSPC)
        with pytest.raises(DiskFull):
            await ledger.execute(Count("a"), actor="admin", command_id="")
        outcomes = []

        async def one() -> None:
            try:
                await ledger.execute(Count("a"), actor="admin", command_id="")
                outcomes.append("done")
            except DiskFull:
                outcomes.append("full")

        syncs = disk.syncs
        disk.order("append", errno.ENOSPC, name="trial")
        async with anyio.create_task_group() as group:
            for _ in range(20):
                group.start_soon(one)
        assert outcomes == ["full"] * 20
        assert (disk.syncs, values(ledger)) == (syncs, {"a": 0})
        async with anyio.create_task_group() as group:
            for _ in range(20):
                group.start_soon(one)
        assert outcomes[20:] == ["done"] * 20
        assert values(ledger) == {"a": 20}
        assert not [path.name for path in (tmp_path / "journal").iterdir() if path.name.startswith("trial")]


async def test_followers_get_whole_transactions_from_memory_and_from_disk(tmp_path: Path) -> None:
    feed = Feed()
    async with opened(tmp_path, feed=feed) as ledger:
        names = [f"n{number}" for number in range(30)]
        await make_counters(ledger, *names)
        for _ in range(60):
            await ledger.execute(CountAll(), actor="admin", command_id="")
        last = ledger.position
        ends = [await last_of_each_batch(feed, 5, last)]
    feed = Feed()
    async with opened(tmp_path, feed=feed):
        ends.append(await last_of_each_batch(feed, 5, last))
    for each in ends:
        assert len(each) > 1
        assert each[-1] == last
        assert all(position % 30 == 0 for position in each)


async def last_of_each_batch(feed: Feed, after: int, last: int) -> list[int]:
    ends = []
    with anyio.fail_after(10):
        async with feed.subscribe(after) as batches:
            async for batch in batches:
                ends.append(batch[-1].fact.position)
                if ends[-1] == last:
                    break
    return ends


async def test_a_journal_that_can_not_be_read_back_says_so_to_all_who_look(tmp_path: Path) -> None:
    disk = BadDisk()
    async with opened(tmp_path, disk) as ledger:
        await make_counters(ledger, "a")
        await ledger.facts(resource="counter/a")  # the resource journals have read it: the next read is the ledger's
        disk.order("append", errno.EIO)
        disk.order("read", errno.EIO)
        with pytest.raises(JournalError):
            await make_counters(ledger, "b")
        assert ledger.log.poisoned is not None, "whoever supervises the node looks here"
        with pytest.raises(JournalError, match="could not be read back") as refused:
            await make_counters(ledger, "c")
        assert refused.value.code == "journal_poisoned"
    async with opened(tmp_path) as ledger:
        assert values(ledger) == {"a": 0}
