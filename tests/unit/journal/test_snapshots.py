"""Snapshots: a start from one gives what reading everything gives, and a bad one is passed over."""

import asyncio
import json
import logging
import tempfile
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from hashlib import sha256
from pathlib import Path
from typing import Any

import msgspec
import pytest
import zstandard
from hypothesis import given, settings
from hypothesis import strategies as st

from nano.domain.errors import JournalDamaged, NanoError
from nano.domain.facts import Command
from nano.journal.commit_log import CommitLog
from nano.journal.disk import Disk, RealDisk
from nano.journal.feed import Feed
from nano.journal.ledger import Ledger
from nano.journal.line import Tracked
from nano.journal.snapshot_text import TRAILER
from nano.journal.snapshots import SnapshotSettings, list_snapshots
from nano.journal.testing import Count, CountAll, Counters, Make, Remove, numbered, ticking
from nano.journal.verify import verify

pytestmark = pytest.mark.anyio

OFTEN = SnapshotSettings(every_events=5, at_stop_events=1, retry_events=2)
AT_STOP = SnapshotSettings(every_events=1_000, at_stop_events=1)
NEVER = SnapshotSettings(every_events=0)


@asynccontextmanager
async def opened(
    folder: Path, snapshots: SnapshotSettings = AT_STOP, disk: Disk | None = None, segment_bytes_max: int = 1 << 20
) -> AsyncIterator[Ledger]:
    clock = ticking()
    log = CommitLog(folder / "journal", clock=clock, disk=disk, segment_bytes_max=segment_bytes_max)
    ports: dict[str, Any] = {"clock": clock, "new_id": numbered(), "feed": Feed(), "snapshots": snapshots}
    async with Ledger.open(log, Counters(), **ports) as ledger:
        yield ledger


async def do(ledger: Ledger, *commands: Command, tag: str = "") -> None:
    for number, command in enumerate(commands):
        await ledger.execute(
            command, actor="admin", command_id=f"{tag}{number}-{type(command).__name__}" if tag else ""
        )


def everything(ledger: Ledger) -> list[Any]:
    """All that folding gives, in order; equal texts are equal states, byte for byte."""
    capture = ledger._capture()
    return [
        capture.position,
        capture.hash,
        capture.time,
        msgspec.json.encode(list(capture.states.items())),
        list(capture.versions.items()),
        sorted(capture.tracking.items()),
        capture.memory,
        list(capture.receipts.items()),
    ]


def snapshots_in(folder: Path) -> list[Path]:
    return [path for _, path in list_snapshots(RealDisk(), folder / "journal" / "snapshots")]


def texts_of(path: Path) -> list[bytes]:
    with zstandard.ZstdDecompressor().stream_reader(path.read_bytes()) as reader:
        return reader.read().splitlines()


async def made(folder: Path, **options: Any) -> list[Any]:
    """A journal with a snapshot at its end, and what it folds to."""
    async with opened(folder, **options) as ledger:
        await do(ledger, *(Make(f"n{number}") for number in range(20)), tag="a")
        await do(ledger, CountAll(2), Remove("n3"), Count("n4", 7), tag="b")
        await ledger.execute(Count("n5"), actor="cell", command_id="", tracking=Tracked("cell/x", 44))
        return everything(ledger)


async def test_a_start_from_a_snapshot_is_a_start_from_the_beginning(tmp_path: Path) -> None:
    whole = await made(tmp_path, segment_bytes_max=1_000)
    assert len(snapshots_in(tmp_path)) == 1
    async with opened(tmp_path, NEVER) as ledger:
        assert ledger.snapshots.position == 0
        assert everything(ledger) == whole
    async with opened(tmp_path) as ledger:
        assert ledger.snapshots.position == whole[0] == ledger.position
        assert everything(ledger) == whole
        assert (await ledger.execute(Make("n0"), actor="admin", command_id="a0-Make")).repeated
        assert ledger.tracking("cell/x") == 44
        await do(ledger, Make("n3"), Count("n3"))
        assert ledger.version("counter/n3") == 5
        assert [fact.position for fact in await ledger.facts(0, 7)] == [1, 2, 3, 4, 5, 6, 7]
        assert [fact.position for fact in await ledger.facts(30, 3)] == [31, 32, 33]
        whole = everything(ledger)
    assert verify(tmp_path / "journal").whole
    async with opened(tmp_path, NEVER) as ledger:
        assert everything(ledger) == whole


async def test_a_snapshot_at_the_end_of_a_run_that_wrote_nothing(tmp_path: Path) -> None:
    """The last line has the epoch of an earlier run."""
    whole = await made(tmp_path, snapshots=NEVER)
    async with opened(tmp_path):
        pass
    async with opened(tmp_path) as ledger:
        assert ledger.snapshots.position == whole[0]
        assert everything(ledger) == whole


