"""A journal whose oldest segments were dropped: every verb reads what is left, and says where it begins."""

from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import anyio
import pytest

from nano.domain.zone import Zone
from nano.journal.archiving import archive_segments
from nano.journal.commit_log import CommitLog
from nano.journal.disk import RealDisk
from nano.journal.feed import Feed
from nano.journal.horizon import Limits
from nano.journal.ledger import Ledger
from nano.journal.retention import Retention
from nano.tools.replay import exits

DISK = RealDisk()
SMALL = Limits(days=0, size=1)


def drop(node: Path) -> int:
    """All but the last two sealed segments; the position after which the journal then begins."""
    journal = node / "data" / "journal"
    archive_segments(DISK, journal / "commits", 2)
    last = Retention(DISK, journal, Zone, SMALL, None).prepare(datetime.now(UTC))

    async def start() -> None:
        log = CommitLog(journal, clock=lambda: datetime.now(UTC), limits=SMALL)
        async with Ledger.open(log, Zone(), clock=lambda: datetime.now(UTC), new_id=lambda: "x", feed=Feed()):
            pass

    anyio.run(start)
    assert last > 0
    return last


@pytest.fixture
def read(replay: Any, many_segments: Path) -> Any:
    return lambda *words: replay(*words, folder=many_segments)


@pytest.fixture
def whole(read: Any) -> dict[str, str]:
    return {words: read(*words.split(), "-o", "json").out for words in ("state", "state --at 30", "log", "show cell")}


@pytest.fixture
def begins(whole: dict[str, str], many_segments: Path) -> int:
    return drop(many_segments)


def test_what_is_true_is_what_was_true(read: Any, whole: dict[str, str], begins: int) -> None:
    assert begins < 30
    for words in ("state", "state --at 30"):
        assert read(*words.split(), "-o", "json").out == whole[words]
    assert read("diff", "--at", str(begins), "--at", "30").code == 0
    assert read("stats").code == 0


def test_a_moment_before_is_refused_kindly(read: Any, begins: int) -> None:
    for words in (("state", "--at", "3"), ("diff", "--at", "3"), ("state", "--at", "2026-11-21T03:00:01Z")):
        outcome = read(*words)
        assert (outcome.code, outcome.out) == (exits.REFUSED, "")
        assert f"position {begins}" in outcome.err
        assert "[before_horizon]" in outcome.err
    assert read("state", "--at", str(begins)).code == 0


def test_facts_that_are_left(read: Any, whole: dict[str, str], begins: int) -> None:
    outcome = read("log", "-o", "json")
    assert outcome.out.splitlines() == whole["log"].splitlines()[begins:]
    assert f"begins after position {begins}" in outcome.err
    shown = read("show", "guest/web")
    assert shown.code == 0
    assert f"begins after position {begins}" in shown.err


def test_verify_says_what_is_gone(read: Any, begins: int) -> None:
    report = read("verify", "-o", "json").json[0]
    assert (report["whole"], report["begins_after"], report["position"]) == (True, begins, 38)
    outcome = read("verify")
    assert (outcome.code, f"all up to position {begins}" in outcome.out) == (0, True)


def test_copies_of_it(replay: Any, read: Any, many_segments: Path, begins: int, tmp_path: Path) -> None:
    state = read("state", "-o", "json").out
    backups, bundle = tmp_path / "backups", tmp_path / "incident.zip"
    assert read("rebuild", str(tmp_path / "rebuilt")).code == 0
    assert replay("state", "-o", "json", folder=tmp_path / "rebuilt").out == state
    assert replay("verify", "-o", "json", folder=tmp_path / "rebuilt").json[0]["begins_after"] == begins
    assert read("backup", str(backups)).code == 0
    assert replay("--backup", str(backups), "state", "-o", "json", folder=None).out == state
    assert replay("--backup", str(backups), "restore", str(tmp_path / "restored"), folder=None).code == 0
    assert replay("verify", folder=tmp_path / "restored").code == 0
    early = replay("--backup", str(backups), "restore", str(tmp_path / "early"), "--at", "2", folder=None)
    assert (early.code, "[before_horizon]" in early.err) == (exits.REFUSED, True)
    assert not (tmp_path / "early" / "data" / "journal").exists()
    assert read("export", str(bundle)).code == 0
    assert replay("--bundle", str(bundle), "state", "-o", "json", folder=None).out == state
    assert replay("--bundle", str(bundle), "verify", folder=None).code == 0


def test_without_its_base_it_is_damaged(read: Any, many_segments: Path, begins: int) -> None:
    for path in (many_segments / "data" / "journal" / "base").iterdir():
        path.write_bytes(b"")
    for words in ("verify", "state"):
        outcome = read(words)
        assert outcome.code == 1
        assert "base" in outcome.out + outcome.err
