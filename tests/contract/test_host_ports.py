"""Ports that a ``Host`` opens for people: the simulated machine's and the real ones do the same."""

from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from functools import partial

import anyio
import pytest

from nano.domain.errors import HostError
from nano.hypervisor.ports import PORT_TAKEN, Listening, Ports, TcpPorts
from nano.hypervisor.simulated import SimulatedHost
from nano.hypervisor.socket_channel import Channel, SocketChannel

pytestmark = pytest.mark.anyio

GUEST = "3f0c0000-0000-4000-8000-000000000001"
OTHER = "3f0c0000-0000-4000-8000-000000000002"
ADDRESS = "127.0.0.1"


class Place:
    """One host's ports, and a way to connect to them."""

    def __init__(self, ports: Ports, connect: Callable[[int], Awaitable[Channel]], port: int) -> None:
        self.ports = ports
        self.connect = connect
        self.port = port


async def _connect_tcp(port: int) -> Channel:
    return SocketChannel(await anyio.connect_tcp(ADDRESS, port))


async def _connect_simulated(host: SimulatedHost, port: int) -> Channel:
    if (ADDRESS, port) not in host.open_ports:
        raise ConnectionRefusedError
    return host.open_ports[ADDRESS, port].connect()


@pytest.fixture(params=["simulated", "tcp"])
async def place(request: pytest.FixtureRequest) -> AsyncIterator[Place]:
    if request.param == "simulated":
        host = SimulatedHost()
        yield Place(host.ports, partial(_connect_simulated, host), 5901)
        await host.close()
    else:
        async with await anyio.create_tcp_listener(local_host=ADDRESS, local_port=0) as found:
            port = found.extra(anyio.abc.SocketAttribute.local_port)
        ports = TcpPorts()
        yield Place(ports, _connect_tcp, port)
        await ports.close()


async def echo(channel: Channel, peer: str) -> None:
    await channel.send(peer.encode())
    while True:
        await channel.send(await channel.receive())


@asynccontextmanager
async def serving(listening: Listening) -> AsyncIterator[anyio.Event]:
    """The event is set when ``serve`` has returned."""
    ended = anyio.Event()

    async def serve() -> None:
        await listening.serve(echo)
        ended.set()

    async with anyio.create_task_group() as tasks:
        tasks.start_soon(serve)
        yield ended
        tasks.cancel_scope.cancel()


async def test_who_connects_before_it_is_served_waits(place: Place) -> None:
    listening = await place.ports.open(GUEST, ADDRESS, place.port)
    early = await place.connect(place.port)
    with anyio.fail_after(5):
        async with serving(listening):
            assert await early.receive() in (b"127.0.0.1", b"192.0.2.1")
            await early.send(b"hello")
            assert await early.receive() == b"hello"
            await early.aclose()


async def test_shutting_ends_everybody_and_frees_the_port(place: Place) -> None:
    listening = await place.ports.open(GUEST, ADDRESS, place.port)
    with anyio.fail_after(5):
        async with serving(listening) as ended:
            there = await place.connect(place.port)
            await there.receive()
            await place.ports.shut(GUEST)
            await ended.wait()
            with pytest.raises((anyio.EndOfStream, anyio.BrokenResourceError)):
                await there.receive()
            with pytest.raises(OSError):
                await place.connect(place.port)
            await there.aclose()
        await place.ports.shut(GUEST)
        await listening.aclose()
        assert await place.ports.open(OTHER, ADDRESS, place.port)


async def test_a_taken_port_is_refused_and_a_guest_has_one(place: Place) -> None:
    await place.ports.open(GUEST, ADDRESS, place.port)
    with pytest.raises(HostError) as taken:
        await place.ports.open(OTHER, ADDRESS, place.port)
    assert taken.value.code == PORT_TAKEN
    again = await place.ports.open(GUEST, ADDRESS, place.port)
    with anyio.fail_after(5):
        async with serving(again):
            there = await place.connect(place.port)
            assert await there.receive()
            await there.aclose()


async def test_an_address_that_the_host_has_not() -> None:
    with pytest.raises(HostError) as missing:
        await TcpPorts().open(GUEST, "192.0.2.1", 5901)
    assert missing.value.code == "address_missing"
