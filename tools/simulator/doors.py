"""Doors between the cells of a ``Bed``: links in memory, by the rules of ``peer_link`` (one key, one address)."""

import hashlib
import itertools
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Final

from nano.domain.errors import Unreachable
from nano.transports.handshake import AcceptedLink
from nano.transports.link import Handler, Link
from nano.transports.memory_link import MemoryNode, memory_pair
from nano.transports.messages import Hello
from nano.transports.peer_link import OffersNothing, OnlyThis, welcome_of

DOMAIN: Final = "bed"


def fingerprint_of(name: str) -> str:
    return hashlib.sha256(name.encode()).hexdigest()


class _Door:
    def __init__(self, owner: str, peer: str, handler: Handler) -> None:
        self.owner = owner
        self.peer = peer
        self.handler = handler
        self.links: list[AcceptedLink] = []


class MemoryDoors:
    """All doors that are open."""

    def __init__(self) -> None:
        self.open: dict[str, _Door] = {}
        self.numbers = itertools.count(1)

    def of(self, cell: str) -> "MemoryPeers":
        return MemoryPeers(self, cell)

    async def cut(self) -> None:
        """Every link through a door is lost."""
        for door in self.open.values():
            for link in door.links:
                await link.aclose("cut")


class MemoryPeers:
    """``Peers`` of one cell."""

    def __init__(self, doors: MemoryDoors, name: str) -> None:
        self._doors = doors
        self._name = name

    @asynccontextmanager
    async def receiving(self, peer: str, handler: Handler) -> AsyncIterator[str]:
        address = f"{self._name}:{next(self._doors.numbers)}"
        door = self._doors.open[address] = _Door(self._name, peer, handler)
        try:
            yield address
        finally:
            del self._doors.open[address]
            for link in door.links:
                link.carrier.close("door closed")

    @asynccontextmanager
    async def reaching(self, address: str, peer: str) -> AsyncIterator[Link]:
        door = self._doors.open.get(address)
        if door is None:
            raise Unreachable(f"{address} does not answer.")
        hello, there = _hello(self._name), _hello(door.owner)
        near = MemoryNode(fingerprint_of(self._name), OnlyThis(peer), OffersNothing())
        far = MemoryNode(fingerprint_of(door.owner), OnlyThis(door.peer), door.handler)
        async with memory_pair(near, hello, far, welcome_of(there)) as (link, accepted):
            door.links.append(accepted)
            await link.wait_approved()
            yield link


def _hello(name: str) -> Hello:
    return Hello(name=name, kind="cell", domain=DOMAIN, version="0")
