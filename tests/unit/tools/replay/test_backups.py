"""backup, restore and --backup: what was backed up is read in place, and comes back as it was at any position."""

import fcntl
from datetime import datetime, timedelta
from pathlib import Path
from typing import Any

import pytest

from nano.tools.replay import backups, exits
from tests.unit.tools.replay.conftest import Told


def log_of(folder: Path) -> bytes:
    return b"".join(path.read_bytes() for path in sorted((folder / "data" / "journal" / "commits").glob("*.jsonl")))


@pytest.fixture
def target(replay: Any, many_segments: Path, tmp_path: Path) -> Path:
    folder = tmp_path / "backups"
    outcome = replay("backup", str(folder), "-o", "json", folder=many_segments)
    assert outcome.code == 0, outcome.err
    (told,) = outcome.json
    assert (told["done"], told["position"], told["node"]) == (True, 38, "Core_aabbccddeeff")
    assert Path(told["backup"]).parent == folder
    return folder


@pytest.mark.parametrize("words", ["log", "state", "stats", "why guest/web.power", "verify"])
def test_every_verb_reads_a_backup(replay: Any, node: Path, target: Path, words: str) -> None:
    (one,) = target.iterdir()
    for folder in (target, one):
        outcome = replay("--backup", str(folder), *words.split(), "-o", "json", folder=None)
        assert outcome.code == 0, outcome.err
        if words in ("log", "state"):
            assert outcome.json == replay(*words.split(), "-o", "json").json


def test_it_comes_back_whole(replay: Any, many_segments: Path, target: Path, tmp_path: Path) -> None:
    into = tmp_path / "restored"
    outcome = replay("--backup", str(target), "restore", str(into), folder=None)
    assert outcome.code == 0, outcome.err
    assert "restored" in outcome.out
    assert log_of(into) == log_of(many_segments)
    assert replay("verify", folder=into).code == 0
    again = replay("--backup", str(target), "restore", str(into), folder=None)
    assert (again.code, log_of(into)) == (exits.REFUSED, log_of(many_segments)), "never over a journal"


@pytest.mark.parametrize(("at", "position"), [("17", 17), ("2026-11-21T03:00:01Z", 4), ("0", 0)])
def test_it_comes_back_as_it_was(replay: Any, target: Path, tmp_path: Path, at: str, position: int) -> None:
    into = tmp_path / "restored"
    (told,) = replay("--backup", str(target), "restore", str(into), "--at", at, "-o", "json", folder=None).json
    assert told["position"] == position
    (found,) = replay("verify", "-o", "json", folder=into).json
    assert (found["whole"], found["position"]) == (True, position)
    if position:
        states = [record["state"] for record in replay("state", "-o", "json", folder=into).json]
        then = replay("state", "--at", str(position), "-o", "json").json
        assert states == [record["state"] for record in then]


def test_a_backup_that_was_changed_is_refused(replay: Any, target: Path, tmp_path: Path) -> None:
    (path, *_) = sorted(target.rglob("*.jsonl"))
    data = bytearray(path.read_bytes())
    data[100] ^= 1
    path.write_bytes(data)
    for words in (("state",), ("restore", str(tmp_path / "into"))):
        outcome = replay("--backup", str(target), *words, folder=None)
        assert (outcome.code, outcome.out) == (exits.DAMAGED, "")
        assert f"{path}, byte " in outcome.err
    assert not (tmp_path / "into").exists()


def test_a_bar_follows_each_part_to_its_end(
    replay: Any, many_segments: Path, tmp_path: Path, told: Told, monkeypatch: pytest.MonkeyPatch
) -> None:
    parts = {"backup": ["log", "files, read back"], "restore": ["files of the backup", "log", "log, read back"]}
    for words in (("backup", "b"), ("backup", "b", "again"), ("restore", "into"), ("restore", "some", "--at", "17")):
        told.clear()
        verb, folder, *more = words
        source = () if verb == "backup" else ("--backup", str(tmp_path / "b"))
        at = [] if more == ["again"] else more
        if more == ["again"]:  # in another second than the first
            later(monkeypatch)
        outcome = replay(*source, verb, str(tmp_path / folder), *at, folder=many_segments if verb == "backup" else None)
        assert outcome.code == 0, outcome.err
        for part in parts[verb]:
            done, total = told[part]
            assert done == total > 0, (words, part)


def later(monkeypatch: pytest.MonkeyPatch) -> None:
    made = backups.backup

    def a_minute_later(*words: Any, now: datetime, **options: Any) -> Path:
        return made(*words, now=now + timedelta(minutes=1), **options)

    monkeypatch.setattr(backups, "backup", a_minute_later)


def test_what_is_refused_leaves_no_folder(replay: Any, many_segments: Path, target: Path, tmp_path: Path) -> None:
    (path, *_) = sorted(many_segments.rglob("*.jsonl"))
    path.write_bytes(path.read_bytes().replace(b"admin", b"nimda", 1))
    before = sorted(tmp_path.iterdir())
    assert replay("backup", str(tmp_path / "new" / "b"), folder=many_segments).code == exits.DAMAGED
    words = ("restore", str(tmp_path / "into" / "core"), "--at", "39")
    assert replay("--backup", str(target), *words, folder=None).code == exits.REFUSED
    assert sorted(tmp_path.iterdir()) == before
    (tmp_path / "mine").mkdir()
    assert replay("backup", str(tmp_path / "mine"), folder=many_segments).code == exits.DAMAGED
    assert list((tmp_path / "mine").iterdir()) == []


def test_wrong_words(replay: Any, node: Path, target: Path, tmp_path: Path) -> None:
    assert replay("restore", str(tmp_path / "x")).code == exits.REFUSED
    assert replay("backup", str(node / "backups")).code == exits.REFUSED
    assert replay("backup", str(tmp_path / "y"), folder=node / "data" / "journal").code == exits.REFUSED
    assert replay("--backup", str(tmp_path / "none"), "log", folder=None).code == exits.REFUSED
    a_file = target / "none"
    a_file.write_text("no backup")
    refused = replay("--backup", str(a_file), "verify", folder=None)
    assert (refused.code, "There is no backup in" in refused.err) == (exits.REFUSED, True)
    a_file.unlink()
    over = replay("--backup", str(target), "restore", str(tmp_path / "x"), "--at", "39", folder=None)
    assert (over.code, (tmp_path / "x" / "data" / "journal").exists()) == (exits.REFUSED, False)


def test_a_node_that_writes_on_can_be_backed_up(replay: Any, node: Path, tmp_path: Path) -> None:
    """It takes no lock, and leaves out a line that is not whole."""
    whole = log_of(node)
    (path,) = (node / "data" / "journal" / "commits").glob("*.jsonl")
    with (node / "data" / "journal" / "lock").open("w") as lock, path.open("ab") as file:
        fcntl.flock(lock, fcntl.LOCK_EX)
        file.write(b'{"position":39,')
        file.flush()
        outcome = replay("backup", str(tmp_path / "b"))
        assert outcome.code == 0, outcome.err
    (made,) = (tmp_path / "b").iterdir()
    assert log_of(made) == whole
