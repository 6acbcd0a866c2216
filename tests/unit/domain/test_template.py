"""Decisions about templates, and what guests take from them."""

from typing import Any

import pytest

from nano.domain import template as te
from nano.domain.errors import NanoError
from nano.domain.guest import Guest
from nano.domain.machine import GIBI, MEBI, DiskLimits, Hardware, NetworkLimits
from nano.domain.zone import StockTemplates
from tests.unit.domain.test_guest_commands import Bench, create


@pytest.fixture
def bench() -> Bench:
    bench = Bench()
    bench.do(StockTemplates())
    return bench


def names(bench: Bench) -> list[str]:
    return [state.name for state in bench.zone.of_kind("template") if isinstance(state, te.Template)]


def made(bench: Bench, **changes: Any) -> Guest:
    bench.do(create(**changes))
    return bench.zone.find_guest("web")


def test_a_zone_begins_with_five_and_gets_them_once(bench: Bench) -> None:
    assert names(bench) == ["CentOS 7", "CentOS 6", "Windows Server 2012", "General", "Legacy"]
    assert bench.do(StockTemplates()) == []
    for name in names(bench):
        bench.do(te.DeleteTemplate(template=name))
    assert bench.do(StockTemplates()) == []
    assert names(bench) == []


def test_a_guest_keeps_the_hardware_it_was_made_with(bench: Bench) -> None:
    guest = made(bench, template="Legacy")
    legacy = Hardware(disk="ide", network="rtl8139", display="cirrus", usb="", tablet="")
    assert (guest.template, guest.spec.hardware) == ("Legacy", legacy)
    bench.do(te.ModifyTemplate(template="Legacy", hardware=te.HardwareChange(disk="sata")))
    bench.do(te.DeleteTemplate(template="Legacy"))
    guest = bench.zone.find_guest("web")
    assert (guest.template, guest.spec.hardware) == ("Legacy", legacy)


def test_one_is_made_changed_in_part_and_deleted(bench: Bench) -> None:
    bench.do(te.CreateTemplate(name="Debian 12", admin="debian", hardware=Hardware(disk="virtio")))
    before = te.find_template(bench.zone, "Debian 12")
    bench.do(te.ModifyTemplate(template=before.id, name="Debian", hardware=te.HardwareChange(network="e1000")))
    after = te.find_template(bench.zone, "Debian")
    assert (after.id, after.admin, after.operating_system) == (before.id, "debian", "linux")
    assert after.hardware == Hardware(disk="virtio", network="e1000")
    assert bench.do(te.ModifyTemplate(template="Debian", name="Debian")) == []
    bench.do(te.DeleteTemplate(template="Debian"))
    with pytest.raises(NanoError) as refused:
        te.find_template(bench.zone, "Debian")
    assert refused.value.code == "unknown_template"


@pytest.mark.parametrize(
    ("changes", "code"),
    [
        ({"name": ""}, "invalid_name"),
        ({"name": " x"}, "invalid_name"),
        ({"name": "../etc"}, "invalid_name"),
        ({"name": "a\0b"}, "invalid_name"),
        ({"name": "a\nb"}, "invalid_name"),
        ({"name": "x" * 10_000}, "invalid_name"),
        ({"name": "General"}, "duplicate_name"),
        ({"admin": ""}, "invalid_name"),
        ({"admin": "root; rm"}, "invalid_name"),
        ({"hardware": Hardware(disk="<x/>")}, "invalid_hardware"),
        ({"hardware": Hardware(tablet="mouse")}, "invalid_hardware"),
    ],
)
def test_bad_values_change_nothing(bench: Bench, changes: dict[str, Any], code: str) -> None:
    before = dict(bench.zone.states)
    with pytest.raises(NanoError) as refused:
        bench.do(te.CreateTemplate(**{"name": "new"} | changes))
    assert refused.value.code == code
    if "hardware" not in changes:
        with pytest.raises(NanoError) as refused:
            bench.do(te.ModifyTemplate(template="Legacy", **changes))
        assert refused.value.code == code
    assert bench.zone.states == before


def test_limits_priority_and_room_are_the_guests_from_the_start(bench: Bench) -> None:
    spec = made(
        bench,
        priority="low",
        cores_max=4,
        memory_max=1 * GIBI,
        read_bytes=MEBI,
        write_operations=100,
        send_bytes=2 * MEBI,
    ).spec
    assert (spec.priority, spec.cores_max, spec.memory_max) == ("low", 4, 1 * GIBI)
    assert spec.disk_limits == DiskLimits(read_bytes=MEBI, write_operations=100)
    assert spec.network_limits == NetworkLimits(send_bytes=2 * MEBI)


@pytest.mark.parametrize(
    ("changes", "code"),
    [
        ({"template": "nothing"}, "unknown_template"),
        ({"template": "x" * 10_000}, "unknown_template"),
        ({"template": "Legacy", "hardware": Hardware(disk="sata")}, "hardware_given_twice"),
        ({"read_bytes": 1}, "invalid_read_bytes"),
        ({"read_bytes": -1}, "invalid_read_bytes"),
        ({"write_operations": 10**12}, "invalid_write_operations"),
        ({"send_bytes": 1 << 50}, "invalid_send_bytes"),
        ({"cores_max": 10_000}, "invalid_cores_max"),
        ({"memory_max": 64 * MEBI}, "invalid_memory_max"),
    ],
)
def test_what_a_guest_can_not_be_made_of(bench: Bench, changes: dict[str, Any], code: str) -> None:
    before = dict(bench.zone.states)
    with pytest.raises(NanoError) as refused:
        bench.do(create(**changes))
    assert refused.value.code == code
    assert len(refused.value.message) < 300
    assert bench.zone.states == before
