"""Media on a real libvirtd and QEMU: put into a running guest's drive, exchanged, and taken out; and what is left then."""

from collections.abc import Iterator
from pathlib import Path
from xml.etree import ElementTree as ET

import libvirt
import pytest

from nano.hypervisor import local_libvirtd
from nano.hypervisor.picture import SIGNATURE
from nano.tools.testbed.zone import Zone

pytestmark = pytest.mark.timeout(200)


@pytest.fixture(scope="module")
def zone(private_libvirtd: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Zone]:
    zone = Zone(tmp_path_factory.mktemp("zone"), local_libvirtd.uri_of(private_libvirtd), 17980)
    try:
        zone.up()
        yield zone
    finally:
        zone.stop()


def disc(path: Path, last: bytes) -> Path:
    path.write_bytes(bytes(16 * 2048) + b"\x01CD001\x01\x00" + bytes(2040) + last)
    return path


def in_drive(zone: Zone, flags: int) -> bytes:
    """What QEMU has in the drive, or will have at its next start."""
    connection = libvirt.open(zone.uri)
    try:
        xml = ET.fromstring(connection.lookupByUUIDString(zone.guest("web")["id"]).XMLDesc(flags))
    finally:
        connection.close()
    source = xml.find("devices/disk[@device='cdrom']/source")
    file = source.get("file", "") if source is not None else ""
    return Path(file).read_bytes() if file else b""


def test_media_of_a_running_guest(zone: Zone, tmp_path: Path) -> None:
    first, second = disc(tmp_path / "one.iso", b"first"), disc(tmp_path / "two.iso", b"second")
    for path in (first, second):
        zone.ctl("media", "upload", path.stem, str(path), "--wait")
    zone.ctl("guest", "create", "web", "--memory", "64MiB", "--disk", "16MiB", "--wait")
    zone.ctl("guest", "start", "web", "--media", "one", "--wait")
    assert in_drive(zone, 0) == in_drive(zone, libvirt.VIR_DOMAIN_XML_INACTIVE) == first.read_bytes()
    picture = tmp_path / "web.png"
    zone.ctl("guest", "screenshot", "web", str(picture))
    assert picture.read_bytes().startswith(SIGNATURE)
    zone.ctl("guest", "media", "insert", "web", "--media", "two", "--wait")
    assert in_drive(zone, 0) == in_drive(zone, libvirt.VIR_DOMAIN_XML_INACTIVE) == second.read_bytes()
    assert len([*zone.volumes.glob("*.iso*")]) == 1
    refused = zone.try_ctl("media", "delete", "two")
    assert (refused.returncode, "media_in_use" in refused.stdout + refused.stderr) == (3, True)
    zone.kill("cell")
    zone.start("cell")
    zone.ctl("guest", "media", "eject", "web", "--wait")
    assert in_drive(zone, 0) == in_drive(zone, libvirt.VIR_DOMAIN_XML_INACTIVE) == b""
    assert [*zone.volumes.glob("*.iso*")] == []
    zone.ctl("guest", "media", "insert", "web", "--media", "one", "--wait")
    zone.ctl("guest", "snapshot", "create", "web", "with-media", "--wait")
    zone.ctl("guest", "media", "eject", "web", "--wait")
    zone.ctl("guest", "snapshot", "restore", "web", "with-media", "--wait")
    assert zone.guest("web")["state"] == "running"
    assert in_drive(zone, 0) == in_drive(zone, libvirt.VIR_DOMAIN_XML_INACTIVE) == b"", (
        "what is in the drive is the journal's"
    )
    assert zone.ctl("drift") == []
    zone.ctl("guest", "media", "insert", "web", "--media", "two", "--wait")
    zone.ctl("guest", "snapshot", "restore", "web", "with-media", "--wait")
    assert in_drive(zone, 0) == in_drive(zone, libvirt.VIR_DOMAIN_XML_INACTIVE) == second.read_bytes()
    zone.ctl("guest", "delete", "web", "--force", "--wait")
    assert [path for path in zone.volumes.iterdir() if not path.name.startswith(".")] == []
    for path in (first, second):
        zone.ctl("media", "delete", path.stem)
    zone.check()
    assert zone.domains() == {}
