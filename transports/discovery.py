"""Finding Core without being told where it is: a question by multicast, an answer by unicast.

    peer  -> group:port   {"nano":"find","id":123,"domain":"nano"}
    Core  -> the asker    {"nano":"core","id":123,"domain":"nano","name":…,"link":"10.0.0.1:5600","api":"http://…", …}

A domain is a triple: name, group (224.0.0.226), port (5599); only an equal triple meets (nano-behaviour §1). The product
answers by multicast to port-1; here the asker is answered where it asked from, which also works for the listed unicast
addresses of networks without multicast, and reaches nobody else. Invariants: datagrams are at most 8 KiB; what is not
understood, or is of another domain, is counted and otherwise ignored; an answer is a hint, never proof: who answers is
judged by the link's handshake. On one machine several responders and askers share the port (SO_REUSEADDR: the kernel
gives each its copy of a multicast), each on the interface that owns its address.
"""

import asyncio
import ipaddress
import logging
import socket
import struct
from collections.abc import AsyncGenerator, Sequence
from random import Random
from typing import Any, Final

import anyio
import anyio.abc
import msgspec

from nano.domain.errors import Failure, Invalid

logger = logging.getLogger("nano.transports")

DATAGRAM_BYTES_MAX: Final = 8 << 10
PAUSE_FIRST_S: Final = 0.2
PAUSE_LAST_S: Final = 3.0
IP_MULTICAST_ALL: Final = 49  # Linux: only groups this very socket joined; not in the socket module of 3.11
FOUND_MAX: Final = 64  # answers waiting for the asker to look at
ANSWERS_PER_S: Final = 200.0  # of one responder; a flood of questions costs no more than this


class DomainTriple(msgspec.Struct, frozen=True):
    """Which zone this is. ``interface``: the local IPv4 address whose interface is used."""

    name: str = "nano"
    group: str = "224.0.0.226"
    port: int = 5599
    interface: str = "127.0.0.1"

    def check(self) -> "DomainTriple":
        """Itself. Raises Invalid(code="discovery_address_bad"): groups are 224.0.0.0-224.0.0.255."""
        try:
            group, local = ipaddress.IPv4Address(self.group), ipaddress.IPv4Address(self.interface)
        except ValueError as error:
            raise Invalid(f"{error}.", code="discovery_address_bad", hint="Give IPv4 addresses.") from error
        if group not in ipaddress.IPv4Network("224.0.0.0/24") or local.is_multicast or not 0 <= self.port < 65536:
            raise Invalid(
                f"{self.group}:{self.port} on {self.interface} can't be used for discovery.",
                code="discovery_address_bad",
                hint="Groups are 224.0.0.0 to 224.0.0.255; the interface is one of this host's addresses.",
            )
        return self


class FindCore(msgspec.Struct, frozen=True, tag_field="nano", tag="find"):
    id: int
    domain: str


class FoundCore(msgspec.Struct, frozen=True, kw_only=True, tag_field="nano", tag="core"):
    """What Core says of itself. ``link`` is "host:port" of its links, ``authority`` the fingerprint of the domain's CA."""

    id: int = 0
    domain: str
    name: str
    link: str
    api: str
    authority: str
    version: str
    epoch: int


_decoder: msgspec.json.Decoder[FindCore | FoundCore] = msgspec.json.Decoder(FindCore | FoundCore)


def _read(data: bytes) -> FindCore | FoundCore | None:
    if len(data) > DATAGRAM_BYTES_MAX:
        return None
    try:
        return _decoder.decode(data)
    except (msgspec.MsgspecError, UnicodeDecodeError, RecursionError):
        return None


class Responder(asyncio.DatagramProtocol):
    """Core's side. ``ignored`` and ``answered`` count datagrams."""

    def __init__(self, domain: str, answer: FoundCore) -> None:
        self.answer = answer  # may be replaced while it runs (a new epoch)
        self.ignored = 0
        self.answered = 0
        self._domain = domain
        self._transport: Any = None
        self._loop = asyncio.get_running_loop()
        self._allowance, self._counted_at = ANSWERS_PER_S, self._loop.time()

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._transport = transport

    def datagram_received(self, data: bytes, addr: Any) -> None:
        question = _read(data)
        if not isinstance(question, FindCore) or question.domain != self._domain or not self._may_answer():
            self.ignored += 1
            return
        self.answered += 1
        self._transport.sendto(msgspec.json.encode(msgspec.structs.replace(self.answer, id=question.id)), addr)

    def error_received(self, exc: Exception) -> None:
        """An asker that is gone already."""

    def _may_answer(self) -> bool:
        now = self._loop.time()
        self._allowance = min(ANSWERS_PER_S, self._allowance + (now - self._counted_at) * ANSWERS_PER_S)
        self._counted_at = now
        if self._allowance < 1:
            return False
        self._allowance -= 1
        return True


