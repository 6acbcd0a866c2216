"""The agent of a real guest: its password is set by it, its words are told, and a hostile one harms nobody."""

import os
import pty
import select
import subprocess
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from nano.hypervisor import local_libvirtd
from nano.hypervisor.bridge import ensure_bridge, remove_bridge
from nano.tools.guest_image.builder import cache_folder, ensure_image
from nano.tools.testbed.inside import Inside
from nano.tools.testbed.zone import BIN, Zone, until

pytestmark = pytest.mark.timeout(280)

BRIDGE = "nano-agent"
PORT = "/dev/virtio-ports/org.qemu.guest_agent.0"
AWAY_S = 15
SILENT = f"sleep 1; kill -STOP $(pidof qemu-ga); sleep {AWAY_S}; kill -CONT $(pidof qemu-ga)"
FLOOD = f"exec 3<>{PORT}; read -r line <&3; dd if=/dev/zero bs=1M count=12 2>/dev/null | tr '\\0' a >&3; sleep 100000"
FLOODS = (
    "printf '%s\\n' '#!/bin/sh' \"$0\" >/run/evil; chmod +x /run/evil; mount --bind /run/evil /etc/run-agent; "
    "sleep 1; killall qemu-ga"
)


@pytest.fixture(scope="module")
def zone(private_libvirtd: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Zone]:
    ensure_bridge(BRIDGE)
    zone = Zone(tmp_path_factory.mktemp("zone"), local_libvirtd.uri_of(private_libvirtd), 17680, bridge=BRIDGE)
    try:
        zone.up()
        zone.ctl("image", "register", "tiny", str(ensure_image(cache_folder(), lambda *_: None)), "--wait")
        zone.ctl(
            "guest", "create", "web", "--memory", "128MiB", "--disk", "256MiB", "--image", "tiny", "--start", "--wait"
        )
        until(lambda: zone.guest("web")["agent"], "the agent answers", 120)
        yield zone
    finally:
        zone.stop()
        remove_bridge(BRIDGE)


def silent(zone: Zone) -> bool:
    refused = zone.try_ctl("guest", "inside", "web")
    return refused.returncode != 0 and "agent_silent" in refused.stdout + refused.stderr


class Terminal:
    """``nanoctl guest console`` as a person has it, on a pseudo terminal."""

    def __init__(self, zone: Zone, guest: str) -> None:
        self.master, slave = pty.openpty()
        words = [str(BIN / "nanoctl"), "--state", str(zone.state), "guest", "console", guest]
        self.program = subprocess.Popen(words, stdin=slave, stdout=slave, stderr=slave)
        os.close(slave)
        self.seen = b""

    def until(self, text: bytes, typed: bytes = b"") -> None:
        """Type, now and again every two seconds while the text has not come (a login takes a while to listen)."""
        found, began = self.seen.find(text), time.monotonic()
        while found < 0:
            assert time.monotonic() < began + 60, (text, self.seen)
            if typed:
                os.write(self.master, typed)
            while found < 0 and select.select([self.master], [], [], 2)[0]:
                self.seen += os.read(self.master, 4096)
                found = self.seen.find(text)
        self.seen = self.seen[found + len(text) :]

    def type(self, keys: bytes) -> None:
        os.write(self.master, keys)


def test_the_serial_console_in_a_terminal(zone: Zone) -> None:
    password = zone.ctl("guest", "password", "web", "--wait")["password"]
    terminal = Terminal(zone, "web")
    terminal.until(b"login: ", typed=b"\r")
    terminal.type(b"root\r")
    terminal.until(b"assword: ")
    other = Terminal(zone, "web")
    other.until(b"console_closed")
    assert other.program.wait(20) != 0
    terminal.type(password.encode() + b"\r")
    terminal.until(b"# ")
    terminal.type(b"echo six times seven is $((6*7)).; seq 20000 | tail -1\r")
    terminal.until(b"seven is 42.")
    terminal.until(b"20000")
    terminal.type(b"\x1d")
    assert terminal.program.wait(20) == 0
    again = Terminal(zone, "web")
    again.until(b"# ", typed=b"\r")
    again.type(b"exit\r\x1d")
    assert again.program.wait(20) == 0


def test_the_agent_of_a_real_guest(zone: Zone, tmp_path: Path) -> None:
    inside = Inside(zone, zone.guest("web")["id"])
    told = zone.ctl("guest", "inside", "web")
    assert told["host_name"]
    assert 0 < told["memory_used"] < told["memory"] < 128 << 20
    assert any(one["mount"] == "/" and 0 < one["used"] < one["size"] for one in told["file_systems"])
    before = inside.run("grep ^root: /etc/shadow")
    made = zone.ctl("guest", "password", "web", "--wait")
    assert (made["user"], len(made["password"])) == ("root", 16)
    shadow = inside.run("grep ^root: /etc/shadow")
    assert shadow != before
    salt = shadow.split("$")[2]
    assert inside.run(f"mkpasswd -m sha512 -S {salt} '{made['password']}'") == shadow.split(":")[1]
    assert zone.ctl("guest", "show-password", "web") == made
    nobody = zone.try_ctl("guest", "password", "web", "--user", "nobody-here", "--wait")
    assert (nobody.returncode != 0, "agent_refused" in nobody.stdout + nobody.stderr) == (True, True)
    assert zone.ctl("guest", "show-password", "web") == made
    written = [path for path in zone.state.rglob("*") if path.is_file() and path.suffix in (".jsonl", ".log", ".zst")]
    assert written
    assert not [path for path in written if made["password"].encode() in path.read_bytes()]

    inside.ask("guest-exec", path="/bin/sh", arg=["-c", SILENT])
    until(lambda: silent(zone), "one that does not answer is told of")
    until(lambda: not silent(zone), "it answers again")
    inside.ask("guest-exec", path="/bin/sh", arg=["-c", FLOODS, FLOOD])
    until(lambda: silent(zone), "one that answers with 12 MiB is told of")
    zone.ctl("guest", "delete", "web", "--force", "--wait")
    zone.check()
