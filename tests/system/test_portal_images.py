"""Images in the portal, on a real Core and FrontEnd: a file chosen in a browser, sent, named, fetched and deleted."""

import hashlib
import json
import os
from collections.abc import Iterator
from pathlib import Path

import pytest
from playwright.async_api import Browser, Page, expect

from nano.tools.testbed.zone import Zone
from nano.ui.testing.browser import chromium, first_visit, picture, window
from tests.system.test_images import iso, noise

pytestmark = [pytest.mark.anyio, pytest.mark.timeout(200)]
PORT = 18280
SHOTS = os.environ.get("NANO_PICTURES", "")  # folder for pictures of what was tested


@pytest.fixture(scope="module")
def zone(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Zone]:
    zone = Zone(tmp_path_factory.mktemp("zone"), "test:///default", PORT)
    config = zone.state / "frontend" / "config" / "frontend.toml"
    config.parent.mkdir(parents=True)
    config.write_text(f"[listen]\nport = {PORT + 1}\n")
    zone.start("core", "frontend")
    try:
        yield zone
    finally:
        zone.program("nano-frontend", "stop")
        zone.program("nano-core", "stop")


async def test_a_file_chosen_in_a_browser_becomes_an_image(zone: Zone, tmp_path: Path) -> None:
    portal = str(json.loads((zone.state / "frontend" / "run" / "endpoint.json").read_text())["portal"])
    disk, disc = noise(tmp_path / "disk.img", (20 << 20) + 512), iso(tmp_path / "cd.iso")
    async with chromium() as browser:
        async with window(browser, portal, accept_downloads=True) as page:
            page.set_default_timeout(60_000)
            expect.set_options(timeout=60_000)
            await first_visit(page)
            await page.goto("/images")
            await _send(page, "tiny", disk)
            row = page.locator("tr", has_text="tiny")
            await expect(row.locator("[data-cell=state]")).to_contain_text("ready")
            assert zone.ctl("image", "show", "tiny")["virtual_size"] == disk.stat().st_size
            assert zone.ctl("image", "show", "tiny")["owner"] == "ada"
            await _send(page, "tiny", disk)
            await expect(page.locator(".upload-problem")).to_contain_text("duplicate_name")
            await _cut_and_go_on(page, zone, disk)

            await page.goto("/media")
            await _send(page, "not-a-disc", disk)
            await page.goto("/tasks")
            await expect(page.locator("#task-list")).to_contain_text("not-a-disc")
            await page.goto("/media")
            await _send(page, "cd", disc)
            row = page.locator("tr", has_text="cd")
            await expect(row.locator("[data-cell=state]")).to_contain_text("ready")
            async with page.expect_download() as download:
                await row.locator("text=Download").click()
            fetched = await (await download.value).path()
            assert hashlib.sha256(fetched.read_bytes()).hexdigest() == zone.ctl("media", "show", "cd")["sha256"]
            await row.locator("text=Edit").click()
            await page.fill("#name", "disc")
            await page.fill("#description", "<b>of</b> ours")
            await page.fill("#tags", "one two")
            await page.click("button.primary")
            row = page.locator("tr", has_text="disc")
            await expect(row).to_contain_text("<b>of</b> ours")
            assert zone.ctl("media", "show", "disc")["tags"] == ["one", "two"]
            await row.locator("text=Delete").click()
            await page.click("#confirm [value=yes]")
            await expect(row).to_have_count(0)
        if SHOTS:
            await _pictures(browser, portal)


async def _send(page: Page, name: str, path: Path) -> None:
    await page.fill("#upload-name", name)
    await page.set_input_files("#file", path)
    await page.press("#upload-name", "Enter")
    await expect(page.locator(".upload-progress")).to_be_hidden()


async def _cut_and_go_on(page: Page, zone: Zone, disk: Path) -> None:
    """The page is left after the first pieces; the same file sent again brings only the rest."""
    sent: list[str] = []
    await page.route("**/content?offset=16777216", lambda route: route.abort())
    await page.fill("#upload-name", "cut")
    await page.set_input_files("#file", disk)
    async with page.expect_request("**/content?offset=16777216"):
        await page.press("#upload-name", "Enter")
    page.once("dialog", lambda dialog: dialog.accept())
    await page.goto("/images")
    await page.unroute("**/content?offset=16777216")
    page.on("request", lambda request: sent.append(request.url) if request.method == "PUT" else None)
    await _send(page, "cut", disk)
    row = page.locator("tr", has_text="cut")
    await expect(row.locator("[data-cell=state]")).to_contain_text("ready")
    assert [url.rpartition("=")[2] for url in sent] == ["16777216"]
    assert zone.ctl("image", "show", "cut")["virtual_size"] == (20 << 20) + 512


async def _pictures(browser: Browser, portal: str) -> None:
    for name, size, theme, language in (
        ("wide", (1440, 900), "light", "en-GB"),
        ("dark-zh", (1440, 900), "dark", "zh-CN"),
        ("narrow", (390, 844), "light", "en-GB"),
        ("narrow-dark-zh", (390, 844), "dark", "zh-CN"),
    ):
        viewport = {"width": size[0], "height": size[1]}
        async with window(browser, portal, viewport=viewport, color_scheme=theme, locale=language) as page:
            await page.goto("/login")
            await page.fill("#name", "ada")
            await page.fill("#password", "Correct1horse")
            await page.click("button.primary")
            await page.wait_for_selector("#numbers")
            await page.goto("/images")
            await page.click("details.more > summary")
            await picture(page, Path(SHOTS) / f"images-{name}.png", full=True)
