"""Journals that are not what a node should start on: each is refused with file, byte and what to do; nothing is written."""

import json
import shutil
from collections.abc import Callable
from hashlib import sha256
from pathlib import Path

import pytest

from nano.domain.errors import JournalDamaged, JournalError
from nano.journal.archive import compressed, read_text
from nano.journal.archiving import archive_segments
from nano.journal.commit_log import CommitLog
from nano.journal.disk import RealDisk
from nano.journal.feed import Feed
from nano.journal.ledger import Ledger
from nano.journal.owner import read_owner
from nano.journal.snapshots import SnapshotSettings
from nano.journal.testing import Count, Counters, Key, Make, numbered, ticking
from nano.journal.verify import verify

pytestmark = pytest.mark.anyio

DISK = RealDisk()
NAMES = ("a", "b")


def ledger_on(folder: Path, key: str = "mine", snapshots: SnapshotSettings | None = None) -> Ledger:
    clock = ticking()
    log = CommitLog(folder, clock=clock, signer=Key(key), segment_bytes_max=1500)
    settings = snapshots or SnapshotSettings(every_events=0)
    return Ledger(log, Counters(), clock=clock, new_id=numbered(), feed=Feed(), snapshots=settings)


async def write(
    folder: Path, key: str = "mine", *, actor: str = "admin", snapshots: SnapshotSettings | None = None
) -> int:
    """Every journal made so has lines at the same positions with the same times."""
    ledger = ledger_on(folder, key, snapshots)
    await ledger.start()
    for name in NAMES:
        if ledger.model.get(f"counter/{name}") is None:
            await ledger.execute(Make(name), actor=actor, command_id="")
    for step in range(30):
        await ledger.execute(Count(NAMES[step % 2], step + 1), actor=actor, command_id="")
    await ledger.aclose()
    return ledger.position


@pytest.fixture
async def journal(tmp_path: Path) -> Path:
    await write(tmp_path / "mine")
    return tmp_path / "mine"


@pytest.fixture
async def other(tmp_path: Path) -> Path:
    await write(tmp_path / "other", "theirs", actor="nobody")
    return tmp_path / "other"


def content(folder: Path) -> dict[str, bytes]:
    return {str(path.relative_to(folder)): path.read_bytes() for path in folder.rglob("*") if path.is_file()}


async def refused(folder: Path, key: str = "mine", snapshots: SnapshotSettings | None = None) -> JournalDamaged:
    before = content(folder)
    ledger = ledger_on(folder, key, snapshots)
    with pytest.raises(JournalDamaged) as caught:
        await ledger.start()
    assert content(folder) == before
    assert {"file", "byte"} <= caught.value.context.keys()
    assert caught.value.hint
    return caught.value


def segments(folder: Path) -> list[Path]:
    return sorted(path for path in (folder / "commits").iterdir() if path.suffix in (".jsonl", ".zst"))


async def test_a_journal_says_whose_it_is(journal: Path) -> None:
    owner = read_owner(DISK, journal)
    assert owner is not None
    first = segments(journal)[0].read_text().splitlines()[0]
    assert (owner.journal, owner.key) == (json.loads(first)["hash"], "mine")
    assert await write(journal) == 62
    assert verify(journal, own_key="mine").whole


async def test_the_log_of_another_node(journal: Path, other: Path) -> None:
    shutil.rmtree(journal / "commits")
    shutil.copytree(other / "commits", journal / "commits")
    error = await refused(journal)
    assert (error.code, error.context["file"], error.context["byte"]) == (
        "journal_of_another_node", str(journal / "commits" / f"{1:016d}.jsonl"), 0,
    )  # fmt: skip
    damage = verify(journal).damage
    assert damage is not None
    assert "another node" in damage.message


async def test_all_of_the_journal_of_another_node(journal: Path, other: Path) -> None:
    shutil.rmtree(journal)
    shutil.copytree(other, journal)
    error = await refused(journal)
    assert (error.code, error.context["file"]) == ("journal_of_another_node", str(journal / "owner"))
    assert verify(journal).whole  # as a journal
    damage = verify(journal, own_key="mine").damage  # but not as the one of this node
    assert damage is not None
    assert "rebuild" in damage.hint


async def test_a_log_of_another_node_without_a_word_whose_it_is(journal: Path, other: Path) -> None:
    (other / "owner").unlink()
    error = await refused(other)
    assert (error.code, Path(error.context["file"]).suffix) == ("journal_of_another_node", ".seal")
    (journal / "owner").unlink()  # of an older version, and this node's own
    await write(journal)
    assert read_owner(DISK, journal) is not None


