"""``LibvirtHost`` on a real libvirtd and a real QEMU, with blank guests of 64 MiB (they stop at "no bootable device")."""

# ruff: noqa: ASYNC221, ASYNC230  a test may block its own loop for the milliseconds of qemu-img
import contextlib
import os
import signal
import subprocess
import uuid
from collections.abc import AsyncIterator, Callable, Iterator
from pathlib import Path
from xml.etree import ElementTree as ET

import anyio
import anyio.to_thread
import libvirt
import msgspec
import pytest

from nano.domain.errors import DiskFull, HostError
from nano.domain.machine import GIBI, MEBI, MachineSpec
from nano.hypervisor import local_libvirtd
from nano.hypervisor.host import DOMAIN_FOREIGN, HYPERVISOR_UNREACHABLE, DomainEvent
from nano.hypervisor.libvirt_host import LibvirtHost
from nano.hypervisor.picture import SIGNATURE
from nano.hypervisor.storage import MARK

pytestmark = pytest.mark.anyio

BANNER = b"RFB 003.008\n"
FOREIGN_XML = """<domain type='qemu'><name>somebody</name><uuid>{uuid}</uuid><memory unit='MiB'>64</memory>
<os><type arch='x86_64' machine='pc'>hvm</type></os></domain>"""


def machine(name: str = "demo", disks: tuple[int, ...] = (64 * MEBI,), cores: int = 1) -> MachineSpec:
    return MachineSpec(name=name, cores=cores, memory=64 * MEBI, disks=disks, mac="52:54:00:00:00:01")


def nobody_asks(_percent: int) -> None:
    """A progress that is not looked at."""


@pytest.fixture
async def host(private_libvirtd: Path, tmp_path: Path) -> AsyncIterator[LibvirtHost]:
    # A test may have left it stopped when it failed half-way.
    uri = await anyio.to_thread.run_sync(lambda: local_libvirtd.start(private_libvirtd, hide_kvm=True))
    made = await LibvirtHost.open(uri, volumes=tmp_path / "volumes", virt_type="qemu", cell="Cell_0a1b2c3d4e5f")
    yield made
    for view in await made.domains():
        await made.destroy(view.guest_id)
        await made.undefine(view.guest_id)
    await made.close()


async def create(host: LibvirtHost, spec: MachineSpec | None = None) -> str:
    guest_id, spec = str(uuid.uuid4()), spec or machine()
    await host.make_volumes(guest_id, spec, None, nobody_asks)
    await host.define(guest_id, spec)
    return guest_id


async def state_of(host: LibvirtHost, guest_id: str) -> str:
    return {view.guest_id: str(view.state) for view in await host.domains()}.get(guest_id, "missing")


async def until(events: AsyncIterator[DomainEvent], guest_id: str, kind: str, state: str) -> DomainEvent:
    with anyio.fail_after(15):
        async for event in events:
            if (event.guest_id, event.kind, event.state) == (guest_id, kind, state):
                return event
    raise AssertionError("the events ended")


@contextlib.contextmanager
def raw_connection(folder: Path) -> Iterator[libvirt.virConnect]:
    connection = libvirt.open(local_libvirtd.uri_of(folder))
    try:
        yield connection
    finally:
        connection.close()


async def test_a_guest_starts_shows_its_screen_and_stops(host: LibvirtHost) -> None:
    events = host.events()
    guest = await create(host, machine(disks=(GIBI, 64 * MEBI), cores=3))
    await host.start(guest)
    await until(events, guest, "state", "running")
    screen = await host.console(guest)
    with screen:
        screen.setblocking(True)
        screen.settimeout(10)
        assert await anyio.to_thread.run_sync(screen.recv, len(BANNER)) == BANNER
    assert (await host.monitor.screenshot(guest)).startswith(SIGNATURE)
    assert await host.agent(guest) is None
    sample = await host.sample()
    (figures,) = sample.guests
    assert figures.guest_id == guest
    assert figures.cpu_time_ns > 0
    await host.reset(guest)
    while (await until(events, guest, "state", "running")).detail != "rebooted":
        pass  # "resumed" and "started" come first
    await host.destroy(guest)
    assert (await until(events, guest, "state", "stopped")).detail == "destroyed"
    await host.undefine(guest)
    await until(events, guest, "undefined", "stopped")
    assert len(await host.remove_volumes(guest)) == 2
    assert await host.volumes() == []


