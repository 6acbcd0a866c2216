"""Snapshots on real QEMU: of a guest that is off and of one that runs, back and forth through the tree, and with plugs pulled."""

import contextlib
import json
import subprocess
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import libvirt
import libvirt_qemu
import pytest

from nano.hypervisor import local_libvirtd
from nano.tools.testbed.zone import Zone, until

pytestmark = pytest.mark.timeout(200)

BLANK = ("--memory", "64MiB", "--disk", "16MiB")
PLACE = 1 << 20  # where on the disk a word is written: behind what a BIOS looks at


@pytest.fixture(scope="module")
def zone(private_libvirtd: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Zone]:
    zone = Zone(tmp_path_factory.mktemp("zone"), local_libvirtd.uri_of(private_libvirtd), 17960)
    try:
        zone.up()
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


@contextlib.contextmanager
def real(zone: Zone) -> Iterator[Any]:
    connection = libvirt.open(zone.uri)
    domain = connection.lookupByUUIDString(zone.guest("web")["id"])
    try:
        yield domain
    finally:
        del domain
        connection.close()


def disk(zone: Zone, number: int = 0) -> Path:
    return zone.volumes / f"{zone.guest('web')['id']}_{number}.qcow2"


def write(zone: Zone, byte: int, number: int = 0) -> None:
    """Fill a sector of a guest that is off."""
    subprocess.run(
        ["qemu-io", "-f", "qcow2", "-c", f"write -P {byte} {PLACE} 512", str(disk(zone, number))],
        check=True,
        capture_output=True,
    )


def reads(zone: Zone, byte: int, number: int = 0) -> bool:
    command = ["qemu-io", "-f", "qcow2", "-c", f"read -P {byte} {PLACE} 512", str(disk(zone, number))]
    done = subprocess.run(command, check=False, capture_output=True, text=True)
    assert "512 bytes" in done.stdout, done.stderr
    return done.returncode == 0


def write_running(zone: Zone, byte: int) -> None:
    """As the guest's own disk controller does."""
    with real(zone) as domain:
        written = libvirt_qemu.qemuMonitorCommand(
            domain,
            f'qemu-io -d scsi0-0-0-0 "write -P {byte} {PLACE} 512"',
            libvirt_qemu.VIR_DOMAIN_QEMU_MONITOR_COMMAND_HMP,
        )
        assert not written, written


def in_volumes(zone: Zone, number: int = 0) -> set[str]:
    said = subprocess.check_output(["qemu-img", "info", "-U", "-f", "qcow2", "--output=json", str(disk(zone, number))])
    return {one["name"] for one in json.loads(said).get("snapshots", ())}


def tree(zone: Zone) -> dict[str, str]:
    return {row["name"]: row["parent"] for row in zone.ctl("guest", "snapshot", "list", "web")}


def current(zone: Zone) -> list[str]:
    return [row["name"] for row in zone.ctl("guest", "snapshot", "list", "web") if row["current"]]


def snapshot(zone: Zone, verb: str, name: str, *words: str) -> Any:
    return zone.ctl("guest", "snapshot", verb, "web", name, *words, "--wait")


def refused(zone: Zone, *words: str) -> str:
    done = zone.try_ctl(*words)
    assert done.returncode != 0, words
    return done.stdout + done.stderr


def test_a_stopped_guest_goes_back_and_forth_through_its_tree(zone: Zone) -> None:
    zone.ctl("guest", "create", "web", *BLANK, "--disk", "4MiB", "--wait")
    write(zone, 1)
    write(zone, 11, 1)
    snapshot(zone, "create", "one", "--description", "the first")
    write(zone, 2)
    write(zone, 12, 1)
    snapshot(zone, "create", "two")
    write(zone, 3)
    snapshot(zone, "restore", "one")
    assert (reads(zone, 1), reads(zone, 11, 1), current(zone)) == (True, True, ["one"])
    snapshot(zone, "create", "1")  # as qemu-img calls the first of them
    assert tree(zone) == {"one": "", "two": "one", "1": "one"}
    snapshot(zone, "restore", "two")
    assert (reads(zone, 2), reads(zone, 12, 1), current(zone)) == (True, True, ["two"])
    snapshot(zone, "delete", "one")
    assert tree(zone) == {"two": "", "1": ""}
    assert len(in_volumes(zone)) == len(in_volumes(zone, 1)) == 2
    write(zone, 4)
    snapshot(zone, "restore", "1")
    assert reads(zone, 1)
    snapshot(zone, "restore", "two")
    assert reads(zone, 2)
    for name in ("two", "1"):
        snapshot(zone, "delete", name)
    assert (tree(zone), current(zone), in_volumes(zone)) == ({}, [], set())
    zone.ctl("guest", "start", "web", "--wait")


