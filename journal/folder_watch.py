"""Waiting until something is written in a folder: for readers that follow a journal which another process writes.

inotify, by way of the C library, so that a line is seen within a millisecond of its write and an idle reader costs nothing.
Where the kernel gives no watch (too many of them), or does not tell (a network file system), ``wait`` returns at its time limit:
a reader that looks then is late, but misses nothing.

It does not say what changed, and knows nothing of journals.
"""

import ctypes
import os
import select
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Final

_MODIFIED: Final = 0x2
_CREATED: Final = 0x100
_MOVED_HERE: Final = 0x80
_READ_BYTES: Final = 64 << 10


class FolderWatch:
    """Made by ``watched``. Without a handle it only waits out the time."""

    def __init__(self, handle: int | None) -> None:
        self._handle = handle
        self._poll = select.poll()
        if handle is not None:
            self._poll.register(handle, select.POLLIN)

    def wait(self, at_most_s: float) -> bool:
        """Returns when something was written or came since the last call, and at the latest after ``at_most_s``: whether it
        was told of anything."""
        if self._handle is None:
            time.sleep(at_most_s)
            return False
        told = bool(self._poll.poll(at_most_s * 1e3))
        if told:
            os.read(self._handle, _READ_BYTES)
        return told


@contextmanager
def watched(folder: Path) -> Iterator[FolderWatch]:
    """Watch the files of a folder, not those of folders in it. What was written before is not told."""
    libc = ctypes.CDLL(None)
    handle = libc.inotify_init1(os.O_CLOEXEC | os.O_NONBLOCK)
    try:
        told = (
            handle >= 0 and libc.inotify_add_watch(handle, os.fsencode(folder), _MODIFIED | _CREATED | _MOVED_HERE) >= 0
        )
        yield FolderWatch(handle if told else None)
    finally:
        if handle >= 0:
            os.close(handle)
