"""What a loss of power leaves of a batch is told from damage."""

from pathlib import Path

import pytest

from nano.domain.errors import JournalDamaged
from nano.journal.disk import RealDisk
from nano.journal.line import NO_HASH, Body, Entry, encode_line
from nano.journal.segments import SegmentScan
from nano.journal.testing import Made
from nano.journal.torn import SECTOR, is_torn_batch

JOINED = (False, True, True, True)


def lines(joined: tuple[bool, ...] = JOINED) -> list[bytes]:
    texts, digest = [], NO_HASH
    for number, one in enumerate(joined, start=1):
        entry = Entry(f"counter/{number}", 1, Made("a" * 700))
        body = Body(number, "2026-11-21T03:00:00.000000Z", 1, "x", "", "", "", (entry,), joined=one)
        text, digest = encode_line(digest, body)
        texts.append(text)
    return texts


def scanned(path: Path, data: bytes) -> tuple[int, bytes]:
    """How many lines are whole, and what is torn."""
    path.write_bytes(data)
    scan = SegmentScan(RealDisk(), path)
    count = sum(len(block.lines) for block in scan.blocks())
    assert data[scan.end :] == scan.torn
    return count, scan.torn


def test_every_missing_sector_of_a_batch_leaves_the_lines_before_it(tmp_path: Path) -> None:
    texts = lines()
    whole = b"".join(texts)
    ends = [sum(map(len, texts[:number])) for number in range(1, 5)]
    for start in range(0, len(whole), SECTOR):
        for stop in range(start + SECTOR, len(whole) + SECTOR, SECTOR):
            holed = whole[:start] + bytes(min(stop, len(whole)) - start) + whole[stop:]
            count, torn = scanned(tmp_path / "log", holed)
            assert count == sum(1 for end in ends if end <= start)
            assert torn


@pytest.mark.parametrize("joined", [(False, False, True, True), (False, True, True, False)])
def test_a_hole_before_a_batch_that_was_begun_later_is_damage(tmp_path: Path, joined: tuple[bool, ...]) -> None:
    whole = b"".join(lines(joined))
    with pytest.raises(JournalDamaged, match="byte 0"):
        scanned(tmp_path / "log", bytes(SECTOR) + whole[SECTOR:])


def test_a_few_zeros_inside_a_sector_are_damage() -> None:
    whole = b"".join(lines())
    for offset in (1, 100, SECTOR - 2, SECTOR + 1):
        assert not is_torn_batch(whole[:offset] + b"\0" + whole[offset + 1 :], 0)


def test_a_zero_at_the_edge_of_a_sector_is_damage() -> None:
    """One bit makes a zero of a space or an @: at no place of a line may that pass for a sector that is missing."""
    whole = b"".join(lines())
    for offset in (0, SECTOR - 1, SECTOR, 2 * SECTOR - 1, 2 * SECTOR):
        assert not is_torn_batch(whole[:offset] + b"\0" + whole[offset + 1 :], 0)


def test_a_changed_line_without_zeros_is_damage() -> None:
    whole = b"".join(lines())
    assert not is_torn_batch(whole.replace(b"aaaa", b"aaab", 1), 0)


def test_zeros_where_the_last_newline_should_be_are_torn(tmp_path: Path) -> None:
    whole = b"".join(lines())
    assert scanned(tmp_path / "log", whole[:-1] + b"\0")[0] == 3
