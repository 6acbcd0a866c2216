"""Verification names the first thing that is wrong, beside a live node too."""

from pathlib import Path

import anyio
import pytest

from nano.journal.commit_log import CommitLog
from nano.journal.feed import Feed
from nano.journal.ledger import Ledger
from nano.journal.line import line_decoder
from nano.journal.reader import JournalReader
from nano.journal.testing import Count, Counted, Counters, Made, Make, numbered, ticking
from nano.journal.verify import verify

pytestmark = pytest.mark.anyio


def ledger_on(folder: Path, segment_bytes_max: int = 1500) -> Ledger:
    clock = ticking()
    log = CommitLog(folder, clock=clock, segment_bytes_max=segment_bytes_max)
    return Ledger(log, Counters(), clock=clock, new_id=numbered(), feed=Feed())


async def filled(ledger: Ledger, number: int = 20) -> None:
    for name in "ab":
        await ledger.execute(Make(name), actor="admin", command_id=f"make-{name}")
    for step in range(number):
        await ledger.execute(Count("ab"[step % 2], 1), actor="admin", command_id="")


def files(folder: Path, pattern: str) -> list[Path]:
    return sorted(folder.glob(pattern))


@pytest.fixture
async def folder(tmp_path: Path) -> Path:
    ledger = ledger_on(tmp_path)
    await ledger.start()
    await filled(ledger)
    await ledger.aclose()
    return tmp_path


async def test_a_whole_journal(folder: Path) -> None:
    report = verify(folder)
    assert report.whole
    assert (report.position, report.lines, report.resources, report.resource_rows) == (22, 22, 2, 22)
    assert report.seals == report.segments - 1 > 2


async def test_beside_a_live_node(tmp_path: Path) -> None:
    ledger = ledger_on(tmp_path)
    await ledger.start()
    for _ in range(3):
        await ledger.execute(Make(f"n{ledger.position}"), actor="admin", command_id="")
        report = verify(tmp_path)
        assert (report.whole, report.position) == (True, ledger.position)
    await ledger.aclose()


async def test_beside_a_node_at_work(tmp_path: Path) -> None:
    """Rows and lines come while it reads: none of that is damage."""
    ledger = ledger_on(tmp_path, segment_bytes_max=100_000)
    await ledger.start()
    names = [f"n{number}" for number in range(40)]
    done = anyio.Event()

    async def work(name: str) -> None:
        await ledger.execute(Make(name), actor="admin", command_id="")
        while not done.is_set():
            await ledger.execute(Count(name), actor="admin", command_id="")

    async with anyio.create_task_group() as group:
        for name in names:
            group.start_soon(work, name)
        for _ in range(15):
            await ledger.facts(resource="counter/n0")  # makes the rows of this moment be written
            report = await anyio.to_thread.run_sync(verify, tmp_path)
            assert report.damage is None
        done.set()
    await ledger.aclose()
    assert verify(tmp_path).resource_rows == ledger.position


async def test_a_line_that_is_still_being_written_is_pending(folder: Path) -> None:
    newest = files(folder, "commits/*.jsonl")[-1]
    newest.write_bytes(newest.read_bytes() + b'{"position":23')
    report = verify(folder)
    assert (report.whole, report.pending_bytes) == (True, 14)


@pytest.mark.parametrize("which", ["commits/*.jsonl", "commits/*.seal", "resources/counter/*.jsonl"])
async def test_every_changed_byte_is_found_and_named(folder: Path, which: str) -> None:
    for path in files(folder, which)[:2]:
        whole = path.read_bytes()
        for offset in range(0, len(whole) - 1, 41):
            path.write_bytes(whole[:offset] + bytes([whole[offset] ^ 2]) + whole[offset + 1 :])
            damage = verify(folder).damage
            assert damage is not None
            assert Path(damage.file).stem == path.stem
            if which.startswith("commits/*.j"):
                assert whole.rfind(b"\n", 0, offset) + 1 == damage.byte
            elif which.startswith("resources"):
                assert damage.byte == offset
        path.write_bytes(whole)


async def test_a_mark_that_a_loss_of_power_tore_is_no_damage(folder: Path) -> None:
    """It is not synced and only says again what the files and the log say; a changed byte of it is damage all the same."""
    path = folder / "resources" / ".mark"
    whole = path.read_bytes()
    for end in range(len(whole)):
        for zeros in {0, 1, len(whole) - end}:
            path.write_bytes(whole[:end] + bytes(zeros))
            assert verify(folder).whole, (end, zeros)
        path.write_bytes(whole[:end] + bytes([whole[end] ^ 2]) + whole[end + 1 :])
        damage = verify(folder).damage
        assert damage is not None, end
        assert damage.file == str(path)


async def test_missing_and_extra_rows_are_found(folder: Path) -> None:
    path = folder / "resources" / "counter" / "a.jsonl"
    whole = path.read_bytes()
    lines = whole.splitlines(keepends=True)
    for wrong, byte in (
        (b"".join(lines[:-1]), len(whole) - len(lines[-1])),
        (whole + lines[-1], len(whole)),
        (b"".join([lines[0], *lines[2:]]), None),
    ):
        path.write_bytes(wrong)
        damage = verify(folder).damage
        assert damage is not None
        assert damage.file == str(path)
        assert byte in (None, damage.byte)
    path.unlink()
    assert verify(folder).damage is not None
    path.write_bytes(whole)
    (folder / "resources" / "counter" / "ghost.jsonl").write_bytes(lines[0])
    assert verify(folder).damage is not None


async def test_signatures_are_checked_when_a_key_is_given(folder: Path) -> None:
    damage = verify(folder, check_signature=lambda signature, data, key: True).damage
    assert damage is not None
    assert "signature" in damage.message


async def test_a_reader_follows_a_growing_log(tmp_path: Path) -> None:
    ledger = ledger_on(tmp_path)
    await ledger.start()
    reader = JournalReader(tmp_path, (Made, Counted))
    assert list(reader.facts()) == []
    seen = []
    for _ in range(4):
        await filled(ledger, 7)
        seen += list(reader.facts())
        assert seen == await ledger.facts()
    await ledger.aclose()
    assert reader.position == len(seen) == ledger.position
    assert len(files(tmp_path, "commits/*.jsonl")) > 3


async def test_a_reader_waits_for_the_newline(folder: Path) -> None:
    newest = files(folder, "commits/*.jsonl")[-1]
    whole = newest.read_bytes()
    newest.write_bytes(whole[:-10])
    reader = JournalReader(folder)
    before = len(list(reader.lines()))
    newest.write_bytes(whole)
    assert before + len(list(reader.lines())) == 22
    log = CommitLog(folder, clock=ticking())
    log.open()
    for _ in log.replay(line_decoder()):
        pass
    log.close()
    assert log.hash == reader.hash
