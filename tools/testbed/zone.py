"""Zone: one Core and one Cell as real programs on one machine, driven the way a user drives them, for system tests.

It starts no hypervisor and no portal: it is given a libvirt URI. ``check`` compares what the journal says with what the host
has, which is the question most tests end with.
"""

import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any, Final

import libvirt

BIN: Final = Path(sys.executable).parent
COMMAND_LIMIT_S: Final = 120.0


class Zone:
    """``port`` and the four after it are used. ``volumes`` empty = in the cell's folder."""

    def __init__(
        self,
        state: Path,
        uri: str,
        port: int,
        *,
        bridge: str = "",
        volumes: Path | None = None,
        packet_filter: str = "auto",
    ) -> None:
        self.state = state
        self.uri = uri
        self.volumes = volumes or state / "cell" / "data" / "volumes"
        domain = f'[domain]\nname = "zone{port}"\nport = {port + 4}\n'
        self._write(
            "core",
            f"{domain}[listen]\napi_port = {port}\nimage_port = {port + 2}\nlink_port = {port + 3}\n"
            "[placement]\ncpu_percent_busy = 100.0\n",
        )
        self._write(
            "cell",
            f'{domain}[hypervisor]\nuri = "{uri}"\nvirt_type = "qemu"\nbridge = "{bridge}"\nvolumes = "{volumes or ""}"\n'
            f'packet_filter = "{packet_filter}"\n',
        )

    def _write(self, node: str, text: str) -> None:
        path = self.state / node / "config" / f"{node}.toml"
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text)

    # ------------------------------------------------------------------ programs

    def program(self, name: str, verb: str) -> subprocess.CompletedProcess[str]:
        return self._run(name, verb, "--state", str(self.state))

    def start(self, *nodes: str) -> None:
        for node in nodes or ("core", "cell"):
            done = self.program(f"nano-{node}", "start")
            assert done.returncode == 0, done.stdout + done.stderr

    def stop(self) -> None:
        for node in ("core", "cell"):
            self.program(f"nano-{node}", "stop")

    def kill(self, node: str) -> None:
        """kill -9, now."""
        os.kill(self.pid(node), signal.SIGKILL)

    def pid(self, node: str) -> int:
        record = json.loads((self.state / node / "run" / f"nano-{node}.pid").read_text())
        return int(record["pid"])

    def up(self) -> str:
        """Both nodes running and the cell in pool ``default``; the cell's name."""
        self.start()
        until(lambda: self.ctl("cell", "list"), "the cell is discovered")
        name: str = self.ctl("cell", "list")[0]["name"]
        self.ctl("cell", "add", name)
        until(lambda: self.ctl("cell", "show", name)["cores"], "the cell has described itself")
        return name

    def ctl(self, *words: str) -> Any:
        """``nanoctl … -o json``, which must succeed."""
        done = self.try_ctl(*words)
        assert done.returncode == 0, f"nanoctl {' '.join(words)}: {done.stdout}{done.stderr}"
        return json.loads(done.stdout)

    def try_ctl(self, *words: str) -> subprocess.CompletedProcess[str]:
        return self._run("nanoctl", "--state", str(self.state), *words, "-o", "json")

    def guest(self, name: str) -> Any:
        return self.ctl("guest", "show", name)

    def _run(self, *command: str) -> subprocess.CompletedProcess[str]:
        return subprocess.run(
            [str(BIN / command[0]), *command[1:]], capture_output=True, text=True, timeout=COMMAND_LIMIT_S, check=False
        )

    # ------------------------------------------------------------------ the host

    def domains(self) -> dict[str, bool]:
        """Nano's domains on the host: guest id -> active."""
        connection = libvirt.open(self.uri)
        try:
            every = connection.listAllDomains()
            return {
                domain.UUIDString(): bool(domain.isActive()) for domain in every if domain.name().startswith("nano-")
            }
        finally:
            connection.close()

    def files(self) -> set[str]:
        """Guest ids that own files in the volume folder, finished or not."""
        return (
            {path.name[:36] for path in self.volumes.glob("[!.]*") if path.is_file()}
            if self.volumes.exists()
            else set()
        )

    def check(self) -> None:
        """Every guest has its domain and its volumes, and there is nothing else."""
        guests = {row["id"]: row["state"] for row in self.ctl("guest", "list")}
        domains = self.domains()
        assert set(domains) == set(guests), "domains without guests, or guests without domains"
        assert self.files() == set(guests), "volumes without guests, or guests without volumes"
        for guest_id, active in domains.items():
            assert guests[guest_id] == ("running" if active else "stopped")
        assert all(row["state"] in ("done", "failed", "cancelled") for row in self.ctl("task", "list")), (
            "every task ends"
        )


def until(holds: Callable[[], object], what: str, limit_s: float = 60.0) -> float:
    """Seconds until it held. Raises AssertionError(what)."""
    began = time.monotonic()
    while not holds():
        assert time.monotonic() < began + limit_s, f"not within {limit_s:.0f} s: {what}"
        time.sleep(0.02)
    return time.monotonic() - began
