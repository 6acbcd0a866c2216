"""A cut keeps what was flushed before it, and of the rest some sectors or none."""

from random import Random

import pytest

from nano.tools.testbed.volatile_disk import SECTOR, VolatileDisk

OLD, NEW, LATER = b"o" * SECTOR, b"n" * SECTOR, b"l" * SECTOR


def disk() -> VolatileDisk:
    made = VolatileDisk(OLD * 8)
    made.write(0, NEW * 2)
    made.flush()
    made.write(SECTOR, LATER * 6)
    return made


def test_it_reads_back_what_was_written() -> None:
    assert disk().read(0, 8 * SECTOR) == NEW + LATER * 6 + OLD


def test_what_was_flushed_survives_and_the_rest_may_be_lost_or_torn() -> None:
    left = [bytes(disk().cut(3, Random(seed))) for seed in range(200)]
    assert {image[:SECTOR] for image in left} == {NEW}
    assert {image[-SECTOR:] for image in left} == {OLD}
    assert NEW * 2 + OLD * 6 in left
    assert NEW + LATER * 6 + OLD in left
    torn = [image for image in left if 0 < image.count(LATER) < 6]
    assert torn
    assert all(image[at : at + SECTOR] in (OLD, NEW, LATER) for image in torn for at in range(0, len(image), SECTOR))


def test_nothing_survives_for_certain_before_a_flush() -> None:
    assert OLD * 8 in [bytes(disk().cut(1, Random(seed))) for seed in range(20)]


def test_a_lying_disk_may_lose_what_was_flushed() -> None:
    assert OLD * 8 in [bytes(disk().lied(Random(seed))) for seed in range(50)]


def test_cuts_go_forward() -> None:
    cut = disk()
    cut.cut(3, Random(1))
    with pytest.raises(ValueError, match="in order"):
        cut.cut(1, Random(1))
