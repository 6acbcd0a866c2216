"""Files of a commit log: where they lie, how they are named, scanned and sealed.

``commits/<first position>.jsonl`` holds whole lines and nothing else; only the newest segment may end in a torn line
or batch, because only there can a write have been cut short. A segment that is left gets a ``.seal`` beside it: digest of the
file, last position, last hash, and the node's signature over these. Older sealed ones are compressed
(``archive``).

Scanning checks the chain byte by byte and names file and byte of the first thing that is wrong. It repairs nothing.
"""

from array import array
from collections import deque
from collections.abc import Iterator
from hashlib import sha256
from pathlib import Path
from typing import Any, Final, Protocol

import msgspec

from nano.domain.errors import JournalDamaged
from nano.journal.archive import SCAN_BYTES, is_archive, read_text
from nano.journal.disk import Disk, replace_file
from nano.journal.line import HASH_END, HASH_TAIL, NO_HASH, Line, check_chain
from nano.journal.small_files import UNREADABLE, checked, with_check
from nano.journal.torn import is_torn_batch

SEGMENT_BYTES_MAX: Final = 64 << 20
BLOCK_BYTES: Final = 32 << 10  # what a block decodes to stays in a processor's cache until it is folded
HORIZON: Final = "horizon.json"
INDEX_BYTES: Final = 16 << 10
_DIGITS: Final = 16


class Signer(Protocol):
    """Whoever holds the node's key."""

    key_id: str  # says which public key verifies the signature

    def sign(self, data: bytes) -> bytes: ...

    def is_signed(self, signature: bytes, data: bytes) -> bool:
        """Whether the signature is this key's, of this data."""
        ...


