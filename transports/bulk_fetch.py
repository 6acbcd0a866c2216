"""A cell fetching an image from Core: resumable, checked, and either whole or not there.

Bytes go to ``<target>.part``; what is there from an earlier attempt is read back into the digest and continued by a
ranged request that names the digest as its ETag. Only when size and SHA-256 are right is the file synced and renamed.
Invariants: ``target`` never holds a partial image; one chunk is in memory; one fetch per target at a time (file lock);
retries end when several in a row bring no byte. Cancelling leaves the part for the next attempt; a full disk or a wrong
digest removes it.
"""

import errno
import fcntl
import hashlib
import http.client
import logging
import os
import shutil
import socket
import ssl
from collections.abc import Awaitable, Callable
from pathlib import Path
from typing import BinaryIO, Final
from urllib.parse import urlsplit

import anyio
import anyio.from_thread
import anyio.to_thread
import msgspec

from nano.domain.errors import Conflict, DiskFull, Failure, Forbidden, NanoError, Unknown, Unreachable
from nano.transports.identity import NodeIdentity

logger = logging.getLogger("nano.transports")

CHUNK_BYTES: Final = 1 << 20
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
    part = await anyio.to_thread.run_sync(_Part.open, target, size)
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
    part: "_Part",
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

    def __init__(self, part: "_Part", url: str, sha256: str, tls: ssl.SSLContext, progress: Progress) -> None:
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


class _Part:
    """The partial file: blocking, called in worker threads one call at a time."""

    def __init__(self, file: BinaryIO, target: Path, path: Path, size: int) -> None:
        self._file = file
        self._target = target
        self._path = path
        self._digest = hashlib.sha256()
        self.size = size
        self.done = 0

    @classmethod
    def open(cls, target: Path, size: int) -> "_Part":
        path = target.with_name(target.name + ".part")
        path.parent.mkdir(parents=True, exist_ok=True)
        file = path.open("a+b")
        try:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError as error:
            file.close()
            raise Conflict(
                f"{target.name} is being fetched already.", code="transfer_running", hint="Wait for that transfer."
            ) from error
        part = cls(file, target, path, size)
        part._read_back()
        free = shutil.disk_usage(path.parent).free
        if free < size - part.done:
            part.close(keep=False)
            raise _full(target, size, free)
        return part

    def _read_back(self) -> None:
        """What an earlier attempt has left; more than the whole is not ours."""
        if self._file.seek(0, os.SEEK_END) > self.size:
            self.restart()
            return
        self._file.seek(0)
        while chunk := self._file.read(CHUNK_BYTES):
            self._digest.update(chunk)
            self.done += len(chunk)

    def restart(self) -> None:
        self._file.seek(0)
        self._file.truncate(0)
        self._digest = hashlib.sha256()
        self.done = 0

    def write(self, chunk: memoryview) -> None:
        if self.done + len(chunk) > self.size:
            raise Failure(
                f"Core sends more than the {self.size} bytes it announced.", code="image_damaged", size=self.size
            )
        try:
            self._file.write(chunk)
            self._file.flush()
        except OSError as error:
            if error.errno in (errno.ENOSPC, errno.EDQUOT):
                raise _full(self._target, self.size, shutil.disk_usage(self._path.parent).free) from error
            raise Failure(f"{self._path} can't be written: {error.strerror}.", code="image_unwritable") from error
        self._digest.update(chunk)
        self.done += len(chunk)

    def complete(self, sha256: str) -> None:
        if self._digest.hexdigest() != sha256:
            raise Failure(
                "The image arrived damaged: its digest is not the recorded one.",
                code="image_damaged",
                hint="Fetch it again; if it stays so, the file on Core has changed.",
                expected=sha256,
                found=self._digest.hexdigest(),
            )
        os.fsync(self._file.fileno())
        self._path.replace(self._target)
        folder = os.open(self._target.parent, os.O_RDONLY)
        try:
            os.fsync(folder)
        finally:
            os.close(folder)

    def close(self, *, keep: bool) -> None:
        """Unless it was completed, the part stays for the next attempt or goes."""
        if not keep:
            self._path.unlink(missing_ok=True)
        self._file.close()


def _full(target: Path, size: int, free: int) -> DiskFull:
    return DiskFull(
        f"No room for {target.name}: {size} bytes needed, {free} free.",
        hint="Free some space in the storage pool, or add a disk.",
        size=size,
        free=free,
    )
