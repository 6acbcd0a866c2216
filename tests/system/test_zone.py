"""A zone of real programs on a real libvirtd: what users do, what happens behind its back, plugs pulled, disks full."""

import json
import random
import subprocess
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import libvirt
import pytest

from nano.hypervisor import local_libvirtd
from nano.tools.testbed.zone import BIN, Zone, until

pytestmark = pytest.mark.timeout(280)

FOREIGN = """<domain type='qemu'><name>somebody-elses</name><memory unit='MiB'>64</memory>
<os><type arch='x86_64' machine='pc'>hvm</type></os></domain>"""
BLANK = ("--memory", "64MiB", "--disk", "16MiB")


@pytest.fixture(scope="module")
def zone(private_libvirtd: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Zone]:
    zone = Zone(tmp_path_factory.mktemp("zone"), local_libvirtd.uri_of(private_libvirtd), 17700)
    zone.up()
    try:
        yield zone
    finally:
        zone.stop()


@pytest.fixture(autouse=True)
def clean(zone: Zone) -> Iterator[None]:
    yield
    for row in zone.ctl("guest", "list"):
        zone.ctl("guest", "delete", row["name"], "--force", "--wait")
    zone.check()
    assert zone.domains() == {}


def image_of(folder: Path, size_mib: int) -> Path:
    """A qcow2 file full of data that does not compress, so that copying it takes room and time."""
    raw, path = folder / "noise.raw", folder / "noise.qcow2"
    raw.write_bytes(random.Random(1).randbytes(size_mib << 20))
    subprocess.run(["qemu-img", "convert", "-f", "raw", "-O", "qcow2", str(raw), str(path)], check=True)
    raw.unlink()
    return path


def test_every_power_command_on_a_real_guest(zone: Zone) -> None:
    zone.ctl("guest", "create", "web", *BLANK, "--start", "--wait")
    assert zone.guest("web")["state"] == "running"
    zone.ctl("guest", "force-reboot", "web", "--wait")
    assert zone.guest("web")["state"] == "running"
    zone.ctl("guest", "force-stop", "web", "--wait")
    assert zone.guest("web")["state"] == "stopped"
    zone.ctl("guest", "start", "web", "--wait")
    zone.check()
    kinds = [row["event"]["type"] for row in zone.ctl("guest", "history", "web")]
    assert {"guest.requested", "guest.created", "guest.started", "guest.stopped"} <= set(kinds)


def test_a_guest_stopped_behind_our_back_is_seen_within_two_seconds(zone: Zone) -> None:
    zone.ctl("guest", "create", "web", *BLANK, "--start", "--wait")
    connection = libvirt.open(zone.uri)
    connection.lookupByUUIDString(zone.guest("web")["id"]).destroy()
    took = until(lambda: zone.guest("web")["state"] == "stopped", "the stop is seen", 10)
    assert took < 2.0 + 1.0, "two seconds, and one for asking by a fresh process each time"
    connection.close()


def test_a_domain_that_vanished_is_reported_and_defined_again(zone: Zone) -> None:
    zone.ctl("guest", "create", "web", *BLANK, "--wait")
    connection = libvirt.open(zone.uri)
    connection.lookupByUUIDString(zone.guest("web")["id"]).undefine()
    connection.close()
    until(lambda: zone.guest("web")["state"] == "missing", "the loss is seen", 10)
    refused = zone.try_ctl("guest", "start", "web", "--wait")
    assert (refused.returncode, "guest_missing" in refused.stdout + refused.stderr) == (3, True)
    zone.ctl("guest", "redefine", "web", "--wait")
    zone.ctl("guest", "start", "web", "--wait")
    zone.check()


def test_a_domain_that_is_not_ours_is_never_touched(zone: Zone) -> None:
    connection = libvirt.open(zone.uri)
    foreign = connection.defineXML(FOREIGN)
    try:
        foreign.create()
        before = foreign.XMLDesc()
        zone.ctl("guest", "create", "web", *BLANK, "--start", "--wait")
        zone.kill("cell")
        zone.start("cell")
        until(lambda: zone.guest("web")["state"] == "running", "the cell is back")
        assert foreign.isActive()
        assert foreign.XMLDesc() == before
        assert [row["name"] for row in zone.ctl("guest", "list")] == ["web"]
    finally:
        foreign.destroy()
        foreign.undefine()
        connection.close()


def test_an_image_is_cloned_and_a_failed_clone_leaves_nothing(zone: Zone, tmp_path: Path) -> None:
    image = image_of(tmp_path, 24)
    zone.ctl("image", "register", "noise", str(image), "--wait")
    zone.ctl("guest", "create", "copy", "--memory", "64MiB", "--disk", "32MiB", "--image", "noise", "--wait")
    (volume,) = zone.volumes.glob(f"{zone.guest('copy')['id']}*")
    told = json.loads(subprocess.check_output(["qemu-img", "info", "--output=json", "-f", "qcow2", str(volume)]))
    assert told["virtual-size"] == 32 << 20
    assert "backing-filename" not in told
    subprocess.run(
        ["qemu-img", "resize", "-q", "-f", "qcow2", str(image), "30M"], check=True
    )  # no longer what was recorded
    for cached in (zone.state / "cell" / "data" / "images").glob("*"):
        cached.unlink()
    failed = zone.try_ctl(
        "guest", "create", "bad", "--memory", "64MiB", "--disk", "32MiB", "--image", "noise", "--wait"
    )
    assert failed.returncode == 1, failed.stdout + failed.stderr
    (task,) = (row for row in zone.ctl("task", "list") if row["resource_name"] == "bad")
    assert task["state"] == "failed"
    assert task["error"]["message"]
    assert any("given back" in text for text in task["undone"])
    zone.check()
    zone.ctl("image", "delete", "noise")


