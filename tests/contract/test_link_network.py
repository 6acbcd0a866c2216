"""What links over a real network must live through: restarts, kills, silence, changed addresses."""

import asyncio
import socket
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from random import Random
from typing import Any

import anyio
import anyio.lowlevel
import msgspec
import pytest

from nano.domain.errors import Unreachable
from nano.transports.handshake import AcceptedLink
from nano.transports.messages import FollowLog, Message, Ok, Ping
from nano.transports.node_side import split_address
from nano.transports.quic_carrier import QuicCarrier
from nano.transports.reconnect import keep_linked
from nano.transports.settings import LinkSettings
from nano.transports.stream_link import StreamLink
from nano.transports.testing import FunctionHandler, Nodes, linked, make_nodes, serving

pytestmark = pytest.mark.anyio

QUICK = LinkSettings(keepalive_s=0.1, lost_after_s=0.8, handshake_timeout_s=2.0)


@pytest.fixture(params=["quic", "tls"])
def nodes(request: pytest.FixtureRequest, tmp_path: Path) -> Nodes:
    made = make_nodes(request.param, tmp_path)
    made.settings = QUICK
    return made


class Relay(asyncio.DatagramProtocol):
    """A NAT between a client and ``target``: it can change its outer address, go silent, or be cut."""

    def __init__(self, target: tuple[str, int]) -> None:
        self.target = target
        self.client: Any = None
        self.silent = False
        self.inner: Any = None
        self.outer: Any = None

    @classmethod
    @asynccontextmanager
    async def between(cls, address: str) -> AsyncIterator["Relay"]:
        loop = asyncio.get_running_loop()
        relay = cls(split_address(address))
        relay.inner, _ = await loop.create_datagram_endpoint(lambda: relay, local_addr=("127.0.0.1", 0))
        await relay.rebind()
        try:
            yield relay
        finally:
            relay.inner.close()
            relay.outer.close()

    async def rebind(self) -> None:
        """A new outer port, as after a change of network."""
        relay = self

        class Outer(asyncio.DatagramProtocol):
            def datagram_received(self, data: bytes, addr: Any) -> None:
                if relay.client and not relay.silent:
                    relay.inner.sendto(data, relay.client)

        if self.outer is not None:
            self.outer.close()
        self.outer, _ = await asyncio.get_running_loop().create_datagram_endpoint(Outer, local_addr=("127.0.0.1", 0))

    @property
    def address(self) -> str:
        return f"127.0.0.1:{self.inner.get_extra_info('sockname')[1]}"

    def datagram_received(self, data: bytes, addr: Any) -> None:
        self.client = addr
        if not self.silent:
            self.outer.sendto(data, self.target)


async def ignore(link: AcceptedLink) -> None:
    """on_link of an acceptor whose end does not matter."""


async def test_keep_alive_holds_a_quiet_link(nodes: Nodes) -> None:
    async with linked(nodes) as (cell_end, core_end):
        await anyio.sleep(3 * QUICK.lost_after_s)
        assert not cell_end.closed.is_set()
        assert not core_end.closed.is_set()
        assert await cell_end.request(Ping(1), timeout_s=5) == Ping(1)


async def test_a_silent_peer_is_lost_in_time(nodes: Nodes) -> None:
    """No goodbye, no reset: packets just stop, as when a host loses its power."""
    if nodes.kind == "quic":
        async with (
            serving(nodes, ignore) as listening,
            Relay.between(listening.address) as relay,
            nodes.module.connect(relay.address, nodes.cell_side, nodes.hello) as link,
        ):
            relay.silent = True
            began = anyio.current_time()
            with anyio.fail_after(3 * QUICK.lost_after_s):
                await link.closed.wait()
            assert anyio.current_time() - began >= QUICK.lost_after_s * 0.5
            with pytest.raises(Unreachable):
                await link.request(Ping(1), timeout_s=1)
    else:
        async with linked(nodes) as (cell_end, core_end):
            core_end.carrier._keepalive.cancel()  # type: ignore[attr-defined]
            core_end.carrier._transport.pause_reading()  # type: ignore[attr-defined]
            with anyio.fail_after(3 * QUICK.lost_after_s):
                await cell_end.closed.wait()


@pytest.mark.parametrize("anyio_backend", [("asyncio", {"use_uvloop": False}), ("asyncio", {"use_uvloop": True})])
async def test_the_first_port_that_is_free_is_taken(nodes: Nodes, anyio_backend: Any) -> None:
    """On the loop of the tests and on that of the daemons, which tells of a port in use in its own way."""
    kind = socket.SOCK_DGRAM if nodes.kind == "quic" else socket.SOCK_STREAM
    with socket.socket(socket.AF_INET, kind) as held, socket.socket(socket.AF_INET, kind) as free:
        for one in (held, free):
            one.bind(("127.0.0.1", 0))
        if nodes.kind == "tls":
            held.listen()
        ports = [held.getsockname()[1], free.getsockname()[1]]
        free.close()
        async with serving(nodes, ignore, ports) as listening:
            assert split_address(listening.address)[1] == ports[1]
            async with nodes.module.connect(listening.address, nodes.cell_side, nodes.hello) as link:
                assert await link.request(Ping(1), timeout_s=5) == Ping(1)


