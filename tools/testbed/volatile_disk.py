"""A disk with a volatile cache, as seen by its device: what was written, what was flushed, and what a loss of power leaves.

Everything that is written and every flush is kept in order, so that one run can be cut at any of its operations, and as
often as wanted. Invariant of a cut: all that was written before the last flush is there; of each write after it a random
part of the sectors is there, none and all included, whatever became of the writes around it.

It moves no bytes to the machine's own disk; ``nbd`` puts it behind a QEMU.
"""

from collections.abc import Sequence
from random import Random
from typing import Final, NamedTuple

SECTOR: Final = 512


class Written(NamedTuple):
    offset: int
    data: bytes


class VolatileDisk:
    """``image`` is what it holds when power comes on; sectors of SECTOR bytes."""

    def __init__(self, image: bytes) -> None:
        self.image = bytearray(image)  # as its reader sees it now
        self._before = image
        self._durable = bytearray(image)  # what the first ``_settled`` operations left for certain
        self._settled = 0
        self.operations: list[Written | None] = []  # None = a flush

    def read(self, offset: int, size: int) -> bytes:
        return bytes(self.image[offset : offset + size])

    def write(self, offset: int, data: bytes) -> None:
        self.image[offset : offset + len(data)] = data
        self.operations.append(Written(offset, data))

    def flush(self) -> None:
        self.operations.append(None)

    def cut(self, at: int, random: Random) -> bytearray:
        """What is on it when power goes after its first ``at`` operations; from one call to the next, ``at`` only grows."""
        flushed = max((number for number in range(at) if self.operations[number] is None), default=0)
        if flushed < self._settled:
            raise ValueError("Cuts are made in order.")
        _apply(self._durable, self.operations[self._settled : flushed])
        self._settled = flushed
        return _torn(self._durable, self.operations[flushed:at], random)

    def lied(self, random: Random) -> bytearray:
        """What would be on it now if it had answered flushes and done nothing."""
        return _torn(self._before, self.operations, random)


def _torn(image: bytes | bytearray, operations: Sequence[Written | None], random: Random) -> bytearray:
    left = bytearray(image)
    for written in operations:
        if written is not None:
            _apply(left, _kept(written, random))
    return left


def _apply(image: bytearray, operations: Sequence[Written | None]) -> None:
    for written in operations:
        if written is not None:
            image[written.offset : written.offset + len(written.data)] = written.data


def _kept(written: Written, random: Random) -> list[Written]:
    """What became durable of a write that nobody flushed: mostly all or nothing, else some of its sectors."""
    chance = random.random()
    if chance < 0.35:
        return [written]
    if chance < 0.7:
        return []
    sectors = range(0, len(written.data), SECTOR)
    return [
        Written(written.offset + start, written.data[start : start + SECTOR])
        for start in sectors
        if random.random() < 0.5
    ]
