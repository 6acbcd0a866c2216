"""What every ``Host`` driver does alike: the simulated one, and libvirt's with its in-process test driver.

libvirt's test driver has no guest agent, no display and no guest that could boot, so ``agent`` answering and ``console``
are held here for the simulated driver, and for libvirt in tests/system/test_libvirt_host.py. Everything else is held for
both: domains, volumes, definitions, power, idempotence, events, refusals, samples.
"""

from collections.abc import AsyncIterator
from pathlib import Path

import anyio
import pytest

from nano.domain.errors import HostError
from nano.domain.machine import MEBI, MachineSpec
from nano.hypervisor.host import DOMAIN_FOREIGN, DOMAIN_MISSING, DOMAIN_WRONG_STATE, DomainEvent, Host
from nano.hypervisor.libvirt_host import LibvirtHost
from nano.hypervisor.metadata import spec_digest
from nano.hypervisor.picture import SIGNATURE
from nano.hypervisor.simulated import SimulatedHost

pytestmark = pytest.mark.anyio

GUEST = "3f0c0000-0000-4000-8000-000000000001"
OTHER = "3f0c0000-0000-4000-8000-000000000002"
SPEC = MachineSpec(name="demo", cores=3, memory=64 * MEBI, disks=(64 * MEBI, 8 * MEBI), mac="52:54:00:00:00:01")

# One connection of libvirt's test driver to a file of its own has a world of its own; this one holds a foreign domain.
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
    yield made
    await made.close()


async def create(host: Host, guest_id: str = GUEST, spec: MachineSpec = SPEC) -> None:
    await host.make_volumes(guest_id, spec, None, nobody_asks)
    await host.define(guest_id, spec)


async def state_of(host: Host, guest_id: str = GUEST) -> str:
    return {view.guest_id: str(view.state) for view in await host.domains()}.get(guest_id, "missing")


async def until(events: AsyncIterator[DomainEvent], kind: str, state: str) -> DomainEvent:
    with anyio.fail_after(5):
        async for event in events:
            if (event.kind, event.state) == (kind, state):
                return event
    raise AssertionError("the events ended")


async def test_a_defined_guest_is_listed_with_the_digest_of_its_spec(host: Host) -> None:
    await create(host)
    (view,) = await host.domains()
    assert (view.guest_id, view.state, view.spec_digest) == (GUEST, "stopped", spec_digest(SPEC))


async def test_a_domain_without_our_mark_is_neither_listed_nor_touched(host: Host) -> None:
    assert await host.domains() == []
    for attempt in (host.define(OTHER, SPEC), host.start(OTHER), host.destroy(OTHER), host.undefine(OTHER)):
        with pytest.raises(HostError) as refusal:
            await attempt
        assert refusal.value.code == DOMAIN_FOREIGN


async def test_power_actions_are_idempotent(host: Host) -> None:
    await create(host)
    for action, expected in ((host.start, "running"), (host.destroy, "stopped")):
        await action(GUEST)
        await action(GUEST)
        assert await state_of(host) == expected
    await host.shutdown(GUEST)
    assert await state_of(host) == "stopped"


async def test_definition_is_idempotent_and_takes_a_new_spec(host: Host) -> None:
    larger = MachineSpec(name="demo", cores=4, memory=128 * MEBI, disks=SPEC.disks, mac=SPEC.mac)
    await create(host)
    await host.define(GUEST, SPEC)
    await host.define(GUEST, larger)
    assert [view.spec_digest for view in await host.domains()] == [spec_digest(larger)]
    await host.undefine(GUEST)
    await host.undefine(GUEST)
    assert await host.domains() == []


async def test_volumes_come_once_and_go(host: Host) -> None:
    percents: list[int] = []
    await host.make_volumes(GUEST, SPEC, None, percents.append)
    await host.make_volumes(GUEST, SPEC, None, percents.append)
    assert percents[-1] == 100
    assert await host.volumes() == [GUEST]
    assert await host.remove_volumes(GUEST) == [f"{GUEST}_0.qcow2", f"{GUEST}_1.qcow2"]
    assert await host.remove_volumes(GUEST) == []
    assert await host.volumes() == []


