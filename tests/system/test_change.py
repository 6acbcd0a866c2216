"""Changes of a guest on a real libvirtd and QEMU: what a running guest follows, read back from libvirt and from its files."""

import contextlib
import json
import os
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from xml.etree import ElementTree as ET

import libvirt
import pytest

from nano.hypervisor import local_libvirtd
from nano.hypervisor.bandwidth_probe import network_limits
from nano.hypervisor.bridge import ensure_bridge, remove_bridge
from nano.tools.testbed.zone import Zone, until

pytestmark = pytest.mark.timeout(200)

BRIDGE = "nano-change"
BLANK = ("--memory", "64MiB", "--disk", "16MiB")


@pytest.fixture(scope="module")
def zone(private_libvirtd: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Zone]:
    ensure_bridge(BRIDGE)
    zone = Zone(tmp_path_factory.mktemp("zone"), local_libvirtd.uri_of(private_libvirtd), 17860, bridge=BRIDGE)
    try:
        zone.up()
        yield zone
    finally:
        zone.stop()
        remove_bridge(BRIDGE)


@pytest.fixture(autouse=True)
def clean(zone: Zone) -> Iterator[None]:
    yield
    for row in zone.ctl("guest", "list"):
        zone.ctl("guest", "delete", row["name"], "--force", "--wait")
    zone.check()
    assert zone.domains() == {}


class Real:
    """A guest as libvirt has it."""

    def __init__(self, zone: Zone, name: str) -> None:
        self.connection = libvirt.open(zone.uri)
        self.domain = self.connection.lookupByUUIDString(zone.guest(name)["id"])

    def running(self) -> ET.Element:
        return ET.fromstring(self.domain.XMLDesc(0))

    def next_start(self) -> ET.Element:
        return ET.fromstring(self.domain.XMLDesc(libvirt.VIR_DOMAIN_XML_INACTIVE))

    def disks(self) -> list[str]:
        """Files of the running guest's disks."""
        found = self.running().findall("devices/disk[@device='disk']/source")
        return [Path(source.get("file", "")).name[37:] for source in found]


@contextmanager
def real(zone: Zone, name: str = "web") -> Iterator[Real]:
    seen = Real(zone, name)
    try:
        yield seen
    finally:
        del seen.domain
        seen.connection.close()


def virtual_sizes(zone: Zone, name: str = "web") -> dict[str, int]:
    guest_id = zone.guest(name)["id"]
    found = {}
    for path in sorted(zone.volumes.glob(f"{guest_id}_*")):
        said = subprocess.check_output(["qemu-img", "info", "-U", "-f", "qcow2", "--output=json", str(path)])
        found[path.name[37:]] = int(json.loads(said)["virtual-size"])
    return found


def refused(zone: Zone, *words: str) -> tuple[int, str]:
    done = zone.try_ctl(*words)
    return done.returncode, done.stdout + done.stderr


def test_size_name_and_priority_of_a_stopped_guest(zone: Zone) -> None:
    zone.ctl("guest", "create", "web", *BLANK, "--wait")
    words = ("--cores", "2", "--memory", "96MiB", "--priority", "low", "--autostart", "--name", "shop")
    row = zone.ctl("guest", "set", "web", *words, "--wait")
    assert (row["name"], row["cores"], row["memory"], row["priority"], row["autostart"], row["pending"]) == (
        "shop",
        2,
        96 << 20,
        "low",
        True,
        [],
    )
    with real(zone, "shop") as seen:
        xml = seen.next_start()
        assert (xml.findtext("title"), xml.findtext("vcpu"), xml.findtext("memory")) == ("shop", "2", str(96 << 10))
        assert (xml.findtext("cputune/shares"), xml.findtext("cputune/quota")) == ("500", "250000")
        assert seen.domain.autostart()
    zone.ctl("guest", "start", "shop", "--wait")
    with real(zone, "shop") as seen:
        assert seen.domain.schedulerParameters()["vcpu_quota"] == 250000
    zone.ctl("guest", "force-stop", "shop", "--wait")


