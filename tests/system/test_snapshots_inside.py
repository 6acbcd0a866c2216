"""Snapshots of a running system's disks alone: a real Linux under emulation, its file systems frozen by its own agent."""

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from nano.tools.testbed.inside import Inside, tiny_zone
from nano.tools.testbed.zone import Zone, until

pytestmark = pytest.mark.timeout(280)

BRIDGE = "nano-snaps"


@pytest.fixture(scope="module")
def zone(private_libvirtd: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Zone]:
    with tiny_zone(tmp_path_factory.mktemp("zone"), private_libvirtd, 17920, BRIDGE) as zone:
        yield zone


def listed(zone: Zone) -> list[dict[str, Any]]:
    rows: list[dict[str, Any]] = zone.ctl("guest", "snapshot", "list", "web")
    return rows


def booted(zone: Zone) -> Inside:
    until(lambda: zone.guest("web")["agent"], "the agent answers", 120)
    return Inside(zone, zone.guest("web")["id"])


def test_a_running_system_goes_back_to_disks_that_were_frozen(zone: Zone) -> None:
    zone.ctl("guest", "create", "web", "--memory", "128MiB", "--disk", "256MiB", "--image", "tiny", "--start", "--wait")
    inside = booted(zone)
    inside.run("echo kept > /root/word")  # only in its page cache: freezing writes it out
    zone.ctl("guest", "snapshot", "create", "web", "one", "--disks-only", "--wait")
    (row,) = listed(zone)
    assert (row["memory"], row["frozen"]) == (False, True)
    assert inside.ask("guest-fsfreeze-status") == "thawed"
    assert inside.run("echo lost > /root/word && sync && cat /root/word") == "lost"
    assert zone.ctl("drift") == zone.ctl("orphans") == []
    zone.ctl("guest", "snapshot", "create", "web", "two", "--disks-only", "--wait")
    zone.ctl("guest", "snapshot", "delete", "web", "two", "--wait")  # while it runs
    row = zone.ctl("guest", "snapshot", "restore", "web", "one", "--wait")
    assert row["state"] == "stopped"
    zone.ctl("guest", "start", "web", "--wait")
    assert booted(zone).run("cat /root/word") == "kept"

    zone.ctl("guest", "snapshot", "schedule", "web", "--every-hours", "1", "--keep", "1")
    until(lambda: len(listed(zone)) == 2, "the first by schedule is taken at once")
    assert [(one["scheduled"], one["frozen"], one["current"]) for one in listed(zone)] == [
        (False, True, False),
        (True, True, True),
    ]
    until(lambda: zone.guest("web")["task"] == "", "it is at rest")
    zone.ctl("guest", "delete", "web", "--force", "--wait")
    zone.check()
