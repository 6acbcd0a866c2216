"""The verbs of a node program, run as real processes: a node's life is about processes, so nothing less would tell."""

import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path

import pytest

from nano.tools import processes
from nano.tools.daemon import Program

PROGRAM = """
import sys, os, socket, signal, anyio
from nano.domain.errors import Unreachable
from nano.tools.daemon import run_program

async def serve(folder, ready):
    mode = (folder / "mode").read_text() if (folder / "mode").exists() else ""
    if mode == "refuse":
        raise Unreachable("The address 203.0.113.1 is not here.", hint="Choose another in core.toml.")
    if mode == "group":
        async with anyio.create_task_group() as group:
            group.start_soon(refuse)
            await anyio.sleep_forever()
    if mode == "break":
        raise ValueError("a mistake of ours")
    if mode == "die":
        os.write(2, b"last words of a library")
        os.kill(os.getpid(), signal.SIGKILL)
    if mode == "slow":
        while not (folder / "go").exists():
            await anyio.sleep(0.01)
    (folder / "ready").write_text("")
    ready("serving on nothing")
    try:
        await anyio.sleep_forever()
    finally:
        (folder / "stopped").write_text("gracefully")

async def refuse():
    raise Unreachable("Inner failure.")

sys.exit(run_program("nano-core", "A node for the test.", serve))
"""


def eventually(true: Callable[[], bool]) -> None:
    deadline = time.monotonic() + 30
    while not true():
        assert time.monotonic() < deadline
        time.sleep(0.01)


class Node:
    def __init__(self, folder: Path) -> None:
        self.state = folder / "S"
        self.folder = self.state / "core"
        self.program = folder / "program.py"
        self.program.write_text(PROGRAM)

    def run(self, *words: str) -> subprocess.CompletedProcess[str]:
        command = [sys.executable, str(self.program), *words, "--state", str(self.state)]
        return subprocess.run(command, capture_output=True, text=True, timeout=60, check=False)

    def behave(self, mode: str) -> None:
        self.folder.mkdir(parents=True, exist_ok=True)
        (self.folder / "mode").write_text(mode)

    def process(self) -> processes.ProcessId | None:
        return processes.read_record(self.folder / "run/nano-core.pid")


@pytest.fixture
def node(tmp_path: Path):
    made = Node(tmp_path)
    yield made
    made.run("halt")


def test_start_returns_when_ready_and_stop_is_graceful(node: Node) -> None:
    assert node.run("status").returncode == 3
    started = node.run("start")
    assert started.returncode == 0, started.stderr
    assert "serving on nothing" in started.stdout
    assert (node.folder / "ready").exists()
    process = node.process()
    assert process
    assert f"pid {process.pid}" in node.run("status").stdout
    again = node.run("start")
    assert (again.returncode, node.process()) == (0, process)
    assert node.run("stop").returncode == 0
    assert (node.folder / "stopped").read_text() == "gracefully"
    assert not processes.is_alive(process)
    assert node.run("status").returncode == 3
    assert node.run("stop").returncode == 0


def test_background_node_has_left_the_terminal(node: Node) -> None:
    node.run("start")
    process = node.process()
    assert process
    assert os.getsid(process.pid) != os.getsid(0)
    assert Path(f"/proc/{process.pid}/fd/0").readlink() == Path("/dev/null")
    assert Path(f"/proc/{process.pid}/cwd").readlink() == Path("/")


def test_kill_leaves_nothing_in_the_way(node: Node) -> None:
    node.run("start")
    first = node.process()
    assert first
    processes.send_signal(first, signal.SIGKILL)
    assert processes.wait_gone(first, 10)
    assert node.run("status").returncode == 3
    assert node.run("start").returncode == 0
    assert node.process() != first


def test_a_node_outlives_an_impatient_starter(node: Node) -> None:
    """Ctrl-C at the one who waits for "ready" must not break the node that becomes ready later."""
    node.behave("slow")
    command = [sys.executable, str(node.program), "start", "--state", str(node.state)]
    with subprocess.Popen(command) as starter:
        eventually(lambda: node.process() is not None)
        starter.kill()
    (node.folder / "go").touch()
    eventually((node.folder / "ready").exists)
    assert node.run("stop").returncode == 0
    assert (node.folder / "stopped").read_text() == "gracefully"


def test_halt_does_not_ask(node: Node) -> None:
    node.run("start")
    assert node.run("halt").returncode == 0
    assert not (node.folder / "stopped").exists()
    assert node.run("status").returncode == 3


@pytest.mark.parametrize(
    ("mode", "words"),
    [
        ("refuse", "The address 203.0.113.1 is not here. Choose another in core.toml."),
        ("group", "Inner failure."),
        ("break", "ValueError: a mistake of ours"),
        ("die", "last words of a library"),
    ],
)
def test_a_failed_start_says_why_and_where_the_log_is(node: Node, mode: str, words: str) -> None:
    node.behave(mode)
    failed = node.run("start")
    assert failed.returncode == 1
    assert words in failed.stderr
    assert "nano-core.log" in failed.stderr
    assert node.run("status").returncode == 3


def test_one_that_is_still_ending_is_not_taken_for_one_that_goes_on(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """Its end of the pipe is closed, and the process is not gone yet."""
    program, me = Program("nano-core", tmp_path, no_node), processes.identify(os.getpid())
    waited = []

    def wait_gone(process: processes.ProcessId, _: float) -> bool:
        waited.append(process)
        return True

    monkeypatch.setattr(program, "running", lambda: me)
    monkeypatch.setattr(processes, "wait_gone", wait_gone)
    reading, writing = os.pipe()
    os.close(writing)
    assert program._await_ready(reading) == 1
    assert "it ended without a word" in capsys.readouterr().err
    assert waited == [me]


async def no_node(_folder: Path, _ready: Callable[[str], None]) -> None:
    """Never begins."""


def test_own_mistake_leaves_a_traceback_in_the_log(node: Node) -> None:
    node.behave("break")
    node.run("start")
    assert "Traceback" in (node.folder / "log/nano-core.log").read_text()


def test_a_recycled_pid_is_not_ours(node: Node) -> None:
    """A record of another boot names a pid that is alive today: it must neither count as running nor be signalled."""
    node.run("start")
    node.run("stop")
    stranger = processes.identify(os.getpid())
    assert stranger
    record = {"pid": stranger.pid, "started": stranger.started, "boot": "of-yesterday"}
    (node.folder / "run/nano-core.pid").write_text(json.dumps(record))
    assert node.run("halt").stdout == "nano-core does not run.\n"
    assert node.run("status").returncode == 3


def test_foreground_ends_at_interrupt(node: Node) -> None:
    command = [sys.executable, str(node.program), "start", "--foreground", "--state", str(node.state)]
    with subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True) as process:
        assert process.stdout
        assert "serving on nothing" in process.stdout.readline()
        second = node.run("start", "--foreground")
        assert second.returncode == 1
        assert "another process of this node" in second.stderr
        process.send_signal(signal.SIGINT)
        assert process.wait(timeout=30) == 0
    assert (node.folder / "stopped").exists()
