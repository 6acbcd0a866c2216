"""What changes of a domain do alike on every ``Host`` driver: the simulated one, and libvirt's with its test driver.

The test driver plugs no devices and tunes nothing live, so what a running guest follows is held here for the simulated
driver, and for libvirt in tests/system/test_change.py.
"""

from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import msgspec
import pytest

from nano.domain.ability import Ability
from nano.domain.errors import DiskFull, HostError
from nano.domain.machine import MEBI, Hardware, MachineSpec, NetworkLimits
from nano.hypervisor.host import DOMAIN_FOREIGN, DOMAIN_MISSING, DOMAIN_WRONG_STATE, Host
from nano.hypervisor.libvirt_host import LibvirtHost
from nano.hypervisor.metadata import spec_digest
from nano.hypervisor.simulated import SimulatedHost

pytestmark = pytest.mark.anyio

GUEST = "3f0c0000-0000-4000-8000-000000000001"
OTHER = "3f0c0000-0000-4000-8000-000000000002"
SPEC = MachineSpec(name="demo", cores=2, memory=64 * MEBI, disks=(64 * MEBI, 8 * MEBI), mac="52:54:00:00:00:01")
TEST_WORLD = f"""<node>
<domain type='test'><name>somebody</name><uuid>{OTHER}</uuid><memory>65536</memory><os><type>hvm</type></os></domain>
</node>"""


def nobody_asks(_percent: int) -> None:
    """A progress that is not looked at."""


def changed(**changes: Any) -> MachineSpec:
    return msgspec.structs.replace(SPEC, **changes)


@pytest.fixture(params=["simulated", "libvirt"])
async def host(request: pytest.FixtureRequest, tmp_path: Path) -> AsyncIterator[Host]:
    made: Host
    if request.param == "simulated":
        made = SimulatedHost(shutdown_s=0.01, boot_s=0.01, copy_s=0.01)
        made.add_foreign(OTHER)
    else:
        (tmp_path / "node.xml").write_text(TEST_WORLD)
        made = await LibvirtHost.open(f"test://{tmp_path}/node.xml", volumes=tmp_path / "volumes", virt_type="test")
    await made.make_volumes(GUEST, SPEC, None, nobody_asks)
    await made.define(GUEST, SPEC)
    yield made
    await made.close()


@pytest.fixture
async def simulated() -> AsyncIterator[SimulatedHost]:
    made = SimulatedHost(shutdown_s=0.01, boot_s=0.01, copy_s=0.01)
    await made.make_volumes(GUEST, SPEC, None, nobody_asks)
    await made.define(GUEST, SPEC)
    yield made
    await made.close()


async def apply(host: Host, spec: MachineSpec, before: MachineSpec = SPEC) -> tuple[str, ...]:
    return await host.changes.apply(GUEST, before, spec, None, nobody_asks)


async def sizes(host: Host) -> dict[int, int]:
    return await host.changes.volume_sizes(GUEST)


async def refused(host: Host, spec: MachineSpec, before: MachineSpec = SPEC) -> str:
    with pytest.raises(HostError) as refusal:
        await apply(host, spec, before)
    return refusal.value.code


async def test_a_stopped_domain_is_what_the_spec_says_at_once(host: Host) -> None:
    spec = changed(name="other", cores=3, memory=128 * MEBI, priority="low", autostart=True)
    assert await apply(host, spec) == ()
    assert await apply(host, spec) == ()  # again, as after a restart
    assert [view.spec_digest for view in await host.domains()] == [spec_digest(spec)]
    assert await host.changes.is_defined(GUEST, spec)


async def test_disks_come_grow_and_go(host: Host) -> None:
    more = changed(disks=(*SPEC.disks, 4 * MEBI))
    await apply(host, more)
    assert await sizes(host) == {0: 64 * MEBI, 1: 8 * MEBI, 2: 4 * MEBI}
    larger = changed(disks=(96 * MEBI, 8 * MEBI, 16 * MEBI))
    await apply(host, larger, more)
    assert await sizes(host) == {0: 96 * MEBI, 1: 8 * MEBI, 2: 16 * MEBI}
    fewer = changed(disks=(96 * MEBI, 16 * MEBI), volumes=(0, 2))
    await apply(host, fewer, larger)
    assert await sizes(host) == {0: 96 * MEBI, 2: 16 * MEBI}
    smaller = msgspec.structs.replace(fewer, disks=(32 * MEBI, 16 * MEBI))
    await apply(host, smaller, fewer)
    assert await sizes(host) == {0: 32 * MEBI, 2: 16 * MEBI}
    assert await host.remove_volumes(GUEST) == [f"{GUEST}_0.qcow2", f"{GUEST}_2.qcow2"]


