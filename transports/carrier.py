"""``Carrier``: what a link needs from QUIC, TLS or memory: numbered streams of bytes between two proven keys.

A link is one engine (``stream_link``) over one of three carriers, so that requests, follows, pipes, errors and
back-pressure behave alike whatever carries them. Invariant: bytes of one stream arrive in order and once; between
streams there is no order. Every stream ends in each direction by ``end`` or by a reset, unless the carrier is lost.
A carrier knows nothing of messages; bounding what is under way is the link's business (credit), not the carrier's.
"""

from typing import Protocol


class Carrier(Protocol):
    fingerprint: str  # of the other end's key, proven by the carrier
    remote_public_key: bytes  # DER SubjectPublicKeyInfo, whose SHA-256 is ``fingerprint``

    @property
    def address(self) -> str:
        """Where the other end is now, "10.0.0.3:5601"; may change while the carrier lives."""
        ...

    def open_stream(self) -> int: ...

    def send(self, stream_id: int, data: bytes, end: bool = False) -> None:
        """Queue bytes; ``end`` says that no more will follow in this direction. Never blocks, never raises once lost."""
        ...

    def reset(self, stream_id: int) -> None:
        """Give up both directions of a stream: what is queued is dropped, the other end is told."""
        ...

    def widen(self) -> None:
        """The other end is approved: what may be held for it grows from the little that a stranger gets."""
        ...

    def close(self, reason: str) -> None:
        """Send what is queued as far as the other end takes it, say goodbye, be lost."""
        ...


class CarrierEvents(Protocol):
    """What the carrier tells its link. Called on the event loop, never concurrently."""

    def stream_data(self, stream_id: int, data: bytes, end: bool) -> None: ...

    def stream_reset(self, stream_id: int) -> None:
        """The other end has given up sending on this stream."""
        ...

    def stream_stopped(self, stream_id: int) -> None:
        """The other end reads no more of this stream."""
        ...

    def carrier_lost(self, reason: str) -> None:
        """Called once; nothing follows."""
        ...
