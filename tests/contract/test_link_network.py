"""What links over a real network must live through: restarts, kills, silence, changed addresses, noise, liars."""

import asyncio
import logging
import socket
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack, asynccontextmanager
from pathlib import Path
from random import Random
from typing import Any

import anyio
import anyio.lowlevel
import msgspec
import pytest

from nano.domain.errors import Unreachable
from nano.transports.framing import FrameKind, encode_message, frame
from nano.transports.handshake import AcceptedLink
from nano.transports.identity import load_or_create
from nano.transports.messages import FollowLog, Message, Ok, Ping
from nano.transports.node_side import Listening, NodeSide, split_address
from nano.transports.quic_carrier import LinkConnection, QuicCarrier, configuration
from nano.transports.quic_link import _Client
from nano.transports.reconnect import keep_linked
from nano.transports.settings import LinkSettings
from nano.transports.stream_link import StreamLink
from nano.transports.testing import FixedTrust, FunctionHandler, Nodes, linked, make_nodes, serving
from nano.transports.tls_carrier import TlsCarrier, context
from nano.transports.trust import APPROVED, WAITING

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
        async with serving(nodes, ignore, port=listening.port):
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


async def test_nodes_that_nobody_approved_do_not_crowd_out_the_others(nodes: Nodes) -> None:
    nodes.settings = msgspec.structs.replace(QUICK, waiting_max=2)
    trust = nodes.core_trust = FixedTrust(WAITING)
    folder = nodes.core.key_path.parent
    async with serving(nodes, ignore) as listening, AsyncExitStack() as stack:
        for name in ("one", "two"):
            side = msgspec.structs.replace(nodes.cell_side, identity=load_or_create(folder / name, name))
            await stack.enter_async_context(nodes.module.connect(listening.address, side, nodes.hello))
        third = msgspec.structs.replace(nodes.cell_side, identity=load_or_create(folder / "three", "three"))
        async with nodes.module.connect(listening.address, third, nodes.hello) as link:
            with anyio.fail_after(5):
                await link.closed.wait()
        trust.judgement = APPROVED
        async with nodes.module.connect(listening.address, nodes.cell_side, nodes.hello) as link:
            assert await link.request(Ping(1), timeout_s=5) == Ping(1)


async def test_the_fingerprint_is_that_of_the_proven_key(nodes: Nodes, tmp_path: Path) -> None:
    """A certificate of someone else does not help without its key."""
    thief = load_or_create(tmp_path / "thief", "Thief")
    thief.certificate = nodes.cell.certificate
    thief.fingerprint = nodes.cell.fingerprint
    side = NodeSide(thief, FixedTrust(), FunctionHandler(), QUICK)
    core = nodes.core_trust = FixedTrust()
    async with serving(nodes, ignore) as listening:
        with pytest.raises(Exception) as caught:
            async with nodes.module.connect(listening.address, side, nodes.hello):
                pass
        assert not isinstance(caught.value, AssertionError)
        assert core.asked == []
        async with nodes.module.connect(listening.address, nodes.cell_side, nodes.hello) as link:
            assert await link.request(Ping(1), timeout_s=5) == Ping(1)


async def test_a_peer_that_never_says_hello_is_dropped(nodes: Nodes) -> None:
    nodes.settings = msgspec.structs.replace(QUICK, handshake_timeout_s=0.3)
    core = nodes.core_trust = FixedTrust()
    async with serving(nodes, ignore) as listening:
        end = await open_carrier(nodes, listening)
        with anyio.fail_after(5):
            await end.lost.wait()
    assert core.asked == []


async def test_bytes_out_of_order_are_held_only_so_long(tmp_path: Path) -> None:
    """A stranger that sends the end of many messages and never their beginning."""
    nodes = make_nodes("quic", tmp_path)
    core = nodes.core_trust = FixedTrust(WAITING)
    async with serving(nodes, ignore) as listening:
        end = await open_carrier(nodes, listening)
        quic = end.carrier.quic
        for _ in range(100):
            stream_id = end.carrier.open_stream()
            end.carrier.send(stream_id, bytes(32 << 10))
            quic._streams[stream_id].sender._pending.subtract(0, (32 << 10) - 100)
        with anyio.fail_after(5):
            await end.lost.wait()
        assert end.reason == "too much out of order"
    assert core.asked == []