async def test_lines_before_the_snapshot_are_not_read_again(tmp_path: Path) -> None:
    await made(tmp_path, segment_bytes_max=1_000)
    first = tmp_path / "journal" / "commits" / f"{1:016d}.jsonl"
    data = bytearray(first.read_bytes())
    data[data.index(b"\n") + 40] ^= 1  # the first line of each segment is looked at
    first.write_bytes(data)
    async with opened(tmp_path):
        pass  # verify is for that
    assert verify(tmp_path / "journal").damage is not None
    with pytest.raises(JournalDamaged):
        async with opened(tmp_path, NEVER):
            pass


async def test_lines_before_the_snapshot_are_checked_when_they_are_read_later(tmp_path: Path) -> None:
    """Reading the past from lines that no start has looked at: a changed one is named, and never folded."""
    async with opened(tmp_path, OFTEN, segment_bytes_max=3_000) as ledger:
        await do(ledger, Make("a"), *[Count("a", 1) for _ in range(60)])
        facts = await ledger.facts(0)
    paths = sorted((tmp_path / "journal" / "commits").glob("*.jsonl"))
    for path in paths[:3]:
        good = path.read_bytes()
        place = good.rindex(b'"by":1')
        path.write_bytes(good[:place] + b'"by":7' + good[place + 6 :])
        async with opened(tmp_path) as ledger:
            assert ledger.snapshots.position
            position = int(path.stem)
            for after in (0, position - 1, position + 3):
                with pytest.raises(JournalDamaged, match=f"{path.name}, byte") as caught:
                    await ledger.facts(after)
                assert caught.value.context["byte"] == good.rindex(b"\n", 0, place) + 1
            path.write_bytes(good)
            assert await ledger.facts(0) == facts
            assert [fact for after in range(60) for fact in await ledger.facts(after, 1)] == facts[:60]


async def test_lines_after_the_snapshot_are_checked(tmp_path: Path) -> None:
    await made(tmp_path)
    async with opened(tmp_path, NEVER) as ledger:
        await do(ledger, Count("n1", 77), Count("n2"))
    segment = tmp_path / "journal" / "commits" / f"{1:016d}.jsonl"
    segment.write_bytes(segment.read_bytes().replace(b'"by":77', b'"by":78'))
    with pytest.raises(JournalDamaged, match="does not follow"):
        async with opened(tmp_path):
            pass


