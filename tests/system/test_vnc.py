"""VNC access to a real guest by a real viewer's handshake: only with the secret, only while it runs, and reset while it does."""

from collections.abc import Awaitable, Callable, Iterator
from pathlib import Path
from typing import Any

import anyio
import anyio.to_thread
import libvirt
import pytest

from nano.hypervisor import local_libvirtd
from nano.tools.testbed.vnc_viewer import VncViewer, viewer_at
from nano.tools.testbed.zone import Zone, until

pytestmark = [pytest.mark.anyio, pytest.mark.timeout(200)]

Ctl = Callable[..., Awaitable[Any]]


@pytest.fixture(scope="module")
def zone(private_libvirtd: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Zone]:
    zone = Zone(tmp_path_factory.mktemp("zone"), local_libvirtd.uri_of(private_libvirtd), 17990)
    try:
        zone.up()
        zone.ctl("guest", "create", "web", "--memory", "64MiB", "--disk", "16MiB", "--start", "--wait")
        yield zone
    finally:
        zone.stop()


@pytest.fixture
def ctl(zone: Zone) -> Ctl:
    async def do(*words: str) -> Any:
        return await anyio.to_thread.run_sync(lambda: zone.ctl(*words))

    return do


async def told(by: Any, secret: str = "") -> str:
    async with viewer_at(by["address"], by["port"]) as viewer:
        return await viewer.enter(secret or by["secret"])


async def refused(by: Any) -> None:
    """Returns when nothing listens there."""
    with anyio.fail_after(10):
        while True:
            try:
                async with viewer_at(by["address"], by["port"]):
                    await anyio.lowlevel.checkpoint()
            except OSError:
                return


async def let_in_again(by: Any) -> None:
    """Returns when it listens, and lets in who has the secret."""
    with anyio.fail_after(30):
        while True:
            try:
                assert await told(by) == ""
            except OSError:
                await anyio.lowlevel.checkpoint()
            else:
                return


async def with_a_picture(viewer: VncViewer) -> bytes:
    """What the BIOS writes, as soon as it does."""
    with anyio.fail_after(30):
        while not any(picture := await viewer.picture()):
            await anyio.lowlevel.checkpoint()
    return picture


async def test_a_viewer_sees_the_display_until_the_secret_is_reset(zone: Zone, ctl: Ctl) -> None:
    first = await ctl("guest", "vnc", "enable", "web")
    assert (first["address"], 5901 <= first["port"] <= 6000, len(first["secret"])) == ("127.0.0.1", True, 8)
    assert await told(first, "wrong123") == "The secret is wrong."
    async with viewer_at(first["address"], first["port"], minor=3) as old, viewer_at("127.0.0.1", first["port"]) as new:
        assert (await old.enter(first["secret"]), await new.enter(first["secret"])) == ("", "")
        picture = await with_a_picture(new)
        assert len(picture) == 4 * new.size[0] * new.size[1]
        assert await with_a_picture(old), "neither throws the other out"
        second = await ctl("guest", "vnc", "reset", "web")
        await old.ended()
        await new.ended()
    assert (second["port"], second["secret"] == first["secret"]) == (first["port"], False)
    assert await told(second, first["secret"]) == "The secret is wrong."
    assert await told(second) == ""
    connection = libvirt.open(zone.uri)
    xml = connection.lookupByUUIDString(zone.guest("web")["id"]).XMLDesc(libvirt.VIR_DOMAIN_XML_SECURE)
    connection.close()
    assert "passwd" not in xml
    for secret in (first["secret"], second["secret"]):
        files = [path for path in zone.state.rglob("*") if path.is_file() and path.suffix != ".qcow2"]
        assert files
        assert [path for path in files if secret.encode() in path.read_bytes()] == []


async def test_it_is_kept_through_a_restore_a_killed_cell_and_a_stop(zone: Zone, ctl: Ctl) -> None:
    access = await ctl("guest", "vnc", "show", "web")
    await ctl("guest", "snapshot", "create", "web", "before", "--wait")
    access = await ctl("guest", "vnc", "reset", "web")
    await ctl("guest", "snapshot", "restore", "web", "before", "--wait")
    assert await ctl("guest", "vnc", "show", "web") == access
    await let_in_again(access)
    zone.kill("cell")
    await refused(access)
    await anyio.to_thread.run_sync(lambda: zone.start("cell"))
    await let_in_again(access)
    await anyio.to_thread.run_sync(
        lambda: until(lambda: zone.ctl("cell", "list")[0]["state"] == "online", "the cell is back")
    )
    await ctl("guest", "force-stop", "web", "--wait")
    await refused(access)
    await ctl("guest", "start", "web", "--wait")
    await let_in_again(access)
    await ctl("guest", "vnc", "disable", "web")
    await refused(access)
    kinds = {row["event"]["type"] for row in await ctl("guest", "history", "web")}
    assert {"guest.vnc_opened", "guest.vnc_told", "guest.vnc_closed"} <= kinds
