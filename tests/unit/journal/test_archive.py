"""Archived segments: the same text to every reader, refused with file and byte where it is not."""

from collections.abc import Callable
from pathlib import Path
from random import Random
from shutil import copytree

import anyio
import pytest
import zstandard

from nano.domain.errors import JournalDamaged
from nano.journal.archive import (
    archive_path,
    compressed,
    read_table,
    read_text,
    require_whole,
    text_digest,
    text_size,
)
from nano.journal.archive_schedule import ArchiveSchedule, ArchiveSettings
from nano.journal.archiving import archive_segments
from nano.journal.commit_log import CommitLog
from nano.journal.disk import RealDisk
from nano.journal.feed import Feed
from nano.journal.ledger import Ledger
from nano.journal.reader import JournalReader
from nano.journal.resource_journals import rebuild_resource_journals
from nano.journal.snapshots import SnapshotSettings
from nano.journal.testing import BadDisk, Count, Counters, Make, numbered, ticking, values
from nano.journal.verify import verify

pytestmark = pytest.mark.anyio

DISK = RealDisk()


def ledger_on(folder: Path, disk: RealDisk | None = None, snapshots: SnapshotSettings | None = None) -> Ledger:
    clock = ticking()
    log = CommitLog(folder, clock=clock, segment_bytes_max=1500, disk=disk)
    settings = snapshots or SnapshotSettings(every_events=0)
    return Ledger(log, Counters(), clock=clock, new_id=numbered(), feed=Feed(), snapshots=settings)


async def do(ledger: Ledger, number: int = 40) -> None:
    for name in "ab":
        if ledger.model.get(f"counter/{name}") is None:
            await ledger.execute(Make(name), actor="admin", command_id=f"make-{name}")
    for step in range(number):
        await ledger.execute(Count("ab"[step % 2], step + 1), actor="admin", command_id=f"{ledger.position}")


@pytest.fixture
async def folder(tmp_path: Path) -> Path:
    ledger = ledger_on(tmp_path / "journal")
    await ledger.start()
    await do(ledger)
    await ledger.aclose()
    return tmp_path / "journal"


def names(folder: Path) -> list[str]:
    return sorted(path.name for path in (folder / "commits").iterdir() if path.suffix != ".seal")


def archived(tmp_path: Path, data: bytes) -> Path:
    path = tmp_path / "text.jsonl.zst"
    path.write_bytes(b"".join(compressed(iter([data[at : at + 1000] for at in range(0, len(data), 1000)]))))
    return path


def test_any_part_of_the_text_can_be_read(tmp_path: Path) -> None:
    data = Random(1).randbytes(10_500)
    path = archived(tmp_path, data)
    assert zstandard.ZstdDecompressor().stream_reader(path.read_bytes(), read_across_frames=True).read() == data
    assert text_size(DISK, path) == len(data)
    for offset in (0, 1, 999, 1000, 1001, 5000, 10_499, 10_500, 20_000):
        for size in (-1, 0, 1, 999, 1000, 3000, 20_000):
            assert read_text(DISK, path, offset, size) == data[offset : None if size < 0 else offset + size]


def outcome(path: Path) -> bytes | JournalDamaged:
    try:
        return read_text(DISK, path)
    except JournalDamaged as damage:
        return damage


def test_every_changed_bit_is_found_and_none_changes_the_text(tmp_path: Path) -> None:
    path = archived(tmp_path, b"abcdefgh" * 400)
    whole = path.read_bytes()
    text = read_text(DISK, path)
    require_whole(DISK, path)
    for bit in range(8 * len(whole)):
        offset = bit // 8
        path.write_bytes(whole[:offset] + bytes([whole[offset] ^ 1 << bit % 8]) + whole[offset + 1 :])
        found = outcome(path)
        assert isinstance(found, JournalDamaged) or found == text
        with pytest.raises(JournalDamaged) as caught:
            require_whole(DISK, path)
        assert (caught.value.context["file"], 0 <= caught.value.context["byte"] < len(whole)) == (str(path), True)
    for size in range(len(whole)):
        path.write_bytes(whole[:size])
        with pytest.raises(JournalDamaged):
            read_text(DISK, path)


async def test_every_reader_reads_the_same(folder: Path, tmp_path: Path) -> None:
    plain = tmp_path / "plain"
    copytree(folder, plain)
    before = names(folder)
    assert archive_segments(DISK, folder / "commits", 1) == len(before) - 2 > 3
    assert names(folder) == [f"{name}.zst" for name in before[:-2]] + before[-2:]
    assert archive_segments(DISK, folder / "commits", 1) == 0
    assert verify(folder) == verify(plain)
    assert [line.hash for line in JournalReader(folder).lines()] == [line.hash for line in JournalReader(plain).lines()]
    rows = {path.name: path.read_bytes() for path in (folder / "resources" / "counter").iterdir()}
    rebuild_resource_journals(folder, clock=ticking())
    assert {path.name: path.read_bytes() for path in (folder / "resources" / "counter").iterdir()} == rows
    ledger, other = ledger_on(folder), ledger_on(plain)
    for one in (ledger, other):
        await one.start()
    assert values(ledger) == values(other)
    assert await ledger.facts(0) == await other.facts(0)
    assert await ledger.facts(7, 3) == await other.facts(7, 3)
    receipt = await ledger.execute(Make("a"), actor="admin", command_id="make-a")
    assert (receipt.position, receipt.repeated) == (1, True)
    for one in (ledger, other):
        await one.aclose()