async def test_a_waiting_node_can_not_open_streams_without_end(nodes: Nodes) -> None:
    nodes.core_trust = FixedTrust(WAITING)
    async with linked(nodes) as (cell_end, core_end):
        for _ in range(2 * nodes.settings.waiting_inbound_max):
            cell_end.carrier.send(cell_end.carrier.open_stream(), frame(FrameKind.FOLLOW, b"{}"))
        with anyio.fail_after(5):
            await core_end.closed.wait()
        assert core_end.close_reason == "too_many_exchanges"


BROKEN = {
    "not a frame": b"\xff" * 64,
    "opens with an answer": frame(FrameKind.MESSAGE, encode_message(Ok())),
    "hello that is no hello": frame(FrameKind.CONTROL, encode_message(Ok())),
    "hello that is no message": frame(FrameKind.CONTROL, b"{"),
    "announces 4 GiB": frame(FrameKind.CONTROL)[:1] + b"\xff" * 4,
    "credit before anything": frame(FrameKind.CREDIT, b"999999999"),
    "credit that is no number": frame(FrameKind.CREDIT, b"-1"),
}


@pytest.mark.parametrize("data", BROKEN.values(), ids=BROKEN.keys())
async def test_who_breaks_the_protocol_loses_its_link_and_nothing_else(nodes: Nodes, data: bytes) -> None:
    nodes.settings = msgspec.structs.replace(QUICK, handshake_timeout_s=0.5)
    async with serving(nodes, ignore) as listening:
        nodes.settings = QUICK
        async with nodes.module.connect(listening.address, nodes.cell_side, nodes.hello) as link:
            other = load_or_create(nodes.core.key_path.parent / "other", "Other")
            end = await open_carrier(msgspec.structs.replace(nodes, cell=other), listening)
            end.carrier.send(end.carrier.open_stream(), data)
            with anyio.fail_after(5):
                await end.lost.wait()
            assert await link.request(Ping(1), timeout_s=5) == Ping(1)


async def test_random_bytes_never_break_the_acceptor(nodes: Nodes, caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.ERROR)
    noise = Random(11)
    async with serving(nodes, ignore) as listening:
        with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as sock:
            for number in range(400):
                data = bytearray(noise.randbytes(noise.choice([0, 1, 20, 41, 60, 1200, 1400])))
                if number % 2 and len(data) >= 1200:  # looks like an Initial of QUIC v1
                    data[:6] = b"\xc3\x00\x00\x00\x01\x08"
                    data[14] = 8
                    data[23:26] = b"\x00\x44\x80"
                sock.sendto(data, split_address(listening.address))
                await anyio.lowlevel.checkpoint()
        for _ in range(20):
            _, writer = await asyncio.open_connection("127.0.0.1", listening.port) if nodes.kind == "tls" else (0, None)
            if writer is not None:
                writer.write(noise.randbytes(noise.randrange(3000)))
                writer.close()
        end = await open_carrier(nodes, listening)
        stream = end.carrier.open_stream()
        for _ in range(50):
            end.carrier.send(stream, noise.randbytes(noise.randrange(200)))
        with anyio.fail_after(5):
            await end.lost.wait()
        async with nodes.module.connect(listening.address, nodes.cell_side, nodes.hello) as link:
            assert await link.request(Ping(1), timeout_s=5) == Ping(1)
    assert caplog.records == []


class BareEnd:
    """A proven carrier without a link on it: what a hostile node could do."""

    def __init__(self, carrier: Any) -> None:
        self.carrier = carrier
        self.lost = anyio.Event()
        self.reason = ""

    def stream_data(self, stream_id: int, data: bytes, end: bool) -> None: ...

    def stream_reset(self, stream_id: int) -> None: ...

    def stream_stopped(self, stream_id: int) -> None: ...

    def carrier_lost(self, reason: str) -> None:
        self.reason = reason
        self.lost.set()


async def open_carrier(nodes: Nodes, listening: Listening) -> BareEnd:
    loop = asyncio.get_running_loop()
    target = split_address(listening.address)
    carrier: Any
    if nodes.kind == "tls":
        _, carrier = await loop.create_connection(
            lambda: TlsCarrier(context(nodes.cell), nodes.settings, connector=True), *target
        )
    else:
        transport, protocol = await loop.create_datagram_endpoint(_Client, local_addr=("127.0.0.1", 0))
        quic = LinkConnection(b"", configuration=configuration(nodes.cell, nodes.settings, is_client=True))
        carrier = protocol.carrier = QuicCarrier(quic, transport.sendto, nodes.settings)
        carrier.on_gone = lambda _: transport.close()
        quic.connect(target, now=loop.time())
        carrier.flush()
    await carrier.prove()
    end = BareEnd(carrier)
    carrier.attach(end)
    return end
