"""Links over QUIC: ``connect`` and ``serve``. The default between nodes: one UDP port, encrypted both ways, streams that
do not wait for each other, and a connection that survives a changed address of either NAT or client.

Invariants: an acceptor holds at most ``connections_max`` connections; a datagram that belongs to none and opens none
costs nothing but, at most, one stateless reset smaller than itself. Who may connect is decided in ``handshake``.
"""

import asyncio
import errno
import logging
import os
import socket
from collections.abc import AsyncIterator, Iterable
from contextlib import asynccontextmanager
from typing import Any, Final

import anyio
import anyio.abc
from aioquic._buffer import Buffer
from aioquic.quic.packet import QuicPacketType, pull_quic_header

from nano.domain.errors import Failure, Unreachable
from nano.transports.messages import Hello, Welcome
from nano.transports.node_side import Acceptance, Listening, NodeSide, OnLink, connected, split_address
from nano.transports.quic_carrier import RESET_TOKEN_BYTES, LinkConnection, QuicCarrier, configuration, reset_token
from nano.transports.settings import PORTS
from nano.transports.stream_link import StreamLink

logger = logging.getLogger("nano.transports")

CID_BYTES: Final = 8
INITIAL_BYTES_MIN: Final = 1200  # RFC 9000 §14.1
RESET_BYTES_MIN, RESET_BYTES_MAX = 21, 41  # RFC 9000 §10.3
SOCKET_BUFFER_BYTES: Final = 1 << 20


class _Client(asyncio.DatagramProtocol):
    carrier: QuicCarrier | None = None

    def datagram_received(self, data: bytes, addr: Any) -> None:
        if self.carrier is not None:
            self.carrier.receive(data, addr)


@asynccontextmanager
async def connect(address: str, side: NodeSide, hello: Hello) -> AsyncIterator[StreamLink]:
    """The link to the node at ``address`` ("10.0.0.3:5601"), after Hello and Welcome; closed on leaving. A waiting node
    gets it too (``link.approved`` is False, ``wait_approved`` waits). Raises Unreachable, Forbidden, DeadlineExceeded."""
    loop = asyncio.get_running_loop()
    target, family = await _resolve(address)
    any_source = "::" if family == socket.AF_INET6 else "0.0.0.0"  # noqa: S104 - the kernel picks it per datagram
    local = ("127.0.0.1" if target[0].startswith("127.") else any_source, 0)
    # Not connected to the target: then the kernel picks the source address anew when the host's address changes.
    transport, protocol = await loop.create_datagram_endpoint(_Client, local_addr=local, family=family)
    try:
        _enlarge(transport)
        quic = LinkConnection(
            side.identity.secret(b"reset"), configuration=configuration(side.identity, side.settings, is_client=True)
        )
        carrier = protocol.carrier = QuicCarrier(quic, transport.sendto, side.settings)
        quic.connect(target, now=loop.time())
        carrier.flush()
        async with connected(carrier, side, hello) as link:
            yield link
    finally:
        transport.close()


async def serve(
    host: str,
    ports: int | Iterable[int],
    side: NodeSide,
    welcome: Welcome,
    on_link: OnLink,
    *,
    task_status: anyio.abc.TaskStatus[Listening] = anyio.TASK_STATUS_IGNORED,
) -> None:
    """Accept links on the first free UDP port until cancelled; started with ``Listening``. ``welcome`` says who we are
    (its ``approved`` is set per link). Raises Failure(code="port_in_use") when no port is free."""
    loop = asyncio.get_running_loop()
    async with anyio.create_task_group() as tasks:
        acceptance = Acceptance(side, welcome, on_link, tasks)
        transport, server, port = await _bind(loop, host, ports, side, acceptance, tasks)
        _enlarge(transport)
        try:
            task_status.started(Listening(host, port))
            await anyio.sleep_forever()
        finally:
            server.close()
            transport.close()