def test_a_running_guest_follows_what_it_can_and_the_answer_says_what_waits(zone: Zone) -> None:
    zone.ctl("guest", "create", "web", *BLANK, "--wait")
    zone.ctl("guest", "set", "web", "--cores-max", "4", "--wait")
    zone.ctl("guest", "start", "web", "--wait")
    row = zone.ctl("guest", "set", "web", "--cores", "3", "--priority", "medium", "--name", "shop", "--wait")
    assert row["pending"] == []
    with real(zone, "shop") as seen:
        xml = seen.running()
        assert (xml.findtext("title"), xml.find("vcpu").attrib["current"]) == ("shop", "3")  # type: ignore[union-attr]
        tuned = seen.domain.schedulerParameters()
        assert (tuned["cpu_shares"], tuned["vcpu_quota"]) == (1000, 500_000)
        assert len(seen.domain.vcpus()[0]) == 3
    words = ("--read-bytes", "10MiB", "--write-operations", "200", "--priority", "high")
    assert zone.ctl("guest", "set", "shop", *words, "--wait")["pending"] == []
    with real(zone, "shop") as seen:
        tuned = seen.domain.blockIoTune("sda")
        assert (tuned["read_bytes_sec"], tuned["write_iops_sec"], tuned["write_bytes_sec"]) == (10 << 20, 200, 0)
        assert seen.domain.schedulerParameters()["vcpu_quota"] not in (250_000, 500_000)
    row = zone.ctl("guest", "set", "shop", "--cores", "2", "--memory", "128MiB", "--wait")
    assert row["pending"] == ["cores", "memory"]
    zone.ctl("guest", "force-stop", "shop", "--wait")
    assert zone.guest("shop")["pending"] == []
    zone.ctl("guest", "start", "shop", "--wait")
    with real(zone, "shop") as seen:
        assert (len(seen.domain.vcpus()[0]), seen.domain.info()[1]) == (2, 128 << 10)


def test_disks_come_grow_and_go_while_the_guest_runs(zone: Zone) -> None:
    zone.ctl("guest", "create", "web", *BLANK, "--start", "--wait")
    assert zone.ctl("guest", "disk", "add", "web", "--size", "8MiB", "--wait")["disks"] == [16 << 20, 8 << 20]
    assert zone.ctl("guest", "disk", "add", "web", "--size", "4MiB", "--wait")["pending"] == []
    with real(zone) as seen:
        assert seen.disks() == ["0.qcow2", "1.qcow2", "2.qcow2"]
    for number, size in ((0, 24), (2, 12)):
        zone.ctl("guest", "disk", "grow", "web", "--disk", str(number), "--size", f"{size}MiB", "--wait")
    with real(zone) as seen:
        capacity = [seen.domain.blockInfo(place)[0] for place in ("sda", "sdb", "sdc")]
        assert capacity == [24 << 20, 8 << 20, 12 << 20]
    row = zone.ctl("guest", "disk", "remove", "web", "--disk", "1", "--wait")
    assert (row["disks"], row["pending"]) == ([24 << 20, 12 << 20], [])
    with real(zone) as seen:
        assert seen.disks() == ["0.qcow2", "2.qcow2"]
    assert set(virtual_sizes(zone)) == {"0.qcow2", "2.qcow2"}
    zone.ctl("guest", "disk", "add", "web", "--size", "2MiB", "--wait")
    with real(zone) as seen:
        assert seen.disks() == ["0.qcow2", "3.qcow2", "2.qcow2"]  # the new one took the place that had become free
    code, said = refused(zone, "guest", "disk", "shrink", "web", "--disk", "1", "--size", "4MiB", "--force", "--wait")
    assert (code, "guest_running" in said) == (3, True)
    zone.ctl("guest", "force-stop", "web", "--wait")
    code, said = refused(zone, "guest", "disk", "shrink", "web", "--disk", "1", "--size", "4MiB", "--wait")
    assert (code, "shrink_loses_data" in said) == (3, True)
    zone.ctl("guest", "disk", "shrink", "web", "--disk", "1", "--size", "4MiB", "--force", "--wait")
    assert virtual_sizes(zone) == {"0.qcow2": 24 << 20, "2.qcow2": 4 << 20, "3.qcow2": 2 << 20}
    zone.ctl("guest", "start", "web", "--wait")


