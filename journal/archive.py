"""Archived segments: ``commits/<first position>.jsonl.zst``, the same text compressed, still readable from any byte of it.

Zstandard's seekable format: frames of FRAME_BYTES of text, each with a checksum, then, in frames that decompressors skip,
the table of their sizes and before it SHA-256 over both (``require_whole``); so ``zstd -dc FILE`` gives the segment. A read costs
the table and the frames it touches; nothing is kept between reads, so memory is bounded by what is asked for. Offsets
are those of the text, whichever form a segment has.

Invariant: ``read_text`` gives the same bytes before, while and after a segment is archived (``archiving``): a reader that knows
the plain file finds the archive when that is gone. Bytes that do not decompress raise JournalDamaged with file and byte.
"""

import struct
from collections.abc import Iterator
from hashlib import sha256
from pathlib import Path
from typing import Final, NamedTuple

import zstandard

from nano.domain.errors import JournalDamaged
from nano.journal.disk import Disk, is_file

SUFFIX: Final = ".zst"
FRAME_BYTES: Final = 256 << 10
FRAMES_MAX: Final = 1 << 20
LEVEL: Final = 3
SCAN_BYTES: Final = 1 << 20
_DIGEST_HEAD: Final = b"\x5d\x2a\x4d\x18\x20\0\0\0"  # a skippable frame of 32 bytes
_DIGEST_BYTES: Final = len(_DIGEST_HEAD) + 32
_TABLE_MAGIC: Final = 0x184D2A5E
_FOOTER_MAGIC: Final = 0x8F92EAB1
_FOOTER: Final = struct.Struct("<IBI")
_HEAD: Final = struct.Struct("<II")
_SIZES: Final = struct.Struct("<II")


class Frame(NamedTuple):
    """Where its bytes are in the file, and where its text is in the segment."""

    at: int
    size: int
    text_at: int
    text_size: int


def archive_path(segment: Path) -> Path:
    return segment.with_name(segment.name + SUFFIX)


def is_archive(path: Path) -> bool:
    return path.suffix == SUFFIX


def read_text(disk: Disk, path: Path, offset: int = 0, size: int = -1) -> bytes:
    """Up to ``size`` bytes of a segment's text from ``offset`` (all when negative). Raises OSError, JournalDamaged."""
    if not is_archive(path):
        try:
            return disk.read(path, offset, size)
        except FileNotFoundError:
            if not is_file(disk, archive_path(path)):
                raise
            path = archive_path(path)
    return _read_frames(disk, path, offset, size)


def text_size(disk: Disk, path: Path) -> int:
    """How long a segment's text is. Raises OSError, JournalDamaged."""
    if not is_archive(path):
        try:
            return disk.size(path)
        except FileNotFoundError:
            if not is_file(disk, archive_path(path)):
                raise
            path = archive_path(path)
    frames = read_table(disk, path)
    return frames[-1].text_at + frames[-1].text_size if frames else 0


def text_digest(disk: Disk, path: Path) -> str:
    """SHA-256 of a segment's text, hex."""
    digest, offset = sha256(), 0
    while data := read_text(disk, path, offset, SCAN_BYTES):
        digest.update(data)
        offset += len(data)
    return digest.hexdigest()


def read_table(disk: Disk, path: Path) -> list[Frame]:
    """The frames of an archive. Raises JournalDamaged unless they are exactly what the file is made of."""
    size = disk.size(path)
    footer_at = size - _FOOTER.size
    footer = disk.read(path, footer_at) if footer_at >= 0 else b""
    if len(footer) != _FOOTER.size:
        raise _damaged(path, max(0, footer_at), "it is cut short: the table of frames is missing")
    count, form, magic = _FOOTER.unpack(footer)
    table_at = footer_at - count * _SIZES.size - _HEAD.size
    if magic != _FOOTER_MAGIC or form != 0 or count > FRAMES_MAX or table_at < 0:
        raise _damaged(path, footer_at, "the table of frames is cut short or was changed")
    table = disk.read(path, table_at, footer_at - table_at)
    if table[: _HEAD.size] != _HEAD.pack(_TABLE_MAGIC, footer_at + _FOOTER.size - table_at - _HEAD.size):
        raise _damaged(path, table_at, "the table of frames was changed")
    frames, at, text_at = [], 0, 0
    for length, text_length in _SIZES.iter_unpack(table[_HEAD.size :]):
        if text_length > FRAME_BYTES:
            raise _damaged(path, table_at, "the table of frames was changed")
        frames.append(Frame(at, length, text_at, text_length))
        at += length
        text_at += text_length
    if at + _DIGEST_BYTES != table_at:
        raise _damaged(path, table_at, "the table of frames does not fit the file")
    return frames


def require_whole(disk: Disk, path: Path) -> None:
    """Raises JournalDamaged unless every bit of the archive is as it was written: not every one matters to its text."""
    frames = read_table(disk, path)
    end, digest, offset = frames[-1].at + frames[-1].size if frames else 0, sha256(), 0
    while offset < end and (data := disk.read(path, offset, min(SCAN_BYTES, end - offset))):
        digest.update(data)
        offset += len(data)
    rest = disk.read(path, end)
    digest.update(rest[_DIGEST_BYTES:])
    if rest[:_DIGEST_BYTES] != _DIGEST_HEAD + digest.digest():
        raise _damaged(path, 0, "it is not what was written")


def compressed(texts: Iterator[bytes]) -> Iterator[bytes]:
    """An archive of the text, in pieces. ``texts`` are pieces of it, each of at most FRAME_BYTES."""
    compressor = zstandard.ZstdCompressor(level=LEVEL, write_checksum=True)
    sizes, digest = b"", sha256()
    for text in texts:
        frame = compressor.compress(text)
        digest.update(frame)
        sizes += _SIZES.pack(len(frame), len(text))
        yield frame
    table = _HEAD.pack(_TABLE_MAGIC, len(sizes) + _FOOTER.size) + sizes
    table += _FOOTER.pack(len(sizes) // _SIZES.size, 0, _FOOTER_MAGIC)
    digest.update(table)
    yield _DIGEST_HEAD + digest.digest() + table


def _read_frames(disk: Disk, path: Path, offset: int, size: int) -> bytes:
    frames = read_table(disk, path)
    end = offset + size if size >= 0 else sum(frame.text_size for frame in frames)
    wanted = [frame for frame in frames if frame.text_at < end and frame.text_at + frame.text_size > offset]
    if not wanted:
        return b""
    begin = wanted[0].at
    data = disk.read(path, begin, wanted[-1].at + wanted[-1].size - begin)
    text = b"".join(_text_of(path, frame, data[frame.at - begin : frame.at - begin + frame.size]) for frame in wanted)
    return text[max(0, offset - wanted[0].text_at) : end - wanted[0].text_at]


def _text_of(path: Path, frame: Frame, data: bytes) -> bytes:
    try:
        if zstandard.frame_content_size(data) != frame.text_size:  # before any memory is taken for it
            raise _damaged(path, frame.at, "the frame that begins here has another size than the table says")
        return zstandard.ZstdDecompressor().decompress(data, allow_extra_data=False)
    except zstandard.ZstdError as error:
        raise _damaged(path, frame.at, f"the frame that begins here can't be decompressed ({error})") from error


def _damaged(path: Path, offset: int, why: str) -> JournalDamaged:
    return JournalDamaged(
        f"The journal is damaged: {path}, byte {offset}: {why}.",
        hint="Nothing was changed. Run nano-replay verify, and restore this file from a backup or a replica.",
        file=str(path),
        byte=offset,
    )
