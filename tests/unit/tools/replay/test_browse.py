"""browse: what its keys do, what the screen says, and the program under a real pseudo-terminal."""

import io
import os
import pty
import re
import select
import signal
import struct
import subprocess
import sys
import termios
import time
from collections.abc import Iterator
from contextlib import contextmanager
from fcntl import ioctl
from pathlib import Path
from typing import Any

import anyio
import pytest

from nano.domain.compute_pool import CreateComputePool
from nano.tools.display.terminal import Terminal
from nano.tools.replay.browser import Browser
from nano.tools.replay.moments import Moment
from nano.tools.replay.node import Node
from nano.tools.replay.walk import Walk

from .conftest import START, Writer

WAIT_S = 20.0
PATIENCE_S = 0.2


def browser_of(node: Path, until: Moment | None = None, kept: int = 1000) -> Browser:
    terminal = Terminal(io.TextIOWrapper(io.BytesIO(), "utf-8"), io.StringIO(), zone=START.tzinfo, width=100)
    return Browser(terminal, Walk(Node(node), until, kept))


def screen(browser: Browser, width: int = 100, height: int = 30) -> str:
    lines = browser.draw(width, height)
    assert len(lines) == height
    assert all(line.width <= width for line in lines)
    return "\n".join(line.plain for line in lines)


def press(browser: Browser, *keys: str) -> str:
    assert all(browser.key(key) for key in keys)
    return screen(browser)


def chosen(text: str) -> str:
    return next(line for line in text.splitlines() if line.startswith("▸"))


def test_it_opens_at_the_end_and_steps(node: Path) -> None:
    browser = browser_of(node)
    assert "the pool fast" in chosen(screen(browser)) or "fast" in chosen(screen(browser))
    last = browser.step.position
    press(browser, "up")
    assert browser.step.position == last - 1
    press(browser, "home", "up")
    assert browser.step.position == 1
    press(browser, "page down", "j", "k")
    assert browser.step.position == 11
    press(browser, "end", "down")
    assert browser.step.position == last


def test_a_fact_says_what_it_changed_and_why(node: Path) -> None:
    browser = browser_of(node)
    said = press(browser, "/", *"10.90.0.12", "enter")
    assert "guest web" in chosen(said)
    assert re.search(r"agent +no → yes", said)
    assert re.search(r"addresses +– → 10\.90\.0\.12|addresses +- → 10\.90\.0\.12", said)
    assert "because of cell/Cell_0a1b2c3d4e5f@7" in said
    press(browser, "s")
    whole = screen(browser, height=70)
    assert re.search(r"power +running", whole), "the whole state after it"
    assert "spec.memory" in whole
    assert "more lines" in screen(browser, height=16)
    assert "more lines" not in whole


def test_the_life_of_one_resource_and_back(node: Path) -> None:
    browser = browser_of(node)
    press(browser, "home", "/", *"10.90.0.12", "enter")
    position, resource = browser.step.position, browser.step.resource
    alone = press(browser, "enter")
    assert "the life of web" in alone
    assert browser.step.position == position
    assert {step.resource for step in browser.shown} == {resource}
    assert "The guest is gone." in press(browser, "end")
    press(browser, "escape")
    assert len(browser.shown) > len({step.position for step in browser.shown if step.resource == resource})
    assert browser.step.resource == resource
    press(browser, "[")
    assert browser.step.resource == resource
    press(browser, "]", "]")
    assert "nothing later of it" in screen(browser)


def test_what_is_not_found_says_so_and_stays(node: Path) -> None:
    browser = browser_of(node)
    position = browser.step.position
    assert "nothing matches 'unheard'" in press(browser, "/", *"unheardx", "backspace", "enter")
    assert browser.step.position == position
    assert "what to search for" in press(browser_of(node), "n")
    press(browser, "/", "w", "escape")
    assert browser.typing is None


@pytest.mark.parametrize("size", [(40, 8), (100, 30), (20, 5), (300, 100)])
def test_the_screen_fits_whatever_its_size(node: Path, size: tuple[int, int]) -> None:
    browser = browser_of(node)
    for key in ("home", "s", *["down"] * 40):
        browser.key(key)
        screen(browser, *size)


