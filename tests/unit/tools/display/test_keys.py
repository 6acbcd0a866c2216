"""Keys as a terminal sends them, one after the other and in a hurry."""

import os
import pty
from collections.abc import Iterator

import pytest

from nano.tools.display.keys import keys


@pytest.fixture
def terminal() -> Iterator[tuple[int, int]]:
    ours, theirs = pty.openpty()
    yield ours, theirs
    os.close(theirs)


def read(terminal: tuple[int, int], sent: bytes, count: int) -> list[str]:
    ours, theirs = terminal
    with open(theirs, closefd=False) as stream, keys(stream) as wait:
        os.write(ours, sent)
        return [wait(5) for _ in range(count)]


def test_keys_have_names(terminal: tuple[int, int]) -> None:
    sent = b"\x1b[A\x1b[B\x1bOC\x1b[5~\x1b[6~\x1b[H\x1b[4~\r\t\x7fjG/"
    names = ["up", "down", "right", "page up", "page down", "home", "end", "enter", "tab", "backspace", "j", "G", "/"]
    assert read(terminal, sent, len(names)) == names


def test_an_escape_is_a_key_too_also_in_a_hurry(terminal: tuple[int, int]) -> None:
    assert read(terminal, b"\x1bGx\x1b", 4) == ["escape", "G", "x", "escape"]


def test_letters_of_other_scripts_come_whole_and_unknown_keys_are_none(terminal: tuple[int, int]) -> None:
    assert read(terminal, "é云\x1b[24~\x01q".encode(), 5)[:2] == ["é", "云"]


def test_nothing_in_time_and_no_terminal_any_more(terminal: tuple[int, int]) -> None:
    ours, theirs = terminal
    with open(theirs, closefd=False) as stream, keys(stream) as wait:
        assert wait(0.01) == ""
        os.write(ours, b"\x04")
        assert wait(5) == "quit"
        os.close(ours)
        assert wait(5) == "quit"
