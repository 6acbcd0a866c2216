"""Domain XML against golden files. To write them anew after a wanted change: NANO_GOLDEN=write pytest <this file>."""

import os
import xml.etree.ElementTree as ET
from pathlib import Path, PurePosixPath

import libvirt
import msgspec
import pytest

from nano.domain.machine import (
    CORES_MAX,
    DISKS_MAX,
    GIBI,
    MEBI,
    DiskLimits,
    Hardware,
    MachineSpec,
    NetworkLimits,
)
from nano.hypervisor.domain_xml import Place, disk_targets, domain_xml, topology_of
from nano.hypervisor.metadata import NAMESPACE, read_mark, spec_digest

GOLDEN = Path(__file__).parents[2] / "golden" / "domain_xml"
GUEST = "3f0c0000-0000-4000-8000-000000000001"
KVM = Place("kvm", PurePosixPath("/srv/nano/volumes"), "nano0", "Cell_0a1b2c3d4e5f", "nano")
TCG = Place("qemu", PurePosixPath("/srv/nano/volumes"), "", "Cell_0a1b2c3d4e5f", "nano")


def spec(
    name: str = "demo", cores: int = 1, memory: int = 128 * MEBI, disks: tuple[int, ...] = (GIBI,), **hardware: str
) -> MachineSpec:
    return MachineSpec(
        name=name, cores=cores, memory=memory, disks=disks, mac="52:54:00:12:34:56", hardware=Hardware(**hardware)
    )


LEGACY = {"disk": "ide", "network": "rtl8139", "display": "cirrus", "usb": "", "tablet": ""}
CASES: dict[str, tuple[MachineSpec, Place]] = {
    "default-kvm": (spec(), KVM),
    "default-emulated-no-bridge": (spec(), TCG),
    "clipboard": (spec(), msgspec.structs.replace(KVM, clipboard=True)),
    "odd-cores": (spec(cores=5), KVM),
    "many-cores": (spec(cores=96, memory=64 * GIBI), KVM),
    "virtio-three-disks": (spec(disks=(GIBI, GIBI, GIBI), disk="virtio", display="virtio", tablet="virtio"), KVM),
    "windows-2012": (spec(disk="sata", network="e1000"), KVM),
    "general": (spec(disk="sata", network="rtl8139", usb=""), KVM),
    "legacy-ide-five-disks": (spec(disks=(GIBI,) * 5, **LEGACY), KVM),
    "seed": (msgspec.structs.replace(spec(), seed=True), KVM),
    "seed-ide": (msgspec.structs.replace(spec(**LEGACY), seed=True), KVM),
    "no-display": (spec(display="none"), KVM),
    "limits": (
        msgspec.structs.replace(
            spec(cores=2, disks=(GIBI, GIBI)),
            priority="low",
            disk_limits=DiskLimits(read_bytes=10 * MEBI, write_operations=200),
            network_limits=NetworkLimits(receive_bytes=2 * MEBI, send_bytes=1000),
            more_macs=("52:54:00:12:34:57",),
            volumes=(2, 0),
        ),
        KVM,
    ),
    "limits-no-bandwidth": (
        msgspec.structs.replace(spec(), network_limits=NetworkLimits(receive_bytes=2 * MEBI)),
        msgspec.structs.replace(KVM, bandwidth=False),
    ),
    "room-to-grow": (
        msgspec.structs.replace(spec(), priority="medium", cores_max=4, memory_max=512 * MEBI),
        TCG,
    ),
    "hostile-names": (
        spec(name="</title><devices>\"'&\x00\x1b\n]]>", network="virtio'/><x a='"),
        Place("kvm", PurePosixPath("/srv/a&b<'\">"), "br0'><x/>", 'cell"<&>', "zone\n]]>"),
    ),
}