async def test_what_a_running_domain_can_not_follow_is_pending(host: Host) -> None:
    await host.start(GUEST)
    assert await apply(host, changed(cores=4)) == ("cores",)
    assert await apply(host, changed(cores=4, cores_max=6), changed(cores=4)) == ("cores", "cores_max")
    assert await apply(host, SPEC, changed(cores=4, cores_max=6)) == ()


async def test_a_disk_is_compacted_and_keeps_its_size(host: Host) -> None:
    before = await sizes(host)
    assert await host.compactor.compact(GUEST, 1, nobody_asks) >= 0
    assert await sizes(host) == before
    await host.compactor.tidy(GUEST, 1)
    with pytest.raises(HostError) as refusal:
        await host.compactor.compact(OTHER, 0, nobody_asks)
    assert refusal.value.code == DOMAIN_FOREIGN
    assert await host.remove_volumes(GUEST) == [f"{GUEST}_0.qcow2", f"{GUEST}_1.qcow2"]


async def test_a_lost_volume_is_not_made_anew_by_a_change(host: Host) -> None:
    await host.remove_volumes(GUEST)
    assert await refused(host, changed(cores=4)) == "volumes_missing"
    assert await sizes(host) == {}
    assert not await host.changes.is_defined(GUEST, changed(cores=4))


async def test_what_is_not_there_or_not_ours_is_not_changed(host: Host) -> None:
    with pytest.raises(HostError) as refusal:
        await host.changes.apply(OTHER, SPEC, changed(cores=4), None, nobody_asks)
    assert refusal.value.code == DOMAIN_FOREIGN
    await host.undefine(GUEST)
    assert await refused(host, changed(cores=4)) == DOMAIN_MISSING
    assert await host.domains() == []


@pytest.mark.parametrize(
    ("before", "spec"),
    [
        (SPEC, changed(disks=(32 * MEBI, 8 * MEBI))),
        (SPEC, changed(volumes=(2, 1))),
    ],
    ids=["shrink", "replace the system disk"],
)
async def test_what_needs_a_stopped_guest_touches_nothing_of_a_running_one(
    host: Host, before: MachineSpec, spec: MachineSpec
) -> None:
    await host.start(GUEST)
    assert await refused(host, spec, before) == DOMAIN_WRONG_STATE
    assert await sizes(host) == {0: 64 * MEBI, 1: 8 * MEBI}
    assert await host.changes.is_defined(GUEST, before)


async def test_a_disk_of_a_cold_bus_is_not_taken_out_of_a_running_guest(host: Host) -> None:
    cold = changed(hardware=Hardware(disk="sata"))
    await apply(host, cold)
    await host.start(GUEST)
    assert await refused(host, msgspec.structs.replace(cold, disks=SPEC.disks[:1]), cold) == DOMAIN_WRONG_STATE
    more = msgspec.structs.replace(cold, disks=(*SPEC.disks, 4 * MEBI))
    assert await apply(host, more, cold) == ("disks",)


async def test_a_running_guest_follows_what_it_can(simulated: SimulatedHost) -> None:
    roomy = changed(cores_max=4, memory_max=256 * MEBI)
    await apply(simulated, roomy)
    await simulated.start(GUEST)
    spec = msgspec.structs.replace(
        roomy,
        cores=3,
        memory=128 * MEBI,
        priority="medium",
        more_macs=("52:54:00:00:00:02",),
        disks=(*SPEC.disks, MEBI),
    )
    assert await apply(simulated, spec, roomy) == ()
    assert await apply(simulated, msgspec.structs.replace(spec, cores=2), spec) == ("cores",)


async def test_taking_back_gives_the_old_definition_and_no_new_volume(host: Host) -> None:
    spec = changed(cores=4, disks=(*SPEC.disks, 4 * MEBI))
    await apply(host, spec)
    restored = await host.changes.take_back(GUEST, spec, SPEC)
    assert restored.spec == SPEC
    assert restored.pending == ()
    assert restored.undone == ("definition put back", f"volume {GUEST}_2.qcow2 removed")
    assert await host.changes.is_defined(GUEST, SPEC)
    assert await sizes(host) == {0: 64 * MEBI, 1: 8 * MEBI}


async def test_taking_back_tells_a_disk_as_large_as_it_has_become(host: Host) -> None:
    spec = changed(disks=(96 * MEBI, 8 * MEBI))
    await apply(host, spec)
    restored = await host.changes.take_back(GUEST, spec, SPEC)
    assert restored.spec == spec
    assert await host.changes.is_defined(GUEST, spec)


