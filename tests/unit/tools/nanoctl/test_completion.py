"""What may stand next on the command line."""

import io
from typing import Any

import pytest

from nano.domain.errors import Unreachable
from nano.tools.nanoctl.completion import FILES, candidates, complete

ROWS = {
    "guests": [{"name": "web", "id": "1"}, {"name": "db", "id": "2"}],
    "compute-pools": [{"name": "default"}],
    "cells": [{"name": "Cell_1"}],
    "images": [{"name": "debian12"}],
    "tasks": [{"id": "7e5d"}],
}


class Names:
    def __init__(self, given: dict[str, str]) -> None:
        self.given = given

    def call(self, method: str, path: str, *, query: Any) -> Any:
        return type("Reply", (), {"value": {"items": ROWS[path.rpartition("/")[2]]}})

    def close(self) -> None:
        pass


def offered(line: str) -> list[str]:
    return candidates(line.split(" "), Names)  # type: ignore[arg-type]


@pytest.mark.parametrize(
    ("line", "expected"),
    [
        ("ev", ["events"]),
        ("guest sh", ["show", "show-password"]),
        ("guest start ", ["web", "db"]),
        ("guest start w", ["web"]),
        ("--state /s guest delete d", ["db"]),
        ("guest delete web ", []),
        ("cell add ", ["Cell_1"]),
        ("cell add Cell_1 --pool ", ["default"]),
        ("guest create web --image ", ["debian12"]),
        ("guest create web --memory 5", ["512MiB", "50GiB"]),
        ("guest list --in-state p", ["paused"]),
        ("task list --in-state un", ["undoing"]),
        ("task watch ", ["7e5d"]),
        ("guest list -o ", ["table", "wide", "json", "yaml"]),
        ("--state ", [FILES]),
        ("image register x ", [FILES]),
        ("completion ", ["bash", "zsh"]),
        ("guest create web --wa", ["--wait"]),
        ("guest create web --no", ["--no-wait"]),
        ("events --kinds im", ["image"]),
        ("nonsense ", []),
        ("guest create web --frobnicate ", []),
    ],
)
def test_candidates(line: str, expected: list[str]) -> None:
    assert offered(line) == expected


def test_the_state_folder_that_was_typed_is_asked() -> None:
    seen: list[dict[str, str]] = []

    def open_api(given: dict[str, str]) -> Any:
        seen.append(given)
        return Names(given)

    candidates(["--state", "/s", "guest", "show", ""], open_api)
    assert seen == [{"--state": "/s"}]


def test_trouble_is_silent() -> None:
    def refuse(given: dict[str, str]) -> Any:
        raise Unreachable("Nobody is there.")

    out = io.StringIO()
    assert complete(["guest", "show", ""], out, refuse) == 0
    assert out.getvalue() == ""
