"""One QUIC connection as a ``Carrier``: aioquic's sans-I/O core, fed with datagrams and timers by the event loop.

Why not ``aioquic.asyncio``: it hides the connection behind stream objects that buffer without limit, and leaves tasks
to the loop. Here there are callbacks only (a datagram, a timer); tasks are the link's. Datagrams are sent at the end
of the loop's turn, so answers given in one turn share a datagram and none waits for a timer.

Invariants: the other end's key is proven (its certificate's signature over the handshake) before the carrier is; no
session is ever resumed, so this holds for every connection. Chains are not looked at: ``Trust`` judges keys.

Private corners of aioquic are used, here and nowhere else, each held by a contract test: asking the client for its
certificate, the peer's certificate, how much was received out of order, and the stateless reset tokens (RFC 9000 §10.3:
with them a peer notices at its next datagram that we were killed and restarted, instead of after the idle timeout).
"""

import asyncio
import hmac
import logging
import ssl
from collections.abc import Callable
from typing import Any, Final

import anyio
from aioquic import tls
from aioquic.quic import events
from aioquic.quic.configuration import QuicConfiguration
from aioquic.quic.connection import QuicConnection, QuicConnectionState
from aioquic.quic.packet import QuicProtocolVersion

from nano.domain.errors import Failure, Forbidden, Unreachable
from nano.transports.carrier import CarrierEvents
from nano.transports.identity import NodeIdentity, fingerprint_of, public_der
from nano.transports.node_side import ALPN, join_address
from nano.transports.settings import LinkSettings

logger = logging.getLogger("nano.transports")
logging.getLogger("quic").setLevel(logging.WARNING)  # aioquic tells of each reset stream at INFO

STREAMS_MAX: Final = 2048  # QUIC's own limit; the link's are lower, so that this one never stalls a stream
ERROR_NONE: Final = 0
ERROR_GIVEN_UP: Final = 1
RESET_TOKEN_BYTES: Final = 16
REASON_MAX: Final = 200

SendDatagram = Callable[[bytes, Any], None]


def configuration(identity: NodeIdentity, settings: LinkSettings, *, is_client: bool) -> QuicConfiguration:
    return QuicConfiguration(
        is_client=is_client,
        alpn_protocols=[ALPN],
        idle_timeout=settings.lost_after_s,
        max_datagram_size=settings.datagram_bytes,
        certificate=identity.certificate,
        private_key=identity.key,
        verify_mode=ssl.CERT_NONE,  # the key is proven all the same; whose it is, is for Trust to say
        cipher_suites=[tls.CipherSuite.AES_128_GCM_SHA256],
        supported_versions=[QuicProtocolVersion.VERSION_1],
        initial_rtt=0.05,
    )


