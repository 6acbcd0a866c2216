"""Site: Core and two cells as real programs, each cell on a host of its own with its own libvirtd, in network namespaces.

Every program is run as a user would run it; the hosts see each other as machines in one rack do.
"""

import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any, Final

from nano.hypervisor import local_libvirtd
from nano.tools.testbed.lan import SWITCH_ADDRESS, Lan
from nano.tools.testbed.zone import until

BIN: Final = Path(sys.executable).parent


class Site:
    """Core in the switch's namespace, a cell in each host's. ``port`` is where they discover each other. With ``shared`` both
    cells keep their volumes in one folder, which each of them has mounted at a place of its own."""

    def __init__(self, folder: Path, network: Lan, port: int, *, shared: bool = False) -> None:
        domain = f'[domain]\nname = "site{port}"\nport = {port}\n'
        self.folder = folder
        self.network = network
        self.cells = {index: network.add_host(index) for index in (1, 2)}
        self.core_state = folder / "zone"
        self.shared = shared
        self._mounts = [self._mount(index) for index in self.cells] if shared else []
        config = self.core_state / "core" / "config"
        config.mkdir(parents=True)
        (config / "core.toml").write_text(
            f'{domain}[listen]\nhost = "{SWITCH_ADDRESS}"\n[placement]\ncpu_percent_busy = 100.0\n'
        )
        for index, namespace in self.cells.items():
            uri = local_libvirtd.start(self.host(index), netns=namespace, hide_kvm=True)
            config = self.state(index) / "cell" / "config"
            config.mkdir(parents=True)
            (config / "cell.toml").write_text(
                f'{domain}[cell]\nname = "{namespace}"\naddress = "{network.address(namespace)}"\n'
                f'[hypervisor]\nuri = "{uri}"\nvirt_type = "qemu"\nbridge = "br0"\nvolumes = "{self._chosen(index)}"\n'
            )

    def _mount(self, index: int) -> Path:
        """The one folder, under another name; before the hosts' daemons look at what is mounted."""
        export, place = self.folder / "export", self.folder / f"mount{index}"
        for path in (export, place):
            path.mkdir(exist_ok=True)
        subprocess.run(["mount", "--bind", str(export), str(place)], check=True)
        return place

    def _chosen(self, index: int) -> str:
        return str(self._mounts[index - 1]) if self._mounts else ""

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
        for place in self._mounts:
            subprocess.run(["umount", str(place)], check=True)

    def up(self) -> list[str]:
        """Everything running and both cells in pool ``default``; their names."""
        self.core("start")
        for index in self.cells:
            self.cell(index, "start")
        until(lambda: len(self.ctl("cell", "list")) == len(self.cells), "both cells discovered")
        names = list(self.cells.values())
        for name in names:
            self.ctl("cell", "add", name)
        until(lambda: all(self.row("cell", name)["cores"] for name in names), "both cells described")
        return names

    def volumes(self, index: int) -> set[str]:
        """Names of all guests' files where the cell's volumes are."""
        folder = Path(self._chosen(index) or self.state(index) / "cell" / "data" / "volumes")
        return {path.name for path in folder.glob("[!.]*") if path.is_file()}
