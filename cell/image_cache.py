"""ImageCache: images this cell has fetched from Core, by digest. A file is there only when it is whole.

Fetching is the transports' business (``Fetch``); here is that the same image is fetched once however many guests wait for it,
that what is cached is found again, and that the folder stays within its bound: what was used longest ago goes first, but
nothing that somebody is using, and nothing that a guest's disk leans on (``needed``).
"""

import logging
import os
from collections.abc import AsyncIterator, Awaitable, Callable, Collection
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Final

import anyio
import anyio.to_thread

from nano.transports.messages import ImageSource

log = logging.getLogger("nano.cell")

SIZE_MAX: Final = 100 << 30  # bytes, beside what disks lean on

Progress = Callable[[int], None]
Fetch = Callable[[ImageSource, Path, Progress], Awaitable[None]]
"""Bring the image to the path, verified. Raises Unreachable, DiskFull, HostError."""
Needed = Callable[[], Collection[str]]
"""Paths of files that must stay. Blocking; raises OSError when that can't be known."""


class ImageCache:
    def __init__(
        self, folder: Path, fetch: Fetch, *, size_max: int = SIZE_MAX, needed: Needed = frozenset[str]
    ) -> None:
        self._folder = folder
        self._fetch = fetch
        self._size_max = size_max
        self._needed = needed
        self._locks: dict[str, anyio.Lock] = {}
        self._users: dict[str, int] = {}

    @asynccontextmanager
    async def using(self, source: ImageSource, progress: Progress) -> AsyncIterator[Path]:
        """The image's file, fetched if need be; it stays while this is entered. Raises what the fetch raises."""
        key = source.sha256
        self._users[key] = self._users.get(key, 0) + 1
        try:
            yield await self._get(source, progress)
        finally:
            self._users[key] -= 1
            if not self._users[key]:
                del self._users[key], self._locks[key]

    async def _get(self, source: ImageSource, progress: Progress) -> Path:
        path = self._folder / f"{source.sha256}.{'iso' if source.format == 'iso' else 'qcow2'}"
        async with self._locks.setdefault(source.sha256, anyio.Lock()):
            if path.exists():
                os.utime(path)  # the time of its last use
            else:
                self._folder.mkdir(parents=True, exist_ok=True)
                await self._make_room(source.size)
                await self._fetch(source, path, progress)
        return path

    async def _make_room(self, size: int) -> None:
        busy = frozenset(self._users)
        try:
            await anyio.to_thread.run_sync(self._sweep, size, busy)
        except OSError as error:
            log.warning("image cache not swept folder=%s reason=%s", self._folder, error)

    def _sweep(self, size: int, busy: frozenset[str]) -> None:
        """Let the oldest go until there is room within the bound. What an interrupted fetch left counts too."""
        found = [(entry.stat(), entry) for entry in self._folder.iterdir() if entry.is_file()]
        total = sum(stat.st_size for stat, _ in found) + size
        if total <= self._size_max:
            return
        needed = {os.path.realpath(path) for path in self._needed()}
        for stat, entry in sorted(found, key=lambda one: one[0].st_mtime):
            if total <= self._size_max:
                return
            if entry.name.partition(".")[0] not in busy and os.path.realpath(entry) not in needed:
                entry.unlink(missing_ok=True)
                total -= stat.st_size
                log.info("cached image removed name=%s bytes=%d", entry.name, stat.st_size)
