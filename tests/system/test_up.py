"""``scripts/up`` and ``scripts/down`` as a user runs them: real nodes, a real guest, kill -9, Ctrl-C, and nothing left behind.

The tests go through one zone's life in the order of this file.
"""

import json
import os
import random
import signal
import socket
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import httpx
import pytest

from nano.hypervisor import local_libvirtd
from nano.tools import processes
from nano.tools.up import machine, nodes
from nano.tools.up.configs import bridge_name

ROOT = Path(__file__).parents[2]
UP_TIMEOUT_S = 280.0


class Bench:
    """One state folder and how it is used."""

    def __init__(self, state: Path, port_base: int) -> None:
        self.state = state
        self.port_base = port_base
        self.guest: dict[str, Any] = {}

    def script(self, name: str, *words: str) -> subprocess.CompletedProcess[str]:
        command = [str(ROOT / "scripts" / name), "--state", str(self.state), *words]
        return subprocess.run(command, capture_output=True, text=True, timeout=UP_TIMEOUT_S, check=False)

    def up(self, *words: str) -> dict[str, Any]:
        done = self.script("up", "--port-base", str(self.port_base), "--detach", "--json", *words)
        assert done.returncode == 0, done.stderr
        told: dict[str, Any] = json.loads(done.stdout.splitlines()[-1])
        return told

    def program(self, name: str, *words: str) -> subprocess.CompletedProcess[str]:
        command = [str(Path(sys.executable).parent / name), *words, "--state", str(self.state)]
        return subprocess.run(command, capture_output=True, text=True, timeout=120, check=False)

    def demo(self) -> dict[str, Any]:
        shown = self.program("nanoctl", "guest", "show", "demo", "-o", "json")
        assert shown.returncode == 0, shown.stderr
        row: dict[str, Any] = json.loads(shown.stdout)
        return row

    def qemu(self) -> list[int]:
        return local_libvirtd.guest_processes(machine.host_folder(self.state))

    def node_processes(self) -> list[processes.ProcessId]:
        return [process for node in nodes.STOP_ORDER if (process := nodes.running(self.state, node))]


@pytest.fixture(scope="module")
def bench(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Bench]:
    made = Bench(tmp_path_factory.mktemp("zone") / "S", free_ports(5))
    yield made
    made.script("down", "--purge")


def free_ports(count: int) -> int:
    """The first of ``count`` ports in a row that nobody holds now."""
    while True:
        base = random.randrange(20000, 30000)
        try:
            for port in range(base, base + count):
                for kind in (socket.SOCK_STREAM, socket.SOCK_DGRAM):
                    with socket.socket(socket.AF_INET, kind) as probe:
                        probe.bind(("127.0.0.1", port))
        except OSError:
            continue
        return base


def test_up_ends_with_a_guest_whose_agent_answers(bench: Bench) -> None:
    told = bench.up()
    assert told["guest"]["name"] == "demo"
    assert told["guest"]["state"] == "running"
    assert told["guest"]["cell"].startswith("Cell_")
    assert told["api"] == f"http://127.0.0.1:{bench.port_base}"
    assert told["portal"] == f"http://127.0.0.1:{bench.port_base + 1}"
    assert set(told["seconds"]) == {"setup", "start", "first_guest"}
    assert told["seconds"]["first_guest"] > 0
    assert len(bench.qemu()) == 1
    row = bench.demo()
    assert (row["id"], row["agent"], row["state"]) == (told["guest"]["id"], True, "running")
    bench.guest = told["guest"]


def test_portal_and_api_answer_on_loopback(bench: Bench) -> None:
    health = httpx.get(f"http://127.0.0.1:{bench.port_base}/api/v2/health", trust_env=False)
    assert health.json()["status"] == "ok"
    page = httpx.get(f"http://127.0.0.1:{bench.port_base + 1}/", trust_env=False, follow_redirects=True)
    assert page.status_code == 200
    assert "Nano" in page.text


