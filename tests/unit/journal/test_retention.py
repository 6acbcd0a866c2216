"""Retention: old segments go, what they came to stays, and the rest is still verified, started on, backed up and restored."""

import shutil
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import msgspec
import pytest

from nano.domain.errors import Invalid, JournalDamaged, JournalError
from nano.journal.archive_schedule import ArchiveSchedule, ArchiveSettings, KeepSettings
from nano.journal.archiving import archive_segments
from nano.journal.backup import backup, restore
from nano.journal.commit_log import CommitLog
from nano.journal.disk import RealDisk
from nano.journal.feed import Feed
from nano.journal.horizon import NEVER, NEXT, Horizon, Limits, read_horizon
from nano.journal.ledger import Ledger
from nano.journal.line import Tracked
from nano.journal.mark import mark_text, read_mark
from nano.journal.reader import JournalReader
from nano.journal.resource_journals import rebuild_resource_journals
from nano.journal.retention import Retention
from nano.journal.segments import HORIZON, Seal
from nano.journal.snapshots import SnapshotSettings
from nano.journal.store import EventStore
from nano.journal.testing import BadDisk, Count, Counters, Key, Make, Remove, numbered, ticking
from nano.journal.verify import verify

pytestmark = pytest.mark.anyio

DISK = RealDisk()
START = datetime(2026, 11, 21, tzinfo=UTC)
NONE = SnapshotSettings(every_events=0)
SOME = SnapshotSettings(every_events=10, at_stop_events=1_000)
SMALL = Limits(days=0, size=1)


def is_signed(signature: bytes, data: bytes, key: str) -> bool:
    return Key(key).is_signed(signature, data)


def ledger_on(node: Path, snapshots: SnapshotSettings = NONE, limits: Limits = SMALL) -> Ledger:
    clock = ticking(START)
    log = CommitLog(node / "data" / "journal", clock=clock, signer=Key(), limits=limits, segment_bytes_max=1_500)
    return Ledger(log, Counters(), clock=clock, new_id=numbered(), feed=Feed(), snapshots=snapshots)


async def do(ledger: Ledger, rounds: int = 30) -> None:
    for number, name in enumerate(("old", "a", "b"), 1):
        if ledger.version(f"counter/{name}") == 0:
            await ledger.execute(
                Make(name), actor="admin", command_id=f"make-{name}", tracking=Tracked("cell/x", number)
            )
    if ledger.model.get("counter/old") is not None:
        await ledger.execute(Remove("old"), actor="admin", command_id="")
    for step in range(rounds):
        await ledger.execute(Count("ab"[step % 2], step + 1), actor="admin", command_id=f"count-{ledger.position}")


def everything(ledger: Ledger) -> dict[str, Any]:
    return {
        "states": dict(ledger.model.states),
        "versions": {name: ledger.version(f"counter/{name}") for name in ("old", "a", "b")},
        "position": ledger.position,
        "hash": ledger.log.hash,
        "tracking": ledger.tracking("cell/x"),
    }


async def state_of(node: Path, snapshots: SnapshotSettings = NONE, limits: Limits = SMALL) -> dict[str, Any]:
    ledger = ledger_on(node, snapshots, limits)
    await ledger.start()
    found = everything(ledger)
    await ledger.aclose()
    return found


def retention(node: Path, disk: RealDisk = DISK, limits: Limits = SMALL) -> Retention:
    return Retention(disk, node / "data" / "journal", Counters, limits, Key())


def check(node: Path) -> Any:
    return verify(node / "data" / "journal", check_signature=is_signed, own_key="mine", model=Counters())


@pytest.fixture
async def node(tmp_path: Path) -> Path:
    """Archived up to the last two sealed segments."""
    folder = tmp_path / "core"
    ledger = ledger_on(folder)
    await ledger.start()
    await do(ledger)
    await ledger.aclose()
    archive_segments(DISK, folder / "data/journal/commits", 2)
    return folder


@pytest.fixture
async def short(node: Path) -> tuple[Path, Horizon, dict[str, Any]]:
    """The same after old segments were dropped: the node, its horizon, and what it was before."""
    before = await state_of(node)
    assert retention(node).prepare(START) > 0
    assert await state_of(node) == before
    horizon = read_horizon(DISK, node / "data/journal/commits")
    assert horizon is not None
    return node, horizon, before


