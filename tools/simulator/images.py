"""Images of the simulated zone: files on Core's disk, served and fetched by the daemons' code, a damaged one now and then.

What is simulated is the disk below and the connection between: it is slow, breaks, and rarely hands over a wrong byte, as
memory and disks do that nothing guards. qemu-img is not asked: every plain file is an image.
"""

import hashlib
from collections import Counter
from collections.abc import Callable
from pathlib import Path
from random import Random
from typing import TYPE_CHECKING, Any, Final

import anyio
import httpx

from nano.cell.image_cache import Fetch, Progress
from nano.core.core import Core
from nano.core.image_check import Inspection, unreadable
from nano.core.work import Cancelled
from nano.domain.errors import HostError, Invalid
from nano.domain.machine import MEBI
from nano.journal.disk import replace_file
from nano.tools.simulator.carrier import App
from nano.tools.simulator.disk import SimulatedDisk
from nano.transports.bulk import BulkApp
from nano.transports.bulk_fetch import Carry, Transfer, fetch
from nano.transports.files import Files
from nano.transports.messages import ImageSource

if TYPE_CHECKING:
    from nano.tools.simulator.machine import Process

IMAGES: Final = "images"  # the folder, of Core's files and of a cell's cache
COUNT: Final = 4
BYTES: Final = (20_000, 200_000)
CHUNK_BYTES: Final = 16 << 10
VIRTUAL_BYTES: Final = 32 * MEBI
INSPECTED_S: Final = (0.05, 5.0)
WRONG_BYTE: Final = 0.01  # of the chunks fetched, while there is trouble
ROOM_BYTES: Final = 1 << 30


def image_path(number: int) -> Path:
    return Path("/core") / IMAGES / f"{number}.qcow2"


def put_images(disk: SimulatedDisk, random: Random) -> None:
    for number in range(COUNT):
        disk.install(image_path(number), random.randbytes(random.randint(*BYTES)))


class ImageFiles:
    """Core's side."""

    def __init__(self, process: "Process") -> None:
        self._process = process
        self.files = files_of(process)

    async def inspect(self, path: Path) -> Inspection:
        await anyio.sleep(self._process.machine.random.uniform(*INSPECTED_S))
        return Inspection("qcow2", len(self._read(path)), VIRTUAL_BYTES)

    async def check_media(self, path: Path) -> Inspection:
        size = len(self._read(path))
        return Inspection("iso", size, size)

    async def digest(self, path: Path, size: int, tell: Callable[[int], None], stopped: Callable[[], bool]) -> str:
        tell(1)
        await anyio.sleep(self._process.machine.random.uniform(*INSPECTED_S))
        if stopped():
            raise Cancelled("The task was cancelled.")
        data = self._read(path)
        if len(data) != size:
            raise Invalid(f"{path} has changed.", code="image_unreadable")
        return hashlib.sha256(data).hexdigest()

    async def convert(self, raw: Path, path: Path, tell: Callable[[int], None]) -> None:
        tell(1)
        try:
            replace_file(self._process.session, path, self._read(raw))
        except OSError as error:
            raise HostError(f"{path}: {error.strerror}.", code="image_unwritable") from error

    def _read(self, path: Path) -> bytes:
        try:
            return self._process.session.read(path)
        except OSError as error:
            raise unreadable(path, error) from error

    def served(self, core: Core) -> App:
        process, sharing = self._process, core.sharing
        app = BulkApp(sharing.file_of, sharing.may_fetch, sharing.upload_of, self.files)

        async def serve(scope: dict[str, Any], receive: Any, send: Any) -> None:
            try:
                await app(scope, receive, send)
            except OSError:
                process.machine.disk.failures["image not read to its end"] += 1  # the server cuts the connection

        return serve


def files_of(process: "Process") -> Files:
    disk = process.machine.disk
    return Files(process.session, process.workers, lambda _: 0 if disk.full else ROOM_BYTES, CHUNK_BYTES)


def fetching(process: "Process", carry: Carry) -> Fetch:
    """A cell's side."""
    files = files_of(process)

    async def fetch_image(source: ImageSource, target: Path, progress: Progress) -> None:
        def told(done: int, size: int) -> None:
            progress(done * 100 // max(1, size))

        await fetch(source.url, source.size, source.sha256, target, carry, files=files, progress=told)

    return fetch_image


def carried(client: httpx.AsyncClient, random: Random, faults: Counter[str], trouble: Callable[[], bool]) -> Carry:
    async def carry(transfer: Transfer) -> str:
        try:
            async with client.stream("GET", transfer.url, headers=transfer.headers()) as answer:
                body = b"" if answer.status_code in (200, 206) else await answer.aread()
                transfer.begin(answer.status_code, answer.headers.get("etag"), body)
                async for chunk in answer.aiter_raw():
                    transfer.take(_on_its_way(chunk))
                    transfer.tell()
        except httpx.TransportError as error:
            faults["image transfer broken"] += 1
            return str(error)
        return ""

    def _on_its_way(chunk: bytes) -> bytes:
        if not trouble() or random.random() >= WRONG_BYTE:
            return chunk
        faults["image byte wrong"] += 1
        at = random.randrange(len(chunk))
        return chunk[:at] + bytes([chunk[at] ^ 0x10]) + chunk[at + 1 :]

    return carry


def cache_damage(disk: SimulatedDisk, folder: Path) -> list[str]:
    """Cached images that are not what their names say."""
    inside = [(path, inode) for path, inode in disk.names.items() if path.parent == folder and path.suffix == ".qcow2"]
    return [path.name for path, inode in inside if hashlib.sha256(inode.data).hexdigest() != path.stem]
