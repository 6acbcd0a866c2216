"""The feed alone, with a history made of a list."""

from datetime import UTC, datetime

import anyio
import pytest

from nano.domain.facts import Change, Fact
from nano.journal.feed import BATCH_MAX, Feed
from nano.journal.testing import Counted, Counter

pytestmark = pytest.mark.anyio

AT = datetime(2026, 11, 21, tzinfo=UTC)


def change(position: int) -> Change:
    fact = Fact(position, AT, "admin", "", "", "counter/a", position, Counted(1))
    return Change(fact, Counter("a", position - 1), Counter("a", position))


class ListHistory:
    def __init__(self) -> None:
        self.asked: list[int] = []

    async def mark_at(self, position: int) -> str:
        return f"read-{position}"

    async def transactions(self, after: int, last: int, limit: int) -> list[Fact]:
        self.asked.append(after)
        return [change(position).fact for position in range(after + 1, min(after + limit, last) + 1)]


def made(ring_max: int = 100, position: int = 0) -> tuple[Feed, ListHistory]:
    feed, history = Feed(ring_max), ListHistory()
    feed.attach(history, position, b"attached")
    return feed, history


async def take(feed: Feed, after: int, number: int) -> list[Change]:
    found: list[Change] = []
    with anyio.fail_after(10):
        async with feed.subscribe(after) as batches:
            async for batch in batches:
                assert len(batch) <= BATCH_MAX
                found += batch
                if len(found) >= number:
                    break
    return found


async def test_subscribers_get_what_was_and_what_comes() -> None:
    feed, history = made()
    feed.publish([change(1), change(2)])
    found: list[Change] = []

    async def follow() -> None:
        found.extend(await take(feed, 1, 3))

    async with anyio.create_task_group() as group:
        group.start_soon(follow)
        await anyio.wait_all_tasks_blocked()
        feed.publish([change(3)])
        await anyio.wait_all_tasks_blocked()
        feed.publish([change(4), change(5)])
    assert found == [change(2), change(3), change(4), change(5)]
    assert history.asked == []


async def test_one_that_fell_behind_continues_from_the_journal() -> None:
    feed, history = made(ring_max=50)
    for position in range(1, 3021):
        feed.publish([change(position)])
    found = await take(feed, 0, 3020)
    assert [one.fact.position for one in found] == list(range(1, 3021))
    assert found[0].after is None
    assert found[-1].after == Counter("a", 3020)
    assert history.asked[0] == 0


async def test_after_a_restart_the_journal_fills_the_empty_ring() -> None:
    feed, history = made(position=40)
    found = await take(feed, 35, 5)
    assert [one.fact.position for one in found[:5]] == [36, 37, 38, 39, 40]
    assert history.asked == [35]


async def test_no_transaction_is_cut() -> None:
    feed, _ = made(ring_max=5_000)
    wide = [(BATCH_MAX - 1, BATCH_MAX + 3), (2 * BATCH_MAX + 4, 2 * BATCH_MAX + 9)]
    feed.publish([change(position) for position in range(1, 2_501)], wide)
    ends = []
    async with feed.subscribe(0) as batches:
        async for batch in batches:
            ends.append(batch[-1].fact.position)
            if ends[-1] == 2_500:
                break
    assert ends == [BATCH_MAX + 3, 2 * BATCH_MAX + 3, 2_500]


async def test_the_ring_is_bounded() -> None:
    feed, _ = made(ring_max=50)
    for position in range(1, 1001):
        feed.publish([change(position)], [(position, position)])
        assert len(feed._ring) <= 57
        assert len(feed._wide) <= 57


async def test_a_listener_that_fails_is_logged_and_the_others_still_hear(caplog: pytest.LogCaptureFixture) -> None:
    feed, _ = made()
    heard: list[Change] = []

    def broken(changes: list[Change]) -> None:
        raise RuntimeError("a broken view")

    feed.add_listener(broken)
    feed.add_listener(heard.extend)
    feed.publish([change(1)])
    feed.remove_listener(broken)
    feed.publish([change(2)])
    assert heard == [change(1), change(2)]
    assert [record.message.partition(" ")[0] for record in caplog.records] == ["feed.listener_failed"]


async def test_wait_for_a_position() -> None:
    feed, _ = made()
    reached = []

    async def wait(position: int) -> None:
        await feed.wait_for(position)
        reached.append(position)

    async with anyio.create_task_group() as group:
        group.start_soon(wait, 2)
        group.start_soon(wait, 1)
        await anyio.wait_all_tasks_blocked()
        feed.publish([change(1)])
        await anyio.wait_all_tasks_blocked()
        assert reached == [1]
        feed.publish([change(2)])
    assert reached == [1, 2]


async def test_closing_ends_subscriptions_and_waits() -> None:
    feed, _ = made()
    ended = []

    async def follow() -> None:
        async with feed.subscribe(0) as batches:
            async for _ in batches:
                pytest.fail("nothing was published")
        ended.append("subscription")

    async def wait() -> None:
        with pytest.raises(anyio.ClosedResourceError):
            await feed.wait_for(1)
        ended.append("wait")

    async with anyio.create_task_group() as group:
        group.start_soon(follow)
        group.start_soon(wait)
        await anyio.wait_all_tasks_blocked()
        feed.close()
    assert sorted(ended) == ["subscription", "wait"]


async def test_positions_have_no_gaps() -> None:
    feed, _ = made()
    with pytest.raises(AssertionError):
        feed.publish([change(2)])


async def test_the_mark_of_a_position_says_which_journal_it_is() -> None:
    feed, _ = made(position=40)
    assert await feed.mark(40) == "attached"
    assert await feed.mark(7) == "read-7"
    feed.publish([change(41), change(42)], [(41, 42)], b"published")
    assert [await feed.mark(position) for position in (42, 40, 0, 43)] == ["published", "read-40", "", ""]
