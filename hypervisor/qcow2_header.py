"""The head of a qcow2 file, read by ourselves before any program opens the file: what it claims to be, and on what it leans.

Source: QEMU docs/interop/qcow2. Only the fixed fields are read, and the name of the backing file; everything else is left to
qemu-img, which runs confined.
"""

import struct
from pathlib import Path
from typing import Final, NamedTuple

_HEAD: Final = struct.Struct(">4sIQIIQIIQQIIQ")  # up to and with snapshots_offset: 72 bytes
_FEATURES: Final = struct.Struct(">Q")
MAGIC: Final = b"QFI\xfb"
EXTERNAL_DATA: Final = 1 << 2
CORRUPT: Final = 1 << 1
KNOWN: Final = 0b11111  # dirty, corrupt, external data file, compression type, extended L2 entries
BACKING_NAME_MAX: Final = 1023


class Qcow2Header(NamedTuple):
    """Sizes in bytes; ``features`` are the incompatible ones."""

    version: int
    backing_offset: int
    backing_length: int
    cluster_bits: int
    size: int
    encrypted: bool
    l1_entries: int
    features: int


def read_header(path: Path) -> Qcow2Header | None:
    """None when the file does not begin as a qcow2 file. Raises OSError."""
    with path.open("rb") as file:
        data = file.read(_HEAD.size + _FEATURES.size)
    if len(data) < _HEAD.size or not data.startswith(MAGIC):
        return None
    _, version, backing_offset, backing_length, cluster_bits, size, crypt, l1_entries, *_ = _HEAD.unpack_from(data)
    v3 = version >= 3 and len(data) >= _HEAD.size + _FEATURES.size
    features = _FEATURES.unpack_from(data, _HEAD.size)[0] if v3 else 0
    return Qcow2Header(version, backing_offset, backing_length, cluster_bits, size, bool(crypt), l1_entries, features)


def backing_file(path: Path) -> str:
    """The name of the file it leans on, empty when there is none. Raises OSError."""
    header = read_header(path)
    if header is None or not header.backing_offset or header.backing_length > BACKING_NAME_MAX:
        return ""
    with path.open("rb") as file:
        file.seek(header.backing_offset)
        return file.read(header.backing_length).decode(errors="replace")