async def test_every_bad_byte_of_a_snapshot_is_found(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    whole = await made(tmp_path)
    (path,) = snapshots_in(tmp_path)
    good = path.read_bytes()
    caplog.set_level(logging.WARNING, "nano.journal")
    changed = [good[:at] + bytes([good[at] ^ 0x55]) + good[at + 1 :] for at in range(0, len(good), 7)]
    cut = [good[:at] for at in range(0, len(good), 31)]
    for data in changed + cut:
        path.write_bytes(data)
        caplog.clear()
        async with opened(tmp_path, SnapshotSettings(at_stop_events=1_000)) as ledger:
            used = ledger.snapshots.position
            assert everything(ledger)[1:] == whole[1:]
        notices = [record for record in caplog.records if "snapshot_ignored" in record.message]
        assert (used, len(notices)) == (0, 1)


def rewritten(path: Path, change: Any) -> None:
    """The same snapshot with another text and a digest that fits it."""
    *lines, _ = texts_of(path)
    text = b"".join(line + b"\n" for line in change(lines))
    end = json.dumps({"digest": sha256(text).hexdigest()}).encode() + b"\n"
    file = zstandard.ZstdCompressor().compress(text + end)
    path.write_bytes(file + TRAILER + sha256(file).digest())


async def test_a_snapshot_of_an_older_format_is_no_damage(tmp_path: Path) -> None:
    await made(tmp_path)
    (path,) = snapshots_in(tmp_path)
    assert verify(tmp_path / "journal").snapshots == 1
    rewritten(path, header_with(snapshot=1))
    path.write_bytes(path.read_bytes()[: -len(TRAILER) - 32])  # it had none
    report = verify(tmp_path / "journal")
    assert (report.damage, report.snapshots) == (None, 0)


@pytest.mark.parametrize("fields", [{"hash": "0" * 64}, {"position": 99}])
async def test_verify_names_a_snapshot_of_another_journal(tmp_path: Path, fields: dict[str, Any]) -> None:
    await made(tmp_path)
    (path,) = snapshots_in(tmp_path)
    rewritten(path, header_with(**fields))
    damage = verify(tmp_path / "journal").damage
    assert damage is not None
    assert damage.file == str(path)


def header_with(**fields: Any) -> Any:
    return lambda lines: [json.dumps(json.loads(lines[0]) | fields).encode(), *lines[1:]]


@pytest.mark.parametrize(
    ("change", "reason"),
    [
        (header_with(snapshot=1), "format 1"),
        (header_with(code="0" * 64), "another version"),
        (header_with(hash="0" * 64), "another hash"),
        (header_with(position=99), "it is one of position 99"),
        (header_with(epoch=7), "time or epoch"),
        (lambda lines: [*lines[:1], b'{"states":[{"counter":{"counter/a":{"name":1}}}]}'], "can't be read"),
        (lambda lines: [*lines[:1], b'{"states":[{"guest":{}}]}'], "can't be read"),
        (lambda lines: [*lines[:1], b'{"receipts":[["a",1,"zz"]]}'], "receipt"),
    ],
)
async def test_a_snapshot_of_something_else_is_passed_over(
    tmp_path: Path, caplog: pytest.LogCaptureFixture, change: Any, reason: str
) -> None:
    whole = await made(tmp_path)
    rewritten(snapshots_in(tmp_path)[0], change)
    async with opened(tmp_path) as ledger:
        assert ledger.snapshots.position == 0
        assert everything(ledger) == whole
    (notice,) = [record.message for record in caplog.records if "snapshot_ignored" in record.message]
    assert reason in notice


async def test_a_snapshot_with_wrong_contents_costs_a_second_reading_only(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    """Its digest fits, but what comes after it does not."""
    await made(tmp_path)
    async with opened(tmp_path, NEVER) as ledger:
        await do(ledger, Count("n1"))
        whole = everything(ledger)
    rewritten(snapshots_in(tmp_path)[0], lambda lines: [line for line in lines if b'{"versions"' not in line])
    async with opened(tmp_path, AT_STOP) as ledger:
        assert everything(ledger) == whole
        await do(ledger, Count("n1"))
    assert "should have version" in caplog.text


async def test_a_snapshot_newer_than_the_log_or_of_another_journal_is_passed_over(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    await made(tmp_path / "one")
    async with opened(tmp_path / "two") as ledger:
        await do(ledger, *(Make(f"m{number}") for number in range(10)))
        whole = everything(ledger)
    (path,) = snapshots_in(tmp_path / "one")
    path.rename(tmp_path / "two" / "journal" / "snapshots" / path.name)
    async with opened(tmp_path / "two") as ledger:
        assert ledger.snapshots.position == 10  # the older one fits
        assert everything(ledger) == whole
        await do(ledger, *(Count("m1") for _ in range(90)))
        whole = everything(ledger)
    async with opened(tmp_path / "two") as ledger:
        assert everything(ledger) == whole


@pytest.mark.parametrize("harm", ["no seal", "shorter", "gone"])
async def test_older_segments_must_be_there(tmp_path: Path, caplog: pytest.LogCaptureFixture, harm: str) -> None:
    whole = await made(tmp_path, segment_bytes_max=1_000)
    commits = tmp_path / "journal" / "commits"
    second = sorted(commits.glob("*.jsonl"))[1]
    if harm == "no seal":
        second.with_suffix(".seal").unlink()
        async with opened(tmp_path) as ledger:
            assert ledger.snapshots.position == 0
            assert everything(ledger) == whole
        assert second.with_suffix(".seal").exists()  # reading everything mends that
        return
    if harm == "shorter":
        second.write_bytes(second.read_bytes()[:-10])
    else:
        second.unlink()
    with pytest.raises(JournalDamaged):
        async with opened(tmp_path):
            pass
    assert "snapshot_ignored" in caplog.text


names = st.sampled_from("abcd")
commands = st.one_of(
    st.builds(Make, names),
    st.builds(Count, names, st.integers(-3, 3)),
    st.builds(CountAll, st.integers(1, 3)),
    st.builds(Remove, names),
)
rounds = st.lists(st.tuples(st.lists(commands, max_size=12), st.sampled_from([OFTEN, AT_STOP, NEVER])), max_size=6)


async def play(folder: Path, script: list[tuple[list[Command], SnapshotSettings]]) -> None:
    for number, (batch, policy) in enumerate(script):
        async with opened(folder, policy, segment_bytes_max=1_500) as ledger:

            async def one(index: int, command: Command, ledger: Ledger = ledger, number: int = number) -> None:
                try:
                    await ledger.execute(
                        command,
                        actor="admin",
                        command_id=f"{number}.{index}",
                        tracking=Tracked("up", number * 100 + index),
                    )
                except NanoError:
                    return

            await asyncio.gather(*(one(index, command) for index, command in enumerate(batch)))
            live = everything(ledger)
        async with opened(folder, NEVER) as ledger:
            assert everything(ledger) == live
        async with opened(folder, SnapshotSettings(at_stop_events=1_000)) as ledger:
            assert everything(ledger) == live
    assert verify(folder / "journal").whole


@settings(max_examples=25, deadline=None)
@given(rounds)
def test_live_full_and_snapshot_states_are_the_same(script: list[tuple[list[Command], SnapshotSettings]]) -> None:
    with tempfile.TemporaryDirectory() as folder:
        asyncio.run(play(Path(folder), script))
