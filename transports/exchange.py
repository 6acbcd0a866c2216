"""``Exchange``: one conversation on one stream of a link, seen from one end.

Why credit of our own: QUIC's flow control widens as bytes arrive, not as they are read (aioquic doubles its windows),
and a TLS connection has one window for all streams. So a follow or a pipe may have at most ``WINDOW_BYTES`` under way
unread; the reader grants more as it consumes. Invariant: what a stream holds in memory is at most that window plus one
message, at both ends, however slow the reader is. It does not know which messages make sense; ``stream_link`` does.
"""

from collections import deque
from typing import TYPE_CHECKING, Final

import anyio

from nano.domain.errors import Invalid, NanoError
from nano.transports.framing import HEADER_BYTES, Frame, FrameDecoder, FrameKind, encode_message, frame
from nano.transports.messages import Message, Refused

if TYPE_CHECKING:
    from nano.transports.stream_link import StreamLink

WINDOW_BYTES: Final = 512 << 10  # part of the protocol: both ends start with it
CHUNK_BYTES: Final = 32 << 10  # the largest DATA frame, so that one pipe does not hold up the others


class Exchange:
    """Created by the link when it opens a stream or when the other end has. Ends by ``finish`` or ``abort``."""

    def __init__(self, link: "StreamLink", stream_id: int, payload_max: int) -> None:
        self.link = link
        self.stream_id = stream_id
        self.decoder = FrameDecoder(payload_max)
        self.opened = False  # the opening frame has been seen or sent
        self.opening = b""  # payload of the opening frame, kept for the control exchange
        self.streaming = False  # a follow or a pipe of ours
        self.held = 0  # bytes of a half-received frame, as the link has counted them
        self.local_done = False
        self.remote_done = False
        self.discarding = False  # given up here; what still arrives is dropped
        self.scope: anyio.CancelScope | None = None  # of the task that serves it, for the other end's exchanges
        self.failure: NanoError | None = None
        self._inbox: deque[Frame] = deque()
        self._inbox_changed = anyio.Event()
        self._unread = 0  # bytes received and not yet granted again
        self._consumed = 0  # bytes read here since the last grant
        self._credit = WINDOW_BYTES
        self._credit_changed = anyio.Event()

    # -- sending

    def send(self, kind: FrameKind, payload: bytes = b"", *, end: bool = False) -> None:
        """Without waiting: for openers, answers and other single messages."""
        if self.local_done:
            return
        if end:
            self.local_done = True
        if kind is not FrameKind.CREDIT:
            self._credit -= len(payload) + HEADER_BYTES
        self.link.carrier.send(self.stream_id, frame(kind, payload), end)
        if end:
            self.link.exchange_ended(self)

    async def send_flowing(self, kind: FrameKind, payload: bytes) -> None:
        """Wait until the reader has room. Raises what ended the exchange, or anyio.BrokenResourceError."""
        while self._credit <= 0 and not self._over:
            self._credit_changed = anyio.Event()
            await self._credit_changed.wait()
        if self._over:
            raise self.failure or anyio.BrokenResourceError
        self.send(kind, payload)

    async def send_message(self, message: Message) -> None:
        await self.send_flowing(FrameKind.MESSAGE, encode_message(message, bytes_max=self.link.message_bytes_max))

    def refuse(self, refused: Refused) -> None:
        self.send(FrameKind.REFUSED, encode_message(refused), end=True)

    @property
    def _over(self) -> bool:
        """Nothing that is sent now would be read."""
        return self.local_done or self.remote_done or self.failure is not None

    # -- receiving

    async def receive(self) -> Frame:
        """The next frame. Raises what ended the exchange; anyio.EndOfStream when the other end has finished."""
        while not self._inbox:
            if self.failure is not None:
                raise self.failure
            if self.remote_done or self.discarding:
                raise anyio.EndOfStream
            self._inbox_changed = anyio.Event()
            await self._inbox_changed.wait()
        kind, payload = self._inbox.popleft()
        self._grant(len(payload) + HEADER_BYTES)
        return kind, payload

    def take(self) -> Frame:
        """The frame that has just arrived, when there is no need to wait: the opening one."""
        kind, payload = self._inbox.popleft()
        self._grant(len(payload) + HEADER_BYTES)
        return kind, payload

    def _grant(self, size: int) -> None:
        self._consumed += size
        if self._consumed >= WINDOW_BYTES // 4 and not self.local_done and not self.remote_done:
            self._unread -= self._consumed
            self.send(FrameKind.CREDIT, b"%d" % self._consumed)
            self._consumed = 0

    def feed(self, data: bytes) -> None:
        """Bytes from the carrier. Raises Invalid or TooLarge when the other end breaks the protocol."""
        if self.discarding:
            return
        for kind, payload in self.decoder.feed(data):
            if kind is FrameKind.CREDIT:
                self._credited(payload)
                continue
            if self._unread >= WINDOW_BYTES:
                raise Invalid("The other node sends more than it was granted.", code="window_exceeded")
            self._unread += len(payload) + HEADER_BYTES
            self._inbox.append((kind, payload))
            self._inbox_changed.set()
            if not self.opened:
                self.opened = True
                self.link.exchange_opened(self)
                if self.turned_away:
                    return

    @property
    def turned_away(self) -> bool:
        """The link refused it when it opened."""
        return self.discarding

    def _credited(self, payload: bytes) -> None:
        if not payload.isdigit() or len(payload) > 9:
            raise Invalid("The other node sent a malformed grant.", code="frame_malformed")
        self._credit += int(payload)
        if self._credit > WINDOW_BYTES:
            raise Invalid("The other node granted more than was sent.", code="window_exceeded")
        self._credit_changed.set()

    # -- ending

    def remote_ended(self) -> None:
        self.remote_done = True
        self._wake()
        self.link.exchange_ended(self)

    def finish(self) -> None:
        """The orderly end of this direction, when nothing else ended it before."""
        self.send(FrameKind.END, end=True)

    def stop_reading(self) -> None:
        """What still arrives is dropped; used after ``finish``, when the other end will finish by itself."""
        self.discarding = True
        self._inbox.clear()
        self.link.drop_held(self)
        self._wake()

    def abort(self) -> None:
        """Give up: the other end is told and cancels what it does for us; nothing more is delivered."""
        if self.discarding:
            return
        self.discarding = True
        self._inbox.clear()
        self.link.drop_held(self)
        if not (self.local_done and self.remote_done):
            self.local_done = True
            self.link.carrier.reset(self.stream_id)
        self._wake()
        self.link.exchange_ended(self)

    def fail(self, error: NanoError) -> None:
        """Ended from outside (link lost, or reset by the other end): waiting calls raise this."""
        self.failure = self.failure or error
        if self.scope is not None:
            self.scope.cancel()
        self._wake()

    def _wake(self) -> None:
        self._inbox_changed.set()
        self._credit_changed.set()
