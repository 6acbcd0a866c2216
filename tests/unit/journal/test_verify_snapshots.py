"""Snapshots are compared with what the log folds to: the first resource and field that differ are named, values are not."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import msgspec
import pytest

from nano.journal.commit_log import CommitLog
from nano.journal.feed import Feed
from nano.journal.folded import Capture
from nano.journal.ledger import Ledger
from nano.journal.line import Tracked
from nano.journal.snapshot_text import SnapshotText
from nano.journal.snapshots import SnapshotSettings
from nano.journal.testing import Count, Counter, Counters, Make, numbered, ticking
from nano.journal.verify import Report, verify

pytestmark = pytest.mark.anyio


@pytest.fixture
async def folder(tmp_path: Path) -> Path:
    clock = ticking()
    log = CommitLog(tmp_path, clock=clock, segment_bytes_max=1500)
    settings = SnapshotSettings(every_events=10, at_stop_events=1_000)
    model = Counters()
    async with Ledger.open(log, model, clock=clock, new_id=numbered(), feed=Feed(), snapshots=settings) as ledger:
        for name in "abc":
            await ledger.execute(
                Make(name), actor="admin", command_id=f"make-{name}", tracking=Tracked("cell/x", ord(name))
            )
        for step in range(30):
            await ledger.execute(Count("abc"[step % 3], step + 1), actor="admin", command_id=f"count-{step}")
    return tmp_path


def check(folder: Path) -> Report:
    return verify(folder, model=Counters())


def newest(folder: Path) -> Path:
    return sorted((folder / "snapshots").iterdir())[-1]


def change(folder: Path, **changes: Any) -> Path:
    """A snapshot that is whole, and says something else."""
    text = SnapshotText(Counters())
    path = newest(folder)
    capture = msgspec.structs.replace(text.read(path.read_bytes()), **changes)
    path.write_bytes(b"".join(text.write(capture)))
    return path


async def test_whole_ones_are_compared(folder: Path) -> None:
    report = check(folder)
    assert report.damage is None
    assert report.snapshots == report.folded == len(list((folder / "snapshots").iterdir())) >= 2
    assert verify(folder).folded == 0  # without a model only their bits can be checked


CHANGES: list[tuple[Callable[[Capture], dict[str, Any]], str, str]] = [
    (lambda was: {"states": was.states | {"counter/b": Counter("b", 7_777)}}, "counter/b", "value"),
    (lambda was: {"states": was.states | {"counter/ghost": Counter("ghost", 1)}}, "counter/ghost", "existence"),
    (lambda was: {"versions": was.versions | {"counter/c": 99}}, "counter/c", "version"),
    (lambda was: {"states": dict(reversed(was.states.items()))}, "", "the order of resources"),
    (lambda was: {"tracking": {"cell/x": 100}}, "", "what was read of other nodes"),
    (lambda was: {"receipts": {}}, "", "the list of command ids"),
    (lambda was: {"epoch": 12}, "", "time or epoch"),
]


@pytest.mark.parametrize(("changed", "resource", "field"), CHANGES, ids=[field for _, _, field in CHANGES])
async def test_the_first_difference_is_named(
    folder: Path, changed: Callable[[Capture], dict[str, Any]], resource: str, field: str
) -> None:
    was = SnapshotText(Counters()).read(newest(folder).read_bytes())
    path = change(folder, **changed(was))
    damage = check(folder).damage
    assert damage is not None
    assert (damage.file, damage.resource, damage.field, damage.position) == (str(path), resource, field, was.position)
    assert "7777" not in damage.message


async def test_one_of_another_version_of_the_code_is_counted_only(
    folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("nano.journal.snapshot_text.code_of", lambda model: "another")
    report = check(folder)
    assert (report.damage, report.folded, report.snapshots > 0) == (None, 0, True)


async def test_an_event_that_does_not_follow_is_named(folder: Path) -> None:
    class Strict(Counters):
        def apply(self, resource: str, event: Any, at: Any) -> Any:
            if getattr(event, "by", 0) == 5:
                raise ValueError("no fives")
            return super().apply(resource, event, at)

    damage = verify(folder, model=Strict()).damage
    assert damage is not None
    assert damage.byte > 0
    assert "no fives" in damage.message


async def test_progress_goes_to_the_end(folder: Path) -> None:
    told: list[tuple[str, int, int]] = []
    verify(folder, progress=lambda *moved: told.append(moved))
    log = [moved for moved in told if moved[0] == "log"]
    assert log[-1][1] == log[-1][2] == sum(path.stat().st_size for path in (folder / "commits").glob("*.jsonl"))
    assert ("resource journals", 0, 3) in told
