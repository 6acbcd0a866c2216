"""A simulated disk with a page cache: what is not synced may be lost, torn, or come before what was written earlier.

``SimulatedDisk`` is the device with the kernel's cache and outlives processes; a ``DiskSession`` is one process's use of
it and implements ``journal.disk.Disk``. A killed process loses its handles and locks, its writes stay in the cache. Loss
of power throws the cache away: of each file a random part of what was not synced has reached the device (``Inode``), of
each folder some first part of the unsynced names. Files and folders are independent of each other, so later writes may
survive where earlier ones did not.

Faults: ``full``, ``fail_next``, and ``crash_at``: the session dies before or after its n-th operation from now.
"""

import errno
import itertools
import os
from collections import Counter
from collections.abc import Callable, Iterable, Sequence
from functools import partial
from pathlib import Path
from random import Random
from typing import Final, Literal, TypeVar

from nano.tools.simulator.inode import Inode

T = TypeVar("T")

DEAD: Final = "this process is dead"
DIED: Final = "the process died in this operation"

Operation = Literal[
    "open", "append", "fdatasync", "overwrite", "truncate", "read", "rename", "link", "remove", "sync_folder", "lock"
]
Naming = Callable[[dict[Path, Inode]], None]  # a change of the names in one folder


def _name(path: Path, inode: Inode | None, former: Path | None, names: dict[Path, Inode]) -> None:
    """``inode`` None = the name goes; ``former`` is the name that the file had before."""
    if former is not None:
        names.pop(former, None)
    if inode is None:
        names.pop(path, None)
    else:
        names[path] = inode


def _inside(folder: Path, names: Iterable[Path]) -> list[Path]:
    start = f"{folder}/"
    return [path for path in names if str(path).startswith(start)]


def _move(source: Path, target: Path, names: dict[Path, Inode]) -> None:
    for path in _inside(source, names):
        names[target / path.relative_to(source)] = names.pop(path)


class SimulatedDisk:
    def __init__(self, random: Random) -> None:
        self.random = random
        self.full = False
        self.operations = 0
        self.failures: Counter[str] = Counter()  # failures given, by "operation errno"
        self.names: dict[Path, Inode] = {}
        self._durable_names: dict[Path, Inode] = {}
        self._pending_names: dict[Path, list[Naming]] = {}
        self._faults: dict[str, list[int]] = {}
        self._boots = 1
        self._locks: dict[Path, DiskSession] = {}
        self._crash: tuple[int, bool] | None = None

    # ---- faults

    def fail_next(self, operation: Operation, error: int, times: int = 1) -> None:
        self._faults.setdefault(operation, []).extend([error] * times)

    def crash_at(self, operations: int, *, after: bool) -> None:
        """The session dies at its n-th operation from now, before or after it has its effect."""
        self._crash = (self.operations + operations, after)

    def heal(self) -> None:
        self.full = False
        self._faults.clear()
        self._crash = None

    def lose_power(self) -> None:
        """Only with no session alive."""
        for folder in sorted(self._pending_names):
            changes = self._pending_names[folder]
            for naming in changes[: self.random.randint(0, len(changes))]:
                naming(self._durable_names)
        self._pending_names.clear()
        self.names = dict(self._durable_names)
        for path in sorted(self.names):
            if kind := self.names[path].lose_power(self.random):
                self.failures[kind] += 1
        self._boots += 1

    def install(self, path: Path, data: bytes) -> None:
        """A file that was there before, safely."""
        self.names[path] = self._durable_names[path] = Inode(data)

    # ---- for sessions

    def boot_id(self) -> str:
        return f"boot-{self._boots}"

    def before(self, session: "DiskSession", operation: str) -> None:
        """May raise what was ordered, or crash."""
        self.operations += 1
        if self._crash is not None and self.operations >= self._crash[0] and not self._crash[1]:
            self._crash = None
            session.crash()
        waiting = self._faults.get(operation)
        if waiting:
            self._refuse(operation, waiting.pop(0))
        if self.full and operation in ("append", "open-create"):
            self._refuse(operation, errno.ENOSPC)

    def after(self, session: "DiskSession") -> None:
        if self._crash is not None and self.operations >= self._crash[0]:
            self._crash = None
            session.crash()

    def _refuse(self, operation: str, error: int) -> None:
        self.failures[f"{operation} {errno.errorcode[error]}"] += 1
        raise OSError(error, os.strerror(error))

    def rename_to(self, path: Path, inode: Inode | None, former: Path | None = None) -> None:
        self._change(path.parent, partial(_name, path, inode, former))

    def rename_folder(self, source: Path, target: Path) -> None:
        """All of it or nothing. Of names in it that are not durable, some stay so for ever: nobody syncs them later."""
        for folder in sorted({source, *_inside(source, self._pending_names)} & self._pending_names.keys()):
            changes = self._pending_names.pop(folder)
            for naming in changes[: self.random.randint(0, len(changes))]:
                naming(self._durable_names)
        self._change(target.parent, partial(_move, source, target))

    def _change(self, folder: Path, naming: Naming) -> None:
        naming(self.names)
        self._pending_names.setdefault(folder, []).append(naming)

    def sync_folder(self, folder: Path) -> None:
        for naming in self._pending_names.pop(folder, ()):
            naming(self._durable_names)

    def lock(self, path: Path, session: "DiskSession") -> None:
        holder = self._locks.get(path)
        if holder is not None and holder.alive:
            raise BlockingIOError(errno.EWOULDBLOCK, "locked")
        self._locks[path] = session

    def unlock(self, path: Path) -> None:
        self._locks.pop(path, None)


