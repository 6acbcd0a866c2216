"""Links over TCP with TLS 1.3, for networks where UDP is blocked: the same ``connect`` and ``serve`` as ``quic_link``.

Invariants: as there. What it lacks against QUIC: a lost packet holds up all streams, and a changed address of the
connecting node means a new connection (``reconnect`` makes one).
"""

import asyncio
import errno
from collections.abc import AsyncIterator, Callable, Iterable
from contextlib import asynccontextmanager

import anyio
import anyio.abc

from nano.domain.errors import Failure, Unreachable
from nano.transports.messages import Hello, Welcome
from nano.transports.node_side import Acceptance, Listening, NodeSide, OnLink, connected, split_address
from nano.transports.stream_link import StreamLink
from nano.transports.tls_carrier import TlsCarrier, context


@asynccontextmanager
async def connect(address: str, side: NodeSide, hello: Hello) -> AsyncIterator[StreamLink]:
    """The link to the node at ``address``, after Hello and Welcome; closed on leaving.
    Raises Unreachable, Forbidden, DeadlineExceeded."""
    tls = context(side.identity)
    try:
        host, port = split_address(address)
        with anyio.fail_after(side.settings.handshake_timeout_s):
            _, carrier = await asyncio.get_running_loop().create_connection(
                lambda: TlsCarrier(tls, side.settings, connector=True), host, port
            )
    except (OSError, ValueError) as error:
        raise Unreachable(f"{address} does not answer: {error or type(error).__name__}.") from error
    async with connected(carrier, side, hello) as link:
        yield link


async def serve(
    host: str,
    ports: int | Iterable[int],
    side: NodeSide,
    welcome: Welcome,
    on_link: OnLink,
    *,
    task_status: anyio.abc.TaskStatus[Listening] = anyio.TASK_STATUS_IGNORED,
) -> None:
    """Accept links on the first free TCP port until cancelled; started with ``Listening``.
    Raises Failure(code="port_in_use") when no port is free."""
    tls = context(side.identity)
    carriers: set[TlsCarrier] = set()
    async with anyio.create_task_group() as tasks:
        acceptance = Acceptance(side, welcome, on_link, tasks)

        def made(carrier: TlsCarrier) -> None:
            if len(carriers) >= side.settings.connections_max:
                carrier.close("too many connections")
                return
            carriers.add(carrier)
            tasks.start_soon(acceptance.accept, carrier)

        server = await _bind(
            host, ports, lambda: TlsCarrier(tls, side.settings, connector=False, on_made=made, on_gone=carriers.discard)
        )
        try:
            task_status.started(Listening(host, server.sockets[0].getsockname()[1]))
            await anyio.sleep_forever()
        finally:
            server.close()
            for carrier in list(carriers):
                carrier.close("the node is stopping")


async def _bind(host: str, ports: int | Iterable[int], factory: Callable[[], TlsCarrier]) -> asyncio.Server:
    loop = asyncio.get_running_loop()
    for port in [ports] if isinstance(ports, int) else ports:
        try:
            return await loop.create_server(factory, host, port)
        except OSError as error:
            if error.errno != errno.EADDRINUSE:
                raise Failure(f"Can't listen on {host}: {error.strerror}.", code="listen_failed") from error
    raise Failure(f"No free TCP port for links on {host}.", code="port_in_use")
