"""Core's image service: files over HTTPS to approved cells, ranged and with a digest for an ETag.

Not over QUIC links: those move 2-10 MB/s in Python, TLS over TCP hundreds. Invariants: a client shows a certificate of
the domain's CA *and* its key's fingerprint is approved at the time of each request (an issued certificate alone does not
outlive a removal); files are named by opaque id only, and which path that is comes from the ``source`` port, so no path
ever comes from a request; a file that is not of the size it was recorded with is not served; bytes are taken only from the
node that was asked for them (``sink``). Memory per transfer is a chunk or two. It lists nothing.
"""

import asyncio
import logging
import re
import ssl
from collections.abc import AsyncIterator, Awaitable, Callable, Iterable, Mapping, MutableMapping
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final, NamedTuple, Protocol

import anyio
import anyio.abc
import msgspec
from cryptography import x509

from nano.domain.errors import Failure, NanoError
from nano.transports.files import FILES, Files
from nano.transports.identity import NodeIdentity, fingerprint_of, public_der
from nano.transports.node_side import Listening

if TYPE_CHECKING:
    from asyncio import Server

logger = logging.getLogger("nano.transports")

PORTS: Final = range(5801, 5850)
TRANSFERS_MAX: Final = 64
IDLE_S: Final = 30  # an unused connection is kept so long
SILENCE_S: Final = 30.0  # a sender that pauses longer is taken for gone
_SENT: Final = re.compile(rb"offset=(\d{1,18})&size=(\d{1,18})")
_RANGE = re.compile(rb"bytes=(\d{0,18})-(\d{0,18})")

Scope = dict[str, Any]
Receive = Callable[[], Awaitable[MutableMapping[str, Any]]]
Send = Callable[[MutableMapping[str, Any]], Awaitable[None]]


class BulkFile(NamedTuple):
    path: Path
    size: int
    sha256: str


Source = Callable[[str], BulkFile | None]
"""What an id stands for, None when there is no such file."""

Approved = Callable[[str], bool]
"""May the holder of this key (fingerprint) have images now?"""


class Taking(Protocol):
    """An upload that takes bytes in order; raises NanoError when it does not."""

    @property
    def received(self) -> int: ...

    async def announce(self, size: int) -> None: ...

    async def write(self, offset: int, pieces: AsyncIterator[bytes]) -> int: ...


Sink = Callable[[str, str], Taking | None]
"""The upload that this id stands for, None when the holder of this key was not asked for it. Raises Unknown."""


def no_sink(upload_id: str, fingerprint: str) -> Taking | None:  # noqa: ARG001
    return None


class BulkApp:
    """Pure ASGI: GET and HEAD /images/<id>, GET and PUT /uploads/<id>. The connection's proven fingerprint is
    ``scope["nano.fingerprint"]``."""

    def __init__(self, source: Source, approved: Approved, sink: Sink = no_sink, files: Files = FILES) -> None:
        self._files = files
        self._source = source
        self._approved = approved
        self._sink = sink

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http":
            return
        fingerprint = scope.get("nano.fingerprint", "")
        if not self._approved(fingerprint):
            logger.warning("image refused fingerprint=%s reason=not approved", fingerprint)
            await _problem(send, 403, "node_not_approved", "This node may not have images.")
            return
        path: str = scope["path"]
        if path.startswith("/uploads/") and scope["method"] in ("GET", "PUT"):
            await self._take(scope, receive, send, fingerprint)
            return
        if scope["method"] not in ("GET", "HEAD"):
            await _problem(send, 405, "method_not_allowed", "Images are only read.")
            return
        found = self._source(path.removeprefix("/images/")) if path.startswith("/images/") else None
        if found is None:
            await _problem(send, 404, "image_unknown", "There is no such image.")
            return
        await send_file(scope["method"], dict(scope["headers"]), send, found, self._files)

    async def _take(self, scope: Scope, receive: Receive, send: Send, fingerprint: str) -> None:
        """PUT /uploads/<id>?offset=N&size=S: bytes of an image that this node was told to send; GET: how many are there."""
        try:
            upload = self._sink(scope["path"].removeprefix("/uploads/"), fingerprint)
            if upload is None:
                await _problem(send, 403, "node_not_approved", "This node was not asked for that.")
                return
            if scope["method"] == "PUT":
                match = _SENT.fullmatch(scope["query_string"])
                if match is None:
                    await _problem(send, 422, "upload_unclear", "Say offset and size, in bytes.")
                    return
                await upload.announce(int(match[2]))
                await upload.write(int(match[1]), body_of(receive))
        except NanoError as error:
            await _problem(send, error.status, error.code, error.message)
            return
        body = msgspec.json.encode({"received": upload.received})
        headers = [(b"content-type", b"application/json"), (b"content-length", b"%d" % len(body))]
        await send({"type": "http.response.start", "status": 200, "headers": headers})
        await send({"type": "http.response.body", "body": body})


async def body_of(receive: Receive) -> AsyncIterator[bytes]:
    """A request's body as it comes; it ends early when the sender goes away or falls silent for SILENCE_S."""
    while True:
        message = None
        with anyio.move_on_after(SILENCE_S):
            message = await receive()
        if message is None or message["type"] == "http.disconnect":
            return
        if message.get("body"):
            yield message["body"]
        if not message.get("more_body", False):
            return


def _span(header: bytes, size: int) -> tuple[int, int] | None:
    """[start, stop) of a Range header with one range; None when it can't be satisfied (RFC 9110 §14)."""
    match = _RANGE.fullmatch(header.strip())
    if not match or match[1] == match[2] == b"":
        return None
    if not match[1]:
        start, stop = max(0, size - int(match[2])), size
    else:
        start, stop = int(match[1]), min(size, int(match[2]) + 1) if match[2] else size
    return (start, stop) if start < stop else None


