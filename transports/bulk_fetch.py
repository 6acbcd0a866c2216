"""A cell fetching an image from Core: resumable, checked, and either whole or not there.

The bytes go to a ``PartFile``; what an earlier attempt has left is continued by a ranged request that names the digest as
its ETag. Invariants: ``target`` never holds a partial image; one chunk is in memory; one fetch per target at a time; retries
end when several in a row bring no byte. Cancelling leaves the part for the next attempt; a full disk or a wrong
digest removes it.
"""

import http.client
import logging
import socket
import ssl
from collections.abc import Awaitable, Callable
from pathlib import Path
from typing import Final
from urllib.parse import urlsplit

import anyio
import anyio.from_thread
import anyio.to_thread
import msgspec

from nano.domain.errors import DiskFull, Failure, Forbidden, NanoError, Unknown, Unreachable
from nano.transports.identity import NodeIdentity
from nano.transports.part_file import CHUNK_BYTES, PartFile

logger = logging.getLogger("nano.transports")

FRUITLESS_MAX: Final = 5  # attempts in a row without a byte
WAIT_LAST_S: Final = 3.0
CONNECT_S: Final = 5.0  # also how long a cancelled fetch may last: a connect can't be interrupted
READ_S: Final = 20.0

Progress = Callable[[int, int], None]
"""(bytes done, bytes in all), after each chunk."""


def client_tls(identity: NodeIdentity) -> ssl.SSLContext:
    """TLS 1.3 that trusts the domain's CA only and shows the certificate that came with our approval."""
    if not identity.authority_path.exists():
        raise Forbidden(
            "This node has no certificate of its domain yet.",
            code="node_not_approved",
            hint="It comes with the approval: add the cell to a compute pool.",
        )
    tls = ssl.create_default_context(cafile=str(identity.authority_path))
    tls.minimum_version = ssl.TLSVersion.TLSv1_3
    tls.load_cert_chain(identity.certificate_path, identity.key_path)
    return tls


async def fetch(
    url: str,
    size: int,
    sha256: str,
    target: Path,
    identity: NodeIdentity,
    *,
    progress: Progress = lambda _done, _size: None,
    sleep: Callable[[float], Awaitable[None]] = anyio.sleep,
) -> None:
    """Make ``target`` the image of this size (bytes) and digest (hex). Raises Unreachable, Forbidden, Unknown, DiskFull,
    Conflict(code="transfer_running") and Failure(code="image_damaged" or "image_service_failed")."""
    tls = client_tls(identity)
    part = await anyio.to_thread.run_sync(PartFile.open, target, size)
    keep = True
    try:
        await _fill(part, url, sha256, tls, progress, sleep)
        await anyio.to_thread.run_sync(part.complete, sha256)
    except NanoError as error:
        keep = not isinstance(error, DiskFull) and error.code != "image_damaged"
        raise
    finally:
        part.close(keep=keep)


async def _fill(
    part: PartFile,
    url: str,
    sha256: str,
    tls: ssl.SSLContext,
    progress: Progress,
    sleep: Callable[[float], Awaitable[None]],
) -> None:
    fruitless = 0
    while part.done < part.size:
        before = part.done
        attempt = _Attempt(part, url, sha256, tls, progress)
        await attempt.run()
        if part.done == part.size:
            return
        fruitless = 0 if part.done > before else fruitless + 1
        reason = attempt.interrupted or "the connection ended early"
        logger.info("transfer interrupted url=%s done=%d size=%d reason=%s", url, part.done, part.size, reason)
        if fruitless >= FRUITLESS_MAX:
            raise Unreachable(
                f"Core's image service at {url.partition('/images/')[0]} does not answer: {reason}.",
                code="image_service_unreachable",
                hint="Is Core running, and its image port open to this host?",
                done=part.done,
                size=part.size,
            )
        await sleep(min(0.1 * 2**fruitless, WAIT_LAST_S))


class _Attempt:
    """One connection, in a thread of its own. Afterwards ``interrupted`` says why it did not bring everything."""

    def __init__(self, part: PartFile, url: str, sha256: str, tls: ssl.SSLContext, progress: Progress) -> None:
        self.interrupted = ""
        self._part = part
        self._url = url
        self._etag = f'"{sha256}"'
        self._progress = progress
        where = urlsplit(url)
        self._path = where.path
        self._connection = http.client.HTTPSConnection(where.hostname or "", where.port, context=tls, timeout=CONNECT_S)
        self._stopped = False

    async def run(self) -> None:
        """Raises what the service answered, or what the disk says; interruptions are only noted. When cancelled, the
        thread is stopped and waited for."""
        failure: list[BaseException] = []
        finished = anyio.Event()

        async def work() -> None:
            with anyio.CancelScope(shield=True):
                try:
                    await anyio.to_thread.run_sync(self._work, limiter=anyio.CapacityLimiter(1))
                except NanoError as error:
                    failure.append(error)
                finally:
                    finished.set()

        async with anyio.create_task_group() as tasks:
            tasks.start_soon(work)
            try:
                await finished.wait()
            finally:
                self._stop()
        if failure:
            raise failure[0]

    def _stop(self) -> None:
        """Wakes the thread from whatever read it waits in. The plain socket is shut down, not the TLS one: that would
        first forget its session, and the thread would take the ciphertext still in the kernel for the image."""
        self._stopped = True
        sock: socket.socket | None = self._connection.sock
        if sock is not None:
            try:
                socket.socket.shutdown(sock, socket.SHUT_RDWR)
            except OSError:
                return  # closed already

    def _work(self) -> None:
        try:
            self._transfer()
        except (OSError, http.client.HTTPException) as error:
            self.interrupted = str(error) or type(error).__name__
        finally:
            self._connection.close()

    def _transfer(self) -> None:
        part = self._part
        headers = {"Range": f"bytes={part.done}-", "If-Range": self._etag} if part.done else {}
        self._connection.connect()
        self._connection.sock.settimeout(READ_S)
        if self._stopped:
            return
        self._connection.request("GET", self._path, headers=headers)
        answer = self._connection.getresponse()
        if answer.status not in (200, 206):
            raise _refused(answer.status, answer.read(4096))
        if answer.headers.get("etag") != self._etag:
            raise Failure("Core has another image under this address.", code="image_damaged", url=self._url)
        if answer.status == 200:
            part.restart()
        buffer = memoryview(bytearray(CHUNK_BYTES))
        while not self._stopped and (count := answer.readinto(buffer)):
            part.write(buffer[:count])
            if not self._stopped:
                anyio.from_thread.run_sync(self._progress, part.done, part.size)


def _refused(status: int, body: bytes) -> NanoError:
    try:
        problem = msgspec.json.decode(body, type=dict[str, object])
    except msgspec.MsgspecError:
        problem = {}
    detail, code = str(problem.get("detail", f"HTTP {status}")), str(problem.get("code", ""))
    if status == 403:
        return Forbidden(detail, code=code)
    if status == 404:
        return Unknown(detail, code=code)
    return Failure(f"Core's image service refused: {detail}", code=code or "image_service_failed")