async def test_a_guest_with_a_channel_for_the_clipboard_starts_and_those_without_have_not_drifted(
    host: LibvirtHost,
) -> None:
    before = await create(host)
    host._settle(msgspec.structs.replace(host._place, clipboard=True))
    guest, spec = await create(host), machine()
    await host.start(guest)
    xml: str = await host._connection.run(lambda c: c.domain(guest).XMLDesc(0), what="Reading the domain")
    channels = [one.get("name") for one in ET.fromstring(xml).findall("devices/channel[@type='qemu-vdagent']/target")]
    assert channels == ["com.redhat.spice.0"]
    assert await host.changes.deviations(before, spec, ()) == await host.changes.deviations(guest, spec, ()) == ()
    await host.start(before)
    assert await host.changes.deviations(before, spec, ()) == ()


async def test_nothing_listens_for_the_screen(host: LibvirtHost, private_libvirtd: Path) -> None:
    guest = await create(host)
    await host.start(guest)
    (pid,) = local_libvirtd.guest_processes(private_libvirtd)
    said = subprocess.run(["ss", "-Hltnp"], capture_output=True, text=True, check=True).stdout
    assert f"pid={pid}," not in said


async def test_a_guest_killed_behind_its_back_is_told_as_crashed(host: LibvirtHost, private_libvirtd: Path) -> None:
    guest = await create(host)
    await host.start(guest)
    events = host.events()
    (pid,) = local_libvirtd.guest_processes(private_libvirtd)
    os.kill(pid, signal.SIGKILL)
    assert (await until(events, guest, "state", "crashed")).detail == "emulator failed"
    assert await state_of(host, guest) == "crashed"
    await host.start(guest)
    assert await state_of(host, guest) == "running"


def kill_libvirtd(folder: Path) -> None:
    os.kill(local_libvirtd.status(folder).pid, signal.SIGKILL)
    local_libvirtd.stop(folder)  # forgets it; there is nothing left to end


@pytest.mark.parametrize("end", [local_libvirtd.stop, kill_libvirtd])
async def test_guests_outlive_their_libvirtd_and_are_found_again(
    end: Callable[[Path], None], host: LibvirtHost, private_libvirtd: Path
) -> None:
    guest = await create(host)
    await host.start(guest)
    before = local_libvirtd.guest_processes(private_libvirtd)
    events = host.events()
    await anyio.to_thread.run_sync(end, private_libvirtd)
    with anyio.fail_after(10):
        assert [event async for event in events if event.kind == "state" and event.state != "running"] == []
    with pytest.raises(HostError) as refusal:
        await host.domains()
    assert refusal.value.code == HYPERVISOR_UNREACHABLE
    assert local_libvirtd.guest_processes(private_libvirtd) == before
    later = host.events()  # heard from the next connection on
    await anyio.to_thread.run_sync(lambda: local_libvirtd.start(private_libvirtd, hide_kvm=True))
    assert await state_of(host, guest) == "running"
    assert local_libvirtd.guest_processes(private_libvirtd) == before
    await host.destroy(guest)
    await until(later, guest, "state", "stopped")


async def test_a_foreign_domain_is_never_touched_listed_or_told_of(host: LibvirtHost, private_libvirtd: Path) -> None:
    foreign = str(uuid.uuid4())
    events = host.events()
    with raw_connection(private_libvirtd) as raw:
        domain = raw.defineXML(FOREIGN_XML.format(uuid=foreign))
        try:
            domain.create()
            for attempt in (host.define(foreign, machine()), host.destroy(foreign), host.undefine(foreign)):
                with pytest.raises(HostError) as refusal:
                    await attempt
                assert refusal.value.code == DOMAIN_FOREIGN
            assert await host.domains() == []
            assert (await host.sample()).guests == ()
            assert domain.isActive()
        finally:
            domain.destroy()
            domain.undefine()
    guest = await create(host)
    await host.start(guest)
    with anyio.fail_after(10):
        assert (await anext(events)).guest_id == guest  # the foreign domain's events came first, and were not told