async def test_a_seed_goes_with_the_volumes(host: Host) -> None:
    for texts in ({"meta-data": "a", "user-data": "b" * 5000}, {"meta-data": "again"}):
        await host.make_seed(GUEST, texts)
    await host.make_volumes(GUEST, SPEC, None, nobody_asks)
    assert await host.remove_volumes(GUEST) == [f"{GUEST}_{name}" for name in ("0.qcow2", "1.qcow2", "seed.iso")]
    await host.make_seed(GUEST, {"meta-data": "alone"})
    assert await host.volumes() == [GUEST], "an orphan is seen"
    assert await host.remove_volumes(GUEST) == [f"{GUEST}_seed.iso"]
    with pytest.raises(HostError):
        await host.make_seed("../../etc/passwd", {"meta-data": "x"})


async def test_what_does_not_exist_is_missing(host: Host) -> None:
    for attempt in (host.start(GUEST), host.shutdown(GUEST), host.reboot(GUEST), host.reset(GUEST), host.agent(GUEST)):
        with pytest.raises(HostError) as refusal:
            await attempt
        assert refusal.value.code == DOMAIN_MISSING
    await host.destroy(GUEST)  # off already


async def test_a_stopped_guest_is_not_rebooted_and_a_running_one_not_undefined(host: Host) -> None:
    await create(host)
    for action in (host.reboot, host.reset, host.console):
        with pytest.raises(HostError) as refusal:
            await action(GUEST)
        assert refusal.value.code == DOMAIN_WRONG_STATE
    await host.start(GUEST)
    with pytest.raises(HostError) as refusal:
        await host.undefine(GUEST)
    assert refusal.value.code == DOMAIN_WRONG_STATE
    assert await state_of(host) == "running"


async def test_events_tell_of_start_shutdown_and_undefine(host: Host) -> None:
    events = host.events()
    await create(host)
    await host.start(GUEST)
    assert (await until(events, "state", "running")).guest_id == GUEST
    await host.shutdown(GUEST)
    assert (await until(events, "state", "stopped")).detail == "shutdown by guest"
    await host.undefine(GUEST)
    assert (await until(events, "undefined", "stopped")).guest_id == GUEST


async def test_every_listener_hears_everything(host: Host) -> None:
    first, second = host.events(), host.events()
    await create(host)
    await host.start(GUEST)
    assert await until(first, "state", "running") == await until(second, "state", "running")


async def test_listeners_end_when_the_host_is_closed(host: Host) -> None:
    events = host.events()
    await host.domains()
    await host.close()
    with anyio.fail_after(5):
        assert [event async for event in events] == []


async def test_a_sample_counts_running_guests_only(host: Host) -> None:
    await create(host)
    assert (await host.sample()).guests == ()
    await host.start(GUEST)
    sample = await host.sample()
    assert [guest.guest_id for guest in sample.guests] == [GUEST]
    assert 0 <= sample.cpu_percent <= 100
    assert 0 < sample.memory_available <= sample.memory_total
    assert 0 < sample.disk_available <= sample.disk_total


@pytest.mark.parametrize("guest_id", ["", "..", "../../etc/passwd", "demo", GUEST.upper(), GUEST + "\n"])
async def test_only_ids_become_files_and_domains(host: Host, guest_id: str) -> None:
    for attempt in (host.define(guest_id, SPEC), host.make_volumes(guest_id, SPEC, None, nobody_asks)):
        with pytest.raises(HostError) as refusal:
            await attempt
        assert refusal.value.code == "invalid_guest_id"
    with pytest.raises(HostError):
        await host.remove_volumes(guest_id)
    assert await host.volumes() == []


async def test_capabilities_are_known_from_the_start(host: Host) -> None:
    assert host.capabilities.cores > 0
    assert host.capabilities.memory > 0
    assert host.capabilities.hypervisor


async def test_a_running_guest_has_a_screen(host: Host) -> None:
    await create(host)
    with pytest.raises(HostError) as refusal:
        await host.monitor.screenshot(GUEST)
    assert refusal.value.code == DOMAIN_WRONG_STATE
    await host.start(GUEST)
    assert (await host.monitor.screenshot(GUEST)).startswith(SIGNATURE)
    with pytest.raises(HostError) as refusal:
        await host.monitor.screenshot(OTHER)
    assert refusal.value.code == DOMAIN_FOREIGN
