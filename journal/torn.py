"""Telling a batch that a loss of power tore from a journal that somebody, or a bad disk, has changed.

A batch is written at once and synced at once, and the device takes its sectors in any order. So when power goes before
the sync has returned, a later line of the batch may be there and an earlier one not: what is missing reads as zeros,
from one sector's edge to another's or to the end of the file. Nothing of that batch was acknowledged, so it may be cut.
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
    holes = ((match.start() + offset, match.end() + offset) for match in _HOLE.finditer(broken))
    end = offset + len(rest)
    if not any(start % SECTOR == 0 or stop % SECTOR == 0 or stop == end for start, stop in holes):
        return False
    return all(b"\0" in text or _is_joined(text) for text in later[:-1])


def _is_joined(text: bytes) -> bool:
    try:
        return _decoder.decode(text).joined
    except msgspec.DecodeError:
        return False