async def respond(
    triple: DomainTriple,
    answer: FoundCore,
    *,
    task_status: anyio.abc.TaskStatus[Responder] = anyio.TASK_STATUS_IGNORED,
) -> None:
    """Answer questions until cancelled; started with the Responder. Raises Invalid, or Failure(code="discovery_failed")
    when the port or the group can't be had."""
    triple.check()
    # Two sockets: one bound to the group takes multicasts of this group only (not those of another domain's group on
    # the same port), one bound to the interface takes questions of those who list this address.
    responder = Responder(triple.name, answer)
    loop = asyncio.get_running_loop()
    transports: list[asyncio.BaseTransport] = []
    try:
        try:
            sockets = [_socket(triple, triple.interface), _socket(triple, triple.group)]
        except OSError as error:
            raise Failure(
                f"Discovery can't listen on {triple.group}:{triple.port} at {triple.interface}: {error.strerror}.",
                code="discovery_failed",
                hint="Is the address one of this host's, and is the port held by another program?",
            ) from error
        for sock in sockets:
            ear, _ = await loop.create_datagram_endpoint(lambda: _Ear(responder), sock=sock)
            transports.append(ear)
        responder.connection_made(transports[0])  # answers leave from the interface's own address
        task_status.started(responder)
        await anyio.sleep_forever()
    finally:
        for transport in transports:
            transport.close()


class _Ear(asyncio.DatagramProtocol):
    def __init__(self, responder: Responder) -> None:
        self._responder = responder

    def datagram_received(self, data: bytes, addr: Any) -> None:
        self._responder.datagram_received(data, addr)

    def error_received(self, exc: Exception) -> None:
        self._responder.error_received(exc)


def _socket(triple: DomainTriple, bound_to: str) -> socket.socket:
    sock = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
    try:
        sock.setblocking(False)
        sock.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        sock.setsockopt(socket.IPPROTO_IP, IP_MULTICAST_ALL, 0)
        sock.bind((bound_to, triple.port))
        if bound_to == triple.group:
            member = struct.pack("4s4s", socket.inet_aton(triple.group), socket.inet_aton(triple.interface))
            sock.setsockopt(socket.IPPROTO_IP, socket.IP_ADD_MEMBERSHIP, member)
    except OSError:
        sock.close()
        raise
    return sock


class _Asker(asyncio.DatagramProtocol):
    def __init__(self, domain: str, question_id: int) -> None:
        self.ignored = 0
        self._domain, self._id = domain, question_id
        self._seen: set[FoundCore] = set()
        self.send, self.found = anyio.create_memory_object_stream[FoundCore](FOUND_MAX)

    def datagram_received(self, data: bytes, addr: Any) -> None:  # noqa: ARG002
        answer = _read(data)
        if not isinstance(answer, FoundCore) or answer.domain != self._domain or answer.id != self._id:
            self.ignored += 1
            return
        if answer not in self._seen and len(self._seen) < FOUND_MAX:
            self._seen.add(answer)
            self.send.send_nowait(answer)

    def error_received(self, exc: Exception) -> None:
        """A listed address where nobody is."""


async def discover(
    triple: DomainTriple, *, timeout_s: float, random: Random, addresses: Sequence[str] = ()
) -> AsyncGenerator[FoundCore, None]:
    """Each Core of the domain that answers, once, as it answers; ends after ``timeout_s``. Asks at once and then after
    0.2 s, 0.4 s … 3 s. ``addresses`` ("10.0.0.1" or "10.0.0.1:5599") are asked besides the group. Close it early by
    ``aclosing`` or by taking it to its end. Raises Invalid or Failure(code="discovery_failed")."""
    triple.check()
    question = FindCore(id=random.randrange(1 << 31), domain=triple.name)
    targets = [(triple.group, triple.port), *(_target(address, triple.port) for address in addresses)]
    deadline = anyio.current_time() + timeout_s
    loop = asyncio.get_running_loop()
    try:
        transport, asker = await loop.create_datagram_endpoint(
            lambda: _Asker(triple.name, question.id), sock=_asking_socket(triple, bool(addresses))
        )
    except OSError as error:
        raise Failure(
            f"Discovery can't ask at {triple.interface}: {error.strerror}.",
            code="discovery_failed",
            hint="Is the address one of this host's?",
        ) from error
    data = msgspec.json.encode(question)
    pause, ask_at = PAUSE_FIRST_S, anyio.current_time()
    try:
        while (now := anyio.current_time()) < deadline:
            if now >= ask_at:
                for target in targets:
                    transport.sendto(data, target)
                ask_at, pause = now + pause, min(2 * pause, PAUSE_LAST_S)
            found = None
            with anyio.move_on_after(min(ask_at, deadline) - now):
                found = await asker.found.receive()
            if found is not None:
                yield found
    finally:
        transport.close()
        asker.send.close()
        asker.found.close()


def _asking_socket(triple: DomainTriple, anywhere: bool) -> socket.socket:
    sock = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
    try:
        sock.setblocking(False)
        sock.setsockopt(socket.IPPROTO_IP, socket.IP_MULTICAST_IF, socket.inet_aton(triple.interface))
        sock.setsockopt(socket.IPPROTO_IP, socket.IP_MULTICAST_LOOP, 1)
        sock.setsockopt(socket.IPPROTO_IP, socket.IP_MULTICAST_TTL, 1)
        # Listed addresses may be reached by another interface than the multicast's; then the kernel picks the source.
        sock.bind(("" if anywhere and not triple.interface.startswith("127.") else triple.interface, 0))
    except OSError:
        sock.close()
        raise
    return sock


def _target(address: str, port: int) -> tuple[str, int]:
    """ "10.0.0.1" or "10.0.0.1:5599" as a socket address. Raises Invalid: only IPv4 addresses, so nothing is looked up."""
    host, _, given = address.partition(":")
    try:
        return str(ipaddress.IPv4Address(host)), int(given) if given else port
    except ValueError as error:
        raise Invalid(f"{address!r} is no IPv4 address.", code="discovery_address_bad") from error