def test_all_listen_on_loopback_only(bench: Bench) -> None:
    listening = subprocess.run(["ss", "-H", "-tulnp"], capture_output=True, text=True, check=True).stdout
    ours = {process.pid for process in bench.node_processes()}
    lines = [line for line in listening.splitlines() if any(f"pid={pid}," in line for pid in ours)]
    assert lines
    # Discovery joins a multicast group on the loopback device; its socket is bound to the group's address.
    outside = [line for line in lines if line.split()[4].rsplit(":", 1)[0] not in ("127.0.0.1", "224.0.0.226")]
    assert not outside


def test_up_again_shows_what_is_there(bench: Bench) -> None:
    before = (bench.node_processes(), bench.qemu())
    told = bench.up()
    assert told["guest"] == bench.guest
    assert (bench.node_processes(), bench.qemu()) == before


@pytest.mark.parametrize("order", [("core", "cell", "frontend"), ("cell", "frontend", "core")])
def test_killed_nodes_start_again_with_the_same_state(bench: Bench, order: tuple[str, ...]) -> None:
    """Also with Core after the cell: they find each other again, whoever is first."""
    qemu = bench.qemu()
    for process in bench.node_processes():
        processes.send_signal(process, signal.SIGKILL)
        assert processes.wait_gone(process, 10)
    for node in order:
        started = bench.program(f"nano-{node}", "start")
        assert started.returncode == 0, started.stderr
    told = bench.up()
    assert told["guest"] == bench.guest
    assert bench.qemu() == qemu


def test_stop_and_start_keep_the_guest_running(bench: Bench) -> None:
    qemu = bench.qemu()
    assert bench.script("down").returncode == 0
    assert not bench.node_processes()
    assert bench.qemu() == qemu
    assert bench.up()["guest"] == bench.guest
    assert bench.qemu() == qemu
    assert bench.demo()["agent"] is True


def test_interrupt_stops_the_nodes_and_leaves_the_guest(bench: Bench) -> None:
    assert bench.script("down").returncode == 0
    qemu = bench.qemu()
    command = [str(ROOT / "scripts/up"), "--state", str(bench.state), "--json"]
    with subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True) as process:
        assert process.stdout
        told = json.loads(process.stdout.readline())
        assert told["guest"] == bench.guest
        assert len(bench.node_processes()) == 3
        process.send_signal(signal.SIGINT)
        _, said = process.communicate(timeout=60)
    assert process.returncode == 0
    assert "Stopped nano-frontend, nano-core, nano-cell. Guests run on." in said
    assert not bench.node_processes()
    assert bench.qemu() == qemu


def test_interrupt_on_the_way_leaves_nothing_half(bench: Bench) -> None:
    """Ctrl-C as soon as the first node runs."""
    command = [str(ROOT / "scripts/up"), "--state", str(bench.state)]
    with subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True) as process:
        while process.poll() is None and not bench.node_processes():
            os.sched_yield()
        process.send_signal(signal.SIGINT)
        said, _ = process.communicate(timeout=60)
    assert process.returncode in (0, 130), said
    assert "Traceback" not in said
    assert not bench.node_processes()


def test_a_taken_port_is_named(bench: Bench) -> None:
    with socket.socket() as somebody:
        somebody.bind(("127.0.0.1", bench.port_base + 1))
        somebody.listen()
        failed = bench.script("up", "--detach")
    assert failed.returncode == 1
    assert f"Port {bench.port_base + 1} (tcp) for the portal" in failed.stderr
    assert "--port-base" in failed.stderr
    assert not bench.node_processes()


def test_purge_removes_only_what_up_made(tmp_path: Path) -> None:
    (tmp_path / "letters").write_text("mine")
    refused = Bench(tmp_path, 0).script("down", "--purge")
    assert refused.returncode == 1
    assert "did not make it" in refused.stderr
    assert (tmp_path / "letters").exists()


def test_purge_leaves_nothing(bench: Bench) -> None:
    bench.up()
    everyone = [*(process.pid for process in bench.node_processes()), *bench.qemu()]
    everyone.append(local_libvirtd.status(machine.host_folder(bench.state)).pid)
    assert len(everyone) == 5
    assert bench.script("down", "--purge").returncode == 0
    assert not bench.state.exists()
    assert [pid for pid in everyone if processes.identify(pid)] == []
    assert not Path("/sys/class/net", bridge_name(bench.state)).exists()
    assert bench.script("down", "--purge").returncode == 0
