"""libvirtd is restarted in the middle of a batch: what it was doing ends or is undone, and nothing is left without an owner."""

from collections.abc import Iterator
from pathlib import Path

import pytest

from nano.hypervisor import local_libvirtd
from nano.tools.testbed.zone import Zone, until

pytestmark = pytest.mark.timeout(200)

COUNT = 24


@pytest.fixture
def zone(private_libvirtd: Path, tmp_path: Path) -> Iterator[Zone]:
    zone = Zone(tmp_path / "zone", local_libvirtd.uri_of(private_libvirtd), 17895)
    try:
        zone.up()
        yield zone
    finally:
        zone.stop()


def ended(zone: Zone, task: str) -> bool:
    return zone.ctl("task", "show", task)["state"] in ("done", "failed", "cancelled")


def test_under_load(zone: Zone, private_libvirtd: Path) -> None:
    made = ("--memory", "32MiB", "--disk", "1MiB")
    task = zone.ctl("batch", "create", "load", "--count", str(COUNT), *made, "--no-wait")["task"]["id"]
    until(lambda: len(zone.domains()) >= 3, "the batch is under way")
    local_libvirtd.stop(private_libvirtd)
    local_libvirtd.start(private_libvirtd, hide_kvm=True)
    until(lambda: ended(zone, task), "the batch has ended", 90)
    items = zone.ctl("task", "show", task)["items"]
    assert {item["state"] for item in items} <= {"done", "failed"}
    assert all(item["error"]["code"] for item in items if item["state"] == "failed")
    until(lambda: zone.ctl("drift") == [] and zone.ctl("orphans") == [], "nothing differs and nothing is left")
    zone.check()
    names = [item["name"] for item in items if item["state"] == "done"]
    assert {row["name"] for row in zone.ctl("guest", "list")} == set(names)
    zone.ctl("batch", "delete", *names, "--wait")
    assert zone.domains() == {}
    assert zone.files() == set()
