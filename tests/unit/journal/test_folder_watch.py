"""A reader that waits for writes of another process."""

import os
import threading
from pathlib import Path

import pytest

from nano.journal import folder_watch
from nano.journal.folder_watch import FolderWatch, watched

LONG_S = 60.0


def test_it_waits_for_a_write(tmp_path: Path) -> None:
    path = tmp_path / "segment"
    path.write_bytes(b"before")
    with watched(tmp_path) as watch, path.open("ab", buffering=0) as file:
        writer = threading.Thread(target=file.write, args=(b"line\n",))
        writer.start()
        assert watch.wait(LONG_S)
        writer.join()


def test_a_write_before_the_wait_is_not_missed_and_told_once(tmp_path: Path) -> None:
    with watched(tmp_path) as watch:
        (tmp_path / "new").write_bytes(b"line\n")
        assert watch.wait(LONG_S)
        assert not watch.wait(0.01), "there was nothing more"


def test_a_file_that_is_moved_here_is_told(tmp_path: Path) -> None:
    (tmp_path / "folder").mkdir()
    with watched(tmp_path / "folder") as watch:
        (tmp_path / "sealed").write_bytes(b"")
        (tmp_path / "sealed").rename(tmp_path / "folder" / "sealed")
        assert watch.wait(LONG_S)


def test_without_a_watch_it_returns_at_its_time(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    waits: list[float] = []
    monkeypatch.setattr(folder_watch.time, "sleep", waits.append)
    with watched(tmp_path / "absent") as watch:
        assert not watch.wait(0.25)
    assert not FolderWatch(None).wait(0.5)
    assert waits == [0.25, 0.5]


def test_nothing_stays_open(tmp_path: Path) -> None:
    before = len(os.listdir("/proc/self/fd"))
    for _ in range(3):
        with watched(tmp_path):
            pass
    assert len(os.listdir("/proc/self/fd")) == before
