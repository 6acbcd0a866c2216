"""What differs between two domains, and which of it a running one can follow."""

from pathlib import PurePosixPath
from typing import Any

import msgspec
import pytest

from nano.domain.errors import HostError
from nano.domain.machine import MEBI, DiskLimits, Hardware, MachineSpec, NetworkLimits
from nano.hypervisor.domain_xml import Place, domain_xml
from nano.hypervisor.shape import Shape, differences, shape_of

GUEST = "3f0c0000-0000-4000-8000-000000000001"
PLACE = Place("qemu", PurePosixPath("/srv/volumes"), "nano0")
SPEC = MachineSpec(
    name="demo", cores=2, memory=128 * MEBI, disks=(MEBI, MEBI), mac="52:54:00:00:00:01", cores_max=4, memory_max=MEBI * 512
)  # fmt: skip


def shape(spec: MachineSpec = SPEC, **changes: Any) -> Shape:
    return shape_of(domain_xml(GUEST, msgspec.structs.replace(spec, **changes), PLACE))


def told(**changes: Any) -> list[tuple[str, str, bool]]:
    """What differs when these fields change, but for the mark, which always does."""
    found = differences(shape(), shape(**changes))
    return [(one.field, one.act, one.live) for one in found if one.act != "title"]


def test_the_same_spec_differs_in_nothing() -> None:
    assert differences(shape(), shape()) == ()


@pytest.mark.parametrize(
    ("changes", "expected"),
    [
        ({"cores": 4, "cores_max": 4}, [("cores", "cores", True)]),
        ({"cores": 5, "cores_max": 0}, [("cores", "cores", False), ("cores_max", "restart", False)]),
        ({"cores": 1}, [("cores", "cores", False)]),
        ({"cores_max": 8}, [("cores_max", "restart", False)]),
        ({"memory": 512 * MEBI, "memory_max": 0}, [("memory", "memory", True)]),
        ({"memory": 64 * MEBI}, [("memory", "memory", True)]),
        ({"memory": 1024 * MEBI}, [("memory", "memory", False), ("memory_max", "restart", False)]),
        ({"priority": "low"}, [("priority", "cpu", True)]),
        ({"disks": (MEBI,)}, [("disks", "detach_disk", True)]),
        ({"disks": (MEBI,) * 3}, [("disks", "attach_disk", True)]),
        ({"more_macs": ("52:54:00:00:00:02",)}, [("more_macs", "attach_nic", True)]),
        ({"mac": "52:54:00:00:00:03"}, [("more_macs", "attach_nic", True), ("more_macs", "detach_nic", True)]),
        ({"disk_limits": DiskLimits(read_bytes=MEBI)}, [("disk_limits", "disk_limits", True)] * 2),
        ({"network_limits": NetworkLimits(send_bytes=MEBI)}, [("network_limits", "network_limits", True)]),
        ({"name": "other"}, []),
        ({"autostart": True}, []),
    ],
)
def test_every_field_is_told_with_what_a_running_guest_can_follow(
    changes: dict[str, Any], expected: list[tuple[str, str, bool]]
) -> None:
    assert told(**changes) == expected


def test_a_name_is_followed_live_with_the_mark() -> None:
    (title,) = differences(shape(), shape(name="other"))
    assert (title.field, title.act, title.live, title.value.title) == ("name", "title", True, "other")


@pytest.mark.parametrize("bus", ["ide", "sata"])
def test_disks_of_buses_that_are_not_hot_wait(bus: str) -> None:
    spec = msgspec.structs.replace(SPEC, hardware=Hardware(disk=bus))
    found = differences(shape(spec), shape(spec, disks=(MEBI,) * 3))
    assert [(one.field, one.live) for one in found if one.act == "attach_disk"] == [("disks", False)]


def test_a_disk_that_comes_takes_a_place_that_is_free_now() -> None:
    """The middle disk went while the guest ran; the last one still has the third place."""
    now = shape(disks=(MEBI,) * 3)
    now = now._replace(disks=(now.disks[0], now.disks[2]))
    (attach,) = (
        one for one in differences(now, shape(disks=(MEBI,) * 3, volumes=(0, 2, 3))) if one.act == "attach_disk"
    )
    assert attach.value.source.endswith("_3.qcow2")
    assert attach.value.target == "sdb"


def test_a_quota_taken_away_is_no_difference_however_libvirt_writes_it() -> None:
    unlimited = domain_xml(GUEST, SPEC, PLACE).replace(
        "</shares>", "</shares><period>1000000</period><quota>-1</quota>"
    )
    assert differences(shape_of(unlimited), shape()) == ()


@pytest.mark.parametrize(
    "text", ["", "<domain", "<!DOCTYPE a [<!ENTITY b 'c'>]><domain/>", "<domain><vcpu>x</vcpu></domain>"]
)
def test_what_is_no_domain_is_refused(text: str) -> None:
    with pytest.raises(HostError) as refusal:
        shape_of(text)
    assert refusal.value.code == "domain_unreadable"
