"""One TCP connection with TLS 1.3 as a ``Carrier``, for networks that drop UDP.

    stream  4 bytes      flags  1 byte      length  3 bytes      payload, at most CHUNK_BYTES

Why pyOpenSSL and memory buffers: the standard library can ask a client for its certificate only together with a
chain check, and cells come with self-signed certificates until they are approved. Here OpenSSL proves that the other
end holds its key, and ``Trust`` judges the key, as over QUIC.

Invariants: streams take turns, a chunk each, so a large message does not hold up a small one; what waits for the
socket stays in the streams' queues (bounded by the link's credit), not in the transport's buffer. No session is resumed.
"""

import asyncio
import logging
import socket
from collections import OrderedDict
from collections.abc import Callable, Iterator
from contextlib import suppress
from typing import Final, cast

import anyio
from OpenSSL import SSL

from nano.domain.errors import Forbidden, Unreachable
from nano.transports.carrier import CarrierEvents
from nano.transports.identity import NodeIdentity, fingerprint_of, public_der
from nano.transports.node_side import ALPN, join_address
from nano.transports.settings import LinkSettings

logger = logging.getLogger("nano.transports")

HEADER_BYTES: Final = 8
CHUNK_BYTES: Final = 16 << 10  # one TLS record
READ_BYTES: Final = 64 << 10
LINGER_S: Final = 2.0  # how long a closed connection may take to send its last bytes

END, RESET, PING, CLOSE = 1, 2, 4, 8


def context(identity: NodeIdentity) -> SSL.Context:
    made = SSL.Context(SSL.TLS_METHOD)
    made.set_min_proto_version(SSL.TLS1_3_VERSION)
    made.set_session_cache_mode(SSL.SESS_CACHE_OFF)
    made.use_certificate(identity.certificate)
    made.use_privatekey(identity.key)
    made.set_verify(SSL.VERIFY_PEER | SSL.VERIFY_FAIL_IF_NO_PEER_CERT, lambda *_: True)
    made.set_alpn_protos([ALPN.encode()])
    made.set_alpn_select_callback(
        lambda _, offered: ALPN.encode() if ALPN.encode() in offered else SSL.NO_OVERLAPPING_PROTOCOLS
    )
    return made


class _Queue:
    """What one stream has yet to send."""

    def __init__(self) -> None:
        self.data = bytearray()
        self.end = False


