"""Thousands of single bits changed in a whole journal, in every kind of file it has: none goes unnoticed, none changes state.

``NANO_FLIPS`` asks for another number of them, ``NANO_FLIPS_SEED`` for other ones.
"""

import logging
import os
import shutil
from collections import Counter
from collections.abc import Iterator
from pathlib import Path
from random import Random
from typing import Any

import msgspec
import pytest

from nano.domain.errors import JournalDamaged
from nano.journal.archiving import archive_segments
from nano.journal.commit_log import CommitLog
from nano.journal.disk import RealDisk
from nano.journal.feed import Feed
from nano.journal.ledger import Ledger
from nano.journal.snapshots import SnapshotSettings, list_snapshots
from nano.journal.store import EventStore
from nano.journal.testing import Count, CountAll, Counters, Key, Make, numbered, ticking
from nano.journal.verify import verify

pytestmark = [pytest.mark.anyio, pytest.mark.timeout(600)]

FLIPS = int(os.environ.get("NANO_FLIPS", "3000"))
STARTS = FLIPS // 10
SEED = int(os.environ.get("NANO_FLIPS_SEED", "1"))
SOME = SnapshotSettings(every_events=15, at_stop_events=0)
NONE = SnapshotSettings(every_events=0)
KINDS = {
    "commits/*.jsonl",
    "commits/*.jsonl.zst",
    "commits/*.seal",
    "epoch",
    "resources/.mark",
    "resources/*/*.jsonl",
    "snapshots/*.zst",
}


KEY = Key("the key of this test")


class NoSync(RealDisk):
    """What is tested is what stands in the files, thousands of times; nobody pulls a plug here."""

    def fdatasync(self, handle: int) -> None:
        pass

    def sync_folder(self, path: Path) -> None:
        pass


def is_signed(signature: bytes, data: bytes, key_id: str) -> bool:
    """Like a node's: another key is not judged."""
    return key_id != KEY.key_id or KEY.is_signed(signature, data)


def ledger_on(folder: Path, snapshots: SnapshotSettings) -> Ledger:
    clock = ticking()
    log = CommitLog(folder, clock=clock, disk=NoSync(), segment_bytes_max=1500, signer=KEY)
    return Ledger(log, Counters(), clock=clock, new_id=numbered(), feed=Feed(), snapshots=snapshots)


def everything(ledger: Ledger) -> list[Any]:
    capture = ledger._capture()
    states = msgspec.json.encode(list(capture.states.items()))
    return [capture.position, capture.hash, capture.time, states, capture.versions, capture.receipts]


async def state_of(folder: Path, snapshots: SnapshotSettings) -> list[Any]:
    ledger = ledger_on(folder, snapshots)
    await ledger.start()
    try:
        return everything(ledger)
    finally:
        await ledger.aclose()


async def start(folder: Path, snapshots: SnapshotSettings) -> tuple[JournalDamaged | None, list[Any]]:
    """The refusal, or the state."""
    try:
        return None, await state_of(folder, snapshots)
    except JournalDamaged as refused:
        return refused, []


@pytest.fixture
async def folder(tmp_path: Path) -> Path:
    """Seven segments, two of them archived, six seals, two snapshots, two resource journals; both snapshots lie before the
    last lines."""
    folder = tmp_path / "node" / "journal"
    for run in range(2):
        ledger = ledger_on(folder, SOME)
        await ledger.start()
        if run == 0:
            for name in "ab":
                await ledger.execute(Make(name), actor="admin", command_id=f"make-{name}")
        for step in range(12):
            await ledger.execute(Count("ab"[step % 2], step), actor="admin", command_id=f"{run}-{step}")
            await ledger.facts(resource="counter/a")  # so that the mark is written now, not after the snapshot
        await ledger.execute(CountAll(3), actor="admin", command_id=f"all-{run}")
        await ledger.aclose()
    archive_segments(NoSync(), folder / "commits", plain=4)
    for pattern in KINDS:
        assert list(folder.glob(pattern)), pattern
    logging.disable(logging.WARNING)  # thousands of notices that a snapshot was passed over
    return folder


@pytest.fixture(autouse=True)
def told_again() -> Iterator[None]:
    yield
    logging.disable(logging.NOTSET)


def flips(folder: Path, count: int) -> Iterator[tuple[Path, bytes, int]]:
    """Seeded: a file, what it holds with one bit changed, and which byte; as many of each kind of file as of any other."""
    random = Random(SEED)
    kinds = [sorted(folder.glob(pattern)) for pattern in sorted(KINDS)]
    for number in range(count):
        path = random.choice(kinds[number % len(kinds)])
        data = bytearray(path.read_bytes())
        at = random.randrange(len(data))
        data[at] ^= 1 << random.randrange(8)
        yield path, bytes(data), at


