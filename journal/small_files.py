"""Small files beside the log (epoch, seals, the mark of the resource journals): one line of text, one line that checks it.

    7
    sha256:7902699be42c8a8e

Invariant: no change of a single byte, in either line, reads back. The check is no secret: it finds decay, not forgery;
what must not be forged is signed or chained. ``head -1 FILE`` shows the text alone. A file of one line was written by a
version that made no check, and is believed.
"""

from hashlib import sha256
from typing import Final

import msgspec

UNREADABLE: Final = (msgspec.DecodeError, UnicodeDecodeError, RecursionError)
"""What decoding JSON that was changed on disk may raise: msgspec has no single type for it."""

_DIGITS: Final = 16


def with_check(text: bytes) -> bytes:
    """A file of this one line, which has no newline of its own."""
    return b"%b\nsha256:%b\n" % (text, sha256(text).hexdigest()[:_DIGITS].encode())


def checked(data: bytes) -> bytes:
    """The text of such a file. Raises ValueError, in words, when it is not what was written."""
    text, newline, rest = data.partition(b"\n")
    if not newline:
        raise ValueError("it is cut short")
    if rest and data != with_check(text):
        raise ValueError("its text does not fit its check")
    return text