class DiskSession:
    """One process's files. After ``end`` nothing works and nothing changes: what a dead process still does is void."""

    def __init__(self, disk: SimulatedDisk, on_crash: Callable[[], None]) -> None:
        self.alive = True
        self._disk = disk
        self._on_crash = on_crash
        self._handles: dict[int, Path | Inode] = {}
        self._numbers = itertools.count(3)

    def end(self) -> None:
        self.alive = False

    def crash(self) -> None:
        self.end()
        self._on_crash()
        raise OSError(errno.EIO, DIED)

    def make_folder(self, path: Path) -> None:  # noqa: ARG002 - folders are always there
        self._begin("make_folder")

    def open(self, path: Path, *, create: bool = False) -> int:
        names = self._disk.names
        self._begin("open" if path in names else "open-create")
        if path not in names:
            if not create:
                raise FileNotFoundError(errno.ENOENT, "no such file", str(path))
            self._disk.rename_to(path, Inode())
        handle = next(self._numbers)
        self._handles[handle] = names[path]
        self._disk.after(self)
        return handle

    def append(self, handle: int, data: bytes) -> int:
        inode = self._inode(handle)
        try:
            self._begin("append")
        except OSError:
            part = self._disk.random.randint(0, len(data)) if self.alive else 0
            if part:  # some of it went in, as when a disk runs full
                inode.append(bytes(data[:part]))
                return part
            raise
        inode.append(bytes(data))
        self._disk.after(self)
        return len(data)

    def fdatasync(self, handle: int) -> None:
        inode = self._inode(handle)
        try:
            self._begin("fdatasync")
        except OSError:
            if self.alive and inode.pending:
                self._disk.failures[inode.fail_sync(self._disk.random)] += 1
            raise
        inode.sync()
        self._disk.after(self)

    def settle(self, handle: int, offset: int, size: int) -> None:  # noqa: ARG002 - nothing is promised
        self._inode(handle)

    def overwrite(self, path: Path, offset: int, data: bytes) -> None:
        inode = self._named(path)
        self._begin("overwrite")
        if data:
            inode.overwrite(offset, bytes(data))
        self._disk.after(self)
        handle = self.open(path)
        try:
            self.fdatasync(handle)
        finally:
            self.close(handle)

    def truncate(self, handle: int, size: int) -> None:
        inode = self._inode(handle)
        self._begin("truncate")
        if len(inode.data) != size:
            inode.cut(size)
        self._disk.after(self)

    def close(self, handle: int) -> None:
        held = self._handles.pop(handle, None)
        if isinstance(held, Path) and self.alive:
            self._disk.unlock(held)

    def read(self, path: Path, offset: int = 0, size: int = -1) -> bytes:
        self._begin("read")
        data = self._named(path).data
        return bytes(data[offset:] if size < 0 else data[offset : offset + size])

    def size(self, path: Path) -> int:
        self._begin("size")
        return len(self._named(path).data)

    def touch(self, path: Path) -> None:
        self._begin("touch")
        self._named(path).touched = self._disk.operations

    def touched(self, path: Path) -> float:
        self._begin("touched")
        return self._named(path).touched

    def list(self, folder: Path) -> list[str]:
        self._begin("list")
        start = len(f"{folder}/")
        return sorted({str(path)[start:].partition("/")[0] for path in _inside(folder, self._disk.names)})

    def walk(self, folder: Path) -> Sequence[Path]:
        self._begin("walk")
        return sorted(_inside(folder, self._disk.names))

    def rename(self, source: Path, target: Path) -> None:
        self._begin("rename")
        if source not in self._disk.names and _inside(source, self._disk.names):
            self._disk.rename_folder(source, target)
        else:
            self._disk.rename_to(target, self._named(source), source)
        self._disk.after(self)

    def link(self, source: Path, target: Path) -> None:
        self._begin("link")
        self._disk.rename_to(target, self._named(source))
        self._disk.after(self)

    def remove_folder(self, path: Path) -> None:
        for inside in self.walk(path):
            self.remove(inside)

    def remove(self, path: Path) -> None:
        self._begin("remove")
        self._named(path)
        self._disk.rename_to(path, None)
        self._disk.after(self)

    def sync_folder(self, path: Path) -> None:
        self._begin("sync_folder")
        self._disk.sync_folder(path)
        self._disk.after(self)

    def boot_id(self) -> str:
        self._begin("boot_id")
        return self._disk.boot_id()

    def lock(self, path: Path) -> int:
        self._begin("lock")
        self._disk.lock(path, self)
        handle = next(self._numbers)
        self._handles[handle] = path
        return handle

    def ahead(self, reading: Callable[[], T]) -> Callable[[], T]:
        return reading  # nothing is done at the same time as anything else here

    def _begin(self, operation: str) -> None:
        if not self.alive:
            raise OSError(errno.EIO, DEAD)
        self._disk.before(self, operation)

    def _named(self, path: Path) -> Inode:
        inode = self._disk.names.get(path)
        if inode is None:
            raise FileNotFoundError(errno.ENOENT, "no such file", str(path))
        return inode

    def _inode(self, handle: int) -> Inode:
        held = self._handles.get(handle)
        if not isinstance(held, Inode):
            raise OSError(errno.EBADF, "no such handle")
        return held
