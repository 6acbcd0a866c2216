"""A follower of Core's event stream from the first position on, who resumes whenever the stream ends.

It must see every position once and in order, and of each the fact that was published.
"""

from contextlib import aclosing
from random import Random
from typing import Final

import anyio
import msgspec

from nano.domain.errors import NanoError
from nano.http.client import AsyncSignedClient
from nano.projections.zone_views import KINDS
from nano.tools.simulator.invariants import Audit
from nano.tools.simulator.world import World

PAUSE_S: Final = (0.2, 3.0)
LEAVES_AFTER_S: Final = (5.0, 400.0)  # people close their browsers


class _Fact(msgspec.Struct):
    resource: str
    type: str


class _Published(msgspec.Struct):
    resource: str
    event: dict[str, object]


class Watcher:
    def __init__(self, world: World, client: AsyncSignedClient) -> None:
        self.position = 0
        self._world = world
        self._client = client
        self._random = Random(f"{world.seed}/watcher")  # noqa: S311 - a simulation

    async def run(self) -> None:
        """For ever."""
        while True:
            with anyio.move_on_after(self._random.uniform(*LEAVES_AFTER_S)):
                try:
                    await self._follow()
                except NanoError:
                    self._world.faults["event stream broken"] += 1
            await anyio.sleep(self._random.uniform(*PAUSE_S))

    async def _follow(self) -> None:
        events = self._client.events(self.position, kinds=(*KINDS, "zone"))  # all facts, no measurements
        async with aclosing(events):  # type: ignore[type-var]
            async for event in events:
                if event.id is not None:
                    self._see(event.id, event.data)

    def _see(self, position: int, data: bytes) -> None:
        audit: Audit = self._world.core.audit
        if position != self.position + 1:
            self._world.report(f"a follower of events was told {position} after {self.position}")
        self.position = position
        told = msgspec.json.decode(data, type=_Fact)
        published = msgspec.json.decode(audit.facts[position - 1], type=_Published)
        if (told.resource, told.type) != (published.resource, published.event["type"]):
            self._world.report(f"a follower of events was told {told} at {position}, published was {published}")
