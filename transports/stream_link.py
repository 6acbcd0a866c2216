"""``StreamLink``: the one implementation of ``Link``, over whatever ``Carrier`` it is given.

Each exchange lives on a stream of its own. Exchanges of the other end run as tasks in the group the link is given;
a reset of their stream, or the loss of the carrier, cancels them. Invariants: an error of a handler ends its exchange
and nothing else; a peer that breaks the protocol loses its link and nothing else does; until ``approved`` is set, the
other end is refused everything (``node_not_approved``). Who is approved, and the first Hello, are ``handshake``'s.
"""

import logging
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

import anyio
import anyio.abc

from nano.domain.errors import DeadlineExceeded, Failure, Forbidden, Invalid, NanoError, Refusal, TooLarge, Unreachable
from nano.transports.carrier import Carrier
from nano.transports.exchange import Exchange
from nano.transports.framing import OPENERS, FrameKind, encode_message
from nano.transports.link import Handler, Pipe, Remote
from nano.transports.messages import Message
from nano.transports.serving import open_frame, serve
from nano.transports.settings import LinkSettings
from nano.transports.stream_pipe import StreamPipe
from nano.transports.wire_errors import to_refused

logger = logging.getLogger("nano.transports")


class StreamLink:
    """``remote`` and ``approved`` are set by the handshake. ``tasks`` runs the handlers and must outlive the link."""

    def __init__(
        self, carrier: Carrier, handler: Handler, tasks: anyio.abc.TaskGroup, settings: LinkSettings, *, connector: bool
    ) -> None:
        self.carrier = carrier
        self.remote = Remote(name="", kind="", domain="", fingerprint=carrier.fingerprint, address=carrier.address)
        self.closed = anyio.Event()
        self.close_reason = ""
        self.control: Exchange | None = None
        self.control_arrived = anyio.Event()
        self._approved = anyio.Event()
        self._admits = False
        self._handler = handler
        self._tasks = tasks
        self._settings = settings
        self._parity = 0 if connector else 1
        self._exchanges: dict[int, Exchange] = {}
        self._inbound = 0
        self._held = 0  # bytes of half-received frames
        self._streams = 0  # follows and pipes of ours
        self._requests = anyio.Semaphore(settings.requests_max, fast_acquire=True)

    # -- Link

    async def request(self, message: Message, *, timeout_s: float) -> Message:
        data = encode_message(message, bytes_max=self.message_bytes_max)
        with anyio.move_on_after(timeout_s):
            async with self._requests:
                exchange = self._open(FrameKind.REQUEST, data, end=True)
                try:
                    return await self._answer(exchange)
                finally:
                    exchange.abort()
        raise DeadlineExceeded(
            f"{self.remote.name or 'The other node'} did not answer within {timeout_s:g} s.",
            hint="It may still be working on it; look at the task, or try again.",
            message_type=type(message).__name__,
        )

    @asynccontextmanager
    async def follow(self, message: Message) -> AsyncIterator[AsyncIterator[Message]]:
        exchange = self._open(FrameKind.FOLLOW, encode_message(message, bytes_max=self.message_bytes_max))
        try:
            yield _Items(exchange)
        finally:
            exchange.abort()

    async def pipe(self, message: Message, *, timeout_s: float) -> tuple[Message, Pipe]:
        exchange = self._open(FrameKind.PIPE, encode_message(message, bytes_max=self.message_bytes_max))
        try:
            with anyio.fail_after(timeout_s):
                answer = await self._answer(exchange)
        except TimeoutError:
            exchange.abort()
            raise DeadlineExceeded(f"{self.remote.name} did not open the pipe within {timeout_s:g} s.") from None
        except BaseException:
            exchange.abort()
            raise
        return answer, StreamPipe(exchange)

    async def aclose(self, reason: str = "") -> None:
        self.carrier.close(reason or "closed")
        self.carrier_lost(reason or "closed here")

    # -- approval

    @property
    def approved(self) -> bool:
        return self._approved.is_set()

    async def wait_approved(self) -> None:
        """Returns when the other end may be talked to; raises Unreachable when the link is lost before."""
        while not self.approved and not self.closed.is_set():
            async with anyio.create_task_group() as tasks:
                tasks.start_soon(_first_of, self._approved, tasks)
                tasks.start_soon(_first_of, self.closed, tasks)
        if not self.approved:
            raise self._lost()

    def admit(self) -> None:
        """Serve the other end from now on. What we ask of it waits for ``set_approved``: it has yet to say that it obeys."""
        if self._admits:
            return
        self._admits = True
        for exchange in self._exchanges.values():
            exchange.decoder.payload_max = self.message_bytes_max
        self.carrier.widen()

    def set_approved(self) -> None:
        self.admit()
        self._approved.set()

    # -- for exchanges

    @property
    def message_bytes_max(self) -> int:
        return self._settings.message_bytes_max

    def exchange_opened(self, exchange: Exchange) -> None:
        """The opening frame of the other end's exchange has arrived."""
        kind, payload = exchange.take()
        if kind is FrameKind.CONTROL and self._parity == 1 and self.control is None:
            self.control = exchange
            exchange.opening = payload
            self.control_arrived.set()
        elif kind not in OPENERS or kind is FrameKind.CONTROL:
            raise Invalid("The other node opened a stream with a frame that opens nothing.", code="frame_malformed")
        elif not self._admits:
            self._turn_away(exchange, _not_approved())
        elif self._inbound > self._settings.inbound_max:
            self._turn_away(exchange, Failure("Too many exchanges at once.", code="too_many_exchanges"))
        else:
            exchange.scope = anyio.CancelScope()
            self._tasks.start_soon(serve, self, self._handler, exchange, kind, payload)

    def exchange_ended(self, exchange: Exchange) -> None:
        """Called at each step of an ending; forgets the stream when both directions are over."""
        if exchange.local_done and exchange.remote_done:
            if self._exchanges.pop(exchange.stream_id, None) is not None:
                self._inbound -= not self._is_ours(exchange.stream_id)
                self._streams -= exchange.streaming
            self.drop_held(exchange)

    def drop_held(self, exchange: Exchange) -> None:
        self._held -= exchange.held
        exchange.held = 0

    def open_control(self, hello: Message) -> Exchange:
        self.control = self._open(FrameKind.CONTROL, encode_message(hello))
        return self.control

    # -- CarrierEvents

    def stream_data(self, stream_id: int, data: bytes, end: bool) -> None:
        exchange = self._exchanges.get(stream_id)
        if exchange is None:
            if self._is_ours(stream_id) or self.closed.is_set():
                return
            payload_max = self.message_bytes_max if self._admits else self._settings.waiting_message_bytes_max
            exchange = self._exchanges[stream_id] = Exchange(self, stream_id, payload_max)
            self._inbound += 1
            if self._inbound > (4 * self._settings.inbound_max if self._admits else self._settings.waiting_inbound_max):
                self._broken(Invalid("The other node opens streams without end.", code="too_many_exchanges"))
                return
        try:
            exchange.feed(data)
            self._held += exchange.decoder.held - exchange.held
            exchange.held = exchange.decoder.held
            if self._held > (self._settings.receive_buffer_max if self._admits else self._settings.waiting_buffer_max):
                raise TooLarge("The other node has too many unfinished messages under way.", code="buffer_exceeded")
        except Refusal as error:
            if isinstance(error, TooLarge) and error.code == "message_too_large":
                # The stream can't be read on, the others can: the sender is told and only this exchange ends.
                logger.warning("message refused remote=%s reason=%s", self.remote.name, error.message)
                self._turn_away(exchange, error)
            else:
                self._broken(error)
                return
        if end:
            exchange.remote_ended()

    def stream_reset(self, stream_id: int) -> None:
        exchange = self._exchanges.get(stream_id)
        if exchange is not None:
            exchange.remote_done = True
            exchange.fail(_given_up())
            if not exchange.local_done:
                exchange.local_done = True
                self.carrier.reset(stream_id)
            self.exchange_ended(exchange)

    def stream_stopped(self, stream_id: int) -> None:
        exchange = self._exchanges.get(stream_id)
        if exchange is not None:
            exchange.local_done = True
            exchange.fail(_given_up())
            self.exchange_ended(exchange)

    def carrier_lost(self, reason: str) -> None:
        if self.closed.is_set():
            return
        self.close_reason = reason
        self.closed.set()
        for exchange in list(self._exchanges.values()):
            exchange.local_done = exchange.remote_done = True
            exchange.fail(self._lost())
        self._exchanges.clear()
        self._inbound = self._held = self._streams = 0
        self.control_arrived.set()

    # -- inside

    def _is_ours(self, stream_id: int) -> bool:
        return stream_id & 1 == self._parity

    def _lost(self) -> Unreachable:
        return Unreachable(
            f"The link to {self.remote.name or self.carrier.address} is lost ({self.close_reason or 'closed'}).",
            code="link_lost",
            hint="It is rebuilt by itself when the node answers again.",
        )

    def _broken(self, error: NanoError) -> None:
        logger.warning(
            "link broken remote=%s address=%s code=%s reason=%s",
            self.remote.name,
            self.carrier.address,
            error.code,
            error.message,
        )
        self.carrier.close(error.code)
        self.carrier_lost(error.message)

    def _open(self, kind: FrameKind, data: bytes, *, end: bool = False) -> Exchange:
        if self.closed.is_set():
            raise self._lost()
        streaming = kind in (FrameKind.FOLLOW, FrameKind.PIPE)
        if streaming and self._streams >= self._settings.streams_max:
            raise Failure(
                f"{self._streams} follows and pipes are open on this link.",
                code="too_many_exchanges",
                hint="Close one first.",
            )
        stream_id = self.carrier.open_stream()
        exchange = self._exchanges[stream_id] = Exchange(self, stream_id, self.message_bytes_max)
        exchange.opened = True
        exchange.streaming = streaming
        self._streams += streaming
        exchange.send(kind, data, end=end)
        return exchange

    def _turn_away(self, exchange: Exchange, error: NanoError) -> None:
        exchange.refuse(to_refused(error, doing="opening"))
        exchange.fail(error)
        exchange.stop_reading()

    async def _answer(self, exchange: Exchange) -> Message:
        try:
            kind, payload = await exchange.receive()
        except anyio.EndOfStream:
            raise Unreachable("The other node ended the exchange without an answer.", code="answer_missing") from None
        return open_frame(kind, payload)


class _Items:
    """The sequence of a follow. Ends when the other end has ended it; raises what it raised."""

    def __init__(self, exchange: Exchange) -> None:
        self._exchange = exchange
        self._ended = False

    def __aiter__(self) -> "_Items":
        return self

    async def __anext__(self) -> Message:
        if self._ended:
            raise StopAsyncIteration
        try:
            kind, payload = await self._exchange.receive()
            if kind is not FrameKind.END:
                return open_frame(kind, payload)
        except anyio.EndOfStream:
            pass
        self._ended = True
        raise StopAsyncIteration


def _not_approved() -> Forbidden:
    return Forbidden(
        "This node is known and not approved.",
        code="node_not_approved",
        hint="Add it to a compute pool, or give it a join token.",
    )


def _given_up() -> Unreachable:
    return Unreachable("The other node gave up this exchange.", code="exchange_reset")


async def _first_of(event: anyio.Event, tasks: anyio.abc.TaskGroup) -> None:
    await event.wait()
    tasks.cancel_scope.cancel()