def first(node: Path) -> int:
    return int(min((node / "data/journal/commits").glob("*.jsonl*")).name.partition(".")[0])


Short = tuple[Path, Horizon, dict[str, Any]]


async def test_a_node_that_runs_for_long_keeps_no_more_than_two_bases(short: Short) -> None:
    """The one it begins with, and the one it will; each twice."""
    node, horizon, _ = short
    ledger = ledger_on(node)
    await ledger.start()
    prepared = set()
    for _ in range(3):
        await do(ledger)
        archive_segments(DISK, node / "data/journal/commits", 2)
        prepared.add(retention(node).prepare(START))
    bases = {name.partition(".")[0] for name in DISK.list(node / "data/journal/base")}
    assert (len(prepared), bases) == (3, {f"{horizon.position:016d}", f"{max(prepared):016d}"})
    await ledger.aclose()


async def test_nothing_is_due(node: Path) -> None:
    names = sorted(path.name for path in (node / "data/journal/commits").iterdir())
    for limits in (Limits(0, 0), Limits(days=30, size=0), Limits(days=0, size=1 << 30)):
        assert retention(node, limits=limits).prepare(START + timedelta(days=1)) == 0
    assert sorted(path.name for path in (node / "data/journal/commits").iterdir()) == names


async def test_what_is_old_is_dropped_at_the_next_start(node: Path) -> None:
    before = await state_of(node)
    month = Limits(days=30, size=0)
    last = retention(node, limits=month).prepare(START + timedelta(days=31))
    assert 0 < last < before["position"]
    assert first(node) == 1  # nothing has gone yet
    assert check(node).damage is None
    assert await state_of(node, limits=month) == before
    assert first(node) == last + 1
    report = check(node)
    assert (report.damage, report.begins_after, report.position) == (None, last, before["position"])
    assert report.dropped_segments > 2


async def test_it_goes_on_and_drops_more(short: Short) -> None:
    node, horizon, _ = short
    ledger = ledger_on(node, SOME)
    await ledger.start()
    await do(ledger, 40)
    before = everything(ledger)
    await ledger.aclose()
    archive_segments(DISK, node / "data/journal/commits", 1)
    last = retention(node).prepare(START)
    assert last > horizon.position
    assert await state_of(node, SOME) == before
    further = read_horizon(DISK, node / "data/journal/commits")
    assert further is not None
    assert further.seals[: len(horizon.seals)] == horizon.seals
    assert (further.journal, further.position) == (horizon.journal, last)
    assert len(list((node / "data/journal/base").iterdir())) == 2
    assert check(node).damage is None
    assert await state_of(node, NONE) == before


async def test_a_repeated_command_whose_outcome_is_gone_is_refused(short: Short) -> None:
    node, _, _ = short
    ledger = ledger_on(node)
    await ledger.start()
    with pytest.raises(Invalid) as caught:
        await ledger.execute(Make("a"), actor="admin", command_id="make-a")
    assert caught.value.code == "before_horizon"
    await ledger.aclose()


async def test_facts_begin_at_the_horizon(short: Short) -> None:
    node, horizon, before = short
    ledger = ledger_on(node)
    await ledger.start()
    assert [fact.position for fact in await ledger.facts(0)] == list(
        range(horizon.position + 1, before["position"] + 1)
    )
    rows = await ledger.facts(0, resource="counter/a")
    assert rows[0].version > 1
    assert [fact.version for fact in rows] == list(range(rows[0].version, before["versions"]["a"] + 1))
    assert await ledger.facts(rows[2].version, 2, "counter/a") == rows[3:5]
    assert await ledger.facts(0, resource="counter/old") == []
    with pytest.raises(Invalid) as caught:
        await ledger.history.transactions(0, ledger.position, 10)
    assert caught.value.code == "before_horizon"
    await ledger.aclose()
    reader = JournalReader(node / "data/journal")
    assert next(reader.lines()).position == horizon.position + 1


