"""Keys of a terminal as words: "up", "page down", "home", "enter", "escape", "backspace", or the letter itself.

While ``keys`` is entered the terminal gives every key at once and shows none; it is put back as it was, whatever happens.
Nothing here draws.
"""

import contextlib
import os
import select
import termios
import tty
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Final, TextIO

SEQUENCE_MAX: Final = 4  # bytes after the escape
ESCAPE_S: Final = 0.05  # what follows an escape within this is one key with it
SEQUENCES: Final = {
    b"[A": "up", b"[B": "down", b"[C": "right", b"[D": "left", b"OA": "up", b"OB": "down", b"OC": "right", b"OD": "left",
    b"[5~": "page up", b"[6~": "page down", b"[H": "home", b"[F": "end", b"OH": "home", b"OF": "end", b"[1~": "home",
    b"[4~": "end", b"[7~": "home", b"[8~": "end",
}  # fmt: skip
NAMES: Final = {
    b"\r": "enter", b"\n": "enter", b"\t": "tab", b"\x7f": "backspace", b"\x08": "backspace", b"\x03": "quit", b"\x04": "quit",
}  # fmt: skip

Wait = Callable[[float], str]


@contextmanager
def keys(stream: TextIO) -> Iterator[Wait]:
    """Give ``wait(seconds)``: the next key, "" when none came in that time, "quit" when the terminal is gone."""
    descriptor = stream.fileno()
    before = termios.tcgetattr(descriptor)
    try:
        tty.setcbreak(descriptor)
        yield _Keys(descriptor).wait
    finally:
        with contextlib.suppress(termios.error):  # the terminal is gone
            termios.tcsetattr(descriptor, termios.TCSADRAIN, before)


class _Keys:
    def __init__(self, descriptor: int) -> None:
        self._descriptor = descriptor
        self._held = b""  # a letter that came right after an escape and was none of its sequence

    def wait(self, seconds: float) -> str:
        if not self._held and not self._is_there(seconds):
            return ""
        first = self._read()
        if first != b"\x1b":
            return self._word(first)
        rest = self._read() if self._is_there(ESCAPE_S) else b""
        if rest not in (b"[", b"O"):
            self._held = rest
            return "escape"
        while rest not in SEQUENCES and len(rest) < SEQUENCE_MAX and self._is_there(ESCAPE_S):
            rest += self._read()
        return SEQUENCES.get(rest, "")

    def _word(self, first: bytes) -> str:
        """A letter of more than one byte comes whole."""
        if not first:
            return "quit"
        more = 0 if first[0] < 0xC0 else 1 if first[0] < 0xE0 else 2 if first[0] < 0xF0 else 3
        text = first + b"".join(self._read() for _ in range(more) if self._is_there(ESCAPE_S))
        letter = text.decode(errors="ignore")
        return NAMES.get(text, letter if letter.isprintable() else "")

    def _is_there(self, seconds: float) -> bool:
        return bool(select.select([self._descriptor], [], [], seconds)[0])

    def _read(self) -> bytes:
        if self._held:
            held, self._held = self._held, b""
            return held
        try:
            return os.read(self._descriptor, 1)
        except OSError:
            return b""  # the other end of a pseudo-terminal was closed
