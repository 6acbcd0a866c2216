"""Decisions about disks, network interfaces and resets: refusals with their codes, and the spec of a yes."""

from typing import Any

import pytest

from nano.domain import guest_devices as gd
from nano.domain.errors import NanoError
from nano.domain.guest import GuestChanged
from nano.domain.guest_change import spec_of
from nano.domain.guest_hold import EndWork
from nano.domain.image_commands import DeleteImage, EndImage, RegisterImage
from nano.domain.machine import DISK_MAX, DISKS_MAX, GIBI, MEBI, NICS_MAX, MachineSpec
from nano.domain.placement import Load
from tests.unit.domain.test_guest_commands import AT, Bench, create


@pytest.fixture
def bench() -> Bench:
    return Bench()


def wanted(bench: Bench, command: Any, *, done: bool = True) -> MachineSpec:
    """The spec of this change; the guest has it when it is ``done``."""
    bench.do(command)
    (task,) = bench.zone.open_tasks.values()
    spec = spec_of(task)
    if done:
        bench.zone.apply(task.resource, GuestChanged(spec=spec), AT)
        bench.do(EndWork(task.id))
    return spec


def code_of(bench: Bench, command: Any) -> str:
    states = dict(bench.zone.states)
    with pytest.raises(NanoError) as refusal:
        bench.do(command)
    assert bench.zone.states == states
    return refusal.value.code


def image(bench: Bench, name: str, virtual_size: int) -> None:
    bench.do(RegisterImage(name=name, path=f"/{name}"))
    (task,) = bench.zone.open_tasks
    bench.do(EndImage(task=task, format="qcow2", size=MEBI, virtual_size=virtual_size, sha256="0" * 64))


def test_disks_get_numbers_that_none_of_the_others_has(bench: Bench) -> None:
    bench.ready("web")
    assert wanted(bench, gd.AddDisk(guest="web", size=MEBI)).volumes == ()
    assert wanted(bench, gd.AddDisk(guest="web", size=2 * MEBI)).disks == (64 * MEBI, MEBI, 2 * MEBI)
    spec = wanted(bench, gd.RemoveDisk(guest="web", number=1))
    assert (spec.disks, spec.volumes) == ((64 * MEBI, 2 * MEBI), (0, 2))
    spec = wanted(bench, gd.AddDisk(guest="web", size=3 * MEBI))
    assert (spec.disks, spec.volumes) == ((64 * MEBI, 2 * MEBI, 3 * MEBI), (0, 2, 3))


def test_a_number_comes_again_only_when_all_were_used() -> None:
    spec = MachineSpec(name="web", cores=1, memory=MEBI, disks=(1, 1), mac="", volumes=(99, 0))
    assert spec.free_volume() == 1


def test_a_disk_grows_and_shrinks(bench: Bench) -> None:
    bench.ready("web", running=True)
    assert wanted(bench, gd.GrowDisk(guest="web", size=GIBI)).disks == (GIBI,)
    assert code_of(bench, gd.ShrinkDisk(guest="web", number=0, size=MEBI, force=True)) == "guest_running"
    assert code_of(bench, gd.ShrinkDisk(guest="web", number=0, size=MEBI)) == "shrink_loses_data"