def test_a_running_guest_goes_back_with_its_memory_and_keeps_its_configuration(zone: Zone) -> None:
    zone.ctl("guest", "create", "web", *BLANK, "--start", "--wait")
    write_running(zone, 1)
    snapshot(zone, "create", "on")
    (row,) = zone.ctl("guest", "snapshot", "list", "web")
    assert (row["memory"], row["current"]) == (True, True)
    write_running(zone, 2)
    zone.ctl("guest", "set", "web", "--priority", "low", "--cores", "2", "--wait")
    row = snapshot(zone, "restore", "on")
    assert (row["state"], row["priority"], row["cores"], row["pending"]) == ("running", "low", 2, ["cores"])
    with real(zone) as domain:
        assert domain.schedulerParameters()["cpu_shares"] == 500
        assert domain.info()[3] == 1
    zone.ctl("guest", "force-stop", "web", "--wait")
    assert reads(zone, 1)
    snapshot(zone, "create", "off")
    write(zone, 3)
    assert snapshot(zone, "restore", "on")["state"] == "running"  # from off to on
    assert snapshot(zone, "restore", "off")["state"] == "stopped"  # and from on to off
    assert reads(zone, 1)
    zone.ctl("guest", "start", "web", "--wait")
    snapshot(zone, "delete", "on")  # the first one, while it runs
    assert (tree(zone), len(in_volumes(zone))) == ({"off": ""}, 1)
    with real(zone) as domain:
        assert domain.info()[3] == 2


def test_disks_that_a_snapshot_holds_stay_as_they_are(zone: Zone) -> None:
    zone.ctl("guest", "create", "web", *BLANK, "--disk", "4MiB", "--wait")
    snapshot(zone, "create", "one")
    for words in (
        ("grow", "--size", "32MiB"),
        ("shrink", "--disk", "1", "--size", "2MiB", "--force"),
        ("remove", "--disk", "1"),
    ):
        assert "disk_in_snapshot" in refused(zone, "guest", "disk", words[0], "web", *words[1:])
    zone.ctl("guest", "disk", "add", "web", "--size", "2MiB", "--wait")
    assert "disk_not_in_snapshot" in refused(zone, "guest", "snapshot", "restore", "web", "one")
    snapshot(zone, "create", "two")
    snapshot(zone, "delete", "one")  # the third disk has nothing of it
    zone.ctl("guest", "start", "web", "--wait")
    snapshot(zone, "create", "three")
    snapshot(zone, "delete", "two")
    assert len(in_volumes(zone, 2)) == 1
    assert "duplicate_name" in refused(zone, "guest", "snapshot", "create", "web", "three")
    for name in ("../up", "a b", "a;b", "<b>", "x" * 10_000, ""):
        assert "invalid_name" in refused(zone, "guest", "snapshot", "create", "web", name)
    assert "unknown_snapshot" in refused(zone, "guest", "snapshot", "delete", "web", "two")


def test_a_snapshot_outlives_libvirts_record_of_it(zone: Zone) -> None:
    """Somebody undefined the domain: the volumes still have it, and it is recorded again when it is needed."""
    zone.ctl("guest", "create", "web", *BLANK, "--wait")
    write(zone, 1)
    snapshot(zone, "create", "off")
    zone.ctl("guest", "start", "web", "--wait")
    snapshot(zone, "create", "on")
    zone.ctl("guest", "force-stop", "web", "--wait")
    with real(zone) as domain:
        domain.undefineFlags(libvirt.VIR_DOMAIN_UNDEFINE_SNAPSHOTS_METADATA)
    until(lambda: zone.guest("web")["state"] == "missing", "the loss is seen", 10)
    zone.ctl("guest", "redefine", "web", "--wait")
    snapshot(zone, "create", "more")
    with real(zone) as domain:
        domain.snapshotLookupByName(zone.ctl("guest", "snapshot", "list", "web")[2]["id"]).delete(
            libvirt.VIR_DOMAIN_SNAPSHOT_DELETE_METADATA_ONLY
        )
    assert len(in_volumes(zone)) == 3
    snapshot(zone, "delete", "more")  # it is only in the volumes, too
    assert len(in_volumes(zone)) == 2
    write(zone, 2)
    assert snapshot(zone, "restore", "on")["state"] == "running"
    assert snapshot(zone, "restore", "off")["state"] == "stopped"
    assert reads(zone, 1)
    snapshot(zone, "delete", "on")
    assert len(in_volumes(zone)) == 1


def test_a_cell_killed_while_the_memory_is_written_finds_it_whole(zone: Zone) -> None:
    zone.ctl("guest", "create", "web", "--memory", "256MiB", "--disk", "16MiB", "--start", "--wait")
    task = zone.ctl("guest", "snapshot", "create", "web", "on", "--no-wait")["task"]["id"]
    zone.kill("cell")
    zone.start("cell")
    until(lambda: zone.ctl("task", "show", task)["state"] in ("done", "failed"), "the task ends")
    ended = zone.ctl("task", "show", task)
    assert (len(in_volumes(zone)), len(tree(zone))) == ((1, 1) if ended["state"] == "done" else (0, 0))
    if ended["state"] == "failed":
        snapshot(zone, "create", "on")
    task = zone.ctl("guest", "snapshot", "restore", "web", "on", "--no-wait")["task"]["id"]
    zone.kill("cell")
    zone.start("cell")
    until(lambda: zone.ctl("task", "show", task)["state"] in ("done", "failed"), "the task ends")
    until(lambda: zone.guest("web")["state"] == "running", "it runs")
    assert current(zone) == ["on"]