async def test_behind_a_removed_volume_there_is_only_the_way_forward(host: Host) -> None:
    spec = changed(disks=SPEC.disks[:1])
    await apply(host, spec)
    restored = await host.changes.take_back(GUEST, spec, SPEC)
    assert restored.spec == spec
    assert await sizes(host) == {0: 64 * MEBI}


async def test_taking_back_a_change_of_a_guest_that_has_lost_a_volume_changes_nothing(host: Host) -> None:
    await host.remove_volumes(GUEST)
    spec = changed(cores=4)
    assert await refused(host, spec) == "volumes_missing"
    restored = await host.changes.take_back(GUEST, spec, SPEC)
    assert (restored.spec, restored.undone) == (SPEC, ())
    assert await host.changes.is_defined(GUEST, SPEC)


async def test_a_stray_file_does_not_become_a_disk(host: Host) -> None:
    """Somebody's copy lies where the new disk goes: the guest gets a blank one."""
    stray = changed(disks=(*SPEC.disks, 32 * MEBI))
    await host.make_volumes(GUEST, stray, None, nobody_asks)
    await apply(host, changed(disks=(*SPEC.disks, 4 * MEBI)))
    assert (await sizes(host))[2] == 4 * MEBI


async def test_a_full_disk_is_told_and_leaves_no_volume(simulated: SimulatedHost) -> None:
    simulated.fail_next("make_volumes", DiskFull("No room."))
    with pytest.raises(DiskFull):
        await apply(simulated, changed(disks=(*SPEC.disks, 4 * MEBI)))
    assert await sizes(simulated) == {0: 64 * MEBI, 1: 8 * MEBI}
    assert await simulated.changes.is_defined(GUEST, SPEC)


MEDIA = "7e5d0000-0000-4000-8000-00000000000a"


async def test_media_is_given_to_the_guest_and_taken_away(host: Host, tmp_path: Path) -> None:
    cached = tmp_path / "cached.iso"
    cached.write_bytes(b"disc")
    with_media = changed(media=MEDIA)
    for _ in range(2):  # again, as after a restart
        assert await host.changes.apply(GUEST, SPEC, with_media, None, nobody_asks, media=cached) == ()
    cached.unlink()
    assert await host.changes.is_defined(GUEST, with_media)
    assert await sizes(host) == {0: 64 * MEBI, 1: 8 * MEBI}
    await apply(host, SPEC, with_media)
    assert await host.remove_volumes(GUEST) == [f"{GUEST}_0.qcow2", f"{GUEST}_1.qcow2"]


async def test_media_goes_with_the_guest(host: Host, tmp_path: Path) -> None:
    cached = tmp_path / "cached.iso"
    cached.write_bytes(b"disc")
    await host.changes.apply(GUEST, SPEC, changed(media=MEDIA), None, nobody_asks, media=cached)
    assert f"{GUEST}_{MEDIA}.iso" in await host.remove_volumes(GUEST)
    assert cached.read_bytes() == b"disc"


async def test_a_limit_that_the_host_can_not_set_is_left_out_told_and_refused_anew(tmp_path: Path) -> None:
    """It would keep the domain from starting; when the host can, after another look, it is drift that is mended."""
    found = [(Ability("network_limits", False, "kernel", "sch_sfq"),)]
    host = await LibvirtHost.open(
        "test:///default", volumes=tmp_path, virt_type="test", bridge="virbr0", look=lambda: found[-1]
    )
    spec = changed(network_limits=NetworkLimits(send_bytes=MEBI))
    try:
        await host.make_volumes(GUEST, spec, None, nobody_asks)
        await host.define(GUEST, spec)
        await host.start(GUEST)
        (told,) = await host.changes.deviations(GUEST, spec, ())
        assert (told.attribute, told.repair) == ("network_limits", "not_here")
        assert told.found == "no limit: its kernel lacks sch_sfq"
        with pytest.raises(HostError) as refusal:
            await apply(host, changed(network_limits=NetworkLimits(send_bytes=2 * MEBI)), spec)
        assert refusal.value.code == "ability_missing"
        found.append((Ability("network_limits", True),))
        await host.probe()
        told_now = await host.changes.deviations(GUEST, spec, ())
        assert {(item.where, item.attribute, item.repair) for item in told_now} == {
            ("definition", "network_limits", "at_once"),
            ("running", "network_limits", "at_once"),
        }
    finally:
        await host.destroy(GUEST)
        await host.undefine(GUEST)
        await host.close()
