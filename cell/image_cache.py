"""ImageCache: images this cell has fetched from Core, by digest. A file is there only when it is whole.

Fetching is the transports' business (``Fetch``); here is that the same image is fetched once however many guests wait for it,
that what is cached is found again, that the folder stays within its bound (what was used longest ago goes first), and
that what Core no longer knows goes. Nothing goes that somebody is using, or that a guest's disk leans on (``needed``); what
is unwanted while it is used goes with its last user.
"""

import hashlib
import logging
import os
from collections.abc import AsyncIterator, Awaitable, Callable, Collection
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Final

import anyio

from nano.domain.errors import HostError
from nano.transports.files import FILES, Files
from nano.transports.messages import ImageSource

log = logging.getLogger("nano.cell")

NEAR_BYTES: Final = 4 << 20  # of a file that are in memory at once while its digest is taken
SIZE_MAX: Final = 100 << 30  # bytes, beside what disks lean on

Progress = Callable[[int], None]
Fetch = Callable[[ImageSource, Path, Progress], Awaitable[None]]
"""Bring the image to the path, verified. Raises Unreachable, DiskFull, HostError."""
Needed = Callable[[], Collection[str]]
"""Paths of files that must stay. Blocking; raises OSError when that can't be known."""


class ImageCache:
    def __init__(
        self,
        folder: Path,
        fetch: Fetch,
        *,
        files: Files = FILES,
        size_max: int = SIZE_MAX,
        needed: Needed = frozenset[str],
    ) -> None:
        self._folder = folder
        self._fetch = fetch
        self._disk = files.disk
        self._run = files.workers.run
        self._size_max = size_max
        self._needed = needed
        self._locks: dict[str, anyio.Lock] = {}
        self._users: dict[str, int] = {}
        self._wanted: frozenset[str] | None = None  # as Core said last; None = it has not
        self._proven: dict[str, tuple[str, float]] = {}  # Core's files on this machine: path, and when it was written
        self._alone = anyio.Lock()  # files are found and removed by one at a time

    @asynccontextmanager
    async def using(self, source: ImageSource, progress: Progress) -> AsyncIterator[Path]:
        """The image's file, fetched if need be; it stays while this is entered. Raises what the fetch raises."""
        key = source.sha256
        self._users[key] = self._users.get(key, 0) + 1
        if self._wanted is not None:
            self._wanted |= {key}  # an order that names it is news, too
        try:
            yield await self._get(source, progress)
        finally:
            self._users[key] -= 1
            if not self._users[key]:
                del self._users[key], self._locks[key]
                await self._drop_unwanted(key)

    @asynccontextmanager
    async def reading(self, source: ImageSource, progress: Progress) -> AsyncIterator[Path]:
        """The same for who reads it once, to its end: Core's own file where it is on this machine, so that no copy of it is
        made beside the one that is wanted."""
        if not await self._is_cached(source) and await self._is_near(source, progress):
            yield Path(source.path)
            return
        async with self.using(source, progress) as path:
            yield path

    async def keep(self, digests: Collection[str]) -> None:
        """These are all the images there are: the others go, with what unfinished fetches of them have left. Raises
        HostError(image_not_removed)."""
        self._wanted = wanted = frozenset(digests)
        self._proven = {digest: file for digest, file in self._proven.items() if digest in wanted}
        try:
            async with self._alone:
                await self._run(self._remove, lambda digest: digest not in wanted, frozenset(self._users))
        except OSError as error:
            raise HostError(
                f"An image can't be removed from {self._folder}: {error.strerror}.", code="image_not_removed"
            ) from error

    def _path(self, source: ImageSource) -> Path:
        return self._folder / f"{source.sha256}.{'iso' if source.format == 'iso' else 'qcow2'}"

    async def _is_cached(self, source: ImageSource) -> bool:
        try:
            await self._run(self._disk.size, self._path(source))
        except OSError:
            return False
        return True

    async def _is_near(self, source: ImageSource, progress: Progress) -> bool:
        """Whether Core's file is here, which only its bytes prove: another machine may have another under that name. They
        are read once: Core writes a file once, so until it is touched it stays what it was."""
        digest, done, path = hashlib.sha256(), 0, Path(source.path)
        try:
            if not source.path or await self._run(self._disk.size, path) != source.size:
                return False
            touched = await self._run(self._disk.touched, path)
            if self._proven.get(source.sha256) == (source.path, touched):
                return True
            while chunk := await self._run(self._disk.read, path, done, NEAR_BYTES):
                await self._run(digest.update, chunk)
                done += len(chunk)
                progress(min(100, done * 100 // source.size))
        except OSError:
            return False
        if digest.hexdigest() != source.sha256:
            return False
        self._proven[source.sha256] = (source.path, touched)
        return True

    async def _get(self, source: ImageSource, progress: Progress) -> Path:
        path = self._path(source)
        async with self._locks.setdefault(source.sha256, anyio.Lock()):
            try:
                async with self._alone:
                    await self._run(self._disk.touch, path)  # the time of its last use
            except FileNotFoundError:
                await self._make_room(source.size)
                await self._fetch(source, path, progress)
            except OSError as error:
                raise HostError(f"{path} can't be read: {error.strerror}.", code="image_unreadable") from error
        return path

    async def _drop_unwanted(self, digest: str) -> None:
        if self._wanted is None or digest in self._wanted:
            return
        with anyio.CancelScope(shield=True):
            try:
                async with self._alone:
                    await self._run(self._remove, lambda one: one == digest, frozenset(self._users))
            except OSError as error:  # it goes when Core next says what to keep
                log.warning("cached image stays digest=%s reason=%s", digest, error)

    async def _make_room(self, size: int) -> None:
        try:
            async with self._alone:
                await self._run(self._sweep, size, frozenset(self._users))
        except OSError as error:
            log.warning("image cache not swept folder=%s reason=%s", self._folder, error)

    # ------------------------------------------------------------------ blocking

    def _sweep(self, size: int, busy: frozenset[str]) -> None:
        """Let the oldest go until there is room within the bound. What an interrupted fetch left counts too."""
        paths = [self._folder / name for name in self._disk.list(self._folder)]
        found = [(self._disk.touched(path), self._disk.size(path), path) for path in paths]
        total = sum(one_size for _, one_size, _ in found) + size
        if total <= self._size_max:
            return
        needed = self._kept()
        for _, one_size, path in sorted(found):
            if total <= self._size_max:
                return
            if path.name.partition(".")[0] not in busy and os.path.realpath(path) not in needed:
                self._disk.remove(path)
                total -= one_size
                log.info("cached image removed name=%s bytes=%d", path.name, one_size)

    def _remove(self, which: Callable[[str], bool], busy: frozenset[str]) -> None:
        names = [name for name in self._disk.list(self._folder) if which(name.partition(".")[0])]
        needed = self._kept() if names else frozenset[str]()
        for name in names:
            path = self._folder / name
            if name.partition(".")[0] not in busy and os.path.realpath(path) not in needed:
                self._disk.remove(path)
                log.info("cached image removed name=%s reason=no longer an image", name)

    def _kept(self) -> frozenset[str]:
        return frozenset(os.path.realpath(path) for path in self._needed())