@pytest.mark.parametrize(
    ("command", "code"),
    [
        (gd.AddDisk(guest="web", size=0), "invalid_disks"),
        (gd.AddDisk(guest="web", size=-5), "invalid_disks"),
        (gd.AddDisk(guest="web", size=MEBI + 1), "invalid_disks"),
        (gd.AddDisk(guest="web", size=DISK_MAX * 2), "invalid_disks"),
        (gd.AddDisk(guest="web", size=200 * GIBI), "no_disk"),
        (gd.AddDisk(guest="none", size=MEBI), "unknown_guest"),
        (gd.GrowDisk(guest="web", size=64 * MEBI), "disk_not_larger"),
        (gd.GrowDisk(guest="web", size=-1), "disk_not_larger"),
        (gd.GrowDisk(guest="web", size=65 * MEBI + 3), "invalid_disks"),
        (gd.GrowDisk(guest="web", size=200 * GIBI), "no_disk"),
        (gd.GrowDisk(guest="web", number=1, size=GIBI), "invalid_number"),
        (gd.GrowDisk(guest="web", number=-1, size=GIBI), "invalid_number"),
        (gd.ShrinkDisk(guest="web", number=0, size=64 * MEBI, force=True), "disk_not_smaller"),
        (gd.ShrinkDisk(guest="web", number=0, size=0, force=True), "invalid_disks"),
        (gd.ShrinkDisk(guest="web", number=0, size=-MEBI, force=True), "invalid_disks"),
        (gd.ShrinkDisk(guest="web", number=0, size=32 * MEBI), "shrink_loses_data"),
        (gd.ShrinkDisk(guest="web", number=7, size=MEBI, force=True), "invalid_number"),
        (gd.RemoveDisk(guest="web", number=0), "system_disk"),
        (gd.RemoveDisk(guest="web", number=10**20), "invalid_number"),
        (gd.RemoveNic(guest="web", mac=""), "unknown_nic"),
        (gd.RemoveNic(guest="web", mac="'/><evil>" * 1000), "unknown_nic"),
        (gd.ResetGuest(guest="web", image=""), "unknown_image"),
        (gd.ResetGuest(guest="web", image="../../etc/passwd"), "unknown_image"),
        (gd.ResetGuest(guest="web", image="large"), "disk_smaller_than_image"),
    ],
)
def test_bad_values_are_refused_and_change_nothing(bench: Bench, command: Any, code: str) -> None:
    image(bench, "large", GIBI)
    bench.ready("web")
    assert code_of(bench, command) == code


def test_a_guest_has_a_most_of_disks_and_interfaces(bench: Bench) -> None:
    bench.ready("web")
    for _ in range(DISKS_MAX - 1):
        wanted(bench, gd.AddDisk(guest="web", size=MEBI))
    assert code_of(bench, gd.AddDisk(guest="web", size=MEBI)) == "too_many_disks"
    for _ in range(NICS_MAX - 1):
        wanted(bench, gd.AddNic(guest="web"))
    assert len(set(bench.zone.find_guest("web").spec.macs)) == NICS_MAX
    assert code_of(bench, gd.AddNic(guest="web")) == "too_many_nics"


def test_the_first_interface_stays_and_a_removed_ones_address_is_free(bench: Bench) -> None:
    bench.ready("web")
    first = bench.zone.find_guest("web").spec.mac
    (second,) = wanted(bench, gd.AddNic(guest="web")).more_macs
    assert second in bench.zone.macs
    assert code_of(bench, gd.RemoveNic(guest="web", mac=first)) == "unknown_nic"
    assert wanted(bench, gd.RemoveNic(guest="web", mac=second)).more_macs == ()
    assert bench.zone.macs == {first}


def test_a_reset_makes_a_disk_beside_the_old_one(bench: Bench) -> None:
    image(bench, "debian", 32 * MEBI)
    bench.ready("web")
    spec = wanted(bench, gd.ResetGuest(guest="web", image="debian"))
    assert (spec.disks, spec.volumes) == ((64 * MEBI,), (1,))
    assert spec.image == bench.zone.find_guest("web").spec.image


def test_a_reset_needs_a_stopped_guest_and_room_beside(bench: Bench) -> None:
    image(bench, "debian", 32 * MEBI)
    bench.ready("web", running=True)
    assert code_of(bench, gd.ResetGuest(guest="web", image="debian")) == "guest_running"
    bench.ready("off")
    bench.zone.loads = {"one": Load(0.0, GIBI, GIBI, GIBI, MEBI - 1)}
    assert code_of(bench, gd.ResetGuest(guest="off", image="debian")) == "no_disk"


def test_an_image_is_not_forgotten_while_a_guest_is_reset_to_it(bench: Bench) -> None:
    image(bench, "debian", 32 * MEBI)
    bench.ready("web")
    wanted(bench, gd.ResetGuest(guest="web", image="debian"), done=False)
    assert code_of(bench, DeleteImage(image="debian")) == "image_in_use"


def test_a_guest_that_is_being_made_has_no_disks_to_change(bench: Bench) -> None:
    bench.do(create("web"))
    assert code_of(bench, gd.AddDisk(guest="web", size=MEBI)) == "guest_busy"