def test_a_stopped_guest_gives_back_what_its_disk_does_not_use(zone: Zone) -> None:
    zone.ctl("guest", "create", "web", *BLANK, "--wait")
    path = zone.volumes / f"{zone.guest('web')['id']}_0.qcow2"
    words = ("-c", "write -P 7 0 1M", "-c", "write -P 9 1M 12M", "-c", "write -P 0 1M 12M")
    subprocess.run(["qemu-io", "-f", "qcow2", *words, str(path)], check=True, capture_output=True)
    before, content = path.stat().st_blocks * 512, content_of(zone, 0)
    task = zone.ctl("guest", "disk", "compact", "web", "--no-wait")["task"]["id"]
    until(lambda: zone.ctl("task", "show", task)["state"] == "done", "it ends")
    freed = before - path.stat().st_blocks * 512
    assert freed > 11 << 20
    (told,) = [
        row["event"] for row in zone.ctl("guest", "history", "web") if row["event"]["type"].endswith("compacted")
    ]
    assert told == {"type": "guest.disk_compacted", "number": 0, "freed": freed}
    assert (content_of(zone, 0), virtual_sizes(zone)) == (content, {"0.qcow2": 16 << 20})
    zone.ctl("guest", "start", "web", "--wait")
    code, said = refused(zone, "guest", "disk", "compact", "web", "--wait")
    assert (code, "agent_silent" in said) == (3, True)


def test_a_guest_comes_back_from_the_recycle_bin_and_is_gone_when_it_is_purged(zone: Zone) -> None:
    zone.ctl("guest", "create", "web", *BLANK, "--disk", "8MiB", "--wait")
    row = zone.ctl("guest", "recycle", "web", "--wait")
    assert (row["state"], bool(row["recycled_until"]), len(virtual_sizes(zone))) == ("recycled", True, 2)
    code, said = refused(zone, "guest", "start", "web", "--wait")
    assert (code, "guest_recycled" in said) == (3, True)
    assert zone.ctl("guest", "restore", "web", "--wait")["state"] == "stopped"
    zone.ctl("guest", "start", "web", "--wait")
    with real(zone) as seen:
        assert seen.disks() == ["0.qcow2", "1.qcow2"]
    zone.ctl("guest", "force-stop", "web", "--wait")
    guest_id = zone.guest("web")["id"]
    zone.ctl("guest", "recycle", "web", "--wait")
    zone.ctl("guest", "delete", "web", "--wait")
    assert list(zone.volumes.glob(f"{guest_id}*")) == []
    assert zone.ctl("orphans") == []


def test_network_interfaces_come_and_a_limit_that_the_kernel_lacks_is_refused_by_name(zone: Zone) -> None:
    zone.ctl("guest", "create", "web", *BLANK, "--start", "--wait")
    row = zone.ctl("guest", "nic", "add", "web", "--wait")
    (mac,) = row["more_macs"]
    with real(zone) as seen:
        assert [nic.get("address") for nic in seen.running().findall("devices/interface/mac")] == [row["mac"], mac]
    row = zone.ctl("guest", "nic", "remove", "web", "--mac", mac, "--wait")
    assert (row["more_macs"], row["pending"] in ([], ["more_macs"])) == ([], True)  # a guest without a system keeps it
    code, said = refused(zone, "guest", "set", "web", "--receive-bytes", "1MiB", "--wait")
    if why := network_limits().why_not:
        assert code == 3
        assert "ability_missing" in said
        assert why in said
        assert zone.guest("web")["network_limits"] == {"receive_bytes": 0, "send_bytes": 0}
    else:
        assert code == 0
        with real(zone) as seen:
            assert seen.running().find("devices/interface/bandwidth/inbound").get("average") == "1024"  # type: ignore[union-attr]


def image_of(folder: Path, name: str, content: bytes) -> Path:
    raw, path = folder / f"{name}.raw", folder / f"{name}.qcow2"
    raw.write_bytes(content.ljust(8 << 20, b"\0"))
    subprocess.run(["qemu-img", "convert", "-f", "raw", "-O", "qcow2", str(raw), str(path)], check=True)
    return path


def content_of(zone: Zone, number: int) -> bytes:
    path = zone.volumes / f"{zone.guest('web')['id']}_{number}.qcow2"
    raw = zone.state / "look.raw"
    subprocess.run(
        ["qemu-img", "dd", "-f", "qcow2", "-O", "raw", "bs=512", "count=1", f"if={path}", f"of={raw}"], check=True
    )
    try:
        return raw.read_bytes().rstrip(b"\0")
    finally:
        raw.unlink()


