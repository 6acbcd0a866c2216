"""What libvirt adds to a domain is no drift; what somebody took, added or changed is."""

from collections.abc import Callable
from pathlib import PurePosixPath
from xml.etree import ElementTree as ET

import msgspec

from nano.domain.machine import MEBI, MachineSpec
from nano.hypervisor.domain_xml import Place, domain_xml
from nano.hypervisor.pieces import NONE, Piece, pieces_of, unlike
from nano.hypervisor.shape import differences, shape_of

GUEST = "3f0c0000-0000-4000-8000-000000000001"
SPEC = MachineSpec(name="demo", cores=2, memory=64 * MEBI, disks=(64 * MEBI,), mac="52:54:00:00:00:01", seed=True)
XML = domain_xml(GUEST, SPEC, Place("qemu", PurePosixPath("/volumes"), "br0"))


def part(root: ET.Element, path: str) -> ET.Element:
    found = root.find(path)
    assert found is not None
    return found


def drop(root: ET.Element, parent: str, child: str) -> None:
    part(root, parent).remove(part(root, f"{parent}/{child}"))


def add(root: ET.Element, tag: str, **attributes: str) -> None:
    part(root, "devices").append(ET.Element(tag, attributes))


def edited(edit: Callable[[ET.Element], object]) -> list[tuple[str, str]]:
    root = ET.fromstring(XML)
    edit(root)
    return list(unlike(pieces_of(root), pieces_of(ET.fromstring(XML))))


def test_what_libvirt_adds_is_no_drift() -> None:
    assert edited(lambda _: None) == []
    assert edited(lambda root: root.set("id", "7")) == []
    assert edited(lambda root: part(root, "devices/rng").append(ET.Element("alias", name="x"))) == []
    assert edited(lambda root: part(root, "devices/graphics").set("port", "5900")) == []
    assert edited(lambda root: add(root, "input", type="keyboard", bus="ps2")) == []
    assert edited(lambda root: add(root, "controller", type="sata", index="0")) == []


def test_the_channel_for_the_clipboard_is_no_drift_whether_there_or_not() -> None:
    without = Place("qemu", PurePosixPath("/volumes"), "br0")
    with_it = domain_xml(GUEST, SPEC, msgspec.structs.replace(without, clipboard=True))
    assert "qemu-vdagent" in with_it
    assert differences(shape_of(XML), shape_of(with_it)) == differences(shape_of(with_it), shape_of(XML)) == ()


def test_what_somebody_changed_is_told_with_what_it_was() -> None:
    ((expected, found),) = edited(lambda root: part(root, "devices/graphics/listen").set("type", "address"))
    assert (expected, found) == ("graphics type=none type=vnc", "graphics type=address type=vnc")
    ((expected, found),) = edited(lambda root: setattr(part(root, "on_crash"), "text", "destroy"))
    assert (expected, found) == ("on_crash restart", "on_crash destroy")
    assert edited(lambda root: drop(root, "os", "boot")) == [("boot cdrom,hd", "boot hd")]


def test_what_somebody_took_or_added_is_told() -> None:
    ((expected, found),) = edited(lambda root: drop(root, "devices", "rng"))
    assert expected.startswith("rng ")
    assert found == NONE
    assert edited(lambda root: add(root, "hostdev", mode="subsystem")) == [(NONE, "hostdev mode=subsystem")]
    assert edited(lambda root: add(root, "graphics", type="spice")) == [(NONE, "graphics type=spice")]
    assert edited(lambda root: drop(root, "features", "acpi")) == [("feature acpi", NONE)]


def test_it_waits_for_the_next_start_of_a_running_guest() -> None:
    shape = shape_of(XML)
    other = shape._replace(pieces=(*shape.pieces, Piece("hostdev", frozenset())))
    assert [(one.field, one.live) for one in differences(other, shape)] == [("hardware", False)]
    assert differences(shape, shape) == ()


def test_words_are_bounded() -> None:
    assert len(str(Piece("x", frozenset({"y" * 10_000})))) <= 200
