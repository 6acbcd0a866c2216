"""Segments that are known whole by digest and signature: what counts as such, and that nothing else does."""

from pathlib import Path
from typing import Any

import msgspec
import pytest

from nano.domain.errors import JournalDamaged
from nano.journal import segments as segments_module
from nano.journal.archiving import archive_segments
from nano.journal.commit_log import CommitLog
from nano.journal.disk import RealDisk
from nano.journal.feed import Feed
from nano.journal.ledger import Ledger
from nano.journal.line import check_chain, encode_line, line_decoder
from nano.journal.sealed import SealedTexts
from nano.journal.segments import Seal, list_segments, read_seal, seal_path, write_seal
from nano.journal.snapshots import SnapshotSettings
from nano.journal.testing import Count, Counters, Key, Make, numbered, ticking

pytestmark = pytest.mark.anyio

MINE = Key("mine")
DISK = RealDisk()


@pytest.fixture
async def journal(tmp_path: Path) -> Path:
    """Several sealed segments and the newest one."""
    folder = tmp_path / "journal"
    log = CommitLog(folder, clock=ticking(), signer=MINE, segment_bytes_max=1500)
    snapshots = SnapshotSettings(every_events=0)
    async with Ledger.open(
        log, Counters(), clock=ticking(), new_id=numbered(), feed=Feed(), snapshots=snapshots
    ) as ledger:
        for command in [Make("a"), *(Count("a", step) for step in range(1, 41))]:
            await ledger.execute(command, actor="admin", command_id="")
    return folder


@pytest.fixture
def followed(monkeypatch: pytest.MonkeyPatch) -> list[bytes]:
    """The lines that were followed one by one."""
    lines: list[bytes] = []

    def seen(previous: bytes, texts: list[bytes]) -> tuple[bytes, int]:
        lines.extend(texts)
        return check_chain(previous, texts)

    monkeypatch.setattr(segments_module, "check_chain", seen)
    monkeypatch.setattr(segments_module, "BLOCK_BYTES", 300)
    return lines


def replay(folder: Path, key: Key | None = MINE) -> list[Any]:
    log = CommitLog(folder, clock=ticking(), signer=key)
    log.open()
    lines = [line for block in log.replay(line_decoder(Counters().rules.event_types())) for line in block]
    log.close()
    return lines


def sealed(folder: Path) -> list[Path]:
    return [segment.path for segment in list_segments(DISK, folder / "commits")[:-1]]


async def test_what_is_sealed_is_followed_only_where_a_segment_begins(journal: Path, followed: list[bytes]) -> None:
    lines = replay(journal)
    assert [line.position for line in lines] == list(range(1, 42))
    at_once = len(followed)
    assert lines == replay(journal, None)
    assert len(followed) - at_once == 41
    assert at_once < 25


async def test_archived_segments_too(journal: Path, followed: list[bytes]) -> None:
    lines = replay(journal)
    at_once = len(followed)
    archive_segments(DISK, journal / "commits", plain=1)
    followed.clear()
    assert replay(journal) == lines
    assert len(followed) == at_once


@pytest.mark.parametrize(
    "case", ["no seal", "another key", "no signature", "another signature", "unreadable signature"]
)
async def test_without_its_own_nodes_signature_it_is_read_line_by_line(
    journal: Path, followed: list[bytes], case: str
) -> None:
    for path in sealed(journal):
        seal = read_seal(DISK, seal_path(path))
        assert seal
        if case == "no seal":
            seal_path(path).unlink()
        elif case == "another key":
            write_seal(DISK, seal_path(path), seal, Key("theirs"))
        elif case == "no signature":
            write_seal(DISK, seal_path(path), msgspec.structs.replace(seal, signature=""), None)
        else:
            other = "00" if case == "another signature" else "no hex"
            write_seal(DISK, seal_path(path), msgspec.structs.replace(seal, signature=other), None)
    assert len(replay(journal)) == 41
    assert len(followed) == 41


async def test_another_text_under_the_same_seal_is_named_by_its_byte(journal: Path) -> None:
    path = sealed(journal)[1]
    text = path.read_bytes()
    at = text.index(b'"admin"') + 2
    path.write_bytes(text[:at] + b"X" + text[at + 1 :])
    with pytest.raises(JournalDamaged, match="does not follow") as caught:
        replay(journal)
    assert (caught.value.context["file"], caught.value.context["byte"]) == (str(path), 0)


async def test_a_text_whose_chain_was_made_anew_is_refused_although_every_line_follows(journal: Path) -> None:
    """Who edits the end of a segment and chains what comes after it anew has not the key for the seal."""
    path = sealed(journal)[-1]
    *lines, last = path.read_bytes().splitlines(keepends=True)
    before = lines[-1][-67:-3]
    body = msgspec.json.decode(last, type=dict[str, msgspec.Raw])
    del body["hash"]
    body["actor"] = msgspec.Raw(b'"nobody"')
    edited, _ = encode_line(before, body)  # type: ignore[arg-type]
    path.write_bytes(b"".join([*lines, edited]))
    with pytest.raises(JournalDamaged, match=r"seal|follow"):
        replay(journal)


async def test_a_true_segment_at_another_place_is_refused(journal: Path) -> None:
    """Each of them has a good seal; the second stands where the third should."""
    second, third = sealed(journal)[1:3]
    third.write_bytes(second.read_bytes())
    seal = read_seal(DISK, seal_path(second))
    assert seal is not None
    write_seal(DISK, seal_path(third), msgspec.structs.replace(seal, first=int(third.stem)), MINE)
    with pytest.raises(JournalDamaged) as caught:
        replay(journal)
    assert caught.value.context["file"] == str(third)


async def test_a_seal_that_was_made_for_another_text_gives_no_text(journal: Path) -> None:
    segment = list_segments(DISK, journal / "commits")[0]
    seal = read_seal(DISK, seal_path(segment.path))
    assert SealedTexts(DISK, [segment], MINE).take(segment) is not None
    assert seal is not None
    lying = Seal(first=seal.first, last=seal.last, size=seal.size, digest="0" * 64, last_hash=seal.last_hash)
    write_seal(DISK, seal_path(segment.path), lying, MINE)
    assert SealedTexts(DISK, [segment], MINE).take(segment) is None
    assert SealedTexts(DISK, [segment], None).take(segment) is None
