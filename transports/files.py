"""Where a node's image files are, and who does the blocking work on them: given by whoever puts the node together."""

import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Final, NamedTuple

from nano.journal.disk import Disk, RealDisk
from nano.journal.workers import THREADS, Workers

CHUNK_BYTES: Final = 1 << 20


def free_bytes(folder: Path) -> int:
    return shutil.disk_usage(folder).free


class Files(NamedTuple):
    """``free`` gives the bytes that are free where a folder is; ``chunk_bytes`` are read or written at once."""

    disk: Disk
    workers: Workers
    free: Callable[[Path], int] = free_bytes
    chunk_bytes: int = CHUNK_BYTES


FILES: Final = Files(RealDisk(), THREADS)
"""The operating system's."""
