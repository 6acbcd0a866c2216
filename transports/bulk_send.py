"""A cell sending an image to Core: in pieces, each where the last one ended, so that a cut connection costs little.

Only what Core asked for is taken there (it knows the node by its certificate). The digest is taken while the file is sent and
given back: Core compares it with what arrived.
"""

import hashlib
import logging
import ssl
from collections.abc import Awaitable, Callable, Iterator
from io import BufferedReader
from pathlib import Path
from typing import Final

import anyio
import anyio.from_thread
import anyio.to_thread
import msgspec

from nano.transports.bulk_attempt import FRUITLESS_MAX, WAIT_LAST_S, Attempt, client_tls, refused, silent
from nano.transports.files import CHUNK_BYTES
from nano.transports.identity import NodeIdentity

logger = logging.getLogger("nano.transports")

PIECE_BYTES: Final = 64 << 20

Progress = Callable[[int, int], None]
"""(bytes sent, bytes in all)."""


async def send(
    path: Path,
    url: str,
    identity: NodeIdentity,
    *,
    progress: Progress = lambda _done, _size: None,
    sleep: Callable[[float], Awaitable[None]] = anyio.sleep,
) -> str:
    """Its SHA-256 (hex) once all of it is there. Raises Unreachable, Forbidden, Unknown, Failure."""
    tls = client_tls(identity)
    size = (await anyio.Path(path).stat()).st_size
    with path.open("rb") as file:
        digest = await anyio.to_thread.run_sync(_digest, file)
        sent, fruitless = 0, 0
        while sent < size:
            attempt = _Send(file, size, url, tls, progress)
            await attempt.run()
            fruitless = 0 if attempt.sent > sent else fruitless + 1
            sent = max(sent, attempt.sent)
            if sent < size:
                reason = attempt.interrupted or "the connection ended early"
                logger.info("sending interrupted url=%s done=%d size=%d reason=%s", url, sent, size, reason)
                if fruitless >= FRUITLESS_MAX:
                    raise silent(url, reason, sent, size)
                await sleep(min(0.1 * 2**fruitless, WAIT_LAST_S))
    return digest


class _Send(Attempt):
    """Sends what Core lacks."""

    def __init__(self, file: BufferedReader, size: int, url: str, tls: ssl.SSLContext, progress: Progress) -> None:
        super().__init__(url, tls)
        self.sent = 0
        self._file = file
        self._size = size
        self._progress = progress
        self.connection.blocksize = CHUNK_BYTES

    def transfer(self) -> None:
        self.connection.request("GET", self.path)
        self.sent = self._answered()
        while self.sent < self._size and not self.stopped:
            length = min(PIECE_BYTES, self._size - self.sent)
            headers = {"content-length": str(length)}
            query = f"offset={self.sent}&size={self._size}"
            self.connection.request("PUT", f"{self.path}?{query}", body=self._piece(self.sent, length), headers=headers)
            self.sent = self._answered()
            if not self.stopped:
                anyio.from_thread.run_sync(self._progress, self.sent, self._size)

    def _piece(self, at: int, length: int) -> Iterator[bytes]:
        """The bytes, a chunk at a time."""
        self._file.seek(at)
        left = length
        while left and (chunk := self._file.read(min(CHUNK_BYTES, left))):
            left -= len(chunk)
            yield chunk

    def _answered(self) -> int:
        answer = self.connection.getresponse()
        body = answer.read(4096)
        if answer.status != 200:
            raise refused(answer.status, body)
        return msgspec.json.decode(body, type=dict[str, int])["received"]


def _digest(file: BufferedReader) -> str:
    return hashlib.file_digest(file, "sha256").hexdigest()
