"""Drift and orphans on a real libvirtd and QEMU: a domain edited with libvirt's own tools is told and repaired, files that
nobody owns are listed, and a domain of somebody else is never seen."""

from collections.abc import Iterator
from pathlib import Path

import libvirt
import pytest

from nano.domain.ability import CAN, VNC, Ability
from nano.hypervisor import local_libvirtd
from nano.hypervisor.bridge import ensure_bridge, remove_bridge
from nano.hypervisor.host_probe import host_abilities
from nano.tools.testbed.zone import Zone

pytestmark = pytest.mark.timeout(200)

BRIDGE = "nano-drift"
FOREIGN = "3f0c0000-0000-4000-8000-0000000000aa"
STRANGER = "3f0c0000-0000-4000-8000-0000000000bb"


@pytest.fixture(scope="module")
def zone(private_libvirtd: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Zone]:
    ensure_bridge(BRIDGE)
    zone = Zone(tmp_path_factory.mktemp("zone"), local_libvirtd.uri_of(private_libvirtd), 17890, bridge=BRIDGE)
    try:
        zone.up()
        yield zone
    finally:
        zone.stop()
        remove_bridge(BRIDGE)


@pytest.fixture
def somebody(private_libvirtd: Path) -> Iterator[libvirt.virConnect]:
    """Somebody with libvirt's own tools, who has a domain too."""
    connection = libvirt.open(local_libvirtd.uri_of(private_libvirtd))
    xml = f"<domain type='qemu'><name>theirs</name><uuid>{FOREIGN}</uuid><memory>65536</memory><os><type>hvm</type></os></domain>"
    theirs = connection.defineXML(xml)
    try:
        yield connection
    finally:
        theirs.undefine()
        connection.close()


def test_what_the_host_can_do_is_told_and_held_against_what_needs_it(zone: Zone) -> None:
    (name,) = (row["name"] for row in zone.ctl("cell", "list"))
    told = {one["name"]: one for one in zone.ctl("cell", "show", name)["abilities"]}
    seen = {one.name: one for one in host_abilities(zone.volumes, Ability("kvm", False))}
    assert list(told) == list(CAN)
    can = {one.name for one in seen.values() if one.can} | {VNC}  # the last by the cell's own settings
    assert {ability for ability, one in told.items() if one["can"]} == can
    zone.ctl("cell", "probe", name, "--wait")
    limited = ("guest", "create", "limited", "--memory", "64MiB", "--disk", "1MiB", "--send-bytes", "1MiB", "--wait")
    done = zone.try_ctl(*limited)
    if why := seen["network_limits"].why_not:
        assert (done.returncode, "ability_missing" in done.stderr) == (3, True), done.stderr
        assert why in done.stderr
        assert zone.domains() == {}
    else:
        assert done.returncode == 0
        zone.ctl("guest", "delete", "limited", "--wait")


def test_what_was_done_behind_the_cells_back_is_told_and_mended(zone: Zone, somebody: libvirt.virConnect) -> None:
    zone.ctl("guest", "create", "web", "--memory", "64MiB", "--disk", "16MiB", "--disk", "8MiB", "--start", "--wait")
    other = ("--hardware", "disk=ide", "--hardware", "display=none", "--hardware", "usb=", "--hardware", "tablet=")
    zone.ctl(
        "guest", "create", "other", "--memory", "64MiB", "--disk", "1MiB", *other, "--cloud-init", "user=li", "--wait"
    )
    zone.ctl("guest", "set", "web", "--priority", "low", "--read-bytes", "2MiB", "--autostart", "--wait")
    assert zone.ctl("drift") == [], "a running guest as its cell made and changed it"
    assert zone.ctl("orphans") == []
    guest = zone.guest("web")
    domain = somebody.lookupByUUIDString(guest["id"])

    domain.setAutostart(0)
    for which in (libvirt.VIR_DOMAIN_AFFECT_CONFIG, libvirt.VIR_DOMAIN_AFFECT_LIVE):
        domain.setSchedulerParametersFlags({"cpu_shares": 77}, which)
    edited = domain.XMLDesc(libvirt.VIR_DOMAIN_XML_INACTIVE).replace(
        "<currentMemory unit='KiB'>65536", "<currentMemory unit='KiB'>40000"
    )
    edited = edited.replace("<model type='vga'", "<model type='cirrus'")
    somebody.defineXML(edited.replace(f"bridge='{BRIDGE}'", "bridge='elsewhere'"))
    found = {(row["attribute"], row["where"]): row["repair"] for row in zone.ctl("drift")}
    assert found[("autostart", "definition")] == "at_once"
    assert found[("priority", "definition")] == found[("priority", "running")] == "at_once"
    assert ("memory", "definition") in found
    assert ("network", "definition") in found
    assert ("hardware", "definition") in found
    zone.ctl("drift", "repair", "web")
    assert zone.ctl("drift") == []
    assert domain.autostart() == 1

    zone.ctl("guest", "force-stop", "web", "--wait")
    domain.undefine()
    assert [row["repair"] for row in zone.ctl("drift")] == ["define_again"]
    zone.ctl("drift", "repair")
    assert zone.ctl("drift") == []

    left = zone.volumes / f"{STRANGER}_0.qcow2"
    left.write_bytes(b"left behind")
    (orphan,) = zone.ctl("orphans")
    assert (orphan["kind"], orphan["name"]) == ("volume", left.name)
    zone.ctl("orphans", "remove", orphan["id"], "--wait")
    assert not left.exists()
    zone.ctl("guest", "delete", "web", "--force", "--wait")
    zone.ctl("guest", "delete", "other", "--wait")
    assert (zone.ctl("drift"), zone.ctl("orphans")) == ([], [])
    assert somebody.lookupByUUIDString(FOREIGN).name() == "theirs"