class LinkConnection(QuicConnection):
    """aioquic's connection with client certificates, and reset tokens made of the node's key."""

    def __init__(self, secret: bytes, **kwargs: Any) -> None:
        super().__init__(**kwargs)
        self._secret = secret
        self._local_max_streams_bidi.value = self._local_max_streams_bidi.sent = STREAMS_MAX
        if not self._is_client:
            self._host_cids[0].stateless_reset_token = reset_token(secret, self._host_cids[0].cid)

    def _initialize(self, peer_cid: bytes) -> None:
        super()._initialize(peer_cid)
        self.tls._request_client_certificate = not self._is_client
        self.tls._supported_groups = [tls.Group.X25519, tls.Group.SECP256R1]

    def _replenish_connection_ids(self) -> None:
        before = len(self._host_cids)
        super()._replenish_connection_ids()
        for connection_id in self._host_cids[before:]:
            connection_id.stateless_reset_token = reset_token(self._secret, connection_id.cid)

    @property
    def peer_public_key(self) -> bytes | None:
        certificate = self.tls._peer_certificate
        return None if certificate is None else public_der(certificate.public_key())

    def is_stateless_reset(self, datagram: bytes) -> bool:
        token = self._peer_cid.stateless_reset_token
        return bool(token) and len(datagram) > 20 and hmac.compare_digest(datagram[-RESET_TOKEN_BYTES:], token)

    @property
    def received_bytes(self) -> int:
        """Of all streams, gaps included: what the other end has used of our window."""
        return int(self._local_max_data.used)

    def missing_bytes(self, stream_id: int) -> int:
        """Received but never to be delivered, of a stream that was reset."""
        stream = self._streams.get(stream_id)
        return 0 if stream is None else int(stream.receiver.highest_offset - stream.receiver.starting_offset())

    @property
    def goodbye(self) -> str | None:
        """Why the other end has closed. aioquic tells only after a draining period, which is of no use to us."""
        if self._state is not QuicConnectionState.DRAINING:
            return None
        return (self._close_event.reason_phrase if self._close_event else "") or "closed by the other node"

    @property
    def heard_nothing(self) -> bool:
        """No packet of the other end was authentic so far."""
        return self._state is QuicConnectionState.FIRSTFLIGHT

    @property
    def may_open_stream(self) -> bool:
        return bool(self.get_next_available_stream_id() // 4 < self._remote_max_streams_bidi)


def reset_token(secret: bytes, cid: bytes) -> bytes:
    return hmac.digest(secret, cid, "sha256")[:RESET_TOKEN_BYTES]


class QuicCarrier:
    """``lost`` callbacks tell the endpoint; ``attach`` gives the link. Stream events before that are kept (they are
    bounded by QUIC's first window)."""

    def __init__(self, quic: LinkConnection, send_datagram: SendDatagram, settings: LinkSettings) -> None:
        self.quic = quic
        self.fingerprint = ""
        self.remote_public_key = b""
        self.on_gone: Callable[[QuicCarrier], None] = lambda _: None
        self.on_cid: Callable[[QuicCarrier, bytes, bool], None] = lambda _carrier, _cid, _issued: None
        self._send_datagram = send_datagram
        self._settings = settings
        self._loop = asyncio.get_running_loop()
        self._proven = anyio.Event()
        self._lost_reason: str | None = None
        self._events: CarrierEvents | None = None
        self._early: list[events.QuicEvent] = []
        self._timer: asyncio.TimerHandle | None = None
        self._timer_at: float | None = None
        self._flush_due: asyncio.Handle | None = None
        self._heard_at = self._loop.time()
        self._settled = 0  # bytes of streams that were delivered, or lie beyond a reset
        self._unordered_max = settings.waiting_buffer_max
        self._keepalive = self._loop.call_later(settings.keepalive_s, self._keep_alive)

    # -- Carrier

    @property
    def address(self) -> str:
        peer = self.quic.get_peer_address()
        return join_address(peer[0], peer[1]) if peer else ""

    def open_stream(self) -> int:
        if not self.quic.may_open_stream:
            raise Failure("The other node allows no more exchanges.", code="too_many_exchanges")
        stream_id = self.quic.get_next_available_stream_id()
        self.quic.send_stream_data(stream_id, b"")
        return stream_id

    def send(self, stream_id: int, data: bytes, end: bool = False) -> None:
        if self._lost_reason is None:
            self.quic.send_stream_data(stream_id, data, end)
            self._flush_soon()

    def reset(self, stream_id: int) -> None:
        if self._lost_reason is not None:
            return
        stream = self.quic._streams.get(stream_id)
        if stream is None:
            return
        if not stream.receiver.is_finished:
            self.quic.stop_stream(stream_id, ERROR_GIVEN_UP)
        if not stream.sender.is_finished:
            self.quic.reset_stream(stream_id, ERROR_GIVEN_UP)
        self._flush_soon()

    def widen(self) -> None:
        self._unordered_max = self._settings.unordered_bytes_max

    def close(self, reason: str) -> None:
        if self._lost_reason is None:
            self.flush()
            self.quic.close(error_code=ERROR_NONE, reason_phrase=reason[:REASON_MAX])
            self.flush()
            self._lose(reason)

    # -- ProvenCarrier

    async def prove(self) -> None:
        """Wait for the end of the handshake. Raises Unreachable, or Forbidden when the other end showed no key."""
        await self._proven.wait()
        if self._lost_reason is not None:
            raise Unreachable(f"{self.address} refused the connection: {self._lost_reason}.")
        public_key = self.quic.peer_public_key
        if public_key is None:
            self.close("certificate required")
            raise Forbidden("The other node showed no certificate.", code="certificate_required")
        self.remote_public_key = public_key
        self.fingerprint = fingerprint_of(public_key)

    def attach(self, receiver: CarrierEvents) -> None:
        self._events = receiver
        for event in self._early:
            self._deliver(receiver, event)
        self._early.clear()
        if self._lost_reason is not None:
            receiver.carrier_lost(self._lost_reason)

    # -- driven by the endpoint

    def receive(self, datagram: bytes, sender: Any) -> None:
        now = self._loop.time()
        if self.quic.is_stateless_reset(datagram):
            self._lose("the other node was restarted")
            return
        try:
            self.quic.receive_datagram(datagram, sender, now=now)
        except Exception as error:  # noqa: BLE001 - a parser of foreign bytes: whatever it trips over costs one connection
            logger.warning("datagram broke the connection address=%s error=%r", self.address, error)
            self._lose("malformed datagram")
            return
        self._heard_at = now
        self._process()
        if (goodbye := self.quic.goodbye) is not None:
            self._lose(goodbye)
            return
        if self.quic.received_bytes - self._settled > self._unordered_max:
            # aioquic widens its windows by what has arrived, not by what could be delivered: gaps are held without end.
            self.close("too much out of order")
            return
        self._flush_soon()

    def drop(self) -> None:
        """Forget a connection that was never one, without a word to anyone."""
        self._lose("never was")

    def flush(self) -> None:
        self._cancel(self._flush_due)
        self._flush_due = None
        if self._lost_reason is not None:
            return
        try:
            datagrams = self.quic.datagrams_to_send(now=self._loop.time())
        except Exception:
            logger.exception("connection failed address=%s", self.address)
            self._lose("internal failure of QUIC")
            return
        for data, target in datagrams:
            self._send_datagram(data, target)
        timer_at = self.quic.get_timer()
        if timer_at != self._timer_at or self._timer is None:
            self._cancel(self._timer)
            self._timer_at = timer_at
            self._timer = None if timer_at is None else self._loop.call_at(timer_at, self._on_timer)

    def _flush_soon(self) -> None:
        if self._flush_due is None and self._lost_reason is None:
            self._flush_due = self._loop.call_soon(self.flush)

    def _on_timer(self) -> None:
        now = max(self._timer_at or 0.0, self._loop.time())
        self._timer = self._timer_at = None
        self.quic.handle_timer(now=now)
        self._process()
        self.flush()

    def _keep_alive(self) -> None:
        if self._loop.time() - self._heard_at >= self._settings.keepalive_s * 0.9:
            self.quic.send_ping(0)
            self._flush_soon()
        self._keepalive = self._loop.call_later(self._settings.keepalive_s, self._keep_alive)

    def _process(self) -> None:
        while self._lost_reason is None and (event := self.quic.next_event()) is not None:
            if isinstance(event, events.StreamDataReceived):
                self._settled += len(event.data)
            elif isinstance(event, events.StreamReset):
                self._settled += self.quic.missing_bytes(event.stream_id)
            if isinstance(event, events.StreamDataReceived | events.StreamReset | events.StopSendingReceived):
                if self._events is None:
                    self._early.append(event)
                else:
                    self._deliver(self._events, event)
            elif isinstance(event, events.HandshakeCompleted):
                self._proven.set()
            elif isinstance(event, events.ConnectionTerminated):
                self._lose(event.reason_phrase or "closed by the other node")
            elif isinstance(event, events.ConnectionIdIssued):
                self.on_cid(self, event.connection_id, True)
            elif isinstance(event, events.ConnectionIdRetired):
                self.on_cid(self, event.connection_id, False)

    @staticmethod
    def _deliver(receiver: CarrierEvents, event: events.QuicEvent) -> None:
        if isinstance(event, events.StreamDataReceived):
            receiver.stream_data(event.stream_id, event.data, event.end_stream)
        elif isinstance(event, events.StreamReset):
            receiver.stream_reset(event.stream_id)
        elif isinstance(event, events.StopSendingReceived):
            receiver.stream_stopped(event.stream_id)

    def _lose(self, reason: str) -> None:
        if self._lost_reason is not None:
            return
        self._lost_reason = reason
        for handle in (self._timer, self._flush_due, self._keepalive):
            self._cancel(handle)
        self._proven.set()
        self.on_gone(self)
        if self._events is not None:
            self._events.carrier_lost(reason)

    @staticmethod
    def _cancel(handle: asyncio.Handle | None) -> None:
        if handle is not None:
            handle.cancel()