async def test_resource_journals_lose_the_same_rows(short: Short) -> None:
    node, _, _ = short
    resources = node / "data/journal/resources"
    trimmed = {path.name: path.read_bytes() for path in (resources / "counter").iterdir()}
    assert sorted(trimmed) == ["a.jsonl", "b.jsonl"]
    shutil.rmtree(resources)
    rebuild_resource_journals(node / "data/journal", clock=ticking(START))
    assert {path.name: path.read_bytes() for path in (resources / "counter").iterdir()} == trimmed
    (resources / "counter" / "a.jsonl").unlink()
    await state_of(node)  # made anew, and the one that has no rows is not
    assert {path.name: path.read_bytes() for path in (resources / "counter").iterdir()} == trimmed


async def test_resource_journals_lose_the_same_rows_after_a_loss_of_power(node: Path) -> None:
    """What is left of them is written again from the horizon on, not only what comes after the mark."""
    retention(node).prepare(START)
    resources = node / "data/journal/resources"
    mark = read_mark(DISK, resources)
    assert mark is not None
    (resources / ".mark").write_bytes(mark_text(msgspec.structs.replace(mark, boot="another")))
    await state_of(node)
    assert check(node).begins_after > 0
    assert check(node).damage is None


async def test_a_resource_that_slept_over_the_horizon_wakes(node: Path) -> None:
    ledger = ledger_on(node)
    await ledger.start()
    await ledger.execute(Make("sleeper"), actor="admin", command_id="")
    await do(ledger)
    await ledger.aclose()
    archive_segments(DISK, node / "data/journal/commits", 0)
    retention(node).prepare(START)
    await state_of(node)
    path = node / "data/journal/resources/counter/sleeper.jsonl"
    assert not path.exists()
    ledger = ledger_on(node)
    await ledger.start()
    await ledger.execute(Count("sleeper", 5), actor="admin", command_id="")
    assert [fact.version for fact in await ledger.facts(0, resource="counter/sleeper")] == [2]
    await ledger.aclose()
    assert check(node).damage is None


async def test_a_base_is_kept_over_versions_and_twice(short: Short, monkeypatch: pytest.MonkeyPatch) -> None:
    node, horizon, before = short
    monkeypatch.setattr("nano.journal.snapshot_text.code_of", lambda model: "a later version")
    assert await state_of(node) == before
    one, other = horizon.base_paths(node / "data/journal")
    whole = one.read_bytes()
    for path in (one, other):
        path.write_bytes(whole[:-1])
        assert await state_of(node) == before
        damage = check(node).damage
        assert (damage.file, "copy is whole" in damage.message) == (str(path), True)
        path.write_bytes(whole)
    one.unlink()
    other.unlink()
    for start in (NONE, SOME):
        with pytest.raises(JournalDamaged) as caught:
            await state_of(node, start)
        assert (caught.value.code, caught.value.context["file"]) == ("base_damaged", str(one))
    assert check(node).damage.file == str(one)


async def test_every_changed_byte_of_the_anchor_is_found(short: Short) -> None:
    node, _, _ = short
    path = node / "data/journal/commits" / HORIZON
    whole = path.read_bytes()
    for offset in range(0, len(whole), 7):
        path.write_bytes(whole[:offset] + bytes([whole[offset] ^ 1]) + whole[offset + 1 :])
        assert check(node).damage.file == str(path)
        with pytest.raises(JournalDamaged) as caught:
            await state_of(node)
        assert caught.value.context["file"] == str(path)
    path.write_bytes(whole)
    path.unlink()
    assert check(node).damage is not None
    with pytest.raises(JournalDamaged):
        await state_of(node)


async def test_a_forged_anchor_is_found_by_its_signatures(short: Short) -> None:
    """With checks that fit: only whoever has the key can sign."""
    import msgspec

    from nano.journal.small_files import with_check

    node, horizon, _ = short
    path = node / "data/journal/commits" / HORIZON
    seals: tuple[Seal, ...] = (msgspec.structs.replace(horizon.seals[0], digest="0" * 64), *horizon.seals[1:])
    for forged in (msgspec.structs.replace(horizon, seals=seals), msgspec.structs.replace(horizon, journal="0" * 64)):
        path.write_bytes(with_check(msgspec.json.encode(forged)))
        damage = check(node).damage
        assert damage is not None


