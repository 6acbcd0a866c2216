"""stats: every count adds up to what the journal holds."""

from pathlib import Path
from typing import Any

from nano.tools.replay import exits


def test_counts_add_up(replay: Any, node: Path) -> None:
    (found,) = replay("stats", "-o", "json").json
    assert (found["events"], found["position"], found["resources"]) == (38, 38, 11)
    assert sum(row["events"] for row in found["types"]) == 38
    assert sum(row["events"] for row in found["actors"]) == 38
    assert sum(row["transactions"] for row in found["actors"]) == found["transactions"]
    (path,) = (node / "data" / "journal" / "commits").glob("*.jsonl")
    assert sum(row["bytes"] for row in found["actors"]) == found["bytes"] == path.stat().st_size
    assert sum(row["bytes"] for row in found["growth"]["spans"]) == found["bytes"]
    assert (found["first_at"], found["growth"]["by"]) == ("2026-11-21T03:00:00.000000Z", "hour")


def test_bytes_are_right_over_several_segments(replay: Any, node: Path, many_segments: Path) -> None:
    (one,) = replay("stats", "-o", "json", folder=node).json
    (many,) = replay("stats", "-o", "json", folder=many_segments).json
    assert many["segments"] > 1
    assert {**many, "segments": 1} == one


def test_growth_by_day_and_fewer_rows(replay: Any) -> None:
    (found,) = replay("stats", "--by", "day", "--top", "2", "-o", "json").json
    assert found["growth"] == {
        "by": "day",
        "spans": [{"from": "2026-11-21", "events": 38, "transactions": 18, "bytes": found["bytes"]}],
    }
    assert len(found["largest"]) == 2
    assert len(found["types"]) > 2, "programs get all of them"


def test_wrong_numbers(replay: Any) -> None:
    for words in (("--top", "0"), ("--top", "many"), ("--by", "week")):
        assert replay("stats", *words).code == exits.REFUSED


def test_an_empty_journal(replay: Any, tmp_path: Path) -> None:
    (tmp_path / "new" / "commits").mkdir(parents=True)
    (tmp_path / "new" / "commits" / "0000000000000001.jsonl").touch()
    outcome = replay("stats", folder=tmp_path / "new")
    assert (outcome.code, outcome.err) == (0, "Nothing was recorded yet.\n")
    (found,) = replay("stats", "-o", "json", folder=tmp_path / "new").json
    assert (found["events"], found["first_at"]) == (0, None)