@pytest.mark.parametrize("content", [b"", b"not an image", b"KDMV" + bytes(600), b"QFI\xfb" + bytes(100)])
def test_files_that_are_no_images_are_refused(zone: Zone, tmp_path: Path, content: bytes) -> None:
    path = tmp_path / "bad.qcow2"
    path.write_bytes(content)
    refused = zone.try_ctl("image", "register", "bad", str(path), "--wait")
    assert refused.returncode == 1, refused.stdout + refused.stderr
    assert zone.ctl("image", "list") == []


def test_an_image_that_leans_on_another_file_is_refused(zone: Zone, tmp_path: Path) -> None:
    path = tmp_path / "bad.qcow2"
    options = ["-f", "qcow2", "-F", "raw", "-b", "/etc/hostname", "-u", str(path), "64M"]
    subprocess.run(["qemu-img", "create", "-q", *options], check=True)
    for _ in ("whole", "cut behind its header"):
        refused = zone.try_ctl("image", "register", "bad", str(path), "--wait")
        assert "image_not_self_contained" in refused.stdout + refused.stderr
        path.write_bytes(path.read_bytes()[:300])


@pytest.mark.parametrize("node", ["core", "cell"])
def test_killed_at_any_moment_of_a_creation(zone: Zone, tmp_path: Path, node: str) -> None:
    """kill -9 at a random moment, start again: the guest is whole or gone, and its task has ended."""
    zone.ctl("image", "register", "noise", str(image_of(tmp_path, 16)), "--wait")
    chance = random.Random(7)
    for index in range(8):
        words = (
            "guest",
            "create",
            f"g{index}",
            "--memory",
            "64MiB",
            "--disk",
            "16MiB",
            "--image",
            "noise",
            "--no-wait",
        )
        zone.ctl(*words)
        time.sleep(chance.uniform(0, 0.25))  # the moment is the point of this test
        zone.kill(node)
        zone.start(node)
        until(lambda: all(row["ended_at"] for row in zone.ctl("task", "list")), "every task has ended", 60)
        until(lambda: all(row["state"] != "lost" for row in zone.ctl("guest", "list")), "the cell is back", 30)
        zone.check()
    zone.ctl("image", "delete", "noise")


def test_a_damaged_journal_refuses_to_start_and_names_file_and_byte(zone: Zone) -> None:
    zone.ctl("guest", "create", "web", *BLANK, "--wait")
    zone.program("nano-core", "stop")
    (segment,) = (zone.state / "core" / "data" / "journal" / "commits").glob("*.jsonl")
    whole = segment.read_bytes()
    place = whole.index(b'"guest.requested"')
    segment.write_bytes(whole[:place] + b'"guest.requesteX"' + whole[place + 17 :])
    refused = zone.program("nano-core", "start")
    assert refused.returncode == 1
    assert segment.name in refused.stderr
    assert "byte" in refused.stderr
    verified = subprocess.run(
        [str(BIN / "nano-replay"), "--node", str(zone.state / "core"), "verify"],
        capture_output=True,
        text=True,
        check=False,
    )
    assert verified.returncode == 1
    assert f"{segment}, byte " in verified.stdout
    segment.write_bytes(whole)
    zone.start("core")
    until(lambda: zone.guest("web")["state"] == "stopped", "everything as before")
    for name in ("core", "cell"):
        subprocess.run(
            [str(BIN / "nano-replay"), "--node", str(zone.state / name), "verify"], check=True, capture_output=True
        )


@contextmanager
def small_disk(folder: Path, size: str) -> Iterator[Path]:
    folder.mkdir()
    subprocess.run(["mount", "-t", "tmpfs", "-o", f"size={size},mode=711", "tmpfs", str(folder)], check=True)
    try:
        yield folder
    finally:
        subprocess.run(["umount", "-l", str(folder)], check=True)


def test_a_full_disk_in_the_middle_of_a_clone(private_libvirtd: Path, tmp_path: Path) -> None:
    """Two clones that fit one by one fill the disk together; what fails leaves nothing."""
    uri = local_libvirtd.uri_of(private_libvirtd)
    with small_disk(tmp_path / "small", "64m") as volumes:  # the image too is kept there
        zone = Zone(tmp_path / "zone", uri, 17720, volumes=volumes)
        try:
            zone.up()
            zone.ctl("image", "register", "noise", str(image_of(tmp_path, 24)), "--wait")
            for name in ("a", "b"):
                words = (
                    "guest",
                    "create",
                    name,
                    "--memory",
                    "64MiB",
                    "--disk",
                    "24MiB",
                    "--image",
                    "noise",
                    "--no-wait",
                )
                zone.ctl(*words)
            until(lambda: all(row["ended_at"] for row in zone.ctl("task", "list")), "both have ended")
            failed = [row for row in zone.ctl("task", "list") if row["state"] == "failed"]
            assert failed, "they can't both fit"
            assert {row["error"]["code"] for row in failed} == {"disk_full"}
            guests = {row["id"] for row in zone.ctl("guest", "list")}
            assert zone.files() == guests
            assert guests == set(zone.domains()) & guests
            for row in zone.ctl("guest", "list"):
                zone.ctl("guest", "delete", row["name"], "--wait")
            assert list(volumes.glob("*.qcow2*")) == []
        finally:
            zone.stop()
