"""What snapshots do alike on every ``Host`` driver: the simulated one, and libvirt's with its test driver.

The test driver keeps no disks; what comes back on them is held in tests/system/test_snapshots.py.
"""

from collections.abc import AsyncIterator
from pathlib import Path

import msgspec
import pytest

from nano.domain.errors import DiskFull, HostError
from nano.domain.machine import GIBI, MEBI, MachineSpec
from nano.hypervisor.host import DOMAIN_FOREIGN, DOMAIN_MISSING, Host
from nano.hypervisor.libvirt_host import LibvirtHost
from nano.hypervisor.metadata import spec_digest
from nano.hypervisor.simulated import SimulatedHost

pytestmark = pytest.mark.anyio

GUEST = "3f0c0000-0000-4000-8000-000000000001"
OTHER = "3f0c0000-0000-4000-8000-000000000002"
ONE = "51000000-0000-4000-8000-000000000001"
TWO = "51000000-0000-4000-8000-000000000002"
SPEC = MachineSpec(name="demo", cores=2, memory=64 * MEBI, disks=(64 * MEBI,), mac="52:54:00:00:00:01")
TEST_WORLD = f"""<node>
<domain type='test'><name>somebody</name><uuid>{OTHER}</uuid><memory>65536</memory><os><type>hvm</type></os></domain>
</node>"""


def nobody_asks(_percent: int) -> None:
    """A progress that is not looked at."""


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


async def state(host: Host) -> str:
    return next(view.state for view in await host.domains() if view.guest_id == GUEST)


async def digest(host: Host) -> str:
    return next(view.spec_digest for view in await host.domains() if view.guest_id == GUEST)


async def test_a_snapshot_has_memory_when_the_domain_is_on(host: Host) -> None:
    assert await host.snapshots.held(GUEST, ONE) is None
    assert await host.snapshots.make(GUEST, ONE, SPEC, memory=True) is False
    await host.start(GUEST)
    assert await host.snapshots.make(GUEST, TWO, SPEC, memory=True) is True
    assert await host.snapshots.make(GUEST, ONE, SPEC, memory=True) is False  # again, as after a restart
    assert (await host.snapshots.held(GUEST, ONE), await host.snapshots.held(GUEST, TWO)) == (False, True)
    assert await state(host) == "running"


async def test_restoring_makes_it_on_or_off_as_it_was(host: Host) -> None:
    await host.snapshots.make(GUEST, ONE, SPEC, memory=True)
    await host.start(GUEST)
    await host.snapshots.make(GUEST, TWO, SPEC, memory=True)
    for snapshot, memory, wanted in ((ONE, False, "stopped"), (TWO, True, "running"), (TWO, True, "running")):
        await host.snapshots.restore(GUEST, snapshot, SPEC, memory=memory)
        assert await state(host) == wanted


async def test_the_definition_of_then_comes_back_until_it_is_settled(host: Host) -> None:
    await host.snapshots.make(GUEST, ONE, SPEC, memory=True)
    changed = msgspec.structs.replace(SPEC, cores=4)
    await host.changes.apply(GUEST, SPEC, changed, None, nobody_asks)
    assert await host.snapshots.stage(GUEST, ONE, "order") == "before"
    await host.snapshots.restore(GUEST, ONE, changed, memory=False)
    assert await host.snapshots.stage(GUEST, ONE, "order") == "restored"
    assert await host.snapshots.stage(GUEST, TWO, "order") == "before"
    await host.snapshots.settle(GUEST, changed, "order")
    assert await digest(host) == spec_digest(changed)
    assert await host.snapshots.stage(GUEST, ONE, "order") == "settled"
    assert await host.snapshots.stage(GUEST, ONE, "another") == "before"
    assert await host.changes.apply(GUEST, changed, changed, None, nobody_asks) == ()  # leaves no note
    assert await host.snapshots.stage(GUEST, ONE, "order") == "before"


async def test_making_one_leaves_no_note_in_the_definition(host: Host) -> None:
    await host.snapshots.make(GUEST, ONE, SPEC, memory=True)
    assert await host.snapshots.stage(GUEST, ONE, "order") == "before"


async def test_any_can_be_dropped_and_twice(host: Host) -> None:
    for snapshot in (ONE, TWO):
        await host.snapshots.make(GUEST, snapshot, SPEC, memory=True)
    assert await host.snapshots.drop(GUEST, ONE, SPEC) is True
    assert await host.snapshots.drop(GUEST, ONE, SPEC) is False
    assert await host.snapshots.held(GUEST, TWO) is False
    await host.snapshots.restore(GUEST, TWO, SPEC, memory=False)


async def test_a_domain_with_snapshots_can_be_removed(host: Host) -> None:
    await host.snapshots.make(GUEST, ONE, SPEC, memory=True)
    await host.undefine(GUEST)
    await host.remove_volumes(GUEST)
    assert await host.domains() == []


async def test_what_is_not_there_or_not_ours_is_not_touched(host: Host) -> None:
    for guest, code in ((OTHER, DOMAIN_FOREIGN), (OTHER[:-1] + "9", DOMAIN_MISSING)):
        for call in (
            host.snapshots.make(guest, ONE, SPEC, memory=True),
            host.snapshots.restore(guest, ONE, SPEC, memory=False),
            host.snapshots.settle(guest, SPEC, "order"),
            host.snapshots.drop(guest, ONE, SPEC),
        ):
            with pytest.raises(HostError) as refusal:
                await call
            assert refusal.value.code == code


@pytest.mark.parametrize("snapshot", ["../up", "1", "-c", "", "a\nb", ONE.upper() + "A", "x" * 10_000])
async def test_only_an_id_names_a_snapshot(host: Host, snapshot: str) -> None:
    for call in (
        host.snapshots.make(GUEST, snapshot, SPEC, memory=True),
        host.snapshots.held(GUEST, snapshot),
        host.snapshots.restore(GUEST, snapshot, SPEC, memory=False),
        host.snapshots.drop(GUEST, snapshot, SPEC),
    ):
        with pytest.raises(HostError) as refusal:
            await call
        assert refusal.value.code == "invalid_snapshot_id"


async def test_a_full_disk_takes_no_memory_and_leaves_nothing() -> None:
    host = SimulatedHost(disk_capacity=GIBI // 32)
    await host.make_volumes(GUEST, SPEC, None, nobody_asks)
    await host.define(GUEST, SPEC)
    await host.start(GUEST)
    before = host.disk_used
    with pytest.raises(DiskFull):
        await host.snapshots.make(GUEST, ONE, SPEC, memory=True)
    assert await host.snapshots.held(GUEST, ONE) is None
    assert host.disk_used == before