def test_up_to_a_moment_and_no_more_than_is_held(node: Path) -> None:
    assert browser_of(node, Moment(position=7)).step.position == 7
    few = browser_of(node, kept=5)
    assert len(few.shown) == 5
    assert few.walk.left_out > 10
    assert "older left out" in screen(few)
    empty = browser_of(node, Moment(position=0))
    assert "Nothing has happened yet." in screen(empty)
    press(empty, "up", "enter", "[", "n", "/", "x", "enter", "end", "escape")


def test_without_a_terminal_it_prints(replay: Any, node: Path, tmp_path: Path) -> None:
    printed = replay("browse")
    assert printed.code == 0
    assert "fast" in printed.out
    assert "no terminal" in printed.err
    told = replay("browse", "-o", "json").json
    assert [fact["position"] for fact in told] == list(range(1, len(told) + 1))
    assert any(change["field"] == "power" for fact in told for change in fact["changes"])
    assert replay("export", "--redact", str(tmp_path / "b.zip")).code == 0
    assert replay("backup", str(tmp_path / "backups")).code == 0
    for source in (("--bundle", str(tmp_path / "b.zip")), ("--backup", str(tmp_path / "backups"))):
        other = replay(*source, "browse", "-o", "json", folder=None)
        assert [fact["position"] for fact in other.json] == [fact["position"] for fact in told]
    assert len(list((node / "data" / "journal").iterdir())) > 0


class Screen:
    """The other end of a pseudo-terminal on which the program runs."""

    def __init__(self, descriptor: int, process: "subprocess.Popen[bytes]") -> None:
        self.descriptor = descriptor
        self.process = process
        self.seen = ""

    def until(self, pattern: str) -> str:
        """What it drew up to and with this; what came before is forgotten then."""
        end = time.monotonic() + WAIT_S
        while not (found := re.search(pattern, self.seen, re.DOTALL)):
            assert time.monotonic() < end, f"{pattern!r} was never drawn: {self.seen[-2000:]!r}"
            if select.select([self.descriptor], [], [], PATIENCE_S)[0]:
                self.seen += os.read(self.descriptor, 65536).decode(errors="replace")
        drawn, self.seen = self.seen[: found.end()], self.seen[found.end() :]
        return drawn

    def press(self, text: str) -> None:
        os.write(self.descriptor, text.encode())


@contextmanager
def on_a_terminal(*words: str) -> Iterator[Screen]:
    ours, theirs = pty.openpty()
    ioctl(theirs, termios.TIOCSWINSZ, struct.pack("HHHH", 30, 110, 0, 0))
    before = termios.tcgetattr(theirs)
    environment = {**os.environ, "TERM": "xterm-256color", "LC_ALL": "C.UTF-8", "PYTHONUTF8": "1", "TZ": "UTC"}
    environment.pop("COLUMNS", None)
    process = subprocess.Popen(
        [sys.executable, "-m", "nano.tools.replay.main", *words],
        stdin=theirs, stdout=theirs, stderr=theirs, env=environment, start_new_session=True,
    )  # fmt: skip
    try:
        yield Screen(ours, process)
        assert process.wait(WAIT_S) == 0
        assert termios.tcgetattr(theirs) == before, "the terminal is as it was"
    finally:
        if process.poll() is None:
            process.send_signal(signal.SIGKILL)
            process.wait()
        os.close(ours)
        os.close(theirs)


def test_under_a_pseudo_terminal(node: Path) -> None:
    with on_a_terminal("--node", str(node), "browse") as shown:
        shown.until(r"\x1b\[\?1049h")  # a screen of its own
        shown.until("q quit")
        shown.press("/10.90.0.12\r")
        shown.until("agent")
        shown.press("\x1b[A\x1b[B\r")
        shown.until("the life of web")
        shown.press("\x1b")
        shown.press("G")
        shown.until("fast")
        shown.press("q")
        shown.until(r"\x1b\[\?1049l")


def test_a_live_journal_grows_on_the_screen(tmp_path: Path) -> None:
    folder = tmp_path / "core"
    (folder / "data").mkdir(parents=True)

    async def live() -> None:
        write = Writer(folder / "data" / "journal")
        await write.ledger.start()
        await write(CreateComputePool(name="early"))
        with on_a_terminal("--node", str(folder), "browse") as shown:
            await anyio.to_thread.run_sync(shown.until, "early.*q quit")
            await write(CreateComputePool(name="later"))
            await anyio.to_thread.run_sync(shown.until, "later")
            shown.press("\x04")
            await anyio.to_thread.run_sync(shown.until, r"\x1b\[\?1049l")
        await write.ledger.aclose()

    anyio.run(live)
