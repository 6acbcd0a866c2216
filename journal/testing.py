"""For tests and measurements of journals: a model as small as one can be, a ticking clock, numbered ids, a bad disk.

Counters are made, counted up and removed. Nothing in a node uses this module.
"""

import errno
import os
import threading
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from datetime import UTC, datetime, timedelta
from hashlib import sha256
from itertools import count
from pathlib import Path
from typing import Any

import anyio
import anyio.lowlevel

from nano.domain.errors import Conflict, Unknown
from nano.domain.facts import Command, Context, Emitted, Event, Model, Rules, State
from nano.journal.commit_log import CommitLog
from nano.journal.disk import Disk, RealDisk
from nano.journal.feed import Feed
from nano.journal.ledger import Ledger


class Counter(State, frozen=True):
    name: str
    value: int = 0


class Made(Event, frozen=True, tag="counter.made"):
    name: str


class Counted(Event, frozen=True, tag="counter.counted"):
    by: int


class Removed(Event, frozen=True, tag="counter.removed"):
    pass


class Broken(Event, frozen=True, tag="counter.broken"):
    """Its evolve raises."""


class Odd(Event, frozen=True, tag="counter.odd"):
    """Not in the rules."""


class Make(Command, frozen=True):
    name: str


class Count(Command, frozen=True):
    name: str
    by: int = 1


class CountAll(Command, frozen=True):
    by: int = 1


class Remove(Command, frozen=True):
    name: str


class Spoil(Command, frozen=True):
    """Emits a good event, then one that is wrong in the named way."""

    name: str
    how: str


def _known(model: Model, name: str) -> str:
    resource = f"counter/{name}"
    if model.get(resource) is None:
        raise Unknown(f"There is no counter {name}.")
    return resource


def make(model: Model, command: Make, context: Context) -> list[Emitted]:
    if model.get(f"counter/{command.name}") is not None:
        raise Conflict(f"Counter {command.name} exists.", code="name_taken")
    return [Emitted(f"counter/{command.name}", Made(command.name))]


def tally(model: Model, command: Count, context: Context) -> list[Emitted]:
    resource = _known(model, command.name)
    return [Emitted(resource, Counted(command.by))] if command.by else []


def tally_all(model: Model, command: CountAll, context: Context) -> list[Emitted]:
    return [Emitted(resource, Counted(command.by)) for resource in model.states]


def remove(model: Model, command: Remove, context: Context) -> list[Emitted]:
    return [Emitted(_known(model, command.name), Removed())]


def spoil(model: Model, command: Spoil, context: Context) -> list[Emitted]:
    resource = _known(model, command.name)
    wrong: dict[str, Any] = {
        "type": Counted("many"),  # type: ignore[arg-type]
        "unlisted": Odd(),
        "evolve": Broken(),
    }
    return [Emitted(resource, Counted(1)), Emitted(resource, wrong[command.how])]


def made(state: Counter | None, event: Made, at: datetime) -> Counter:
    return Counter(event.name)


def counted(state: Counter, event: Counted, at: datetime) -> Counter:
    return Counter(state.name, state.value + event.by)


def removed(state: Counter, event: Removed, at: datetime) -> None:
    return


def broken(state: Counter, event: Broken, at: datetime) -> Counter:
    raise RuntimeError("this event breaks")


class Counters(Model):
    rules = Rules(
        {Make: make, Count: tally, CountAll: tally_all, Remove: remove, Spoil: spoil},
        {Made: made, Counted: counted, Removed: removed, Broken: broken},
        {"counter": Counter},
    )

    def values(self) -> dict[str, int]:
        return {state.name: state.value for state in self.states.values() if isinstance(state, Counter)}


def ticking(start: datetime = datetime(2026, 11, 21, tzinfo=UTC)) -> Callable[[], datetime]:
    """A clock that moves a millisecond at each look."""
    ticks = count()
    return lambda: start + timedelta(milliseconds=next(ticks))


def numbered() -> Callable[[], str]:
    ids = count(1)
    return lambda: f"id-{next(ids)}"