async def test_backups_begin_where_the_journal_does(short: Short, tmp_path: Path) -> None:
    node, horizon, before = short
    made = backup(node, tmp_path / "backups", now=START)
    restored = tmp_path / "restored"
    assert restore(made, restored) == before["position"]
    assert {**await state_of(restored), "hash": b""} == {**before, "hash": b""}
    assert check(restored).begins_after == horizon.position
    earlier = tmp_path / "earlier"
    assert restore(made, earlier, at=horizon.position + 3) == horizon.position + 3
    assert (await state_of(earlier))["position"] == horizon.position + 3
    with pytest.raises(Invalid) as caught:
        restore(made, tmp_path / "never", at=horizon.position - 1)
    assert caught.value.code == "before_horizon"
    assert not (tmp_path / "never" / "data").exists() or not any((tmp_path / "never" / "data").iterdir())


async def test_the_library_is_refused_a_journal_without_its_beginning(short: Short) -> None:
    with pytest.raises(JournalError) as caught:
        EventStore(short[0] / "data/journal", clock=ticking(START))
    assert caught.value.code == "journal_not_from_its_beginning"


async def test_a_node_prepares_what_is_due(node: Path) -> None:
    """And one whose settings say nothing drops nothing."""
    ledger = ledger_on(node)
    await ledger.start()
    for settings, due in ((ArchiveSettings(), False), (KeepSettings(), False), (KeepSettings(keep_days=1), True)):
        schedule = ArchiveSchedule(ledger, settings, lambda: START + timedelta(days=2))
        await schedule.once()
        assert schedule.trouble == ""
        assert (node / "data/journal/commits" / NEXT).exists() is due
    before = everything(ledger)
    await ledger.aclose()
    assert await state_of(node, limits=KeepSettings(keep_days=1).limits) == before
    assert check(node).begins_after > 0


async def test_settings_that_were_changed_meanwhile_count(node: Path) -> None:
    before = await state_of(node)
    for limits in (NEVER, Limits(days=365, size=0)):
        assert retention(node).prepare(START) > 0
        assert await state_of(node, limits=limits) == before
        assert first(node) == 1
        assert not (node / "data/journal/commits" / NEXT).exists()
    assert check(node).damage is None


async def test_a_copy_of_the_base_that_is_gone_is_made_again(short: Short) -> None:
    node, horizon, _ = short
    ledger = ledger_on(node)
    await ledger.start()
    one, other = horizon.base_paths(node / "data/journal")
    whole = one.read_bytes()
    other.unlink()
    one.write_bytes(whole)
    await ArchiveSchedule(ledger, ArchiveSettings(), ticking()).once()
    assert other.read_bytes() == whole
    one.write_bytes(whole[1:])
    await ArchiveSchedule(ledger, ArchiveSettings(), ticking()).once()
    assert one.read_bytes() == whole
    await ledger.aclose()


@pytest.mark.parametrize("operation", ["open", "append", "fdatasync", "read", "rename", "sync_folder"])
async def test_a_disk_that_fails_while_preparing(node: Path, operation: str) -> None:
    before = await state_of(node)
    disk = BadDisk()
    disk.order(operation, name="base" if operation != "read" else ".zst")
    with pytest.raises(OSError, match="Input/output"):
        retention(node, disk).prepare(START)
    assert not (node / "data/journal/commits" / NEXT).exists()
    assert (await state_of(node), first(node)) == (before, 1)
    assert retention(node, disk).prepare(START) > 0
    assert await state_of(node) == before
    assert check(node).damage is None


async def test_a_base_that_did_not_last_is_not_taken_over(node: Path) -> None:
    before = await state_of(node)
    last = retention(node).prepare(START)
    (node / f"data/journal/base/{last:016d}.copy.json.zst").write_bytes(b"")
    assert (await state_of(node), first(node)) == (before, 1)
    assert not (node / "data/journal/commits" / NEXT).exists()


async def test_what_a_crash_left_does_not_count(node: Path, tmp_path: Path) -> None:
    """After the anchor got its name, and before old segments were removed."""
    before = await state_of(node)
    commits = node / "data/journal/commits"
    old = {path.name: path.read_bytes() for path in commits.iterdir()}
    retention(node).prepare(START)
    assert await state_of(node) == before
    for name, data in old.items():
        if not (commits / name).exists():
            (commits / name).write_bytes(data)
    assert first(node) == 1
    assert check(node).damage is None
    assert await state_of(node) == before
    assert first(node) > 1
