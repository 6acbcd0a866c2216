"""Nodes that lie, stay silent or break the rules lose their own link, and nothing else is harmed."""

import asyncio
import logging
import socket
from contextlib import AsyncExitStack
from pathlib import Path
from random import Random
from typing import Any

import anyio
import msgspec
import pytest

from nano.transports.framing import FrameKind, encode_message, frame
from nano.transports.handshake import AcceptedLink
from nano.transports.identity import load_or_create
from nano.transports.messages import Ok, Ping
from nano.transports.node_side import Listening, NodeSide, split_address
from nano.transports.quic_carrier import LinkConnection, QuicCarrier, configuration
from nano.transports.quic_link import _Client
from nano.transports.settings import LinkSettings
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


async def ignore(link: AcceptedLink) -> None:
    """on_link of an acceptor whose end does not matter."""


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