def test_a_reset_makes_the_system_disk_anew_and_a_failed_one_leaves_the_old(zone: Zone, tmp_path: Path) -> None:
    zone.ctl("image", "register", "first", str(image_of(tmp_path, "first", b"first")), "--wait")
    zone.ctl("image", "register", "second", str(image_of(tmp_path, "second", b"second")), "--wait")
    zone.ctl(
        "guest", "create", "web", "--memory", "64MiB", "--disk", "16MiB", "--disk", "4MiB", "--image", "first", "--wait"
    )
    row = zone.ctl("guest", "reset", "web", "--image", "second", "--wait")
    assert (row["image"], row["disks"]) == ("second", [16 << 20, 4 << 20])
    assert virtual_sizes(zone) == {"1.qcow2": 4 << 20, "2.qcow2": 16 << 20}
    assert content_of(zone, 2) == b"second"
    zone.ctl("guest", "start", "web", "--wait")
    code, said = refused(zone, "guest", "reset", "web", "--image", "first", "--wait")
    assert (code, "guest_running" in said) == (3, True)
    zone.ctl("guest", "force-stop", "web", "--wait")
    for cached in (zone.state / "cell" / "data" / "images").glob("*"):
        cached.unlink()
    os.truncate(tmp_path / "first.qcow2", 100)  # no longer what was recorded
    code, said = refused(zone, "guest", "reset", "web", "--image", "first", "--wait")
    assert code == 1, said
    row = zone.guest("web")
    assert (row["image"], row["task"]) == ("second", "")
    assert content_of(zone, 2) == b"second"
    assert set(virtual_sizes(zone)) == {"1.qcow2", "2.qcow2"}
    zone.ctl("guest", "delete", "web", "--wait")
    for name in ("first", "second"):
        zone.ctl("image", "delete", name)


def test_a_disk_that_fills_up_in_the_middle_leaves_what_was(private_libvirtd: Path, tmp_path: Path) -> None:
    """Core sees room, and then somebody else takes it: a reset and a new disk fail, and nothing has changed."""
    volumes = tmp_path / "small"
    volumes.mkdir()
    subprocess.run(["mount", "-t", "tmpfs", "-o", "size=48m,mode=711", "tmpfs", str(volumes)], check=True)
    zone = Zone(tmp_path / "zone", local_libvirtd.uri_of(private_libvirtd), 17865, volumes=volumes)
    filler = volumes / "filler"

    def is_room() -> None:
        filler.unlink(missing_ok=True)
        until(lambda: zone.ctl("usage")["cells"][cell]["disk_available"] > 20 << 20, "Core sees room")

    def fails_when_full(*words: str) -> None:
        def tried() -> bool:
            is_room()
            with open(filler, "wb", buffering=0) as file, contextlib.suppress(OSError):
                while True:
                    file.write(bytes(1 << 16))
            code, said = refused(zone, *words, "--wait")
            assert code != 0
            return "disk_full" in said  # else the cell's word that it is full came first

        until(tried, "it fails in the middle")

    try:
        cell = zone.up()
        zone.ctl("image", "register", "noise", str(image_of(tmp_path, "noise", os.urandom(8 << 20))), "--wait")
        zone.ctl("guest", "create", "web", "--memory", "64MiB", "--disk", "16MiB", "--image", "noise", "--wait")
        before = (zone.guest("web"), content_of(zone, 0))
        fails_when_full("guest", "reset", "web", "--image", "noise")
        fails_when_full("guest", "disk", "add", "web", "--size", "12MiB")
        after = zone.guest("web")
        for field in ("disks", "image", "pending", "task"):
            assert after[field] == before[0][field]
        assert content_of(zone, 0) == before[1]
        assert set(virtual_sizes(zone)) == {"0.qcow2"}
        is_room()
        zone.ctl("guest", "disk", "add", "web", "--size", "12MiB", "--wait")
        zone.ctl("guest", "delete", "web", "--wait")
        assert list(volumes.glob("*.qcow2*")) == []
    finally:
        zone.stop()
        subprocess.run(["umount", "-l", str(volumes)], check=True)
