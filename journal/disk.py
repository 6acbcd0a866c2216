"""The ``Disk`` port: the few file operations a journal is made of, so that tests can make each of them fail.

Invariant: nothing in this room touches a file except through a ``Disk``. Handles are small integers owned by the disk
that gave them. Errors are plain ``OSError``; what they mean for a journal is decided in ``commit_log``.

It does not buffer, retry or interpret.
"""

import contextlib
import fcntl
import os
import shutil
from collections.abc import Callable, Sequence
from concurrent.futures import Future
from pathlib import Path
from threading import Thread
from typing import Protocol, TypeVar

T = TypeVar("T")


class Disk(Protocol):
    def make_folder(self, path: Path) -> None:
        """Create it and its parents where missing, each durable; readable by the owner only."""
        ...

    def open(self, path: Path, *, create: bool = False) -> int:
        """A handle for appending. Raises FileNotFoundError unless ``create``; new files are readable by the owner only."""
        ...

    def append(self, handle: int, data: bytes) -> int:
        """Write at the end; returns how many bytes went in, which may be fewer than given."""
        ...

    def fdatasync(self, handle: int) -> None: ...

    def settle(self, handle: int, offset: int, size: int) -> None:
        """Begin to write these bytes, and do not keep them in memory; whether they are durable only a sync can say."""
        ...

    def overwrite(self, path: Path, offset: int, data: bytes) -> None:
        """Write over bytes that are there, and make the file durable."""
        ...

    def truncate(self, handle: int, size: int) -> None: ...

    def close(self, handle: int) -> None: ...

    def read(self, path: Path, offset: int = 0, size: int = -1) -> bytes:
        """Up to ``size`` bytes from ``offset`` (all when negative); fewer at the end of the file."""
        ...

    def size(self, path: Path) -> int: ...

    def touch(self, path: Path) -> None:
        """Note that it was used just now. Raises FileNotFoundError."""
        ...

    def touched(self, path: Path) -> float:
        """When it was last touched or written, in seconds that only compare."""
        ...

    def list(self, folder: Path) -> list[str]:
        """Names in the folder, sorted; an absent folder is empty."""
        ...

    def walk(self, folder: Path) -> Sequence[Path]:
        """Every file in the folder and the folders in it, sorted; an absent folder is empty."""
        ...

    def rename(self, source: Path, target: Path) -> None:
        """A file, or a folder with all that is in it; then ``target`` is not there yet."""
        ...

    def link(self, source: Path, target: Path) -> None:
        """Give a file that never changes a second name. Raises OSError where that can't be."""
        ...

    def remove_folder(self, path: Path) -> None:
        """With all that is in it, if it is there; cut short, some of it may be left."""
        ...

    def remove(self, path: Path) -> None: ...

    def sync_folder(self, path: Path) -> None: ...

    def boot_id(self) -> str:
        """Differs after every start of the machine: within one boot, what was written is there even if not synced."""
        ...

    def lock(self, path: Path) -> int:
        """A handle that holds the exclusive lock until closed. Raises BlockingIOError when another holder is alive."""
        ...

    def ahead(self, reading: Callable[[], T]) -> Callable[[], T]:
        """Begin some reading that is wanted soon; what is called for its outcome, once. Where there is nothing to win by
        beginning, it is only done then."""
        ...