async def test_an_owner_that_was_changed(journal: Path) -> None:
    path = journal / "owner"
    path.write_bytes(path.read_bytes().replace(b"mine", b"mind"))
    assert (await refused(journal)).context["file"] == str(path)


async def test_the_log_is_gone(journal: Path) -> None:
    shutil.rmtree(journal / "commits")
    (journal / "commits").mkdir()
    assert "gone" in (await refused(journal)).message


def edited(data: bytes) -> bytes:
    return data.replace(b'"by":3,', b'"by":4,').replace(b'"by":3}', b'"by":4}')


def reordered(data: bytes) -> bytes:
    lines = data.splitlines(keepends=True)
    return b"".join([lines[0], lines[2], lines[1], *lines[3:]])


HARMS: dict[str, tuple[int, Callable[[bytes], bytes]]] = {
    "edited": (0, edited),
    "reordered": (1, reordered),
    "a line gone": (1, lambda data: b"".join(data.splitlines(keepends=True)[1:])),
    "a line twice": (1, lambda data: data.splitlines(keepends=True)[0] + data),
    "an older segment cut": (1, lambda data: data[:-10]),
    "an older segment cut at a line": (1, lambda data: b"".join(data.splitlines(keepends=True)[:-1])),
    "an older segment empty": (2, lambda data: b""),
    "whole lines cut from the end": (-1, lambda data: b"".join(data.splitlines(keepends=True)[:-1])),
}


@pytest.mark.parametrize("archived", [False, True], ids=["plain", "archived"])
@pytest.mark.parametrize("harm", list(HARMS))
async def test_a_log_that_was_changed(journal: Path, harm: str, archived: bool) -> None:
    number, change = HARMS[harm]
    if archived:
        archive_segments(DISK, journal / "commits", 0)
    path = segments(journal)[number]
    text = change(read_text(DISK, path))
    path.write_bytes(text if path.suffix == ".jsonl" else b"".join(compressed(iter([text] if text else []))))
    error = await refused(journal)
    named = Path(str(error.context["file"]))
    assert named in (path, segments(journal)[number + 1 if number >= 0 else -1])
    damage = verify(journal, own_key="mine").damage
    assert damage is not None


@pytest.mark.parametrize("start", ["whole log", "snapshot"])
async def test_segments_of_two_journals_with_the_same_positions(tmp_path: Path, start: str) -> None:
    often = SnapshotSettings(every_events=10, at_stop_events=1) if start == "snapshot" else None
    mine, other = tmp_path / "mine", tmp_path / "other"
    await write(mine, snapshots=often)
    await write(other, "mine", actor="adman")
    assert [path.name for path in segments(mine)] == [path.name for path in segments(other)]
    for number in (1, 2):
        for path in segments(other)[number], segments(other)[number].with_suffix(".seal"):
            shutil.copy(path, mine / "commits" / path.name)
        error = await refused(mine, snapshots=often)
        assert (error.context["file"], error.context["byte"]) == (str(segments(mine)[1]), 0)
        damage = verify(mine).damage
        assert damage is not None
        assert damage.file == str(segments(mine)[1])


@pytest.mark.parametrize(
    ("known", "newer"),
    [(b'"type":"counter.counted"', b'"type":"counter.doubled"'), (b'"cause":""', b'"why":{},"cause":""')],
)
async def test_a_newer_format(tmp_path: Path, known: bytes, newer: bytes) -> None:
    """Whole, chained and sealed; with an event, or a part of a line, that this version does not know."""
    folder = tmp_path / "mine"
    ledger = ledger_on(folder)
    await ledger.start()
    await ledger.execute(Make("a"), actor="admin", command_id="")
    await ledger.execute(Count("a", 2), actor="admin", command_id="")
    await ledger.aclose()
    (segment,) = segments(folder)
    first, second = segment.read_bytes().splitlines(keepends=True)
    previous = json.loads(first)["hash"].encode()
    text = second.replace(known, newer).rpartition(b',"hash":')[0]
    segment.write_bytes(first + text + b',"hash":"%b"}\n' % sha256(previous + text).hexdigest().encode())
    error = await refused(folder)
    assert (error.code, error.context["byte"]) == ("journal_unreadable", len(first))
    assert "newer" in error.hint
    damage = verify(folder, model=Counters()).damage
    assert damage is not None
    assert damage.byte == len(first)


async def test_two_nodes_on_one_folder(journal: Path) -> None:
    first = ledger_on(journal)
    await first.start()
    before = content(journal)
    second = ledger_on(journal)
    with pytest.raises(JournalError) as caught:
        await second.start()
    assert (caught.value.code, caught.value.context["file"]) == ("journal_locked", str(journal / "lock"))
    assert caught.value.hint
    assert content(journal) == before
    await first.aclose()
