"""UploadDesk: takes in the bytes of images that are being uploaded, from people by the API and from cells by HTTPS.

An upload is open while its task runs. Its bytes come in any number of requests, each beginning where the last one ended; one
request at a time. Receiving and writing overlap, with two blocks of memory for each. A disk that is full, or more bytes than
were announced, break the upload and so its task; a lost connection only ends its request. One that nobody sends to for
``IDLE_S`` is given back.
"""

from collections.abc import AsyncIterator, Callable, Iterator
from contextlib import asynccontextmanager, contextmanager
from pathlib import Path
from typing import Final

import anyio
from anyio.streams.memory import MemoryObjectReceiveStream

from nano.domain.errors import Conflict, DeadlineExceeded, Failure, Invalid, NanoError, Unknown
from nano.domain.machine import DISK_MAX
from nano.transports.files import FILES, Files
from nano.transports.part_file import PartFile
from nano.transports.unwrap import plain_errors

IDLE_S: Final = 3600.0
OPEN_PATIENCE_S: Final = 3.0
BLOCK_BYTES: Final = 1 << 20

Told = Callable[[int], None]
"""Percent received."""


class Upload:
    """One that is open. ``received`` is how many bytes are there, in order from the first; ``sender`` the cell it comes from,
    empty = people."""

    def __init__(self, target: Path, told: Told, now: Callable[[], float], sender: str, files: Files) -> None:
        self.sender = sender
        self._files = files
        self._target = target
        self._told = told
        self._now = now
        self._touched = now()
        self._busy = False
        self._part: PartFile | None = None
        self._announcing = anyio.Lock()
        self._broken = anyio.Event()
        self._failure: NanoError | None = None

    @property
    def received(self) -> int:
        return self._part.done if self._part else 0

    @property
    def size(self) -> int:
        """In all; 0 = not yet known."""
        return self._part.size if self._part else 0

    async def announce(self, size: int) -> None:
        """So many bytes will come. Raises DiskFull, Conflict(upload_size), Invalid(invalid_size)."""
        async with self._announcing:
            if self._part is None:
                if not 0 < size <= DISK_MAX:
                    raise Invalid(f"An upload of {size} bytes is not taken.", code="invalid_size")
                self._part = await self._files.workers.run(PartFile, self._files, self._target, size)
            elif self._part.size != size:
                raise Conflict(f"The upload was announced with {self._part.size} bytes.", code="upload_size")

    async def write(self, offset: int, pieces: AsyncIterator[bytes]) -> int:
        """Take in what comes; how many bytes there are then. Raises Conflict (upload_offset, upload_busy), DiskFull, Failure."""
        with self._held(offset) as part:
            into, out = anyio.create_memory_object_stream[bytearray](0)
            with plain_errors():
                async with anyio.create_task_group() as tasks:
                    tasks.start_soon(self._write_blocks, part, out)
                    async with into:
                        block = bytearray()
                        async for piece in pieces:
                            block += piece
                            if len(block) >= BLOCK_BYTES:
                                await into.send(block)
                                block = bytearray()
                        if block:
                            await into.send(block)
        return self.received

    async def _write_blocks(self, part: PartFile, blocks: "MemoryObjectReceiveStream[bytearray]") -> None:
        async with blocks:
            async for block in blocks:
                try:
                    with anyio.CancelScope(shield=True):
                        await self._files.workers.run(part.write, block)
                except NanoError as error:
                    self._failure = error
                    self._broken.set()
                    raise
                self._touched = self._now()
                self._told(part.done * 100 // part.size)

    async def until_broken(self) -> None:
        """Raises why it can't be finished: what broke it, or that nobody sends any more."""
        while (left := self._touched + IDLE_S - self._now()) > 0:
            with anyio.move_on_after(left):
                await self._broken.wait()
                assert self._failure is not None
                raise self._failure
        raise DeadlineExceeded(
            f"Nothing was sent for {IDLE_S / 60:.0f} minutes; {self.received} of {self.size} bytes had arrived.",
            code="upload_abandoned",
            hint="Begin the upload again.",
        )

    async def complete(self, sha256: str) -> None:
        """Raises Failure(image_damaged)."""
        if self._part is None:
            raise Failure("Nothing was sent.", code="image_damaged")
        await self._files.workers.run(self._part.complete, sha256)

    def close(self, *, keep: bool) -> None:
        if self._part is not None:
            self._part.close(keep=keep)

    @contextmanager
    def _held(self, offset: int) -> Iterator[PartFile]:
        if self._part is None:
            raise Conflict("It was not said how many bytes will come.", code="upload_size")
        if self._busy:
            raise Conflict(
                "Somebody is sending to this upload already.", code="upload_busy", hint="Wait until that has ended."
            )
        if offset != self.received:
            raise Conflict(
                f"The upload has {self.received} bytes; the next to send is not byte {offset}.",
                code="upload_offset",
                hint="Go on from the byte that is told.",
                received=self.received,
            )
        self._busy = True
        self._touched = self._now()
        try:
            yield self._part
        finally:
            self._busy = False


class UploadDesk:
    """``now`` gives seconds, for knowing when an upload was left alone."""

    def __init__(self, files: Files = FILES, now: Callable[[], float] = anyio.current_time) -> None:
        self._files = files
        self._now = now
        self._open: dict[str, Upload] = {}
        self._opened = anyio.Event()

    @asynccontextmanager
    async def receiving(self, image_id: str, target: Path, told: Told, sender: str = "") -> AsyncIterator[Upload]:
        """The upload of this image is open while entered; what an earlier run of Core had received is still there. Left by an
        error, nothing of it stays; when Core stops, all of it."""
        upload = self._open[image_id] = Upload(target, told, self._now, sender, self._files)
        opened, self._opened = self._opened, anyio.Event()
        opened.set()
        keep = True
        try:
            yield upload
        except BaseException as error:
            keep = not isinstance(error, NanoError | BaseExceptionGroup)
            raise
        finally:
            del self._open[image_id]
            upload.close(keep=keep)

    def find(self, image_id: str) -> Upload:
        """Raises Unknown(unknown_upload)."""
        upload = self._open.get(image_id)
        if upload is None:
            raise Unknown(
                "No such upload is open.", code="unknown_upload", hint="It has ended; its task says how. Begin another."
            )
        return upload

    async def find_soon(self, image_id: str) -> Upload:
        """The same, when its task may have begun just now, or Core."""
        with anyio.move_on_after(OPEN_PATIENCE_S):
            while image_id not in self._open:
                await self._opened.wait()
        return self.find(image_id)
