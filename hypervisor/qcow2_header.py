"""The head of a qcow2 file, read by ourselves before any program opens the file: what it claims to be, and on what it leans.

Source: QEMU docs/interop/qcow2. Only the fixed fields are read, the name of the backing file, and the names of snapshots, also
while a guest runs on the file; everything else is left to qemu-img, which runs confined.
"""

import os
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
SNAPSHOTS_MAX: Final = 65_536  # QEMU's own limits of a file
SNAPSHOT_TABLE_MAX: Final = 64 << 20
_TABLE_AT: Final = struct.Struct(">IQ")  # number of snapshots, place of their table
_TABLE_PLACE: Final = 60
_ENTRY: Final = struct.Struct(">QIHHIIQII")  # 40 bytes: L1 table, its length, lengths of id and name, times, sizes


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


def snapshot_names(path: Path) -> list[str]:
    """Of the snapshots inside it. Raises OSError; ValueError when its table is none."""
    with path.open("rb") as file:
        head = file.read(_HEAD.size)
        if len(head) < _HEAD.size or not head.startswith(MAGIC):
            raise ValueError(f"{path.name} is no qcow2 file")
        count, place = _TABLE_AT.unpack_from(head, _TABLE_PLACE)
        if count > SNAPSHOTS_MAX:
            raise ValueError(f"{path.name} claims {count} snapshots")
        names, file_end = [], place + SNAPSHOT_TABLE_MAX
        for _ in range(count):
            file.seek(place)
            entry = file.read(_ENTRY.size)
            if len(entry) < _ENTRY.size or place > file_end:
                raise ValueError(f"the table of snapshots of {path.name} is cut")
            *_, id_length, name_length, _seconds, _nanoseconds, _clock, _state, more = _ENTRY.unpack(entry)
            file.seek(more + id_length, os.SEEK_CUR)
            names.append(file.read(name_length).decode(errors="replace"))
            place += -(-(_ENTRY.size + more + id_length + name_length) // 8) * 8
    return names
