"""Telling a batch that a loss of power tore from a journal that somebody, or a bad disk, has changed.

A batch is written at once and synced at once, and the device takes its sectors in any order. So when power goes before
the sync has returned, a later line of the batch may be there and an earlier one not: what is missing reads as zeros,
from one sector's edge (or where the batch begins) to another's (or to the end of the file). Nothing of that batch was
acknowledged, so it may be cut.
Invariant: a line that begins a batch (not ``joined`` to the one before it) shows that everything before it was
durable; where such a line comes after the broken one, that is damage and is never cut.

It only judges; ``segments`` reads, ``commit_log`` cuts.
"""

import re
from typing import Final

import msgspec

SECTOR: Final = 512
_HOLE: Final = re.compile(rb"\0+")


class _Head(msgspec.Struct, frozen=True):
    position: int
    hash: str
    joined: bool = False


_decoder: Final = msgspec.json.Decoder(_Head)


def is_torn_batch(rest: bytes, offset: int) -> bool:
    """Whether ``rest``, everything from the first line that does not follow (at ``offset`` of its file) to the end of the
    file, is what a loss of power leaves of the newest batch."""
    broken, *later = rest.split(b"\n")
    if b"\0" not in broken:
        return False
    end = offset + len(rest)
    for hole in _HOLE.finditer(rest):
        start, stop = hole.start() + offset, hole.end() + offset
        if (start % SECTOR and start != offset) or (stop % SECTOR and stop != end):
            return False
    return all(b"\0" in text or _is_joined(text) for text in later[:-1])


def _is_joined(text: bytes) -> bool:
    try:
        return _decoder.decode(text).joined
    except msgspec.DecodeError:
        return False
