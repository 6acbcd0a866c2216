"""Files of resource journals when old segments were dropped: rows before the horizon go, also damaged ones."""

from pathlib import Path

import pytest

from nano.journal.disk import RealDisk
from nano.journal.resource_files import trim

ROWS = [b'{"position":%d,"version":%d}\n' % (position, version) for version, position in enumerate((3, 7, 9), 1)]
HOLE = b'{"posi' + bytes(20) + b"\n"


@pytest.mark.parametrize(
    ("rows", "left"),
    [
        ([*ROWS], [ROWS[2]]),
        ([ROWS[2]], [ROWS[2]]),
        ([*ROWS[:2]], None),
        ([], None),
        ([ROWS[0], HOLE, *ROWS[2:]], None),
        ([HOLE, *ROWS[1:]], None),
        ([*ROWS[:2], b'{"position":9,"ver'], None),
        ([*ROWS, HOLE], [ROWS[2], HOLE]),
    ],
)
def test_what_was_before_the_horizon_goes(tmp_path: Path, rows: list[bytes], left: list[bytes] | None) -> None:
    """A hole before the first row that stays takes the file along: it is made anew."""
    path = tmp_path / "web.jsonl"
    path.write_bytes(b"".join(rows))
    trim(RealDisk(), path, 7)
    assert (path.read_bytes() if path.exists() else None) == (None if left is None else b"".join(left))