async def test_another_cells_domain_on_the_same_libvirt_is_not_ours(
    host: LibvirtHost, private_libvirtd: Path, tmp_path: Path
) -> None:
    other = await LibvirtHost.open(
        local_libvirtd.uri_of(private_libvirtd), volumes=tmp_path / "other", virt_type="qemu", cell="Cell_ffffffffffff"
    )
    try:
        guest = await create(host)
        assert await other.domains() == []
        with pytest.raises(HostError) as refusal:
            await other.start(guest)
        assert refusal.value.code == DOMAIN_FOREIGN
    finally:
        await other.close()


async def test_undefine_takes_saved_memory_and_snapshots_along(host: LibvirtHost, private_libvirtd: Path) -> None:
    guest = await create(host)
    await host.start(guest)
    with raw_connection(private_libvirtd) as raw:
        domain = raw.lookupByUUIDString(guest)
        domain.snapshotCreateXML("<domainsnapshot><name>one</name></domainsnapshot>")
        domain.managedSave()
    await host.undefine(guest)
    assert await state_of(host, guest) == "missing"


async def test_an_image_is_copied_grown_and_independent(host: LibvirtHost, tmp_path: Path) -> None:
    image = tmp_path / "image.qcow2"
    subprocess.run(["qemu-img", "create", "-q", "-f", "qcow2", image, "64M"], check=True)
    subprocess.run(["qemu-io", "-f", "qcow2", "-c", "write -P 0x5a 0 32M", image], check=True, capture_output=True)
    percents: list[int] = []
    guest, spec = str(uuid.uuid4()), machine(disks=(128 * MEBI,))
    await host.make_volumes(guest, spec, image, percents.append)
    volume = tmp_path / "volumes" / f"{guest}_0.qcow2"
    assert percents == sorted(percents)
    assert percents[-1] == 100
    info = subprocess.run(["qemu-img", "info", volume], capture_output=True, text=True, check=True).stdout
    assert "128 MiB" in info
    assert "backing file" not in info
    read = ["qemu-io", "-f", "qcow2", "-c", "read -P 0x5a 0 32M", volume]
    assert "failed" not in subprocess.run(read, capture_output=True, text=True, check=True).stdout


@pytest.fixture
def small_disk(tmp_path: Path) -> Iterator[Path]:
    folder = tmp_path / "small"
    folder.mkdir()
    subprocess.run(["mount", "-t", "tmpfs", "-o", "size=2m", "tmpfs", folder], check=True)
    yield folder
    subprocess.run(["umount", folder], check=True)


def names_in(volumes: Path) -> list[str]:
    """Beside the mark by which its storage is known."""
    return [path.name for path in volumes.iterdir() if path.name != MARK]


async def test_a_full_disk_leaves_nothing_behind(private_libvirtd: Path, tmp_path: Path, small_disk: Path) -> None:
    image = tmp_path / "image.qcow2"
    subprocess.run(["qemu-img", "create", "-q", "-f", "qcow2", image, "64M"], check=True)
    subprocess.run(["qemu-io", "-f", "qcow2", "-c", "write -P 0x5a 0 32M", image], check=True, capture_output=True)
    host = await LibvirtHost.open(local_libvirtd.uri_of(private_libvirtd), volumes=small_disk, virt_type="qemu")
    try:
        with pytest.raises(DiskFull):
            await host.make_volumes(str(uuid.uuid4()), machine(), image, nobody_asks)
        assert names_in(small_disk) == []
        guest = str(uuid.uuid4())
        await host.make_volumes(guest, machine(), None, nobody_asks)
        await host.remove_volumes(guest)
        with contextlib.suppress(OSError), open(small_disk / "filler", "wb", buffering=0) as filler:
            while filler.write(bytes(4096)):
                pass
        for disks in ((64 * MEBI,), (GIBI,)):  # a size that was made before, and a new one
            with pytest.raises(DiskFull):
                await host.make_volumes(str(uuid.uuid4()), machine(disks=disks), None, nobody_asks)
        assert names_in(small_disk) == ["filler"]
    finally:
        await host.close()


async def test_a_refused_definition_says_why(host: LibvirtHost) -> None:
    with pytest.raises(HostError) as refusal:
        await host.define(str(uuid.uuid4()), machine(cores=300))
    assert refusal.value.code == "domain_refused"
    assert "255" in refusal.value.message
