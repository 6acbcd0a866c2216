"""Images and real guests: built from a disk, cloned whole, linked, kept in the cell's cache, and refused to go while in use."""

import json
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest

from nano.hypervisor import local_libvirtd
from nano.tools.testbed.zone import Zone, until
from tests.system.test_images import noise

pytestmark = pytest.mark.timeout(200)
SMALL = ("--memory", "64MiB", "--disk", "16MiB")


@pytest.fixture(scope="module")
def zone(private_libvirtd: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Zone]:
    zone = Zone(tmp_path_factory.mktemp("clones"), local_libvirtd.uri_of(private_libvirtd), 18270)
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
    for row in zone.ctl("image", "list"):
        zone.ctl("image", "delete", row["name"])
    zone.check()
    assert list((zone.state / "cell" / "data" / "outgoing").glob("*")) == []


def volume(zone: Zone, guest: str) -> Path:
    (path,) = zone.volumes.glob(f"{zone.guest(guest)['id']}*")
    return path


def raw_of(path: Path, folder: Path) -> bytes:
    raw = folder / "content.raw"
    subprocess.run(["qemu-img", "convert", "-U", "-f", "qcow2", "-O", "raw", str(path), str(raw)], check=True)
    return raw.read_bytes()


def test_a_linked_clone_leans_on_the_cached_image_and_keeps_it(zone: Zone, tmp_path: Path) -> None:
    source = noise(tmp_path / "disk.img", 6 << 20)
    image = zone.ctl("image", "upload", "base", str(source), "--wait")
    zone.ctl("guest", "create", "leaf", *SMALL, "--image", "base", "--linked", "--start", "--wait")
    assert zone.guest("leaf")["state"] == "running"
    assert zone.guest("leaf")["linked"]
    told = json.loads(
        subprocess.check_output(["qemu-img", "info", "-U", "--output=json", "-f", "qcow2", str(volume(zone, "leaf"))])
    )
    cached = zone.state / "cell" / "data" / "images" / f"{image['sha256']}.qcow2"
    assert (told["backing-filename"], told["backing-filename-format"]) == (str(cached), "qcow2")
    assert told["virtual-size"] == 16 << 20
    assert volume(zone, "leaf").stat().st_size < 1 << 20
    refused = zone.try_ctl("image", "delete", "base")
    assert refused.returncode == 3
    problem = json.loads(refused.stderr)
    assert (problem["code"], problem["guests"]) == ("image_in_use", ["leaf"])
    zone.ctl("guest", "force-stop", "leaf", "--wait")
    assert raw_of(volume(zone, "leaf"), tmp_path)[: 6 << 20] == source.read_bytes()


def test_a_pool_that_forbids_links_copies_whole(zone: Zone, tmp_path: Path) -> None:
    zone.ctl("image", "upload", "base", str(noise(tmp_path / "disk.img", 2 << 20)), "--wait")
    zone.ctl("pool", "modify", "default", "--no-linked-clones")
    try:
        zone.ctl("guest", "create", "whole", *SMALL, "--image", "base", "--linked", "--wait")
        assert not zone.guest("whole")["linked"]
        zone.ctl("image", "delete", "base")
        zone.ctl("guest", "start", "whole", "--wait")
    finally:
        zone.ctl("pool", "modify", "default", "--linked-clones")


def test_an_image_is_built_of_a_stopped_guest(zone: Zone, tmp_path: Path) -> None:
    source = noise(tmp_path / "disk.img", 6 << 20)
    zone.ctl("image", "upload", "base", str(source), "--wait")
    zone.ctl("guest", "create", "model", *SMALL, "--image", "base", "--linked", "--start", "--wait")
    refused = zone.try_ctl("image", "build", "copy", "--guest", "model", "--wait")
    assert "guest_running" in refused.stderr
    zone.ctl("guest", "force-stop", "model", "--wait")
    row = zone.ctl("image", "build", "copy", "--guest", "model", "--tag", "built", "--wait")
    assert (row["virtual_size"], row["tags"], row["format"]) == (16 << 20, ["built"], "qcow2")
    assert zone.guest("model")["task"] == ""
    back = tmp_path / "back.qcow2"
    zone.ctl("image", "download", "copy", str(back))
    assert raw_of(back, tmp_path)[: 6 << 20] == source.read_bytes()
    zone.ctl("guest", "create", "second", *SMALL, "--image", "copy", "--start", "--wait")


def test_a_cell_killed_while_it_sends_leaves_nothing(zone: Zone, tmp_path: Path) -> None:
    zone.ctl("image", "upload", "base", str(noise(tmp_path / "disk.img", 48 << 20)), "--wait")
    zone.ctl("guest", "create", "model", "--memory", "64MiB", "--disk", "64MiB", "--image", "base", "--wait")
    task = zone.ctl("image", "build", "copy", "--guest", "model", "--no-wait")["task"]["id"]
    outgoing = zone.state / "cell" / "data" / "outgoing"
    until(lambda: list(outgoing.glob("*")) or zone.ctl("task", "show", task)["state"] != "running", "it copies")
    zone.kill("cell")
    zone.start("cell")
    until(lambda: zone.ctl("task", "show", task)["state"] in ("failed", "done"), "it ends")
    assert zone.guest("model")["task"] == ""
    if zone.ctl("task", "show", task)["state"] == "failed":
        assert [row["name"] for row in zone.ctl("image", "list")] == ["base"]
    kept = {path.name for path in (zone.state / "core" / "data" / "images").glob("*")}
    assert kept == {f"{row['id']}.qcow2" for row in zone.ctl("image", "list")}
