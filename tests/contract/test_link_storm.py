"""Many exchanges of every shape at once, from both ends, cancelled at random, over a network that loses, doubles and
reorders: whatever arrives is right, nothing leaks, the link holds. Seeded; the seed is in the test's name."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack
from pathlib import Path
from random import Random
from typing import Any

import anyio
import pytest

from nano.domain.errors import DeadlineExceeded
from nano.transports.handshake import AcceptedLink
from nano.transports.link import Pipe
from nano.transports.messages import FollowLog, Message, Ok, OpenConsole, ProgressIs
from nano.transports.node_side import split_address
from nano.transports.quic_carrier import QuicCarrier
from nano.transports.stream_link import StreamLink
from nano.transports.testing import LINK_KINDS, FunctionHandler, Nodes, linked, make_nodes, serving

pytestmark = pytest.mark.anyio


class BadNetwork(asyncio.DatagramProtocol):
    """Between a client and ``target``: 3 % of the datagrams towards it are lost, 2 % doubled, 5 % late."""

    def __init__(self, target: tuple[str, int], random: Random) -> None:
        self.target, self.random = target, random
        self.client: Any = None
        self.transport: Any = None

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self.transport = transport

    def datagram_received(self, data: bytes, addr: Any) -> None:
        if addr == self.target:
            self.transport.sendto(data, self.client)
            return
        self.client = addr
        luck = self.random.random()
        if luck < 0.03:
            return
        if luck < 0.08:
            asyncio.get_running_loop().call_later(0.005, self._late, data)
            return
        for _ in range(2 if luck < 0.1 else 1):
            self.transport.sendto(data, self.target)

    def _late(self, data: bytes) -> None:
        if not self.transport.is_closing():
            self.transport.sendto(data, self.target)


@pytest.mark.parametrize("seed", [1, 2])
@pytest.mark.parametrize("kind", LINK_KINDS)
async def test_a_storm_of_exchanges(kind: str, seed: int, tmp_path: Path) -> None:
    random = Random(seed)
    nodes = make_nodes(kind, tmp_path)
    nodes.core_handler = nodes.cell_handler = handler(random)
    async with AsyncExitStack() as stack:
        ends = await open_ends(nodes, stack, random)
        done: list[str] = []
        async with anyio.create_task_group() as tasks:
            for _ in range(8):
                tasks.start_soon(work, ends, random, done)
        assert {"request", "follow", "pipe", "cancelled"} <= set(done)
        for end in ends:
            assert not end.closed.is_set(), end.close_reason
        with anyio.fail_after(10):
            while any(len(end._exchanges) > 1 for end in ends):  # noqa: ASYNC110 - until the last endings have crossed
                await anyio.sleep(0.01)
        assert [(end._held, end._streams) for end in ends] == [(0, 0), (0, 0)]
        for carrier in (end.carrier for end in ends):
            if isinstance(carrier, QuicCarrier):  # what was counted as out of order has all been settled
                assert carrier.quic.received_bytes == carrier._settled


def handler(random: Random) -> FunctionHandler:
    async def request(message: Message) -> Message:
        await anyio.sleep(random.random() * 0.005)
        return message

    async def follow(message: Message) -> AsyncIterator[Message]:
        for number in range(60):
            yield ProgressIs(number, "x" * random.randrange(3000))

    async def pipe(message: Message) -> tuple[Message, Pipe | None]:
        return Ok(), Echo()

    return FunctionHandler(request, follow, pipe)


class Echo:
    """A pipe that gives back what it takes."""

    def __init__(self) -> None:
        self.out, self.into = anyio.create_memory_object_stream[bytes](4)

    async def send(self, data: bytes) -> None:
        await self.out.send(data)

    async def receive(self) -> bytes:
        return await self.into.receive()

    async def aclose(self) -> None:
        self.out.close()
        self.into.close()


async def open_ends(nodes: Nodes, stack: AsyncExitStack, random: Random) -> tuple[StreamLink, StreamLink]:
    if nodes.kind != "quic":
        return await stack.enter_async_context(linked(nodes))
    accepted: list[AcceptedLink] = []
    arrived = anyio.Event()

    async def on_link(link: AcceptedLink) -> None:
        accepted.append(link)
        arrived.set()

    listening = await stack.enter_async_context(serving(nodes, on_link))
    network, _ = await asyncio.get_running_loop().create_datagram_endpoint(
        lambda: BadNetwork(split_address(listening.address), random), local_addr=("127.0.0.1", 0)
    )
    stack.callback(network.close)
    address = f"127.0.0.1:{network.get_extra_info('sockname')[1]}"
    link = await stack.enter_async_context(nodes.module.connect(address, nodes.cell_side, nodes.hello))
    await arrived.wait()
    return link, accepted[0]


async def work(ends: tuple[StreamLink, StreamLink], random: Random, done: list[str]) -> None:
    for _ in range(12):
        link, shape = random.choice(ends), random.choice([ask, ask, read, talk])
        with anyio.move_on_after(random.choice([0.002, 0.02, 30, 30, 30])) as scope:
            try:
                done.append(await shape(link, random))
            except DeadlineExceeded:
                done.append("deadline")
        if scope.cancelled_caught:
            done.append("cancelled")


async def ask(link: StreamLink, random: Random) -> str:
    message = ProgressIs(1, "y" * random.choice([10, 100, 5000, 50_000]))
    assert await link.request(message, timeout_s=random.choice([0.003, 30, 30])) == message
    return "request"


async def read(link: StreamLink, random: Random) -> str:
    async with link.follow(FollowLog(0)) as items:
        expected = 0
        async for item in items:
            assert isinstance(item, ProgressIs)
            assert item.percent == expected
            expected += 1
            if random.random() < 0.005:
                return "follow"
        assert expected == 60
    return "follow"


async def talk(link: StreamLink, random: Random) -> str:
    _, pipe = await link.pipe(OpenConsole("g"), timeout_s=30)
    try:
        for _ in range(random.randrange(6)):
            sent, got = random.randbytes(random.randrange(1, 20_000)), b""
            await pipe.send(sent)
            while len(got) < len(sent):
                got += await pipe.receive()
            assert got == sent
    finally:
        await pipe.aclose()
    return "pipe"
