"""Ready-made parts for tests of whatever talks over links: a trust that answers one thing, a handler made of functions,
a pair of joined pipes, and both ends of a link of any kind in one ``async with``.

It is part of the package so that every room's tests (and the simulator) use the same; no node imports it.
"""

# ruff: noqa: ARG001, ARG002 - parts that fill a port ignore some of what it gives them
from collections.abc import AsyncIterator, Awaitable, Callable, Iterable
from contextlib import asynccontextmanager
from functools import partial
from pathlib import Path
from types import ModuleType
from typing import Final

import anyio
import msgspec

from nano.transports import quic_link, tls_link
from nano.transports.handshake import AcceptedLink
from nano.transports.identity import NodeIdentity, load_or_create
from nano.transports.link import Handler, Link, Pipe
from nano.transports.memory_link import MemoryNode, memory_pair
from nano.transports.messages import Hello, Message, Ok, Welcome
from nano.transports.node_side import Listening, NodeSide
from nano.transports.settings import LinkSettings
from nano.transports.stream_link import StreamLink
from nano.transports.trust import APPROVED, Judgement, Trust
from nano.transports.unwrap import plain_errors

LINK_KINDS: Final = ("memory", "quic", "tls")
HELLO: Final = Hello(name="Cell_0a1b2c3d4e5f", kind="cell", domain="nano", version="0")
WELCOME: Final = Welcome(name="Core_0a1b2c3d4e5f", domain="nano", version="0", epoch=1, approved=False)


class FixedTrust:
    """Judges everyone alike; ``judgement`` may be changed. ``asked`` and ``welcomes`` say what it was told."""

    def __init__(self, judgement: Judgement = APPROVED) -> None:
        self.judgement = judgement
        self.asked: list[tuple[str, Hello | Welcome | None]] = []
        self.welcomes: list[Welcome] = []

    def check(self, remote_fingerprint: str, claimed: Hello | Welcome | None) -> Judgement:
        self.asked.append((remote_fingerprint, claimed))
        return self.judgement

    def admitted(self, remote_fingerprint: str, welcome: Welcome) -> None:
        self.welcomes.append(welcome)


OnRequest = Callable[[Message], Awaitable[Message]]
OnFollow = Callable[[Message], AsyncIterator[Message]]
OnPipe = Callable[[Message], Awaitable[tuple[Message, Pipe | None]]]


async def _echo(message: Message) -> Message:
    return message


async def _nothing(message: Message) -> AsyncIterator[Message]:
    for item in list[Message]():
        yield item


async def _no_pipe(message: Message) -> tuple[Message, Pipe | None]:
    return Ok(), None


class FunctionHandler:
    """A Handler of three functions; by default requests are echoed."""

    def __init__(self, request: OnRequest = _echo, follow: OnFollow = _nothing, pipe: OnPipe = _no_pipe) -> None:
        self._request, self._follow, self._pipe = request, follow, pipe

    async def on_request(self, link: Link, message: Message) -> Message:
        return await self._request(message)

    def on_follow(self, link: Link, message: Message) -> AsyncIterator[Message]:
        return self._follow(message)

    async def on_pipe(self, link: Link, message: Message) -> tuple[Message, Pipe | None]:
        return await self._pipe(message)


class PipeEnd:
    """One of two joined ends; at most ``depth`` pieces wait between them."""

    def __init__(self, out: "anyio.abc.ObjectSendStream[bytes]", into: "anyio.abc.ObjectReceiveStream[bytes]") -> None:
        self._out, self._into = out, into

    async def send(self, data: bytes) -> None:
        await self._out.send(data)

    async def receive(self) -> bytes:
        return await self._into.receive()

    async def aclose(self) -> None:
        await self._out.aclose()
        await self._into.aclose()


def pipe_pair(depth: int = 4) -> tuple[PipeEnd, PipeEnd]:
    one_out, other_in = anyio.create_memory_object_stream[bytes](depth)
    other_out, one_in = anyio.create_memory_object_stream[bytes](depth)
    return PipeEnd(one_out, one_in), PipeEnd(other_out, other_in)


class Nodes(msgspec.Struct):
    """Everything a pair of linked nodes is made of; change what a test is about."""

    kind: str
    core: NodeIdentity
    cell: NodeIdentity
    core_trust: Trust
    cell_trust: Trust
    core_handler: Handler
    cell_handler: Handler
    settings: LinkSettings = LinkSettings()
    hello: Hello = HELLO
    welcome: Welcome = WELCOME

    @property
    def module(self) -> ModuleType:
        return {"quic": quic_link, "tls": tls_link}[self.kind]

    @property
    def core_side(self) -> NodeSide:
        return NodeSide(self.core, self.core_trust, self.core_handler, self.settings)

    @property
    def cell_side(self) -> NodeSide:
        return NodeSide(self.cell, self.cell_trust, self.cell_handler, self.settings)


def make_nodes(kind: str, folder: Path) -> Nodes:
    core = load_or_create(folder / "core", "Core", domain="nano", addresses=["127.0.0.1"], with_authority=True)
    cell = load_or_create(folder / "cell", "Cell")
    return Nodes(kind, core, cell, FixedTrust(), FixedTrust(), FunctionHandler(), FunctionHandler())


@asynccontextmanager
async def serving(
    nodes: Nodes, on_link: Callable[[AcceptedLink], Awaitable[None]], ports: int | Iterable[int] = 0
) -> AsyncIterator[Listening]:
    """The acceptor of a quic or tls pair, on a loopback port: its own, that one, or the first that is free."""
    with plain_errors():
        async with anyio.create_task_group() as tasks:
            listening: Listening = await tasks.start(
                partial(nodes.module.serve, "127.0.0.1", ports, nodes.core_side, nodes.welcome, on_link)
            )
            yield listening
            tasks.cancel_scope.cancel()


@asynccontextmanager
async def linked(nodes: Nodes) -> AsyncIterator[tuple[StreamLink, AcceptedLink]]:
    """(the cell's end, Core's end) of a fresh link of the kind. Raises what refused it."""
    if nodes.kind == "memory":
        authority = nodes.core.authority
        async with memory_pair(
            MemoryNode(nodes.cell.fingerprint, nodes.cell_trust, nodes.cell_handler, nodes.cell.public_key),
            nodes.hello,
            MemoryNode(nodes.core.fingerprint, nodes.core_trust, nodes.core_handler, nodes.core.public_key),
            nodes.welcome,
            settings=nodes.settings,
            issue=authority.issue_for if authority else None,
        ) as ends:
            yield ends
        return
    accepted: list[AcceptedLink] = []
    arrived = anyio.Event()

    async def on_link(link: AcceptedLink) -> None:
        accepted.append(link)
        arrived.set()

    async with (
        serving(nodes, on_link) as listening,
        nodes.module.connect(listening.address, nodes.cell_side, nodes.hello) as link,
    ):
        await arrived.wait()
        yield link, accepted[0]
