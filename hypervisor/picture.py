"""Pictures of a guest's screen: always PNG, within bounds, whatever the hypervisor made of it.

QEMU gives PNG since 7.1 and binary PPM before; PPM is turned into PNG here, with nothing but zlib. What is on a screen is
the guest's to say, so both sizes are bounded and a PPM must be as long as its header says.
"""

import re
import struct
import zlib
from typing import Final

from nano.domain.errors import HostError

RAW_BYTES_MAX: Final = 32 << 20  # a PPM of 3840 by 2160 dots is 25 MB
PNG_BYTES_MAX: Final = 4 << 20  # in base64 it fits a link's message
EDGE_MAX: Final = 8192
SCREEN_UNREADABLE: Final = "screen_unreadable"

SIGNATURE: Final = b"\x89PNG\r\n\x1a\n"
_PPM: Final = re.compile(rb"P6\s+(\d{1,5})\s+(\d{1,5})\s+255\s", re.ASCII)
_RGB_8_BIT: Final = bytes([8, 2, 0, 0, 0])  # depth, colour type, then compression, filter, interlace as ever


def as_png(picture: bytes) -> bytes:
    """The picture as PNG. Raises HostError(screen_unreadable) for another format, or one that is too large."""
    if not picture.startswith(SIGNATURE):
        picture = _png_of_ppm(picture)
    if len(picture) > PNG_BYTES_MAX:
        raise unreadable(f"its picture is larger than {PNG_BYTES_MAX >> 20} MiB")
    return picture


def unreadable(why: str) -> HostError:
    return HostError(
        f"The guest's screen can't be shown: {why}.", code=SCREEN_UNREADABLE, hint="Look at it in the console."
    )


def png(width: int, height: int, rgb: bytes) -> bytes:
    """8-bit RGB dots, row after row from the top left, as PNG (ISO 15948)."""
    line = 3 * width
    rows = b"".join(b"\0" + rgb[start : start + line] for start in range(0, line * height, line))
    head = struct.pack(">II", width, height) + _RGB_8_BIT
    parts = ((b"IHDR", head), (b"IDAT", zlib.compress(rows, 6)), (b"IEND", b""))
    return SIGNATURE + b"".join(_chunk(kind, data) for kind, data in parts)


def _chunk(kind: bytes, data: bytes) -> bytes:
    return struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data))


def _png_of_ppm(picture: bytes) -> bytes:
    head = _PPM.match(picture)
    if head is None:
        raise unreadable("the hypervisor gave neither PNG nor PPM")
    width, height = int(head[1]), int(head[2])
    rgb = picture[head.end() :]
    if not (0 < width <= EDGE_MAX and 0 < height <= EDGE_MAX) or len(rgb) != 3 * width * height:
        raise unreadable(f"its picture is not the {width} by {height} dots it says")
    return png(width, height, rgb)