async def test_verify_notices_every_bit_and_names_the_file(folder: Path) -> None:
    assert verify(folder, check_signature=is_signed).whole
    noticed: Counter[str] = Counter()
    for path, changed, at in flips(folder, FLIPS):
        whole = path.read_bytes()
        path.write_bytes(changed)
        damage = verify(folder, check_signature=is_signed).damage
        path.write_bytes(whole)
        assert damage is not None, f"nobody noticed byte {at} of {path}"
        assert damage.file == str(path), f"byte {at} of {path} was told as {damage.message}"
        if path.parent.name == "commits" and path.suffix == ".jsonl":
            assert damage.byte in (whole.rfind(b"\n", 0, at) + 1, at), f"byte {at} of {path} was told as {damage.byte}"
        noticed[path.parent.name + path.suffix] += 1
    assert len(noticed) == len(KINDS)
    assert verify(folder, check_signature=is_signed).whole


@pytest.mark.parametrize("snapshots", [SOME, NONE], ids=["from a snapshot", "from the beginning"])
async def test_no_bit_changes_what_a_start_folds(folder: Path, tmp_path: Path, snapshots: SnapshotSettings) -> None:
    """Refused, with file and byte and nothing touched; or the state is what it was."""
    good = await state_of(folder, SOME)
    assert await state_of(folder, NONE) == good
    refused: Counter[str] = Counter()
    for path, changed, at in flips(folder, STARTS):
        copy = copied(folder, tmp_path / "copy")
        there = copy / path.relative_to(folder)
        there.write_bytes(changed)
        told, state = await start(copy, snapshots)
        if told is not None:
            assert told.context["file"] == str(there), f"byte {at} of {path} was told as {told}"
            assert there.read_bytes() == changed
            refused[path.parent.name + path.suffix] += 1
        else:
            assert state == good, f"byte {at} of {path} changed the state"
            # derived, or zstd: not every bit of it means something to who only decompresses
            passed = path.suffix == ".zst" or "resources" in path.relative_to(folder).parts
            assert passed or snapshots is SOME, f"a start that reads everything read over byte {at} of {path}"
        shutil.rmtree(copy.parent)
    assert {"commits.jsonl", "commits.seal", "journal"} <= refused.keys()


async def test_the_last_three_lines_cut_at_every_byte(folder: Path, tmp_path: Path) -> None:
    """By a start from a snapshot, one from the beginning, and the library's store in turn: what stood before the cut is
    there, whole; what was cut is gone, whole, and noted; and it goes on."""
    newest = sorted((folder / "commits").glob("*.jsonl"))[-1]
    snapshot = list_snapshots(RealDisk(), folder / "snapshots")[-1][0]
    text = newest.read_bytes()
    expected = {}
    for end in [at + 1 for at, byte in enumerate(text) if byte == 10][-4:]:
        copy = copied(folder, tmp_path / f"until-{end}")
        shutil.rmtree(copy / "resources")  # they never say more than is durable: a log that ends before them is refused
        (copy / "commits" / newest.name).write_bytes(text[:end])
        expected[end] = await state_of(copy, NONE)
    for size in range(min(expected), len(text)):
        copy = copied(folder, tmp_path / "copy")
        shutil.rmtree(copy / "resources")
        (copy / "commits" / newest.name).write_bytes(text[:size])
        end = max(end for end in expected if end <= size)
        position = expected[end][0]
        if size % 3 == 2:
            store = EventStore(copy, clock=ticking(), disk=NoSync())
            assert store.last_position() == position, f"cut at byte {size}"
            store.close()
        else:
            ledger = ledger_on(copy, (SOME, NONE)[size % 3])
            await ledger.start()
            assert everything(ledger) == expected[end], f"cut at byte {size}"
            receipt = await ledger.execute(Count("a", 1), actor="admin", command_id="after")
            assert receipt.position == position + 1
            await ledger.aclose()
        assert (copy / "repairs.jsonl").exists() == (end < size)
        damage = verify(copy, check_signature=is_signed).damage
        if position >= snapshot:
            assert damage is None or size % 3 == 2, f"cut at byte {size}: {damage}"
        else:  # no crash cuts what was durable when a snapshot was made of it
            assert damage is not None
            assert Path(damage.file).parent.name in ("snapshots", "resources", "counter")
        shutil.rmtree(copy.parent)


def copied(folder: Path, to: Path) -> Path:
    return Path(shutil.copytree(folder.parent, to)) / folder.name