class Seal(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """What a finished segment must be. ``signature`` is hex over ``signed_bytes``, empty when the node had no key."""

    first: int
    last: int
    size: int
    digest: str
    last_hash: str
    key: str = ""
    signature: str = ""

    def signed_bytes(self) -> bytes:
        return f"nano seal 1\n{self.first}\n{self.last}\n{self.size}\n{self.digest}\n{self.last_hash}\n".encode()


class Segment:
    """One file of the log. ``index`` holds (position, offset) pairs about every 16 KiB, to find a position quickly;
    it says nothing of the first ``unread`` bytes, which a start from a snapshot did not look at."""

    def __init__(self, path: Path, first: int) -> None:
        self.path = path
        self.first = first
        self.size = 0
        self.unread = 0
        self.index = array("Q")
        self._indexed = -INDEX_BYTES

    def note(self, position: int, offset: int) -> None:
        """A line with this position starts at this offset."""
        if offset - self._indexed >= INDEX_BYTES:
            self._indexed = offset
            self.index.extend((position, offset))

    def offset_near(self, position: int) -> int:
        """Offset of a line at or before the one that holds ``position``."""
        low, high = 0, len(self.index) // 2
        while low < high:
            middle = (low + high) // 2
            if self.index[2 * middle] <= position:
                low = middle + 1
            else:
                high = middle
        return int(self.index[2 * low - 1]) if low else 0


def segment_path(commits: Path, first: int) -> Path:
    return commits / f"{first:0{_DIGITS}d}.jsonl"


def list_segments(disk: Disk, commits: Path) -> list[Segment]:
    """Every segment of the folder, oldest first. Raises JournalDamaged for a file that has no place there."""
    segments: list[Segment] = []
    names = disk.list(commits)
    begins = _begins(disk, commits / HORIZON) if HORIZON in names else 0
    for name in names:
        stem, _, suffix = name.partition(".")
        if suffix in ("jsonl", "jsonl.zst") and stem.isdigit():
            known = segments and segments[-1].first == int(stem)  # of both forms the plain one counts
            if not known and int(stem) > begins:  # what was dropped may still be there after a crash
                segments.append(Segment(commits / name, int(stem)))
        elif suffix not in ("seal", "seal.new", "jsonl.new.zst") and stem != "horizon":
            raise damaged(commits / name, 0, "it is no segment and no seal")
    segments.sort(key=lambda segment: segment.first)
    return segments


class _Begins(msgspec.Struct):
    position: int


def _begins(disk: Disk, path: Path) -> int:
    """The last position that was dropped from this journal (``horizon``)."""
    try:
        return msgspec.json.decode(checked(disk.read(path)), type=_Begins).position
    except (*UNREADABLE, ValueError) as error:
        raise damaged(path, 0, f"it does not say where the journal begins ({error})") from error


class Block:
    """Some whole lines of a segment that follow one another. ``data`` is their text, newlines included."""

    __slots__ = ("_lines", "data", "offset", "path")

    def __init__(self, path: Path, offset: int, data: bytes) -> None:
        self.path = path
        self.offset = offset
        self.data = data
        self._lines: list[bytes] = []

    @property
    def lines(self) -> list[bytes]:
        """Without their newlines. Split when somebody asks: decoding them does not need it."""
        if not self._lines:
            self._lines = self.data[:-1].split(b"\n")
        return self._lines

    def until(self, number: int) -> "Block":
        """Its lines before this one."""
        return Block(self.path, self.offset, self.data[: self.offset_of(number) - self.offset])

    def offset_of(self, number: int) -> int:
        return self.offset + sum(map(len, self.lines[:number])) + number


class SegmentScan:
    """Reads one segment and checks that each line follows the one before.

    After ``blocks()`` has ended: ``hash`` of the last whole line, ``end`` = offset after it, ``torn`` = the bytes
    beyond it. ``start`` is the offset of the first line to read. ``sealed`` is the segment's text in pieces where all of it
    is known to be what its node sealed (``sealed``): then its lines follow one another, and it is not read again.
    """

    def __init__(
        self,
        disk: Disk,
        path: Path,
        previous: bytes = NO_HASH,
        *,
        start: int = 0,
        sealed: deque[bytes] | None = None,
    ) -> None:
        self._disk = disk
        self._path = path
        self._sealed = sealed
        self.hash = previous
        self.end = start
        self.torn = b""

    def blocks(self) -> Iterator[Block]:
        """Blocks of about BLOCK_BYTES. Raises JournalDamaged at the first line that does not follow, after what is whole
        before it was given."""
        for text in self._texts():
            block = Block(self._path, self.end, text)
            if self._sealed is not None and self.end:
                self.hash = text[-HASH_END:-3]
            else:
                self.hash, followed = check_chain(self.hash, block.lines)
                if followed < len(block.lines):
                    yield from self._until(block, followed)
                    return
            self.end += len(text)
            yield block
        # a torn write leaves less than a line, or zeros: a whole line and then another byte than newline was changed later
        if len(self.torn) > HASH_TAIL and self.torn[-1] and check_chain(self.hash, [self.torn[:-1]])[1]:
            raise damaged(self._path, self.end + len(self.torn) - 1, "a line should end here")

    def _texts(self) -> Iterator[bytes]:
        """Whole lines; what comes after the last newline stays in ``torn``."""
        for data in self._pieces():
            start = 0
            while end := data.find(b"\n", start + BLOCK_BYTES) + 1 or data.rfind(b"\n", start) + 1:
                text, self.torn = self.torn + data[start:end], b""
                yield text
                start = end
            self.torn += data[start:]

    def _pieces(self) -> Iterator[bytes]:
        while self._sealed:
            yield self._sealed.popleft()
        if self._sealed is None:
            read_to = self.end
            while data := read_text(self._disk, self._path, read_to, SCAN_BYTES):
                read_to += len(data)
                yield data

    def _until(self, block: Block, followed: int) -> Iterator[Block]:
        """What is whole of a block that breaks off. Raises JournalDamaged unless a torn batch explains the rest."""
        wrong = block.offset_of(followed)
        if followed:
            yield block.until(followed)
        rest = b"" if is_archive(block.path) else self._disk.read(block.path, wrong)  # an archive was whole when made
        if not rest or not is_torn_batch(rest, wrong):
            raise damaged(block.path, wrong, "the line does not follow the one before it")
        self.end, self.torn = wrong, rest


def decode_block(decoder: msgspec.json.Decoder[Line[Any]], block: Block) -> list[Line[Any]]:
    """Its lines as structs. A text that follows the chain but can't be read was written by another version:
    raises JournalDamaged(journal_unreadable)."""
    try:
        return decoder.decode_lines(block.data)
    except UNREADABLE:
        for number, text in enumerate(block.lines):
            try:
                decoder.decode(text)
            except UNREADABLE as error:
                raise _unreadable(block.path, block.offset_of(number), error) from error
        raise


def file_digest(disk: Disk, path: Path) -> str:
    """SHA-256 of a whole file, hex."""
    digest, offset = sha256(), 0
    while data := disk.read(path, offset, SCAN_BYTES):
        digest.update(data)
        offset += len(data)
    return digest.hexdigest()


def seal_path(segment: Path) -> Path:
    return segment.with_name(segment.name.partition(".")[0] + ".seal")


def write_seal(disk: Disk, path: Path, seal: Seal, signer: Signer | None) -> None:
    if signer is not None:
        signature = signer.sign(seal.signed_bytes()).hex()
        seal = msgspec.structs.replace(seal, key=signer.key_id, signature=signature)
    replace_file(disk, path, with_check(msgspec.json.encode(seal)))


def read_seal(disk: Disk, path: Path) -> Seal | None:
    """The seal, None when there is none. Raises JournalDamaged when it can't be read as one."""
    try:
        data = disk.read(path)
    except FileNotFoundError:
        return None
    try:
        return msgspec.json.decode(checked(data), type=Seal)
    except (*UNREADABLE, ValueError) as error:
        raise damaged(path, 0, f"it is no seal ({error})") from error


def damaged(path: Path, offset: int, why: str, **context: Any) -> JournalDamaged:
    """``offset`` is a byte of the file, or of the text of an archived segment."""
    return JournalDamaged(
        f"The journal is damaged: {path}, byte {offset}{' of its text' if is_archive(path) else ''}: {why}.",
        hint="Nothing was changed. Run nano-replay verify, and restore this file from a backup or a replica.",
        file=str(path),
        byte=offset,
        **context,
    )


def _unreadable(path: Path, offset: int, error: Exception) -> JournalDamaged:
    return JournalDamaged(
        f"The journal {path}, byte {offset}, holds a line that this version can't read: {error}.",
        code="journal_unreadable",
        hint="Use the version of Nano that wrote it, or a newer one.",
        file=str(path),
        byte=offset,
    )
