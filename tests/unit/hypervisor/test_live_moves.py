"""What a running domain's XML becomes for its destination."""

from pathlib import Path
from xml.etree import ElementTree as ET

import msgspec

from nano.domain.machine import MEBI, MachineSpec
from nano.domain.security import SecurityPolicy
from nano.hypervisor.domain_xml import Place, domain_xml
from nano.hypervisor.live_moves import Berth, as_there
from nano.hypervisor.metadata import NAMESPACE
from nano.hypervisor.packet_filter import FilterKind, filter_name, tap_name

GUEST = "3f0c0000-0000-4000-8000-000000000001"
MAC = "52:54:00:00:00:01"
SPEC = MachineSpec(name="demo", cores=1, memory=64 * MEBI, disks=(8 * MEBI,), mac=MAC, security=SecurityPolicy())


def place(cell: str, filtered_by: FilterKind) -> Place:
    volumes = Path(f"/{cell}/volumes")
    return Place(virt_type="qemu", volumes=volumes, bridge=f"br-{cell}", cell=cell, zone="z", filter=filtered_by)


def moved(spec: MachineSpec, source: FilterKind, destination: FilterKind) -> ET.Element:
    there = place("two", destination)
    berth = Berth("t", str(there.volumes), there.bridge, "two", domain_xml(GUEST, spec, there))
    return ET.fromstring(as_there(domain_xml(GUEST, spec, place("one", source)), berth))


def test_its_files_bridge_and_mark_are_the_destinations() -> None:
    root = moved(SPEC, "nwfilter", "nwfilter")
    disk = root.find("devices/disk[@device='disk']/source")
    bridge = root.find("devices/interface/source")
    mark = root.find(f"metadata/{{{NAMESPACE}}}guest")
    assert disk is not None
    assert bridge is not None
    assert mark is not None
    assert (disk.get("file"), bridge.get("bridge")) == (f"/two/volumes/{GUEST}_0.qcow2", "br-two")
    assert mark.get("cell") == "two"


def test_its_packets_are_filtered_by_what_the_destination_has() -> None:
    by_table = moved(SPEC, "nwfilter", "nftables").find("devices/interface")
    by_libvirt = moved(SPEC, "nftables", "nwfilter").find("devices/interface")
    assert by_table is not None
    assert by_libvirt is not None
    assert by_table.find("filterref") is None
    assert [one.get("dev") for one in by_table.findall("target")] == [tap_name(MAC)]
    assert [one.get("filter") for one in by_libvirt.findall("filterref")] == [filter_name(GUEST)]
    assert by_libvirt.find("target") is None


def test_a_guest_without_rules_gets_none() -> None:
    open_to_all = msgspec.structs.replace(SPEC, security=None)
    interface = moved(open_to_all, "nwfilter", "nwfilter").find("devices/interface")
    assert interface is not None
    assert interface.find("filterref") is None
