"""Links between two cells, for as long as one guest moves: a door that admits one key, and the way to such a door.

Each end is told the other's key by Core and accepts no other. Nothing listens while no door is open. What passes is the
handler's business; the engine is that of every link (TLS: bulk, where QUIC is slow).
"""

from collections.abc import AsyncIterator, Iterable
from contextlib import AbstractAsyncContextManager, asynccontextmanager
from functools import partial
from typing import Final, Protocol

import anyio

from nano.domain.errors import Unknown, Unreachable
from nano.transports import tls_link
from nano.transports.handshake import AcceptedLink
from nano.transports.identity import NodeIdentity
from nano.transports.link import Handler, Link, Pipe
from nano.transports.messages import Hello, Message, Welcome
from nano.transports.node_side import NodeSide
from nano.transports.trust import APPROVED, Judgement, refused
from nano.transports.unwrap import plain_errors

PORTS: Final = range(49152, 49216)  # libvirt's own range for migration, so firewalls know it


class Peers(Protocol):
    """Fingerprints as in ``Remote``. Raise Unreachable, Forbidden, Failure, DeadlineExceeded."""

    def receiving(self, peer: str, handler: Handler) -> AbstractAsyncContextManager[str]:
        """A door that admits this key only, while entered: its address. On leaving, its handlers have ended."""
        ...

    def reaching(self, address: str, peer: str) -> AbstractAsyncContextManager[Link]: ...


class OnlyThis:
    """A ``Trust`` in one key."""

    def __init__(self, fingerprint: str) -> None:
        self._fingerprint = fingerprint

    def check(self, remote_fingerprint: str, claimed: Hello | Welcome | None) -> Judgement:  # noqa: ARG002
        if remote_fingerprint == self._fingerprint:
            return APPROVED
        return refused("peer_unexpected", "This is not the cell that Core named.", "Look at who answers there.")

    def admitted(self, remote_fingerprint: str, welcome: Welcome) -> None:
        """Nothing is kept: the next door asks again."""


class OffersNothing:
    """A ``Handler``: who comes through a door does the asking."""

    async def on_request(self, link: Link, message: Message) -> Message:  # noqa: ARG002
        raise _nothing(message)

    def on_follow(self, link: Link, message: Message) -> AsyncIterator[Message]:  # noqa: ARG002
        raise _nothing(message)

    async def on_pipe(self, link: Link, message: Message) -> tuple[Message, Pipe | None]:  # noqa: ARG002
        raise _nothing(message)


class PeerLinks:
    """``hello`` says who we are; doors are opened at ``host``."""

    def __init__(self, identity: NodeIdentity, hello: Hello, host: str, ports: Iterable[int] = PORTS) -> None:
        self._identity = identity
        self._hello = hello
        self._host = host
        self._ports = tuple(ports)

    @asynccontextmanager
    async def receiving(self, peer: str, handler: Handler) -> AsyncIterator[str]:
        side = NodeSide(self._identity, OnlyThis(peer), handler)
        welcome = welcome_of(self._hello)
        with plain_errors():
            async with anyio.create_task_group() as tasks:
                door = await tasks.start(partial(tls_link.serve, self._host, self._ports, side, welcome, _until_closed))
                try:
                    yield door.address
                finally:
                    tasks.cancel_scope.cancel()

    @asynccontextmanager
    async def reaching(self, address: str, peer: str) -> AsyncIterator[Link]:
        side = NodeSide(self._identity, OnlyThis(peer), OffersNothing())
        async with tls_link.connect(address, side, self._hello) as link:
            await link.wait_approved()
            yield link


class NoPeers:
    """A cell that has no way to others."""

    def receiving(self, peer: str, handler: Handler) -> AbstractAsyncContextManager[str]:  # noqa: ARG002
        raise _no_way()

    def reaching(self, address: str, peer: str) -> AbstractAsyncContextManager[Link]:  # noqa: ARG002
        raise _no_way()


NO_PEERS: Final = NoPeers()


def welcome_of(hello: Hello) -> Welcome:
    return Welcome(name=hello.name, domain=hello.domain, version=hello.version, epoch=hello.epoch, approved=False)


async def _until_closed(link: AcceptedLink) -> None:
    await link.closed.wait()


def _no_way() -> Unreachable:
    return Unreachable("This cell has no way to other cells.", code="no_way_to_peers")


def _nothing(message: Message) -> Unknown:
    return Unknown(f"The sending cell answers nothing, nor {type(message).__name__}.", code="unknown_order")
