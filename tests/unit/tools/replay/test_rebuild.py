"""rebuild: the same lines, resource journals that fit them, and nothing at all when that is not possible."""

import shutil
from pathlib import Path
from typing import Any

import pytest

from nano.tools.replay import exits
from tests.unit.tools.replay.conftest import Told


def log_of(folder: Path) -> dict[str, bytes]:
    return {path.name: path.read_bytes() for path in (folder / "data" / "journal" / "commits").iterdir()}


def rows_of(folder: Path) -> dict[str, bytes]:
    resources = folder / "data" / "journal" / "resources"
    return {str(path.relative_to(resources)): path.read_bytes() for path in resources.rglob("*.jsonl")}


def test_the_same_log_and_the_same_rows(replay: Any, many_segments: Path, tmp_path: Path) -> None:
    into = tmp_path / "deep" / "new"
    outcome = replay("rebuild", str(into), "-o", "json", folder=many_segments)
    assert outcome.code == 0, outcome.err
    (found,) = outcome.json
    assert (found["done"], found["position"], found["into"]) == (True, 38, str(into))
    assert log_of(into) == log_of(many_segments), "seals too"
    assert rows_of(into) == rows_of(many_segments)
    assert replay("verify", folder=into).code == 0
    state = replay("state", "-o", "json", folder=many_segments).out
    assert replay("state", "-o", "json", folder=into).out == state


def test_a_bar_follows_each_part_to_its_end(replay: Any, many_segments: Path, tmp_path: Path, told: Told) -> None:
    assert replay("rebuild", str(tmp_path / "new"), folder=many_segments).code == 0
    for part in ("log", "resource journals", "log, read back"):
        done, total = told[part]
        assert done == total > 0, part


def test_rows_that_lie_or_are_gone_are_right_again(replay: Any, node: Path, tmp_path: Path) -> None:
    good = rows_of(node)
    resources = node / "data" / "journal" / "resources"
    (resources / "compute_pool" / "fast.jsonl").write_bytes(b"{}\n")
    shutil.rmtree(resources / "guest")
    assert replay("verify").code == exits.DAMAGED
    assert replay("rebuild", str(tmp_path / "new")).code == 0
    assert rows_of(tmp_path / "new") == good


def test_a_line_that_is_still_being_written_is_left_out(replay: Any, node: Path, tmp_path: Path) -> None:
    whole = log_of(node)
    (path,) = (node / "data" / "journal" / "commits").iterdir()
    with path.open("ab") as file:
        file.write(b'{"position":39,"time"')
    assert replay("rebuild", str(tmp_path / "new")).code == 0
    assert log_of(tmp_path / "new") == whole


@pytest.mark.parametrize("offset", [30, 2000, -70])
def test_damage_is_named_and_nothing_written(replay: Any, node: Path, tmp_path: Path, offset: int) -> None:
    (path,) = (node / "data" / "journal" / "commits").iterdir()
    data = bytearray(path.read_bytes())
    data[offset] ^= 1
    path.write_bytes(data)
    into = tmp_path / "out" / "new"
    outcome = replay("rebuild", str(into))
    assert outcome.code == exits.DAMAGED
    assert f"{path}, byte " in outcome.err
    assert list(into.parent.iterdir()) == []


def test_a_folder_with_something_in_it_is_refused(replay: Any, node: Path, tmp_path: Path) -> None:
    into = tmp_path / "full"
    into.mkdir()
    (into / "mine").write_text("keep")
    outcome = replay("rebuild", str(into))
    assert (outcome.code, [path.name for path in into.iterdir()]) == (exits.REFUSED, ["mine"])
    assert "folder_not_empty" in outcome.err
    assert replay("rebuild", str(node)).code == exits.REFUSED
    assert replay("rebuild", str(node / "copy")).code == exits.REFUSED
    assert not (node / "copy").exists()
    empty = tmp_path / "empty"
    empty.mkdir()
    assert replay("rebuild", str(empty)).code == 0
