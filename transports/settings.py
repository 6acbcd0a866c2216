"""Limits and timings of links, in one typed place. Every number here bounds something another node could make grow.

The timings are the observable behaviour of the product (nano-behaviour §1: keep-alive each 3 s, a peer is lost
between 9 and 15 s without one). It holds no addresses and no names; those are arguments.
"""

from typing import Final

import msgspec

from nano.transports.link import MESSAGE_BYTES_MAX

PORTS: Final = range(5600, 5800)  # UDP (and TCP, for ``tls``) ports of links; the first free one is taken


class LinkSettings(msgspec.Struct, frozen=True, kw_only=True):
    """Seconds, bytes, counts. Both ends may differ; each enforces its own."""

    keepalive_s: float = 3.0
    lost_after_s: float = 12.0
    handshake_timeout_s: float = 10.0
    requests_max: int = 256  # of ours, awaiting an answer
    streams_max: int = 128  # of ours: follows and pipes open at once
    inbound_max: int = 512  # of theirs, of any shape
    message_bytes_max: int = MESSAGE_BYTES_MAX
    receive_buffer_max: int = 64 << 20  # half-received frames of one link
    waiting_message_bytes_max: int = 64 << 10  # one message of a peer that is not approved
    waiting_inbound_max: int = 32  # its exchanges, all of which are refused
    waiting_buffer_max: int = 256 << 10  # its half-received frames, and what came out of order
    unordered_bytes_max: int = 16 << 20  # of an approved peer: bytes that came before those in front of them (QUIC)
    connections_max: int = 1024  # of one acceptor, handshaking ones included
    waiting_max: int = 64  # of those, nodes that nobody has approved (anyone on the network can be one)
    datagram_bytes: int = 1200  # the largest that every QUIC path must carry (RFC 9000 §14)