async def test_nobody_there_is_unreachable(nodes: Nodes) -> None:
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as held:
        held.bind(("127.0.0.1", 0))
        address = f"127.0.0.1:{held.getsockname()[1]}"
        nodes.settings = msgspec.structs.replace(QUICK, handshake_timeout_s=0.3)
        with pytest.raises(Unreachable):
            async with nodes.module.connect(address, nodes.cell_side, nodes.hello):
                pass
    with pytest.raises(Unreachable):
        async with nodes.module.connect("no address", nodes.cell_side, nodes.hello):
            pass


async def test_a_stopped_acceptor_says_goodbye_and_reconnect_finds_the_next(nodes: Nodes) -> None:
    links: list[StreamLink] = []
    fresh = anyio.Event()

    async def use(link: StreamLink) -> None:
        nonlocal fresh
        links.append(link)
        fresh.set()
        await anyio.sleep_forever()

    async def find() -> AsyncIterator[str]:
        yield listening.address

    async with anyio.create_task_group() as tasks:
        async with serving(nodes, ignore) as listening:
            tasks.start_soon(
                lambda: keep_linked(
                    find, nodes.module.connect, nodes.cell_side, lambda: nodes.hello, use, random=Random(1)
                )
            )
            with anyio.fail_after(5):
                await fresh.wait()
            fresh = anyio.Event()
        with anyio.fail_after(0.1):  # by the goodbye, not by silence
            await links[0].closed.wait()
        assert links[0].close_reason == "the node is stopping"
        async with serving(nodes, ignore, ports=listening.port):
            with anyio.fail_after(8):
                await fresh.wait()
            assert await links[1].request(Ping(1), timeout_s=5) == Ping(1)
            tasks.cancel_scope.cancel()


async def test_a_killed_and_restarted_quic_acceptor_is_noticed_at_the_next_datagram(tmp_path: Path) -> None:
    """Stateless reset: the second life of the acceptor knows nothing of the link and says so with its key's token."""
    nodes = make_nodes("quic", tmp_path)
    nodes.settings = LinkSettings(keepalive_s=0.2, lost_after_s=60)
    async with (
        serving(nodes, ignore) as listening,
        Relay.between(listening.address) as relay,
        nodes.module.connect(relay.address, nodes.cell_side, nodes.hello) as link,
        serving(nodes, ignore) as second_life,
    ):
        relay.target = split_address(second_life.address)
        with anyio.fail_after(5):
            await link.closed.wait()
        assert "restarted" in link.close_reason


async def test_a_forged_reset_does_not_end_a_quic_link(tmp_path: Path) -> None:
    nodes = make_nodes("quic", tmp_path)
    async with linked(nodes) as (cell_end, _):
        carrier = cell_end.carrier
        assert isinstance(carrier, QuicCarrier)
        carrier.receive(Random(3).randbytes(60), carrier.quic.get_peer_address())
        carrier.receive(bytes(60), carrier.quic.get_peer_address())
        assert await cell_end.request(Ping(1), timeout_s=5) == Ping(1)


async def test_a_quic_link_survives_a_changed_address(tmp_path: Path) -> None:
    nodes = make_nodes("quic", tmp_path)
    nodes.settings = QUICK
    accepted: list[AcceptedLink] = []
    arrived = anyio.Event()

    async def count(message: Message) -> AsyncIterator[Message]:
        for position in range(1000):
            yield Ok(position)
            await anyio.sleep(0.001)

    async def on_link(link: AcceptedLink) -> None:
        accepted.append(link)
        arrived.set()

    nodes.core_handler = FunctionHandler(follow=count)
    async with (
        serving(nodes, on_link) as listening,
        Relay.between(listening.address) as relay,
        nodes.module.connect(relay.address, nodes.cell_side, nodes.hello) as link,
    ):
        await arrived.wait()
        before = accepted[0].carrier.address
        async with link.follow(FollowLog(0)) as items:
            seen = 0
            async for _ in items:
                seen += 1
                if seen == 300:
                    await relay.rebind()
        assert seen == 1000
        assert await link.request(Ping(1), timeout_s=5) == Ping(1)
        assert accepted[0].carrier.address != before
        assert len(accepted) == 1


async def test_a_newer_link_of_the_same_node_supersedes_the_older(nodes: Nodes) -> None:
    async with (
        serving(nodes, ignore) as listening,
        nodes.module.connect(listening.address, nodes.cell_side, nodes.hello) as first,
        nodes.module.connect(listening.address, nodes.cell_side, nodes.hello) as second,
    ):
        with anyio.fail_after(5):
            await first.closed.wait()
        assert first.close_reason == "superseded"
        assert await second.request(Ping(1), timeout_s=5) == Ping(1)