class TlsCarrier(asyncio.Protocol):
    """The protocol object of one TCP connection, and the carrier over it."""

    def __init__(
        self,
        tls: SSL.Context,
        settings: LinkSettings,
        *,
        connector: bool,
        on_made: Callable[["TlsCarrier"], None] = lambda _: None,
        on_gone: Callable[["TlsCarrier"], None] = lambda _: None,
    ) -> None:
        self.fingerprint = ""
        self.remote_public_key = b""
        self.address = ""
        self._settings = settings
        self._on_made, self._on_gone = on_made, on_gone
        self._tls = SSL.Connection(tls, None)
        if connector:
            self._tls.set_connect_state()
        else:
            self._tls.set_accept_state()
        self._next_stream = 0 if connector else 1
        self._loop = asyncio.get_running_loop()
        self._transport: asyncio.Transport | None = None
        self._proven = anyio.Event()
        self._shaken = False
        self._lost_reason: str | None = None
        self._events: CarrierEvents | None = None
        self._received = bytearray()
        self._queues: OrderedDict[int, _Queue] = OrderedDict()
        self._control = bytearray()  # resets and pings, ahead of data
        self._writable = True
        self._flush_due: asyncio.Handle | None = None
        self._heard_at = self._loop.time()
        self._keepalive = self._loop.call_later(settings.keepalive_s, self._keep_alive)

    # -- Carrier

    def open_stream(self) -> int:
        stream_id = self._next_stream
        self._next_stream += 4
        return stream_id

    def send(self, stream_id: int, data: bytes, end: bool = False) -> None:
        if self._lost_reason is None:
            queue = self._queues.setdefault(stream_id, _Queue())
            queue.data += data
            queue.end |= end
            self._flush_soon()

    def reset(self, stream_id: int) -> None:
        if self._lost_reason is None:
            self._queues.pop(stream_id, None)
            self._control += _frame(stream_id, RESET)
            self._flush_soon()

    def widen(self) -> None:
        """Nothing is held here but one unfinished chunk: TCP delivers in order."""

    def close(self, reason: str) -> None:
        if self._lost_reason is not None:
            return
        if self._shaken:
            self._writable = True
            self._control += _frame(0, CLOSE, reason.encode()[:200])
            for stream_id, flags, chunk in self._chunks():
                self._encrypt(_frame(stream_id, flags, chunk))
            self._encrypt(bytes(self._control))
            self._control.clear()
            with suppress(SSL.Error):
                self._tls.shutdown()
            self._write_out()
        self._lose(reason)

    # -- ProvenCarrier

    async def prove(self) -> None:
        """Wait for the end of the handshake. Raises Unreachable, or Forbidden when the other end showed no key."""
        await self._proven.wait()
        if self._lost_reason is not None:
            raise Unreachable(f"{self.address} refused the connection: {self._lost_reason}.")
        certificate = self._tls.get_peer_certificate(as_cryptography=True)
        if certificate is None:
            self.close("certificate required")
            raise Forbidden("The other node showed no certificate.", code="certificate_required")
        self.remote_public_key = public_der(certificate.public_key())
        self.fingerprint = fingerprint_of(self.remote_public_key)

    def attach(self, events: CarrierEvents) -> None:
        self._events = events
        if self._lost_reason is not None:
            events.carrier_lost(self._lost_reason)
        else:
            self._take_frames()

    # -- asyncio.Protocol

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._transport = cast(asyncio.Transport, transport)  # uvloop's is one by behaviour, not by class
        self._transport.get_extra_info("socket").setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        peer = self._transport.get_extra_info("peername")
        self.address = join_address(peer[0], peer[1]) if peer else ""
        self._on_made(self)
        self._shake_hands()

    def data_received(self, data: bytes) -> None:
        if self._lost_reason is not None:
            return
        self._heard_at = self._loop.time()
        try:
            self._tls.bio_write(data)
            if not self._shaken:
                self._shake_hands()
            if self._shaken:
                self._decrypt()
        except SSL.Error as error:
            self._write_out()  # the alert that says why
            self._lose(f"TLS failed: {error}")

    def connection_lost(self, exc: Exception | None) -> None:
        self._lose(str(exc) if exc else "the other node closed the connection")

    def pause_writing(self) -> None:
        self._writable = False

    def resume_writing(self) -> None:
        self._writable = True
        self._flush_soon()

    # -- inside

    def _shake_hands(self) -> None:
        try:
            self._tls.do_handshake()
        except SSL.WantReadError:
            self._write_out()
            return
        self._write_out()
        self._shaken = True
        self._proven.set()
        self._flush_soon()

    def _decrypt(self) -> None:
        try:
            while self._lost_reason is None:
                self._received += self._tls.recv(READ_BYTES)
                self._take_frames()
        except SSL.WantReadError:
            self._write_out()  # answers to key updates
        except SSL.ZeroReturnError:
            self._lose("the other node closed the connection")

    def _take_frames(self) -> None:
        """Deliver whole frames. Before a link is attached nothing is read on: at most one READ_BYTES waits."""
        start = 0
        while (receiver := self._events) is not None and self._lost_reason is None:
            header = self._received[start : start + HEADER_BYTES]
            if len(header) < HEADER_BYTES:
                break
            stream_id, flags = int.from_bytes(header[:4], "big"), header[4]
            length = int.from_bytes(header[5:], "big")
            if length > CHUNK_BYTES:
                self._lose("malformed frame")
                break
            stop = start + HEADER_BYTES + length
            if stop > len(self._received):
                break
            payload = bytes(self._received[start + HEADER_BYTES : stop])
            start = stop
            if flags & CLOSE:
                self._lose(payload.decode(errors="replace") or "closed by the other node")
            elif flags & RESET:
                receiver.stream_reset(stream_id)
                receiver.stream_stopped(stream_id)
            elif not flags & PING:
                receiver.stream_data(stream_id, payload, bool(flags & END))
        del self._received[:start]

    def _flush_soon(self) -> None:
        if self._flush_due is None and self._lost_reason is None:
            self._flush_due = self._loop.call_soon(self._flush)

    def _flush(self) -> None:
        self._flush_due = None
        if not self._shaken or self._lost_reason is not None:
            return
        if self._control:
            self._encrypt(bytes(self._control))
            self._control.clear()
        for stream_id, flags, chunk in self._chunks():
            self._encrypt(_frame(stream_id, flags, chunk))
            if len(chunk) == CHUNK_BYTES:
                self._write_out()  # finds out whether the socket still takes more
        self._write_out()

    def _chunks(self) -> Iterator[tuple[int, int, bytes]]:
        """The streams' next chunks, in turn, as long as the socket takes them."""
        while self._queues and self._writable:
            stream_id, queue = self._queues.popitem(last=False)
            chunk = bytes(queue.data[:CHUNK_BYTES])
            del queue.data[: len(chunk)]
            if queue.data:
                self._queues[stream_id] = queue
            yield stream_id, END if queue.end and not queue.data else 0, chunk

    def _encrypt(self, data: bytes) -> None:
        """Memory buffers take everything at once."""
        try:
            self._tls.sendall(data)
        except SSL.Error as error:
            self._lose(f"TLS failed: {error}")

    def _write_out(self) -> None:
        if self._transport is None:
            return
        with suppress(SSL.WantReadError):
            while True:
                self._transport.write(self._tls.bio_read(READ_BYTES))

    def _keep_alive(self) -> None:
        silent_s = self._loop.time() - self._heard_at
        if silent_s >= self._settings.lost_after_s:
            self._lose("silent for too long")
            return
        self._control += _frame(0, PING)
        self._flush_soon()
        self._keepalive = self._loop.call_later(self._settings.keepalive_s, self._keep_alive)

    def _lose(self, reason: str) -> None:
        if self._lost_reason is not None:
            return
        self._lost_reason = reason
        self._keepalive.cancel()
        if self._flush_due is not None:
            self._flush_due.cancel()
        if self._transport is not None:
            self._transport.close()
            self._loop.call_later(LINGER_S, self._transport.abort)
        self._queues.clear()
        self._proven.set()
        self._on_gone(self)
        if self._events is not None:
            self._events.carrier_lost(reason)


def _frame(stream_id: int, flags: int, payload: bytes = b"") -> bytes:
    return stream_id.to_bytes(4, "big") + bytes((flags,)) + len(payload).to_bytes(3, "big") + payload