class Key:
    """A node's key, as far as a journal sees it. No secret."""

    def __init__(self, key_id: str = "mine") -> None:
        self.key_id = key_id

    def sign(self, data: bytes) -> bytes:
        return sha256(self.key_id.encode() + data).digest()

    def is_signed(self, signature: bytes, data: bytes) -> bool:
        return signature == self.sign(data)


class BadDisk(RealDisk):
    """A real disk that fails on demand, once per order, on files whose path contains ``name``.

    ``hold()`` makes syncs of the commit log wait until ``release()``, so that a test decides when a batch is durable.
    """

    def __init__(self) -> None:
        self._orders: list[tuple[str, str, int, int | None]] = []
        self._refusing: tuple[int, str] | None = None
        self._paths: dict[int, Path] = {}
        self._free = threading.Event()
        self._free.set()
        self.holding = threading.Event()
        self.syncs = 0

    def order(self, operation: str, error: int = errno.EIO, *, name: str = "commits", short: int | None = None) -> None:
        """The next ``operation`` fails with ``error``; an append with ``short`` first takes in that many bytes."""
        self._orders.append((operation, name, error, short))

    def refuse(self, error: int, name: str = "") -> None:
        """Until ``recover``, every file is read as before, and nothing can be made, written, cut or renamed."""
        self._refusing = (error, name)

    def recover(self) -> None:
        self._refusing = None

    def hold(self) -> None:
        self.holding.clear()
        self._free.clear()

    def release(self) -> None:
        self._free.set()

    def _fault(self, operation: str, path: Path) -> int | None:
        """Raises the ordered error, or returns how many bytes go in (None = all is well)."""
        if self._refusing is not None and operation not in ("open", "read") and self._refusing[1] in str(path):
            raise OSError(self._refusing[0], os.strerror(self._refusing[0]), str(path))
        for order in self._orders:
            ordered, name, error, short = order
            if ordered == operation and name in str(path):
                if short is not None:
                    self._orders[self._orders.index(order)] = (ordered, name, error, None)
                    return short
                self._orders.remove(order)
                raise OSError(error, os.strerror(error), str(path))
        return None

    def open(self, path: Path, *, create: bool = False) -> int:
        self._fault("open", path)
        handle = super().open(path, create=create)
        self._paths[handle] = path
        return handle

    def append(self, handle: int, data: bytes) -> int:
        short = self._fault("append", self._paths[handle])
        return super().append(handle, data if short is None else data[:short])

    def fdatasync(self, handle: int) -> None:
        path = self._paths[handle]
        if "commits" in str(path):
            self.syncs += 1
            self.holding.set()
            self._free.wait(30)
        self._fault("fdatasync", path)
        super().fdatasync(handle)

    def truncate(self, handle: int, size: int) -> None:
        self._fault("truncate", self._paths[handle])
        super().truncate(handle, size)

    def read(self, path: Path, offset: int = 0, size: int = -1) -> bytes:
        self._fault("read", path)
        return super().read(path, offset, size)

    def rename(self, source: Path, target: Path) -> None:
        self._fault("rename", target)
        super().rename(source, target)

    def sync_folder(self, path: Path) -> None:
        self._fault("sync_folder", path)
        super().sync_folder(path)


@asynccontextmanager
async def opened(
    folder: Path, disk: Disk | None = None, feed: Feed | None = None, clock: Callable[[], datetime] | None = None
) -> AsyncIterator[Ledger]:
    clock = clock or ticking()
    log = CommitLog(folder / "journal", clock=clock, disk=disk)
    async with Ledger.open(log, Counters(), clock=clock, new_id=numbered(), feed=feed or Feed()) as ledger:
        yield ledger


def values(ledger: Ledger) -> dict[str, int]:
    assert isinstance(ledger.model, Counters)
    return ledger.model.values()


async def make_counters(ledger: Ledger, *names: str) -> None:
    for name in names:
        await ledger.execute(Make(name), actor="admin", command_id=f"make-{name}")


async def reached(condition: Callable[[], bool]) -> None:
    """Give the event loop its turns until the condition holds."""
    with anyio.fail_after(10):
        while not condition():
            await anyio.lowlevel.checkpoint()
