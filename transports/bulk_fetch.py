"""A cell fetching an image from Core: resumable, checked, and either whole or not there.

The bytes go to a ``PartFile``; what an earlier attempt has left is continued by a ranged request that names the digest as
its ETag. Invariants: ``target`` never holds a partial image; one chunk is in memory; one fetch per target at a time; retries
end when several in a row bring no byte. Cancelling leaves the part for the next attempt; a disk that fails or is full, or a
wrong digest, removes it. If the digest is wrong of bytes that were there before (a loss of power may have left anything),
all is fetched once more.

What a connection is, is the ``Carry`` port's; on a node that is HTTPS in a thread.
"""

import logging
import ssl
from collections.abc import Awaitable, Callable
from pathlib import Path

import anyio
import anyio.from_thread

from nano.domain.errors import DiskFull, Failure, NanoError
from nano.transports.bulk_attempt import FRUITLESS_MAX, WAIT_LAST_S, Attempt, client_tls, refused, silent
from nano.transports.files import CHUNK_BYTES, FILES, Files
from nano.transports.identity import NodeIdentity
from nano.transports.part_file import PartFile

logger = logging.getLogger("nano.transports")

Progress = Callable[[int, int], None]
"""(bytes done, bytes in all), after each chunk."""


async def fetch(
    url: str,
    size: int,
    sha256: str,
    target: Path,
    carry: "Carry",
    *,
    files: Files = FILES,
    progress: Progress = lambda _done, _size: None,
    sleep: Callable[[float], Awaitable[None]] = anyio.sleep,
) -> None:
    """Make ``target`` the image of this size (bytes) and digest (hex). Raises Unreachable, Forbidden, Unknown, DiskFull,
    Conflict(code="transfer_running") and Failure(code="image_damaged", "image_unwritable" or "image_service_failed")."""
    run = files.workers.run
    part = await run(PartFile, files, target, size)
    transfer = Transfer(part, url, sha256, progress)
    keep = True
    try:
        try:
            await _fill(transfer, carry, sleep)
            await run(part.complete, sha256)
        except NanoError as error:
            if error.code != "image_damaged" or not transfer.resumed:
                raise
            logger.warning("transfer begun anew url=%s reason=what was there before is damaged", url)
            await run(part.restart)
            await _fill(transfer, carry, sleep)
            await run(part.complete, sha256)
    except NanoError as error:
        # After a sync that failed the kernel may call pages clean that it has not written, so these bytes are not kept.
        keep = not isinstance(error, DiskFull) and error.code not in ("image_damaged", "image_unwritable")
        raise
    finally:
        part.close(keep=keep)


async def _fill(transfer: "Transfer", carry: "Carry", sleep: Callable[[float], Awaitable[None]]) -> None:
    part, fruitless = transfer.part, 0
    while part.done < part.size:
        before = part.done
        reason = await carry(transfer) or "the connection ended early"
        if part.done == part.size:
            return
        fruitless = 0 if part.done > before else fruitless + 1
        logger.info("transfer interrupted url=%s done=%d size=%d reason=%s", transfer.url, part.done, part.size, reason)
        if fruitless >= FRUITLESS_MAX:
            raise silent(transfer.url, reason, part.done, part.size)
        await sleep(min(0.1 * 2**fruitless, WAIT_LAST_S))


class Transfer:
    """What is asked for, and what is made of the answer, whatever carries them."""

    def __init__(self, part: PartFile, url: str, sha256: str, progress: Progress) -> None:
        self.url = url
        self.part = part
        self.resumed = part.resumed  # it began with bytes from an earlier time
        self._etag = f'"{sha256}"'
        self._progress = progress

    def headers(self) -> dict[str, str]:
        return {"Range": f"bytes={self.part.done}-", "If-Range": self._etag} if self.part.done else {}

    def begin(self, status: int, etag: str | None, body: bytes) -> None:
        """The answer's head; ``body`` (some KiB) only of a refusal. Raises what the service refused with."""
        if status not in (200, 206):
            raise refused(status, body)
        if etag != self._etag:
            raise Failure("Core has another image under this address.", code="image_damaged", url=self.url)
        if status == 200 and self.part.done:
            self.part.restart()

    def take(self, chunk: bytes | memoryview) -> None:
        self.part.write(chunk)

    def tell(self) -> None:
        self._progress(self.part.done, self.part.size)


Carry = Callable[[Transfer], Awaitable[str]]
"""One connection: ask, and hand over what comes. Returns why it ended early, "" otherwise; raises what ``Transfer`` raises."""


def over_https(identity: NodeIdentity) -> Carry:
    """Carries by HTTPS with the node's certificate. Raises Forbidden(node_not_approved) while it has none."""
    tls = client_tls(identity)

    async def carry(transfer: Transfer) -> str:
        attempt = _Fetch(transfer, tls)
        await attempt.run()
        return attempt.interrupted

    return carry


class _Fetch(Attempt):
    """Brings what the part lacks."""

    def __init__(self, transfer: Transfer, tls: ssl.SSLContext) -> None:
        super().__init__(transfer.url, tls)
        self._transfer = transfer

    def transfer(self) -> None:
        transfer = self._transfer
        self.connection.request("GET", self.path, headers=transfer.headers())
        answer = self.connection.getresponse()
        body = b"" if answer.status in (200, 206) else answer.read(4096)
        transfer.begin(answer.status, answer.headers.get("etag"), body)
        buffer = memoryview(bytearray(CHUNK_BYTES))
        while not self.stopped and (count := answer.readinto(buffer)):
            transfer.take(buffer[:count])
            if not self.stopped:
                anyio.from_thread.run_sync(transfer.tell)
