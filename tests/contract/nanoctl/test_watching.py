"""Following what happens: events, tasks, the live board."""

from typing import Any

import msgspec
import pytest

from nano.domain.task import ENDED
from nano.tools.nanoctl import exits


class Enough(Exception):
    """Ends what would run until Ctrl-C."""


@pytest.fixture
def stops(monkeypatch: pytest.MonkeyPatch) -> list[float]:
    """The pause after a stream ended raises: it has been read to its end."""
    pauses: list[float] = []

    def pause(seconds: float) -> None:
        pauses.append(seconds)
        if len(pauses) == 2:
            raise KeyboardInterrupt

    monkeypatch.setattr("nano.tools.nanoctl.history.time.sleep", pause)
    return pauses


def test_events_are_followed_and_resumed(nanoctl: Any, api: Any, stops: list[float]) -> None:
    web = api.rows["guests"][2]
    moved_on = msgspec.structs.replace(web, version=9, state="stopped")
    task = api.rows["tasks"][0]
    api.stream = [
        api.change(web, 31, "guest.started").replace(b'"version":2', b'"version":5'),
        api.change(task, None, "task.progress"),
        api.change(moved_on, 32, "guest.work_started").replace(b'"version":9,"row"', b'"version":6,"row"'),
    ]
    outcome = nanoctl("events", "-f", "--kinds", "guest,pool", "--after", "30")
    assert outcome.code == exits.INTERRUPTED
    assert outcome.out.splitlines() == [
        "03:30:00.000  admin         guest web started  ● running",
        "03:30:00.000  admin         guest web work started",
    ]
    streams = [asked for asked in api.requests if asked.path.endswith("/events")]
    assert [asked.headers["last-event-id"] for asked in streams] == ["30", "32"]
    assert streams[0].query == {"kinds": ["guest,compute_pool"]}


def test_followed_events_for_programs_are_json_lines(nanoctl: Any, api: Any, stops: list[float]) -> None:
    api.stream = [api.change(api.rows["guests"][2], 31, "guest.started")]
    lines = nanoctl("events", "-f", "-o", "json").out.splitlines()
    assert [msgspec.json.decode(line)["position"] for line in lines] == [31]


def test_watching_a_task_that_fails(nanoctl: Any, api: Any) -> None:
    failed = api.rows["tasks"][1]
    api.rows["tasks"] = [failed]
    outcome = nanoctl("task", "watch", "7e5d")
    assert outcome.code == exits.FAILED
    assert "✗ failed" in outcome.out
    assert "undone  volume removed; room on the cell given back" in outcome.out


def test_watching_every_task(nanoctl: Any, api: Any) -> None:
    running, _ = api.rows["tasks"]
    api.stream = [api.change(msgspec.structs.replace(running, state="done", ended_at=running.started_at), 99)]
    outcome = nanoctl("task", "watch")
    assert outcome.code == exits.OK
    assert outcome.err == "✓ guest.create web done in 0.00 s\n"


def test_nothing_to_watch(nanoctl: Any, api: Any) -> None:
    api.rows["tasks"] = [row for row in api.rows["tasks"] if row.state in ENDED]
    assert nanoctl("task", "watch") == (exits.OK, "", "No task is running.\n")


def test_the_board_for_programs(nanoctl: Any, api: Any) -> None:
    api.answer("GET", "/zone", {"position": 7})
    api.answer("GET", "/usage", {"cells": {}, "guests": {}})
    board = nanoctl("top", "-o", "json").json
    assert [row["name"] for row in board["guests"]] == ["db", "mail", "web"]
