"""The portal on a real zone: nodes, libvirt, QEMU and Chromium are all real. From the first visit to a deleted guest."""

import json
import os
import signal
from collections.abc import Iterator
from pathlib import Path

import pytest
from playwright.async_api import expect

from nano.hypervisor import local_libvirtd
from nano.tools.testbed.zone import Zone
from nano.ui.testing.browser import chromium, first_visit, is_colourful, window
from nano.ui.testing.patience import until

pytestmark = [pytest.mark.anyio, pytest.mark.timeout(280)]
PORT = 17740


@pytest.fixture(scope="module")
def zone(private_libvirtd: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Zone]:
    zone = Zone(tmp_path_factory.mktemp("zone"), local_libvirtd.uri_of(private_libvirtd), PORT)
    config = zone.state / "frontend" / "config" / "frontend.toml"
    config.parent.mkdir(parents=True)
    config.write_text(f"[listen]\nport = {PORT + 1}\n")
    # The portal is there before Core: it waits, and finds it by itself.
    zone.start("frontend")
    zone.up()
    try:
        yield zone
    finally:
        zone.program("nano-frontend", "stop")
        zone.stop()


def portal_of(zone: Zone) -> str:
    return str(json.loads((zone.state / "frontend" / "run" / "endpoint.json").read_text())["portal"])


async def test_from_the_first_visit_to_a_deleted_guest(zone: Zone) -> None:
    async with chromium() as browser, window(browser, portal_of(zone)) as page:
        page.set_default_timeout(60_000)
        expect.set_options(timeout=60_000)
        await first_visit(page)
        await expect(page.locator("#numbers")).to_contain_text("all connected")

        await page.goto("/guests/new")
        await page.fill("#name", "clicked")
        await page.fill("#memory", "64")
        await page.select_option("[name=memory_unit]", "MiB")
        await page.fill("#disk", "16")
        await page.select_option("[name=disk_unit]", "MiB")
        await expect(page.locator("#estimate")).to_contain_text("It would run on")
        await page.click("aside button.primary")
        await page.wait_for_url("**/tasks/*")
        await expect(page.locator("#task-body .badge")).to_have_text("done")
        await page.click("text=To clicked")
        await expect(page.locator("#guest-head .badge")).to_have_text("running")
        guest = page.url.rpartition("/")[2]
        assert zone.domains() == {guest: True}
        assert zone.guest("clicked")["owner"] == "ada", "it was made in the name of who was logged in"

        async with page.expect_popup() as popup:
            await page.click("#guest-head >> text=Console")
        console = await popup.value
        await expect(console.locator("#says")).to_have_text("Connected")
        canvas = console.locator("#display canvas")
        await expect(canvas).to_be_visible()

        async def firmware_has_written() -> bool:
            return is_colourful(await canvas.screenshot())

        await until(firmware_has_written, 60)

        # Behind the portal's back: the page follows by itself.
        zone.ctl("guest", "force-stop", "clicked", "--wait")
        await expect(page.locator("#guest-head .badge")).to_have_text("stopped")
        await expect(console.locator("#notice")).to_be_visible()
        await console.close()

        await page.click("#guest-head >> text=Start")
        await expect(page.locator("#guest-head .badge")).to_have_text("running")
        await page.click("#guest-head details.menu > summary")
        await page.click("text=Switch off at once")
        await page.locator("#confirm [value=yes]").click()
        await expect(page.locator("#guest-head .badge")).to_have_text("stopped")

        await page.click("text=History")
        await expect(page.locator("#history")).to_contain_text("ada opened its console")

        # kill -9 and back: nobody has to log in again.
        record = json.loads((zone.state / "frontend" / "run" / "nano-frontend.pid").read_text())
        os.kill(record["pid"], signal.SIGKILL)
        zone.start("frontend")
        await page.goto(f"/guests/{guest}?tab=settings")
        await page.fill("#typed", "clicked")
        await page.click("text=Delete guest")
        await page.wait_for_url("**/guests")
        await expect(page.locator("tr", has_text="clicked")).to_have_count(0)
    assert zone.domains() == {}
    zone.check()
