"""A cell fetching an image from Core: resumable, checked, and either whole or not there.

The bytes go to a ``PartFile``; what an earlier attempt has left is continued by a ranged request that names the digest as
its ETag. Invariants: ``target`` never holds a partial image; one chunk is in memory; one fetch per target at a time; retries
end when several in a row bring no byte. Cancelling leaves the part for the next attempt; a full disk or a wrong
digest removes it.
"""

import logging
import ssl
from collections.abc import Awaitable, Callable
from pathlib import Path

import anyio
import anyio.from_thread
import anyio.to_thread

from nano.domain.errors import DiskFull, Failure, NanoError
from nano.transports.bulk_attempt import FRUITLESS_MAX, WAIT_LAST_S, Attempt, client_tls, refused, silent
from nano.transports.identity import NodeIdentity
from nano.transports.part_file import CHUNK_BYTES, PartFile

logger = logging.getLogger("nano.transports")


Progress = Callable[[int, int], None]
"""(bytes done, bytes in all), after each chunk."""


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
        attempt = _Fetch(part, url, sha256, tls, progress)
        await attempt.run()
        if part.done == part.size:
            return
        fruitless = 0 if part.done > before else fruitless + 1
        reason = attempt.interrupted or "the connection ended early"
        logger.info("transfer interrupted url=%s done=%d size=%d reason=%s", url, part.done, part.size, reason)
        if fruitless >= FRUITLESS_MAX:
            raise silent(url, reason, part.done, part.size)
        await sleep(min(0.1 * 2**fruitless, WAIT_LAST_S))


class _Fetch(Attempt):
    """Brings what the part lacks."""

    def __init__(self, part: PartFile, url: str, sha256: str, tls: ssl.SSLContext, progress: Progress) -> None:
        super().__init__(url, tls)
        self._part = part
        self._url = url
        self._etag = f'"{sha256}"'
        self._progress = progress

    def transfer(self) -> None:
        part = self._part
        headers = {"Range": f"bytes={part.done}-", "If-Range": self._etag} if part.done else {}
        self.connection.request("GET", self.path, headers=headers)
        answer = self.connection.getresponse()
        if answer.status not in (200, 206):
            raise refused(answer.status, answer.read(4096))
        if answer.headers.get("etag") != self._etag:
            raise Failure("Core has another image under this address.", code="image_damaged", url=self._url)
        if answer.status == 200:
            part.restart()
        buffer = memoryview(bytearray(CHUNK_BYTES))
        while not self.stopped and (count := answer.readinto(buffer)):
            part.write(buffer[:count])
            if not self.stopped:
                anyio.from_thread.run_sync(self._progress, part.done, part.size)
