"""ImageCache: images this cell has fetched from Core, by digest. A file is there only when it is whole.

Fetching is the transports' business (``Fetch``); here is only that the same image is fetched once however many guests
wait for it, and that what is cached is found again.
"""

from collections.abc import Awaitable, Callable
from pathlib import Path

import anyio

from nano.transports.messages import ImageSource

Progress = Callable[[int], None]
Fetch = Callable[[ImageSource, Path, Progress], Awaitable[None]]
"""Bring the image to the path, verified. Raises Unreachable, DiskFull, HostError."""


class ImageCache:
    def __init__(self, folder: Path, fetch: Fetch) -> None:
        self._folder = folder
        self._fetch = fetch
        self._locks: dict[str, anyio.Lock] = {}

    async def get(self, source: ImageSource, progress: Progress) -> Path:
        """The image's file, fetched if need be. Raises what the fetch raises."""
        path = self._folder / f"{source.sha256}.qcow2"
        lock = self._locks.setdefault(source.sha256, anyio.Lock())
        async with lock:
            if not path.exists():
                self._folder.mkdir(parents=True, exist_ok=True)
                await self._fetch(source, path, progress)
        return path
