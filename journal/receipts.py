"""Which commands were carried out already, so that a repeated one gets its first answer and does nothing.

Bounded: the last COMMANDS_MAX command ids are known, rebuilt from the log at replay. A command is recognised by its
id; that it is the same one is checked by a digest of its type and content that is written on its line. Commands may
hold passwords, so the digest is keyed (BLAKE2b, 64 bits) with a secret that lies beside the journal, not in it:
without it a copied journal is no help in guessing.
"""

import hashlib
import secrets
from collections import deque
from itertools import chain
from pathlib import Path
from typing import Any, Final

import msgspec

from nano.domain.errors import Conflict
from nano.domain.facts import Command, Fact
from nano.journal.disk import Disk, replace_file
from nano.journal.line import Line

COMMANDS_MAX: Final = 100_000
KEY_FILE: Final = "receipts.key"
_KEY_BYTES: Final = 32
_MASK: Final = (1 << 64) - 1
_pack: Final = msgspec.msgpack.Encoder().encode
_unpack: Final = msgspec.msgpack.Decoder(list[tuple[str, str, int]]).decode


class Receipt(msgspec.Struct, frozen=True):
    """``position`` is the last one the outcome contains: reading at or after it sees the outcome."""

    position: int
    facts: tuple[Fact, ...] = ()
    repeated: bool = False


class Receipts:
    def __init__(self, key: bytes, commands_max: int = COMMANDS_MAX) -> None:
        self._key = hashlib.blake2b(key, digest_size=_KEY_BYTES).digest()
        self._max = commands_max
        self._known: dict[str, int] = {}  # command id -> position << 64 | digest: one object instead of three
        self._order: deque[str] = deque()
        self._late: deque[tuple[int, bytes]] = (
            deque()
        )  # of lines that are replayed: how many; id, digest, position, packed
        self._late_count = 0
        self._encode = msgspec.json.Encoder(order="sorted").encode

    def digest(self, command: Command) -> str:
        """16 hex digits that only the same type with the same content gives."""
        text = type(command).__name__.encode() + b"\0" + self._encode(command)
        return hashlib.blake2b(text, digest_size=8, key=self._key).hexdigest()

    def find(self, command_id: str, digest: str) -> int | None:
        """Position of the line that carried it out. Raises Conflict(idempotency_key_reused) for another command."""
        known = self._known.get(command_id)
        if known is None:
            return None
        if known & _MASK not in (0, int(digest, 16)):
            raise Conflict(
                f"Command id {command_id!r} was used for a different command.",
                code="idempotency_key_reused",
                hint="Use a new idempotency key for each command; repeat a key only with the same content.",
                command_id=command_id,
            )
        return known >> 64

    def remember(self, command_id: str, digest: str, position: int) -> None:
        if not command_id or command_id in self._known:
            return
        if len(self._order) >= self._max:
            del self._known[self._order.popleft()]
        self._order.append(command_id)
        self._known[command_id] = position << 64 | (int(digest, 16) if digest else 0)

    def replay(self, lines: list[Line[Any]]) -> None:
        """Take note of many lines of a log; ``replayed`` says that there are no more. Of a long log nearly all commands are
        forgotten again, so those that the last ones will displace anyhow are never looked at closely; and until then they
        are packed, because many small objects that live on would drive what is decoded next from the processor's cache."""
        late = self._late
        noted = [(line.command, line.digest, line.position) for line in lines if line.command]
        late.append((len(noted), _pack(noted)))
        self._late_count += len(noted)
        while self._late_count - late[0][0] >= self._max:
            self._late_count -= late.popleft()[0]

    def replayed(self) -> None:
        """Remember what was noted."""
        known, order = self._known, self._order
        for command_id, digest, position in chain.from_iterable(_unpack(packed) for _, packed in self._late):
            if command_id not in known:
                if len(order) >= self._max:
                    del known[order.popleft()]
                order.append(command_id)
                known[command_id] = position << 64 | int(digest or "0", 16)
        self._forget_late()

    def _forget_late(self) -> None:
        self._late.clear()
        self._late_count = 0

    def copy(self) -> dict[str, int]:
        """Everything known, oldest first, for ``restore``."""
        return dict(self._known)

    def restore(self, known: dict[str, int]) -> None:
        """Know exactly this (from ``copy``)."""
        self._known = known
        self._order = deque(known)

    def clear(self) -> None:
        self._known.clear()
        self._order.clear()
        self._forget_late()


def receipts_key(disk: Disk, folder: Path) -> bytes:
    """The secret of this node, made at first use. ``folder`` is the one that holds the journal's folder."""
    path = folder / KEY_FILE
    try:
        return disk.read(path)
    except FileNotFoundError:
        key = secrets.token_hex(_KEY_BYTES).encode()
        replace_file(disk, path, key)
        return key