async def send_file(
    method: str, headers: Mapping[bytes, bytes], send: Send, found: BulkFile, files: Files = FILES
) -> None:
    """Answer a GET or HEAD with the file, or the one range of it that is asked for."""
    disk, run = files.disk, files.workers.run
    try:
        size = await run(disk.size, found.path)
    except OSError as error:
        logger.error("image unreadable path=%s error=%s", found.path, error.strerror)
        await _problem(send, 503, "image_unreadable", "The image's file can't be read.")
        return
    if size != found.size:
        logger.error("image changed path=%s size=%d recorded=%d", found.path, size, found.size)
        await _problem(send, 503, "image_changed", "The image's file is not the one that was recorded.")
        return
    etag = f'"{found.sha256}"'.encode()
    wanted = headers.get(b"range") if headers.get(b"if-range", etag) == etag else None
    span = _span(wanted, size) if wanted else (0, size)
    if span is None:
        extra = [(b"content-range", b"bytes */%d" % size)]
        await _problem(send, 416, "range_bad", f"The image has {size} bytes.", extra)
        return
    start, stop = span
    answer = [
        (b"content-type", b"application/octet-stream"),
        (b"content-length", b"%d" % (stop - start)),
        (b"accept-ranges", b"bytes"),
        (b"etag", etag),
    ]
    if wanted:
        answer.append((b"content-range", b"bytes %d-%d/%d" % (start, stop - 1, size)))
    await send({"type": "http.response.start", "status": 206 if wanted else 200, "headers": answer})
    if method == "HEAD" or start == stop:
        await send({"type": "http.response.body", "body": b""})
        return
    while start < stop:
        chunk = await run(disk.read, found.path, start, min(files.chunk_bytes, stop - start))
        if not chunk:  # truncated while it was read: the promised length is missed and the client notices
            raise OSError(f"{found.path} ended early")
        start += len(chunk)
        await send({"type": "http.response.body", "body": chunk, "more_body": start < stop})


async def _problem(send: Send, status: int, code: str, detail: str, extra: Iterable[tuple[bytes, bytes]] = ()) -> None:
    body = msgspec.json.encode({"type": "about:blank", "status": status, "code": code, "detail": detail})
    headers = [(b"content-type", b"application/problem+json"), (b"content-length", b"%d" % len(body)), *extra]
    await send({"type": "http.response.start", "status": status, "headers": headers})
    await send({"type": "http.response.body", "body": body})


def server_tls(identity: NodeIdentity) -> ssl.SSLContext:
    """TLS 1.3 with our certificate, asking for one of the domain's CA."""
    tls = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    tls.minimum_version = ssl.TLSVersion.TLSv1_3
    tls.load_cert_chain(identity.certificate_path, identity.key_path)
    tls.load_verify_locations(identity.authority_path)
    tls.verify_mode = ssl.CERT_REQUIRED
    tls.num_tickets = 0
    return tls


async def serve_bulk(
    host: str,
    ports: int | Iterable[int],
    identity: NodeIdentity,
    source: Source,
    approved: Approved,
    sink: Sink = no_sink,
    *,
    task_status: anyio.abc.TaskStatus[Listening] = anyio.TASK_STATUS_IGNORED,
) -> None:
    """Serve on the first free TCP port until cancelled; started with ``Listening``. ``identity`` has a certificate of
    the CA for the addresses it is asked at (``load_or_create(..., addresses=…, with_authority=True)``).
    Raises Failure(code="port_in_use")."""
    # uvicorn's parts without its Server: that one takes the process's signals and polls ten times a second.
    from uvicorn.config import Config
    from uvicorn.protocols.http.h11_impl import H11Protocol
    from uvicorn.server import ServerState

    app = BulkApp(source, approved, sink)
    config = Config(
        app,
        lifespan="off",
        access_log=False,
        log_config=None,
        limit_concurrency=TRANSFERS_MAX,
        timeout_keep_alive=IDLE_S,
        server_header=False,
        ws="none",
        interface="asgi3",
    )
    config.load()
    state = ServerState()

    class Connection(H11Protocol):
        def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override]
            super().connection_made(transport)
            shown = transport.get_extra_info("ssl_object").getpeercert(binary_form=True)
            fingerprint = (
                fingerprint_of(public_der(x509.load_der_x509_certificate(shown).public_key())) if shown else ""
            )

            async def known(scope: Scope, receive: Receive, send: Send) -> None:
                await app({**scope, "nano.fingerprint": fingerprint}, receive, send)

            self.app = known

    server, port = await _listen(host, ports, server_tls(identity), lambda: Connection(config, state, {}))
    try:
        task_status.started(Listening(host, port))
        await anyio.sleep_forever()
    finally:
        server.close()
        for connection in list(state.connections):
            connection.transport.abort()
        tasks = list(state.tasks)
        for task in tasks:
            task.cancel()
        with anyio.CancelScope(shield=True):
            await asyncio.gather(*tasks, return_exceptions=True)


async def _listen(
    host: str, ports: int | Iterable[int], tls: ssl.SSLContext, factory: Callable[[], asyncio.Protocol]
) -> "tuple[Server, int]":
    loop = asyncio.get_running_loop()
    for port in [ports] if isinstance(ports, int) else ports:
        try:
            server = await loop.create_server(factory, host, port, ssl=tls, ssl_handshake_timeout=10)
        except OSError:
            continue
        return server, server.sockets[0].getsockname()[1]
    raise Failure(
        f"The image service found no free port on {host}.",
        code="port_in_use",
        hint=f"It uses TCP {PORTS.start}-{PORTS.stop - 1} unless configured otherwise.",
    )
