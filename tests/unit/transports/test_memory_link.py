"""The memory carrier's weather: seeded, in order within a stream, on the clock it is given."""

from collections.abc import AsyncIterator
from random import Random

import anyio
import anyio.lowlevel
import pytest

from nano.domain.errors import Unreachable
from nano.transports.memory_link import MemoryNode, Weather, memory_pair
from nano.transports.messages import FollowLog, Message, Ok, Ping
from nano.transports.testing import HELLO, WELCOME, FixedTrust, FunctionHandler

pytestmark = pytest.mark.anyio

WINDY = Weather(delay_min_s=0.0, delay_max_s=0.5)


class Clock:
    """Virtual time: sleeping moves it."""

    def __init__(self) -> None:
        self.at = 0.0

    def now(self) -> float:
        return self.at

    async def sleep(self, seconds: float) -> None:
        due = self.at + seconds
        await anyio.lowlevel.checkpoint()
        self.at = max(self.at, due)


async def run(seed: int, weather: Weather) -> tuple[list[float], list[int], float]:
    """(order in which answers came, items of a follow, the clock at the end)."""

    async def count(message: Message) -> AsyncIterator[Message]:
        for position in range(50):
            yield Ok(position)

    clock, answers = Clock(), list[float]()
    node = MemoryNode("aa" * 32, FixedTrust(), FunctionHandler(follow=count))
    async with memory_pair(
        node, HELLO, node, WELCOME, weather=weather, random=Random(seed), now=clock.now, sleep=clock.sleep
    ) as (cell_end, _):

        async def ask(number: int) -> None:
            answer = await cell_end.request(Ping(float(number)), timeout_s=30)
            assert isinstance(answer, Ping)
            answers.append(answer.sent_at_s)

        async with anyio.create_task_group() as tasks:
            for number in range(20):
                tasks.start_soon(ask, number)
        async with cell_end.follow(FollowLog(0)) as items:
            positions = [item.position async for item in items if isinstance(item, Ok)]
    return answers, positions, clock.at


async def test_the_same_seed_gives_the_same_order() -> None:
    assert await run(7, WINDY) == await run(7, WINDY)


async def test_wind_reorders_exchanges_but_never_one_stream() -> None:
    answers, positions, took = await run(7, WINDY)
    assert sorted(answers) == [float(number) for number in range(20)]
    assert answers != sorted(answers)
    assert positions == list(range(50))
    assert took > 0.5
    assert (await run(8, WINDY))[0] != answers


async def test_fair_weather_takes_no_time() -> None:
    answers, _, took = await run(7, Weather())
    assert answers == sorted(answers)
    assert took == 0.0


async def test_a_cut_network_is_a_lost_link_at_both_ends() -> None:
    node = MemoryNode("aa" * 32, FixedTrust(), FunctionHandler())
    stormy = Weather(cut_probability=0.05)
    async with memory_pair(node, HELLO, node, WELCOME, weather=stormy, random=Random(3)) as (cell_end, core_end):

        async def ask_on() -> None:
            for number in range(1000):
                await cell_end.request(Ping(number), timeout_s=5)

        with pytest.raises(Unreachable) as caught:
            await ask_on()
        assert caught.value.code == "link_lost"
        await core_end.closed.wait()