class _Server(asyncio.DatagramProtocol):
    """Finds the connection of each datagram by its connection id, and makes new ones."""

    def __init__(self, side: NodeSide, acceptance: Acceptance, tasks: anyio.abc.TaskGroup) -> None:
        self._side = side
        self._acceptance = acceptance
        self._tasks = tasks
        self._configuration = configuration(side.identity, side.settings, is_client=False)
        self._secret = side.identity.secret(b"reset")
        self._carriers: dict[bytes, QuicCarrier] = {}
        self._cids: dict[QuicCarrier, set[bytes]] = {}
        self._transport: Any = None

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._transport = transport

    def close(self) -> None:
        for carrier in list(self._cids):
            carrier.close("the node is stopping")

    def datagram_received(self, data: bytes, addr: Any) -> None:
        try:
            header = pull_quic_header(Buffer(data=data), host_cid_length=CID_BYTES)
        except ValueError:
            return
        carrier = self._carriers.get(header.destination_cid)
        if carrier is not None:
            carrier.receive(data, addr)
        elif header.packet_type is QuicPacketType.ONE_RTT:
            self._reset(data, header.destination_cid, addr)
        elif (
            header.packet_type is QuicPacketType.INITIAL
            and len(data) >= INITIAL_BYTES_MIN
            and header.version in self._configuration.supported_versions
        ):
            self._open(data, header.destination_cid, addr)

    def error_received(self, exc: Exception) -> None:
        """An unreachable peer says so by ICMP; its link notices by itself."""

    def _open(self, data: bytes, destination: bytes, addr: Any) -> None:
        if len(self._cids) >= self._side.settings.connections_max:
            logger.warning("connection refused address=%s reason=too many", addr[0])
            return
        quic = LinkConnection(
            self._secret, configuration=self._configuration, original_destination_connection_id=destination
        )
        carrier = QuicCarrier(quic, self._transport.sendto, self._side.settings)
        carrier.on_cid, carrier.on_gone = self._on_cid, self._on_gone
        self._cids[carrier] = set()
        self._on_cid(carrier, destination, True)
        self._on_cid(carrier, quic.host_cid, True)
        carrier.receive(data, addr)
        if quic.heard_nothing:
            carrier.drop()
        else:
            self._tasks.start_soon(self._acceptance.accept, carrier)

    def _on_cid(self, carrier: QuicCarrier, cid: bytes, issued: bool) -> None:
        if issued:
            self._carriers[cid] = carrier
            self._cids[carrier].add(cid)
        else:
            self._carriers.pop(cid, None)
            self._cids[carrier].discard(cid)

    def _on_gone(self, carrier: QuicCarrier) -> None:
        for cid in self._cids.pop(carrier, ()):
            self._carriers.pop(cid, None)

    def _reset(self, data: bytes, cid: bytes, addr: Any) -> None:
        """Tell a peer of an earlier life of this node that its connection is gone (RFC 9000 §10.3)."""
        size = min(len(data) - 1, RESET_BYTES_MAX)  # shorter than its cause, so that two nodes can't echo for ever
        if size >= RESET_BYTES_MIN:
            noise = bytearray(os.urandom(size - RESET_TOKEN_BYTES))
            noise[0] = 0x40 | noise[0] & 0x3F
            self._transport.sendto(bytes(noise) + reset_token(self._secret, cid), addr)


async def _bind(
    loop: asyncio.AbstractEventLoop,
    host: str,
    ports: int | Iterable[int],
    side: NodeSide,
    acceptance: Acceptance,
    tasks: anyio.abc.TaskGroup,
) -> tuple[asyncio.DatagramTransport, _Server, int]:
    for port in [ports] if isinstance(ports, int) else ports:
        try:
            bound = await _bound(loop, host, port)
        except OSError as error:
            if error.errno != errno.EADDRINUSE:
                raise Failure(f"Can't listen on {host}: {error.strerror}.", code="listen_failed") from error
        else:
            transport, server = await loop.create_datagram_endpoint(
                lambda: _Server(side, acceptance, tasks), sock=bound
            )
            return transport, server, transport.get_extra_info("sockname")[1]
    raise Failure(
        f"No free port for links on {host}.",
        code="port_in_use",
        hint=f"Nodes use UDP {PORTS.start}-{PORTS.stop - 1}; stop what holds them or configure another port.",
    )


async def _bound(loop: asyncio.AbstractEventLoop, host: str, port: int) -> socket.socket:
    """A socket of our own: uvloop would bind too, but not say which error it met."""
    family, kind, protocol, _, address = (await loop.getaddrinfo(host, port, type=socket.SOCK_DGRAM))[0]
    found = socket.socket(family, kind, protocol)
    try:
        found.setblocking(False)
        found.bind(address)
    except BaseException:
        found.close()
        raise
    return found


async def _resolve(address: str) -> tuple[Any, socket.AddressFamily]:
    try:
        host, port = split_address(address)
        found = await asyncio.get_running_loop().getaddrinfo(host, port, type=socket.SOCK_DGRAM)
    except (OSError, ValueError) as error:
        raise Unreachable(f"{address} is no address of a node: {error}.", code="address_bad") from error
    return found[0][4], socket.AddressFamily(found[0][0])


def _enlarge(transport: asyncio.BaseTransport) -> None:
    """The kernel's default holds some hundred datagrams; a burst of a large message has more."""
    sock = transport.get_extra_info("socket")
    for option in (socket.SO_RCVBUF, socket.SO_SNDBUF):
        sock.setsockopt(socket.SOL_SOCKET, option, SOCKET_BUFFER_BYTES)
