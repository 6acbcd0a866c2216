"""What a node brings to every link, and the two halves that are the same for QUIC and TLS: making a link of a proven
carrier when connecting, and when accepting.

Invariants: a carrier becomes a link only after its key was proven and ``Trust`` was asked; one node (one key) has one
link at an acceptor: a newer one supersedes the older, which is how a killed and restarted cell comes back at once; an
error on one link ends that link and never the acceptor.
"""

import logging
from collections.abc import AsyncIterator, Callable, Coroutine
from contextlib import asynccontextmanager
from typing import Any, Protocol

import anyio
import anyio.abc
import msgspec

from nano.domain.errors import NanoError, Unreachable
from nano.transports.carrier import Carrier, CarrierEvents
from nano.transports.handshake import AcceptedLink, Connector
from nano.transports.identity import NodeIdentity
from nano.transports.link import Handler
from nano.transports.messages import Hello, Welcome
from nano.transports.settings import LinkSettings
from nano.transports.stream_link import StreamLink
from nano.transports.trust import Trust
from nano.transports.unwrap import plain_errors

logger = logging.getLogger("nano.transports")

ALPN = "nano/1"


class NodeSide(msgspec.Struct, frozen=True):
    """Key, trust and offer of one node; the same for all its links."""

    identity: NodeIdentity
    trust: Trust
    handler: Handler
    settings: LinkSettings = LinkSettings()


OnLink = Callable[[AcceptedLink], Coroutine[Any, Any, None]]
"""Called in a task of its own with each new link, waiting ones included (``link.approved``). When it returns the link
stays open; ``link.closed`` says when it is gone."""


class ProvenCarrier(Carrier, Protocol):
    """A carrier on its way to be one: ``prove`` waits for the other end's key, ``attach`` starts delivery."""

    async def prove(self) -> None: ...

    def attach(self, events: CarrierEvents) -> None: ...


class Listening(msgspec.Struct, frozen=True):
    """Where an acceptor listens."""

    host: str
    port: int

    @property
    def address(self) -> str:
        return join_address(self.host, self.port)


def join_address(host: str, port: int) -> str:
    return f"[{host}]:{port}" if ":" in host else f"{host}:{port}"


def split_address(address: str) -> tuple[str, int]:
    """("10.0.0.3", 5601) of "10.0.0.3:5601", ("::1", 5601) of "[::1]:5601". Raises ValueError."""
    host, _, port = address.rpartition(":")
    if not host or not port.isdigit() or not 0 < int(port) < 65536:
        raise ValueError(f"{address!r} is not host:port")
    return host.removeprefix("[").removesuffix("]"), int(port)


@asynccontextmanager
async def connected(carrier: ProvenCarrier, side: NodeSide, hello: Hello) -> AsyncIterator[StreamLink]:
    """The link over a fresh carrier, after Hello and Welcome. On leaving it is closed and its handlers have ended."""
    with plain_errors():
        async with anyio.create_task_group() as tasks:
            link: StreamLink | None = None
            try:
                with anyio.fail_after(side.settings.handshake_timeout_s):
                    await carrier.prove()
                link = StreamLink(carrier, side.handler, tasks, side.settings, connector=True)
                carrier.attach(link)
                await tasks.start(Connector(link, side.trust, hello, side.settings).run)
                yield link
            except TimeoutError:
                if link is not None:
                    raise  # the caller's own
                raise Unreachable(
                    f"{carrier.address} does not answer.", hint="Is the node running, and UDP or TCP to it open?"
                ) from None
            finally:
                if link is not None:
                    await link.aclose("closed")
                else:
                    carrier.close("closed")
                tasks.cancel_scope.cancel()


class Acceptance:
    """Turns proven carriers into links, for an acceptor of any kind."""

    def __init__(self, side: NodeSide, welcome: Welcome, on_link: OnLink, tasks: anyio.abc.TaskGroup) -> None:
        self._side = side
        self._welcome = welcome
        self._on_link = on_link
        self._tasks = tasks
        self._links: dict[str, AcceptedLink] = {}

    async def accept(self, carrier: ProvenCarrier) -> None:
        """The whole life of one link. Never raises."""
        side = self._side
        link: AcceptedLink | None = None
        try:
            with anyio.fail_after(side.settings.handshake_timeout_s):
                await carrier.prove()
            link = AcceptedLink(carrier, side.handler, self._tasks, side.settings, connector=False)
            carrier.attach(link)
            authority = side.identity.authority
            await link.greet(side.trust, self._welcome, authority.issue_for if authority else None)
            await self._take(link)
        except TimeoutError:
            logger.info("handshake timeout address=%s", carrier.address)
        except NanoError as error:
            logger.info("link not made address=%s code=%s reason=%s", carrier.address, error.code, error.message)
        except Exception:
            logger.exception("link failed address=%s", carrier.address)
        finally:
            if link is not None:
                await link.aclose("ended")
                if self._links.get(carrier.fingerprint) is link:
                    del self._links[carrier.fingerprint]
            else:
                carrier.close("no link")

    async def _take(self, link: AcceptedLink) -> None:
        older = self._links.get(link.remote.fingerprint)
        waiting = sum(not known.approved for known in self._links.values())
        if not link.approved and older is None and waiting >= self._side.settings.waiting_max:
            logger.warning("node turned away name=%s reason=%d nodes are waiting already", link.remote.name, waiting)
            return
        self._links[link.remote.fingerprint] = link
        if older is not None and not older.closed.is_set():
            logger.info("link superseded name=%s by=%s", older.remote.name, link.remote.address)
            await older.aclose("superseded")
        logger.info(
            "link made name=%s kind=%s address=%s fingerprint=%s approved=%s",
            link.remote.name,
            link.remote.kind,
            link.remote.address,
            link.remote.fingerprint,
            link.approved,
        )
        async with anyio.create_task_group() as tasks:
            tasks.start_soon(self._on_link, link)
            await link.closed.wait()
        logger.info("link closed name=%s reason=%s", link.remote.name, link.close_reason)
