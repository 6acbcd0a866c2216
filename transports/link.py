"""``Link``: a mutually authenticated, multiplexed connection between two nodes, whatever carries it.

Implementations: ``quic`` (default), ``tls`` (where UDP is blocked), ``memory`` (tests and simulator). All pass
``tests/contract/test_link.py``. A message is one ``msgspec.Struct`` of ``transports/messages.py``; links know how to
frame and bound it (``MESSAGE_BYTES_MAX``), not what it means. Both ends may start exchanges.

Shapes of exchange, each on a stream of its own:
    request    one message there, one message back
    follow     one message there, a sequence of messages back until either end closes
    pipe       one message there, one message back, then bytes both ways (consoles)
"""

from collections.abc import AsyncIterator
from contextlib import AbstractAsyncContextManager
from typing import Final, Protocol

import anyio
import msgspec

from nano.transports.messages import Message

MESSAGE_BYTES_MAX: Final = 8 << 20


class Remote(msgspec.Struct, frozen=True):
    """Who is at the other end, as proven by the handshake: name and domain as claimed, fingerprint as verified
    (lower-case hex SHA-256 of the certificate's public key, DER SubjectPublicKeyInfo)."""

    name: str
    kind: str  # core | cell
    domain: str
    fingerprint: str
    address: str  # "10.0.0.3:5601"


class Handler(Protocol):
    """What a node offers to the other end. An error raised as NanoError travels with its code; any other as ``internal``."""

    async def on_request(self, link: "Link", message: Message) -> Message: ...

    def on_follow(self, link: "Link", message: Message) -> AsyncIterator[Message]: ...

    async def on_pipe(self, link: "Link", message: Message) -> "tuple[Message, Pipe | None]":
        """The answer, and the local end whose bytes are to be relayed (None = refused; the answer says why)."""
        ...


class Pipe(Protocol):
    async def send(self, data: bytes) -> None: ...

    async def receive(self) -> bytes:
        """At least one byte; raises anyio.EndOfStream when the other end has closed."""
        ...

    async def aclose(self) -> None: ...


class Link(Protocol):
    remote: Remote
    closed: anyio.Event  # set once, when the link is gone for whatever reason

    async def request(self, message: Message, *, timeout_s: float) -> Message:
        """The answer. Raises the NanoError the other end raised, Unreachable, or DeadlineExceeded."""
        ...

    def follow(self, message: Message) -> AbstractAsyncContextManager[AsyncIterator[Message]]: ...

    async def pipe(self, message: Message, *, timeout_s: float) -> tuple[Message, Pipe]: ...

    async def aclose(self, reason: str = "") -> None: ...
