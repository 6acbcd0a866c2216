"""A file between the page cache and the device: what processes see, what is durable, and what lies between.

Invariant: of one sector the device has the writes up to some instant, never a later one without an earlier one; between
sectors there is no order. So after the loss of power an unsynced write may be there in part, from its end as well as
from its beginning, with zeros (or what stood there) in the middle.

A sync that fails leaves the cache in one of two ways, as file systems do: it shows what the device has, or it goes on
showing what was written and calls it clean, so that the next sync succeeds and writes none of it.
"""

from random import Random
from typing import Final

SECTOR: Final = 512
Write = tuple[bytes | None, int]  # bytes and where they go, or None and the size to cut to


class Inode:
    """``data`` is what processes see; ``durable`` what the device has; ``pending`` leads from one to the other, except
    for what a failed sync has called clean."""

    def __init__(self, data: bytes = b"") -> None:
        self.data = bytearray(data)
        self.durable = bytearray(data)
        self.pending: list[Write] = []
        self.touched = 0  # the operation of the disk at which it was last used

    def put(self, data: bytes) -> None:
        """Something outside gives it this content, durably."""
        self.data[:] = self.durable[:] = data
        self.pending.clear()

    def append(self, data: bytes) -> None:
        self._write((data, len(self.data)))

    def overwrite(self, offset: int, data: bytes) -> None:
        self._write((data, offset))

    def cut(self, size: int) -> None:
        self._write((None, size))

    def sync(self) -> None:
        for operation in self.pending:
            _apply(self.durable, operation)
        self.pending.clear()

    def lose_power(self, random: Random) -> str:
        """Forget the cache; the kind of damage, "" when all that was written is there, or none of it."""
        before = bytes(self.durable)
        kind = self._reach_device(random)
        if self.durable in (before, self.data):
            kind = ""
        self.pending.clear()
        self.data[:] = self.durable
        return kind

    def fail_sync(self, random: Random) -> str:
        """The kernel reports an error and calls everything clean; the kind of what is left."""
        if random.random() < 0.5:
            self.lose_power(random)
            return "sync failed, writes dropped"
        cuts: list[Write] = [(None, size) for data, size in self.pending if data is None]
        self._reach_device(random)
        self.pending = cuts  # they belong to the file system's own journal, and are tried again
        return "sync failed, writes stay readable"

    def _write(self, operation: Write) -> None:
        _apply(self.data, operation)
        self.pending.append(operation)

    def _reach_device(self, random: Random) -> str:
        """Some of what is pending gets there."""
        kept = random.randint(0, len(self.pending))
        if random.random() < 0.5:  # in order, the last of it torn at any byte, perhaps with the length grown already
            for operation in self.pending[:kept]:
                _apply(self.durable, operation)
            if kept < len(self.pending):
                data, offset = self.pending[kept]
                if data:
                    torn = data[: random.randint(0, len(data))]
                    zeros = random.randint(0, len(data) - len(torn)) if random.random() < 0.3 else 0
                    _apply(self.durable, (torn, offset))  # zeros only where nothing stood before
                    self.durable.extend(bytes(max(0, offset + len(torn) + zeros - len(self.durable))))
            return "write torn"
        upto: dict[int, int] = {}  # by sector: so many of the operations
        for number, (data, offset) in enumerate(self.pending[:kept]):
            if data is None:
                _apply(self.durable, (None, offset))
                continue
            end = offset + len(data)
            self.durable.extend(bytes(max(0, end - len(self.durable))))
            for sector in range(offset // SECTOR, (end - 1) // SECTOR + 1):
                if number < upto.setdefault(sector, random.choice((0, kept, kept, random.randint(0, kept)))):
                    start, stop = max(offset, sector * SECTOR), min(end, (sector + 1) * SECTOR)
                    self.durable[start:stop] = data[start - offset : stop - offset]
        return "write with holes"


def _apply(data: bytearray, operation: Write) -> None:
    written, place = operation
    if written is None:
        del data[place:]
        data.extend(bytes(place - len(data)))
    else:
        data.extend(bytes(max(0, place - len(data))))
        data[place : place + len(written)] = written
