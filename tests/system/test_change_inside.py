"""Changes of a running guest as its own system sees them: a real Linux under emulation, asked through its agent."""

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from nano.tools.testbed.inside import Inside, tiny_zone
from nano.tools.testbed.zone import Zone, until

pytestmark = pytest.mark.timeout(280)

BRIDGE = "nano-inside"


@pytest.fixture(scope="module")
def zone(private_libvirtd: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Zone]:
    with tiny_zone(tmp_path_factory.mktemp("zone"), private_libvirtd, 17880, BRIDGE) as zone:
        yield zone


class Disks(Inside):
    def size_of(self, disk: int) -> int:
        """By its place on the bus: Linux names disks in the order in which it finds them."""
        return int(self.run(f"cat /sys/bus/scsi/devices/*:0:0:{disk}/block/*/size") or "0") * 512

    def write_s(self, disk: int, mebis: int) -> float:
        """Seconds that writing so much to the disk takes."""
        device = f"/dev/$(ls /sys/bus/scsi/devices/*:0:0:{disk}/block)"
        clock = "cut -d' ' -f1 /proc/uptime"
        write = f"dd if=/dev/zero of={device} bs=1M count={mebis} oflag=direct 2>/dev/null || exit 1"
        begun, ended = self.run(f"{clock}; {write}; {clock}").split()
        return float(ended) - float(begun)


@pytest.fixture
def inside(zone: Zone) -> Iterator[Disks]:
    words = ("--memory", "128MiB", "--disk", "256MiB", "--disk", "8MiB", "--image", "tiny")
    zone.ctl("guest", "create", "web", *words, "--wait")
    zone.ctl("guest", "set", "web", "--cores-max", "3", "--memory-max", "192MiB", "--wait")
    zone.ctl("guest", "start", "web", "--wait")
    until(lambda: zone.guest("web")["agent"], "the agent answers", 120)
    yield Disks(zone, zone.guest("web")["id"])
    zone.ctl("guest", "delete", "web", "--force", "--wait")
    zone.check()


def test_what_a_running_system_sees_of_its_changes(zone: Zone, inside: Disks) -> None:
    def change(*words: str) -> Any:
        row = zone.ctl("guest", *words, "--wait")
        assert row["pending"] == [], row["pending"]
        return row

    change("set", "web", "--cores", "2")
    until(lambda: inside.run("grep -c ^processor /proc/cpuinfo") == "2", "the second core is used")
    change("set", "web", "--memory", "176MiB")
    until(lambda: inside.domain.info()[2] == 176 << 10, "the balloon lets go of memory")
    change("set", "web", "--memory", "112MiB")
    until(lambda: inside.domain.info()[2] == 112 << 10, "the balloon takes memory")

    change("disk", "grow", "web", "--disk", "1", "--size", "24MiB")
    until(lambda: inside.size_of(1) == 24 << 20, "the disk is larger")
    change("disk", "add", "web", "--size", "4MiB")
    until(lambda: inside.size_of(2) == 4 << 20, "the disk is there")
    change("disk", "remove", "web", "--disk", "2")
    until(lambda: inside.size_of(2) == 0, "the disk is gone")

    def taken() -> int:
        return sum(path.stat().st_blocks * 512 for path in zone.volumes.glob(f"{zone.guest('web')['id']}_*.qcow2"))

    inside.run("dd if=/dev/urandom of=/litter bs=1M count=24 2>/dev/null; sync; rm /litter; sync; echo")
    littered = taken()
    change("disk", "compact", "web")
    assert littered - taken() > 20 << 20, "what was deleted inside is given back"

    (mac,) = change("nic", "add", "web")["more_macs"]
    until(lambda: mac in inside.run("cat /sys/class/net/*/address"), "the interface is there")
    change("nic", "remove", "web", "--mac", mac)
    until(lambda: mac not in inside.run("cat /sys/class/net/*/address"), "the interface is gone")

    change("set", "web", "--write-bytes", "2MiB")
    limited = inside.write_s(1, 8)
    assert limited > 2.0, "8 MiB at 2 MiB a second"
    change("set", "web", "--write-bytes", "0")
    assert inside.write_s(1, 8) < limited / 2
