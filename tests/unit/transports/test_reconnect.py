"""Keeping one link alive, with the connecting and the time given."""

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from random import Random
from types import SimpleNamespace
from typing import Any

import anyio
import pytest

from nano.domain.errors import Forbidden, Unreachable
from nano.transports.messages import Hello
from nano.transports.reconnect import WAIT_LAST_S, keep_linked
from nano.transports.testing import HELLO

pytestmark = pytest.mark.anyio


class Enough(Exception):
    """Ends the endless loop of a test."""


class World:
    """Connections that fail or hold as the script says; sleeping is only counted, and moves the clock."""

    def __init__(self, script: list[Any], addresses: tuple[str, ...] = ("10.0.0.1:5600",)) -> None:
        self.script = script
        self.addresses = addresses
        self.at = 0.0
        self.slept: list[float] = []
        self.tried: list[str] = []
        self.used = 0
        self.held_s = 0.0

    async def find(self) -> AsyncIterator[str]:
        for address in self.addresses:
            yield address

    @asynccontextmanager
    async def connect(self, address: str, side: object, hello: Hello) -> AsyncIterator[Any]:
        self.tried.append(address)
        step = self.script.pop(0) if self.script else Enough()
        if isinstance(step, Exception):
            raise step
        yield SimpleNamespace(
            remote=SimpleNamespace(name="Core"), approved=True, closed=anyio.Event(), close_reason="cut"
        )

    async def use(self, link: Any) -> None:
        self.used += 1
        self.at += self.held_s
        link.closed.set()
        await anyio.sleep_forever()

    async def sleep(self, seconds: float) -> None:
        self.slept.append(seconds)
        self.at += seconds

    async def run(self) -> None:
        with pytest.raises(Enough):
            await keep_linked(
                self.find,
                self.connect,  # type: ignore[arg-type]
                None,  # type: ignore[arg-type]
                lambda: HELLO,
                self.use,
                random=Random(1),
                now=lambda: self.at,
                sleep=self.sleep,
            )


async def test_waits_grow_to_the_last_and_carry_jitter() -> None:
    world = World([Unreachable("no")] * 10)
    await world.run()
    assert len(world.slept) == 10
    assert 0.05 <= world.slept[0] <= 0.1
    assert all(WAIT_LAST_S / 2 <= wait <= WAIT_LAST_S for wait in world.slept[6:])
    assert len(set(world.slept[6:])) == 4


async def test_a_link_that_held_starts_the_waits_over() -> None:
    world = World([*[Unreachable("no")] * 8, "link"])
    world.held_s = 60.0
    await world.run()
    assert world.used == 1
    assert world.slept[-2] > 1.0
    assert world.slept[-1] <= 0.1


async def test_links_that_break_at_once_are_not_hammered() -> None:
    world = World(["link"] * 8)
    await world.run()
    assert world.used == 8
    assert world.slept[-1] >= WAIT_LAST_S / 2


async def test_a_refusal_is_asked_again_slowly_and_the_next_core_at_once() -> None:
    world = World([Forbidden("no", code="core_not_pinned"), "link"], ("10.0.0.1:5600", "10.0.0.2:5600"))
    await world.run()
    assert world.tried[:2] == ["10.0.0.1:5600", "10.0.0.2:5600"]
    assert world.used == 1
    world = World([Forbidden("no")] * 2)
    await world.run()
    assert all(wait >= WAIT_LAST_S / 2 for wait in world.slept)


async def test_nothing_found_is_waited_for() -> None:
    world = World([], ())
    seen = 0

    async def find() -> AsyncIterator[str]:
        nonlocal seen
        seen += 1
        if seen == 4:
            yield "10.0.0.1:5600"

    world.find = find  # type: ignore[method-assign]
    await world.run()
    assert seen == 4
    assert len(world.slept) == 3


async def test_a_failing_search_is_repeated_and_a_search_is_closed_once_linked() -> None:
    world = World(["link"])
    events: list[str] = []

    async def find() -> AsyncIterator[str]:
        if not events:
            events.append("failed")
            raise Unreachable("no network yet")
        try:
            yield "10.0.0.1:5600"
            yield "10.0.0.2:5600"
        finally:
            events.append("closed")

    world.find = find  # type: ignore[method-assign]
    await world.run()
    assert world.used == 1
    assert world.tried[0] == "10.0.0.1:5600"
    assert events == ["failed", "closed", "closed"]