async def test_a_node_archives_while_it_runs(tmp_path: Path) -> None:
    ledger = ledger_on(tmp_path)
    await ledger.start()
    schedule = ArchiveSchedule(ledger, ArchiveSettings(plain_segments=1), ticking(), every_events=10)
    async with anyio.create_task_group() as tasks:
        tasks.start_soon(schedule.run)
        reader, seen = JournalReader(tmp_path), []
        for _ in range(6):
            await do(ledger, 15)
            seen += [fact.position for fact in reader.facts()]
            assert [fact.position for fact in await ledger.facts(0)] == seen == list(range(1, ledger.position + 1))
        with anyio.fail_after(30):
            while not any(name.endswith(".zst") for name in names(tmp_path)):
                await anyio.lowlevel.checkpoint()
        tasks.cancel_scope.cancel()
    await ledger.aclose()
    assert schedule.trouble == ""
    assert verify(tmp_path).damage is None


async def test_a_start_from_a_snapshot_reads_archives(tmp_path: Path) -> None:
    settings = SnapshotSettings(every_events=10, at_stop_events=1_000)
    ledger = ledger_on(tmp_path, snapshots=settings)
    await ledger.start()
    await do(ledger)
    expected, position = values(ledger), ledger.position
    await ledger.aclose()
    archive_segments(DISK, tmp_path / "commits", 0)
    again = ledger_on(tmp_path, snapshots=settings)
    await again.start()
    assert (values(again), again.position) == (expected, position)
    assert again.snapshots.position > 0
    assert (await again.facts(3, 1))[0].position == 4
    await again.aclose()


async def test_a_segment_that_is_not_what_was_sealed_is_left_alone(folder: Path) -> None:
    first = folder / "commits" / names(folder)[0]
    text = first.read_bytes().replace(b'"by":3', b'"by":4')
    first.write_bytes(text)
    with pytest.raises(JournalDamaged, match="not what its seal says"):
        archive_segments(DISK, folder / "commits", 0)
    assert first.read_bytes() == text
    assert not any("zst" in name for name in names(folder))


@pytest.mark.parametrize("operation", ["open", "append", "fdatasync", "truncate", "read", "rename", "sync_folder"])
async def test_a_disk_that_fails_costs_this_round_only(folder: Path, operation: str) -> None:
    whole = verify(folder)
    disk = BadDisk()
    disk.order(operation, name="jsonl" if operation != "sync_folder" else "commits")
    with pytest.raises(OSError, match="Input/output"):
        archive_segments(disk, folder / "commits", 0)
    assert verify(folder) == whole
    archive_segments(disk, folder / "commits", 0)
    assert verify(folder) == whole
    assert not [name for name in names(folder)[:-1] if not name.endswith(".jsonl.zst")]


async def test_trouble_is_told_and_the_node_goes_on(folder: Path, caplog: pytest.LogCaptureFixture) -> None:
    disk = BadDisk()
    ledger = ledger_on(folder, disk)
    await ledger.start()
    schedule = ArchiveSchedule(ledger, ArchiveSettings(plain_segments=0), ticking())
    disk.order("append", name=".new.zst")
    await schedule.once()
    assert "Input/output" in schedule.trouble
    assert "journal.archive_failed" in caplog.text
    await do(ledger, 1)
    await schedule.once()
    assert schedule.trouble == ""
    await ledger.aclose()


Harm = Callable[[bytes], bytes]


@pytest.mark.parametrize(
    "harm",
    [lambda data: data[:-20], lambda data: data[:40] + bytes([data[40] ^ 4]) + data[41:], lambda data: b""],
    ids=["cut", "flipped", "empty"],
)
async def test_a_damaged_archive_is_named(folder: Path, harm: Harm) -> None:
    archive_segments(DISK, folder / "commits", 0)
    archive = folder / "commits" / names(folder)[1]
    archive.write_bytes(harm(archive.read_bytes()))
    damage = verify(folder).damage
    assert damage is not None
    assert damage.file == str(archive)
    ledger = ledger_on(folder)
    with pytest.raises(JournalDamaged) as caught:
        await ledger.start()
    assert caught.value.context["file"] == str(archive)


async def test_an_archive_of_other_text_is_named(folder: Path) -> None:
    """Compressed again after an edit: whole as a file, and not what the chain says."""
    archive_segments(DISK, folder / "commits", 0)
    archive = folder / "commits" / names(folder)[1]
    text = read_text(DISK, archive)
    archive.write_bytes(b"".join(compressed(iter([text.replace(b'"actor":"admin"', b'"actor":"nobody"', 1)]))))
    damage = verify(folder).damage
    assert damage is not None
    assert (damage.file, damage.byte, "of its text" in damage.message) == (str(archive), 0, True)


async def test_of_both_forms_the_plain_one_counts_and_the_next_round_ends_it(folder: Path) -> None:
    first = folder / "commits" / names(folder)[0]
    text = first.read_bytes()
    archive_segments(DISK, folder / "commits", 3)
    assert not first.exists()
    first.write_bytes(text)
    whole = archive_path(first).read_bytes()
    archive_path(first).write_bytes(whole[:100])  # of both, this one need not even be whole
    assert verify(folder).whole
    archive_segments(DISK, folder / "commits", 3)
    assert not first.exists()
    assert archive_path(first).read_bytes() == whole
    assert text_digest(DISK, first) == text_digest(DISK, archive_path(first))
    assert len(read_table(DISK, archive_path(first))) == 1
