"""What is remembered of commands that were carried out."""

from pathlib import Path

import pytest

from nano.domain.errors import Conflict
from nano.journal.commit_log import BEGINNING
from nano.journal.disk import RealDisk
from nano.journal.line import Line
from nano.journal.receipts import Receipts, receipts_key
from nano.journal.testing import Count, Make


def test_the_last_commands_are_known_and_older_ones_forgotten() -> None:
    receipts = Receipts(b"key", commands_max=3)
    digest = receipts.digest(Count("a"))
    for number in range(5):
        receipts.remember(f"c{number}", digest, number + 1)
    assert [receipts.find(f"c{number}", digest) for number in range(5)] == [None, None, 3, 4, 5]


def test_the_digest_tells_type_and_content_apart() -> None:
    receipts = Receipts(b"key")
    commands = [Count("a", 1), Count("a", 2), Count("b", 1), Make("a")]
    digests = {receipts.digest(command) for command in commands}
    assert len(digests) == len(commands)
    assert receipts.digest(Count("a", 1)) == receipts.digest(Count("a", 1))
    receipts.remember("1", receipts.digest(Make("a")), 1)
    with pytest.raises(Conflict):
        receipts.find("1", receipts.digest(Count("a")))


def test_a_line_of_another_writer_has_no_digest_and_matches_any() -> None:
    receipts = Receipts(b"key")
    receipts.remember("1", "", 7)
    assert receipts.find("1", receipts.digest(Make("a"))) == 7


def test_the_digest_depends_on_the_nodes_secret(tmp_path: Path) -> None:
    key = receipts_key(RealDisk(), tmp_path)
    assert receipts_key(RealDisk(), tmp_path) == key
    assert (tmp_path / "receipts.key").stat().st_mode & 0o077 == 0
    assert Receipts(key).digest(Make("a")) != Receipts(b"other").digest(Make("a"))


@pytest.mark.parametrize("in_block", [1, 2, 3, 50])
def test_many_lines_leave_what_one_after_the_other_does(in_block: int) -> None:
    lines = [
        Line(position=n + 1, time=BEGINNING, epoch=1, actor="", command="" if n % 4 == 0 else f"c{n % 37}", cause="",
             digest=f"{n:016x}", events=(), hash="")
        for n in range(100)
    ]  # fmt: skip
    one_by_one, at_once = Receipts(b"key", commands_max=7), Receipts(b"key", commands_max=7)
    for receipts in (one_by_one, at_once):
        receipts.remember("before", "", 0)
    for line in lines:
        one_by_one.remember(line.command, line.digest, line.position)
    for start in range(0, len(lines), in_block):
        at_once.replay(lines[start : start + in_block])
    at_once.replayed()
    assert list(at_once.copy().items()) == list(one_by_one.copy().items())
    at_once.replayed()
    assert at_once.copy() == one_by_one.copy(), "there was nothing more to remember"
