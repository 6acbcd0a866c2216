"""Pictures of screens: PNG stays, PPM becomes PNG dot for dot, and what lies about itself is refused."""

import struct
import zlib

import pytest

from nano.domain.errors import HostError
from nano.hypervisor import picture
from nano.hypervisor.picture import SIGNATURE, as_png


def dots_of(png: bytes) -> tuple[int, int, bytes]:
    """Width, height and RGB of a PNG as this module writes them; every chunk's checksum is checked."""
    place, chunks = len(SIGNATURE), {}
    while place < len(png):
        (length,) = struct.unpack_from(">I", png, place)
        kind, data = png[place + 4 : place + 8], png[place + 8 : place + 8 + length]
        assert struct.unpack_from(">I", png, place + 8 + length)[0] == zlib.crc32(kind + data)
        chunks[kind] = data
        place += 12 + length
    width, height = struct.unpack_from(">II", chunks[b"IHDR"])
    rows = zlib.decompress(chunks[b"IDAT"])
    line = 3 * width + 1
    assert {rows[start] for start in range(0, len(rows), line)} == {0}, "no row is filtered"
    return width, height, b"".join(rows[start + 1 : start + line] for start in range(0, len(rows), line))


def test_ppm_becomes_png_dot_for_dot() -> None:
    rgb = bytes(range(3 * 3 * 2))
    assert dots_of(as_png(b"P6\n3 2\n255\n" + rgb)) == (3, 2, rgb)


def test_png_stays_as_it_is() -> None:
    given = picture.png(2, 1, b"abcdef")
    assert as_png(given) is given


@pytest.mark.parametrize(
    "given",
    [
        b"",
        b"GIF89a",
        b"P6\n2 2\n255\n" + bytes(11),
        b"P6\n2 2\n255\n" + bytes(13),
        b"P6\n0 2\n255\n",
        b"P6\n99999 99999\n255\n" + bytes(10),
        b"P6\n-1 2\n255\n",
        b"P3\n1 1\n255\n0 0 0",
        SIGNATURE + bytes(picture.PNG_BYTES_MAX),
    ],
)
def test_what_is_no_picture_is_refused(given: bytes) -> None:
    with pytest.raises(HostError) as refused:
        as_png(given)
    assert refused.value.code == "screen_unreadable"