class RealDisk:
    """The operating system's files."""

    def make_folder(self, path: Path) -> None:
        if path.is_dir():
            return
        self.make_folder(path.parent)
        path.mkdir(mode=0o700, exist_ok=True)
        self.sync_folder(path.parent)

    def open(self, path: Path, *, create: bool = False) -> int:
        flags = os.O_RDWR | os.O_APPEND | os.O_CLOEXEC | (os.O_CREAT if create else 0)
        return os.open(path, flags, 0o600)

    def append(self, handle: int, data: bytes) -> int:
        return os.write(handle, data)

    def fdatasync(self, handle: int) -> None:
        os.fdatasync(handle)

    def settle(self, handle: int, offset: int, size: int) -> None:
        os.posix_fadvise(handle, offset, size, os.POSIX_FADV_DONTNEED)

    def overwrite(self, path: Path, offset: int, data: bytes) -> None:
        handle = os.open(path, os.O_WRONLY | os.O_CLOEXEC)  # with O_APPEND Linux would write at the end
        try:
            while data:
                written = os.pwrite(handle, data, offset)
                offset, data = offset + written, data[written:]
            os.fdatasync(handle)
        finally:
            os.close(handle)

    def truncate(self, handle: int, size: int) -> None:
        os.ftruncate(handle, size)

    def close(self, handle: int) -> None:
        os.close(handle)

    def read(self, path: Path, offset: int = 0, size: int = -1) -> bytes:
        with path.open("rb", buffering=0) as file:
            if offset:
                file.seek(offset)
            return file.read(size) or b""

    def size(self, path: Path) -> int:
        return path.stat().st_size

    def touch(self, path: Path) -> None:
        os.utime(path)

    def touched(self, path: Path) -> float:
        return path.stat().st_mtime

    def list(self, folder: Path) -> list[str]:
        try:
            return sorted(os.listdir(folder))
        except FileNotFoundError:
            return []

    def walk(self, folder: Path) -> Sequence[Path]:
        return sorted(path for path in folder.rglob("*") if path.is_file())

    def rename(self, source: Path, target: Path) -> None:
        source.rename(target)

    def link(self, source: Path, target: Path) -> None:
        os.link(source, target)

    def remove_folder(self, path: Path) -> None:
        with contextlib.suppress(FileNotFoundError):
            shutil.rmtree(path)

    def remove(self, path: Path) -> None:
        path.unlink()

    def sync_folder(self, path: Path) -> None:
        handle = os.open(path, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
        try:
            os.fsync(handle)
        finally:
            os.close(handle)

    def boot_id(self) -> str:
        return Path("/proc/sys/kernel/random/boot_id").read_text().strip()

    def lock(self, path: Path) -> int:
        handle = os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
        try:
            fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError:
            os.close(handle)
            raise
        return handle

    def ahead(self, reading: Callable[[], T]) -> Callable[[], T]:
        begun: Future[T] = Future()

        def read() -> None:
            try:
                begun.set_result(reading())
            except BaseException as error:  # noqa: BLE001 (raised where the outcome is asked for)
                begun.set_exception(error)

        Thread(target=read, name="journal-ahead", daemon=True).start()
        return begun.result


def is_file(disk: Disk, path: Path) -> bool:
    try:
        return disk.size(path) >= 0
    except (FileNotFoundError, NotADirectoryError):
        return False


def append_all(disk: Disk, handle: int, data: bytes) -> None:
    """Append every byte or raise OSError. A short write is tried once more for its rest, to learn the reason."""
    written = disk.append(handle, data)
    if written < len(data):
        rest = data[written:]
        if disk.append(handle, rest) < len(rest):
            raise OSError(f"short write: {written} of {len(data)} bytes")


def replace_file(disk: Disk, path: Path, data: bytes) -> None:
    """Put ``data`` under ``path`` so that after a crash either the old or the new content is there, whole."""
    draft = path.with_name(path.name + ".new")
    handle = disk.open(draft, create=True)
    try:
        disk.truncate(handle, 0)
        append_all(disk, handle, data)
        disk.fdatasync(handle)
    finally:
        disk.close(handle)
    disk.rename(draft, path)
    disk.sync_folder(path.parent)


def append_record(disk: Disk, path: Path, data: bytes) -> None:
    """Append to a side file and make it durable, its name included."""
    handle = disk.open(path, create=True)
    try:
        append_all(disk, handle, data)
        disk.fdatasync(handle)
    finally:
        disk.close(handle)
    disk.sync_folder(path.parent)
