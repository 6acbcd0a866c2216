"""Settings of a guest in a real Chromium: panels follow what happens, and leave alone what somebody is typing."""

from typing import Any

import pytest
from playwright.async_api import Browser, Page, expect

from nano.ui.testing.browser import first_visit, window
from nano.ui.testing.fake_core import FakeCore
from nano.ui.testing.fake_inside import VNC_SECRET
from nano.ui.testing.stage import Stage

pytestmark = pytest.mark.anyio


def named(core: FakeCore, name: str) -> dict[str, Any]:
    return next(row for row in core.rows["guest"].values() if row["name"] == name)


async def test_panels_follow_but_not_under_somebodys_hands(page: Page, core: FakeCore) -> None:
    guest = named(core, "web-1")
    await page.goto(f"/guests/{guest['id']}?tab=settings")
    await page.fill("#description", "half a sent")
    await page.focus("#typed")
    core.put("guest", {**guest, "description": "of somebody else", "cores": 3, "pending": ["cores"]}, "guest.changed")
    await expect(page.locator("#size .note")).to_contain_text("At its next start: cores")
    await expect(page.locator("#cores")).to_have_value("3")
    await expect(page.locator("#description")).to_have_value("half a sent")


async def test_a_disk_is_grown_added_and_removed(page: Page, core: FakeCore) -> None:
    guest = named(core, "web-1")
    await page.goto(f"/guests/{guest['id']}?tab=settings")
    disks = page.locator("#disks")
    await disks.locator("summary").first.click()
    await disks.locator("#grow-0").fill("30")
    await disks.locator(".menu-list button").first.click()
    await expect(disks).to_contain_text("30 GiB")
    await page.wait_for_function("() => !document.querySelector('#guest-head .progress-card')")
    await page.fill("#disk-size", "7")
    await page.click("text=Add disk")
    await expect(disks).to_contain_text("data disk 1")
    await page.wait_for_function("() => !document.querySelector('#guest-head .progress-card')")
    await disks.locator("button.danger").click()
    await page.locator("dialog[open] button.danger").click()
    await expect(disks).not_to_contain_text("data disk 1")
    asked = [(one[0], one[1].rpartition(guest["id"])[2], one[3]) for one in core.asked if one[0] != "GET"]
    gib = 1 << 30
    assert asked == [
        ("POST", "/disks/grow", {"number": 0, "size": 30 * gib}),
        ("POST", "/disks", {"size": 7 * gib}),
        ("DELETE", "/disks", None),
    ]


async def test_a_vnc_secret_is_shown_until_there_is_another(page: Page, core: FakeCore) -> None:
    guest = named(core, "web-1")
    await page.goto(f"/guests/{guest['id']}?tab=settings")
    panel = page.locator("#vnc")
    await panel.locator("text=Enable").click()
    await expect(panel).to_contain_text("127.0.0.1:5901")
    await page.wait_for_function("() => !document.querySelector('#guest-head .progress-card')")
    await panel.locator("text=Show").click()
    await expect(panel).to_contain_text(VNC_SECRET)
    core.put("guest", {**named(core, "web-1"), "cores": 3, "version": 99}, "guest.vnc_told", by="ada")
    await expect(page.locator("#cores")).to_have_value("3")
    await expect(panel).to_contain_text(VNC_SECRET)
    await panel.locator("text=New secret").click()
    await page.locator("dialog[open] button.danger").click()
    await expect(panel).not_to_contain_text(VNC_SECRET)
    await expect(panel.locator("text=Show")).to_be_visible()
    await page.wait_for_function("() => !document.querySelector('#guest-head .progress-card')")
    await panel.locator("text=Disable").click()
    await page.locator("dialog[open] button.danger").click()
    await expect(panel.locator("text=Enable")).to_be_visible()


@pytest.mark.parametrize("width", [360, 768, 1440])
async def test_the_settings_are_not_wider_than_the_screen(
    browser: Browser, portal: Stage, core: FakeCore, width: int
) -> None:
    guest = named(core, "web-1")
    long = {"description": "n" * 200, "tags": ["t" * 64], "notes": "n" * 400, "more_macs": ["52:54:00:aa:bb:01"]}
    core.put("guest", {**guest, **long}, "guest.changed")
    async with window(browser, portal.portal, viewport={"width": width, "height": 900}) as page:
        await first_visit(page)
        for path in ("", "?tab=settings"):
            await page.goto(f"/guests/{guest['id']}{path}")
            await expect(page.locator(".guest-head")).to_contain_text("nnn")
            assert await page.evaluate("document.documentElement.scrollWidth") <= width
