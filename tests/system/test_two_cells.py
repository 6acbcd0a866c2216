"""Core and two cells on hosts of their own: discovery over the wire, placement, a cell cut off and back, Core restarted.

Real processes, real libvirtd each, in network namespaces made here.
"""

import json
import os
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from nano.hypervisor import local_libvirtd
from nano.tools.testbed.lan import SWITCH_ADDRESS, Lan, lan

pytestmark = pytest.mark.timeout(300)

BIN = Path(sys.executable).parent
DOMAIN = """
[domain]
name = "twocells"
port = 15811
"""


class Site:
    """Core in the switch's namespace, a cell in each host's; every program is run as a user would."""

    def __init__(self, folder: Path, network: Lan) -> None:
        self.folder = folder
        self.network = network
        self.cells = {index: network.add_host(index) for index in (1, 2)}
        self.core_state = folder / "zone"
        config = self.core_state / "core" / "config"
        config.mkdir(parents=True)
        (config / "core.toml").write_text(
            f'{DOMAIN}\n[listen]\nhost = "{SWITCH_ADDRESS}"\n[placement]\ncpu_percent_busy = 100.0\n'
        )
        for index, namespace in self.cells.items():
            uri = local_libvirtd.start(self.host(index), netns=namespace, hide_kvm=True)
            config = self.state(index) / "cell" / "config"
            config.mkdir(parents=True)
            (config / "cell.toml").write_text(
                f'{DOMAIN}\n[cell]\nname = "{namespace}"\naddress = "{network.address(namespace)}"\n'
                f'[hypervisor]\nuri = "{uri}"\nvirt_type = "qemu"\nbridge = "br0"\n'
            )

    def host(self, index: int) -> Path:
        return self.folder / f"host{index}"

    def state(self, index: int) -> Path:
        return self.folder / f"s{index}"

    def run(self, namespace: str, *command: str, check: bool = True) -> str:
        done = subprocess.run(
            self.network.inside(namespace, [str(BIN / command[0]), *command[1:]]),
            capture_output=True,
            text=True,
            timeout=120,
            check=False,
        )
        if check:
            assert done.returncode == 0, f"{command}: {done.stdout}{done.stderr}"
        return done.stdout

    def core(self, verb: str) -> None:
        self.run(self.network.switch, "nano-core", verb, "--state", str(self.core_state))

    def cell(self, index: int, verb: str) -> None:
        self.run(self.cells[index], "nano-cell", verb, "--state", str(self.state(index)))

    def ctl(self, *words: str) -> Any:
        text = self.run(self.network.switch, "nanoctl", "--state", str(self.core_state), *words, "-o", "json")
        return json.loads(text)

    def row(self, noun: str, name: str) -> dict[str, Any]:
        row: dict[str, Any] = self.ctl(noun, "show", name)
        return row

    def stop(self) -> None:
        self.run(self.network.switch, "nano-core", "halt", "--state", str(self.core_state), check=False)
        for index, namespace in self.cells.items():
            self.run(namespace, "nano-cell", "halt", "--state", str(self.state(index)), check=False)
            for pid in local_libvirtd.guest_processes(self.host(index)):
                os.kill(pid, 9)
            local_libvirtd.stop(self.host(index))


@pytest.fixture
def site(tmp_path: Path) -> Iterator[Site]:
    with lan("ntwo") as network:
        site = Site(tmp_path, network)
        try:
            yield site
        finally:
            site.stop()


def until(holds: Callable[[], object], what: str, limit_s: float = 60.0) -> None:
    deadline = time.monotonic() + limit_s
    while not holds():
        assert time.monotonic() < deadline, f"not within {limit_s:.0f} s: {what}"
        time.sleep(0.05)


def test_two_cells(site: Site) -> None:
    site.cell(1, "start")  # Core may start after the cell
    site.core("start")
    site.cell(2, "start")
    one, two = site.cells[1], site.cells[2]
    until(lambda: len(site.ctl("cell", "list")) == 2, "both cells discovered")
    assert {cell["state"] for cell in site.ctl("cell", "list")} == {"discovered"}
    for name in (one, two):
        site.ctl("cell", "add", name)
    until(lambda: all(site.row("cell", name)["cores"] for name in (one, two)), "both cells described")

    first = ("guest", "create", "heavy", "--cell", one, "--memory", "8GiB", "--disk", "64MiB", "--wait")
    site.ctl(*first)
    site.ctl("guest", "create", "light", "--memory", "64MiB", "--disk", "16MiB", "--start", "--wait")
    assert site.row("guest", "light")["cell"] == two, "the lighter cell takes it"
    scores = {
        score["cell"]: score
        for score in site.ctl("placement", "explain", "--cores", "1", "--memory", "64MiB", "--disk", "16MiB")["scores"]
    }
    assert scores[two]["score"] > scores[one]["score"]

    site.network.cut(two)
    until(lambda: site.row("cell", two)["state"] == "offline", "the cut cell counts as offline")
    assert site.row("guest", "light")["state"] == "lost"
    site.core("halt")
    site.core("start")
    assert site.row("guest", "light")["state"] == "lost", "a restarted Core knows at once"
    site.network.mend(two)
    until(lambda: site.row("cell", two)["state"] == "online", "the cell rejoins by itself")
    assert site.row("guest", "light")["state"] == "running"

    site.cell(2, "halt")
    site.cell(2, "start")
    until(lambda: site.row("guest", "light")["state"] == "running", "a killed cell comes back with its guests")
    for name in ("light", "heavy"):
        site.ctl("guest", "delete", name, "--force", "--wait")
    assert site.ctl("guest", "list") == []
    for index in site.cells:
        assert not list((site.state(index) / "cell" / "data" / "volumes").glob("*.qcow2"))