@pytest.mark.parametrize("name", CASES)
def test_golden(name: str) -> None:
    path = GOLDEN / f"{name}.xml"
    text = domain_xml(GUEST, *CASES[name])
    if os.environ.get("NANO_GOLDEN") == "write":
        path.write_text(text)
    assert text == path.read_text()


def test_no_golden_file_is_left_over() -> None:
    assert {path.stem for path in GOLDEN.glob("*.xml")} == set(CASES)


@pytest.mark.parametrize("name", CASES)
def test_libvirt_itself_accepts_it(name: str, tmp_path: Path) -> None:
    """libvirt's own parser, through its test driver: structure, not what a host can run."""
    if name == "hostile-names":  # its model name is refused, as it should be; that it stays one value is what counts
        root = ET.fromstring(domain_xml(GUEST, *CASES[name]))
        assert [child.tag for child in root].count("devices") == 1
        return
    (tmp_path / "node.xml").write_text("<node/>")
    machine, place = CASES[name]
    connection = libvirt.open(f"test://{tmp_path}/node.xml")
    try:
        domain = connection.defineXML(domain_xml(GUEST, machine, Place("test", place.volumes, place.bridge)))
        mark = read_mark(domain.metadata(libvirt.VIR_DOMAIN_METADATA_ELEMENT, NAMESPACE))
        assert mark is not None
        assert mark.digest == spec_digest(machine)
    finally:
        connection.close()


def test_hostile_names_stay_values() -> None:
    root = ET.fromstring(domain_xml(GUEST, *CASES["hostile-names"]))
    assert root.findtext("title") == "</title><devices>\"'&???]]>"
    assert root.find("devices/interface/source").attrib == {"bridge": "br0'><x/>"}  # type: ignore[union-attr]
    assert root.find(".//x") is None


def test_the_translation_cache_is_set_only_under_emulation() -> None:
    assert "tb-cache" in domain_xml(GUEST, spec(), TCG)
    assert "tcg" not in domain_xml(GUEST, spec(), KVM)


def test_nothing_listens() -> None:
    for machine, place in CASES.values():
        root = ET.fromstring(domain_xml(GUEST, machine, place))
        assert [listen.get("type") for listen in root.findall("devices/graphics/listen")] == ["none"]
        assert root.find("devices/graphics").get("port") is None  # type: ignore[union-attr]


@pytest.mark.parametrize("cores", range(1, CORES_MAX + 1))
def test_the_topology_makes_exactly_the_cores_asked_for(cores: int) -> None:
    sockets, each, threads = topology_of(cores)
    assert sockets * each * threads == cores
    assert min(sockets, each, threads) >= 1


def test_topology_follows_the_product() -> None:
    assert topology_of(1) == (1, 1, 1)
    assert topology_of(8) == (1, 4, 2)
    assert topology_of(64) == (1, 32, 2)
    assert topology_of(128) == (2, 32, 2)
    assert topology_of(7) == (1, 7, 1)


@pytest.mark.parametrize("bus", ["scsi", "virtio", "sata", "ide"])
@pytest.mark.parametrize("count", range(1, DISKS_MAX + 1))
def test_every_disk_has_its_own_place_and_none_the_media_drives(bus: str, count: int) -> None:
    targets = [name for name, _ in disk_targets(bus, count)]
    assert len(set(targets)) == count
    assert "hda" not in targets
    assert sum(on == "ide" for _, on in disk_targets(bus, count)) <= 3


def test_the_digest_changes_with_the_spec_and_only_with_it() -> None:
    assert spec_digest(spec()) == spec_digest(spec())
    assert spec_digest(spec()) != spec_digest(spec(cores=2))


@pytest.mark.parametrize(
    "text",
    ["", "<guest/>", "<guest digest=''/>", "<a digest='x'/>", "<guest digest='x'", "<!DOCTYPE a><guest digest='x'/>"],
)
def test_what_is_not_our_mark_is_none(text: str) -> None:
    assert read_mark(text) is None
