"""Carrying out one exchange that the other end has opened: call the handler, send back what it gives or raises.

Invariant: whatever a handler raises ends its own exchange only. NanoErrors travel as they are; anything else is
logged here and travels as ``internal``. A reset by the other end cancels the handler (``exchange.scope``).
"""

from collections.abc import AsyncGenerator
from typing import TYPE_CHECKING

import anyio

from nano.domain.errors import Invalid
from nano.transports.exchange import Exchange
from nano.transports.framing import FrameKind, decode_message, encode_message
from nano.transports.link import Handler
from nano.transports.messages import Message, Refused
from nano.transports.stream_pipe import StreamPipe, relay
from nano.transports.wire_errors import to_error, to_refused

if TYPE_CHECKING:
    from nano.transports.stream_link import StreamLink


def open_frame(kind: FrameKind, payload: bytes) -> Message:
    """The message of an answer. Raises what the other end raised, or Invalid when it is no answer at all."""
    if kind not in (FrameKind.MESSAGE, FrameKind.REFUSED):
        raise Invalid(f"The other node answered with {kind.name}.", code="frame_malformed")
    message = decode_message(payload)
    if isinstance(message, Refused):
        raise to_error(message)
    return message


async def serve(link: "StreamLink", handler: Handler, exchange: Exchange, kind: FrameKind, payload: bytes) -> None:
    """Run until the exchange has ended. Never raises."""
    assert exchange.scope is not None
    with exchange.scope:
        try:
            message = decode_message(payload)
            if kind is FrameKind.REQUEST:
                await _serve_request(link, handler, exchange, message)
            elif kind is FrameKind.FOLLOW:
                await _serve_follow(link, handler, exchange, message)
            else:
                await _serve_pipe(link, handler, exchange, message)
        except Exception as error:  # noqa: BLE001 - the boundary of a handler: to_refused logs what is a defect
            if exchange.failure is None and not exchange.local_done:
                exchange.refuse(to_refused(error, doing=f"{kind.name.lower()} of {link.remote.name}"))


async def _serve_request(link: "StreamLink", handler: Handler, exchange: Exchange, message: Message) -> None:
    answer = await handler.on_request(link, message)
    kind = FrameKind.REFUSED if isinstance(answer, Refused) else FrameKind.MESSAGE
    exchange.send(kind, encode_message(answer, bytes_max=link.message_bytes_max), end=True)


async def _serve_follow(link: "StreamLink", handler: Handler, exchange: Exchange, message: Message) -> None:
    items = handler.on_follow(link, message)
    try:
        async for item in items:
            await exchange.send_message(item)
    finally:
        # A generator is closed here and now, in the task it ran in, and not by the garbage collector.
        if isinstance(items, AsyncGenerator):
            with anyio.CancelScope(shield=True):
                await items.aclose()
    exchange.finish()


async def _serve_pipe(link: "StreamLink", handler: Handler, exchange: Exchange, message: Message) -> None:
    answer, local = await handler.on_pipe(link, message)
    kind = FrameKind.REFUSED if isinstance(answer, Refused) else FrameKind.MESSAGE
    exchange.send(kind, encode_message(answer, bytes_max=link.message_bytes_max), end=local is None)
    if local is not None:
        await relay(StreamPipe(exchange), local)
