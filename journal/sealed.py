"""Sealed segments that are known whole at once, so that a start need not follow their chain line by line.

A finished segment's seal holds SHA-256 of its text, its last position and hash, and the node's signature over these. A text with
that digest under the node's own signature is, to the byte, what this node followed line by line when it wrote it. One digest of
64 MiB costs a fifth of 200,000 digests of lines, and is made by another thread while the segment before is folded.

Invariant: only a text that was read once, had the digest and stands under a signature of *this* node's key is given, and
that very text is what is folded; so at most two segments are in memory. Whatever else is found (no seal, another key, another
digest, a disk that fails) is no verdict: that segment is read line by line, which names the first byte that is wrong.
"""

from collections import deque
from collections.abc import Callable, Sequence
from functools import partial
from hashlib import sha256

from nano.domain.errors import JournalError
from nano.journal.archive import SCAN_BYTES, read_text
from nano.journal.disk import Disk
from nano.journal.segments import SEGMENT_BYTES_MAX, Segment, Signer, read_seal, seal_path

Text = deque[bytes]
"""A segment's text in pieces of up to SCAN_BYTES."""


class SealedTexts:
    """Ask for segments in the order they were given in; the next is looked at meanwhile."""

    def __init__(self, disk: Disk, segments: Sequence[Segment], signer: Signer | None) -> None:
        self._disk = disk
        self._signer = signer
        self._left = deque(segments if signer is not None else ())
        self._under_way: tuple[Segment, Callable[[], Text | None]] | None = None
        self._look_ahead()

    def take(self, segment: Segment) -> Text | None:
        """All of its text, known whole; or None."""
        if self._under_way is None or self._under_way[0] is not segment:
            return None
        text = self._under_way[1]()
        self._under_way = None
        self._look_ahead()
        return text

    def _look_ahead(self) -> None:
        if self._left and self._signer is not None:
            segment = self._left.popleft()
            self._under_way = segment, self._disk.ahead(partial(_whole, self._disk, segment, self._signer))


def _whole(disk: Disk, segment: Segment, signer: Signer) -> Text | None:
    try:
        seal = read_seal(disk, seal_path(segment.path))
        if (
            seal is None
            or seal.first != segment.first
            or seal.size > 2 * SEGMENT_BYTES_MAX
            or seal.key != signer.key_id
        ):
            return None
        if not signer.is_signed(bytes.fromhex(seal.signature), seal.signed_bytes()):
            return None
        text, digest, size = Text(), sha256(), 0
        while size <= seal.size and (data := read_text(disk, segment.path, size, SCAN_BYTES)):
            digest.update(data)
            size += len(data)
            text.append(data)
    except (OSError, JournalError, ValueError):
        return None
    return text if digest.hexdigest() == seal.digest else None
