"""Time travel in a real Chromium: by keyboard, by buttons, along the scale, and without scripts."""

import pytest
from playwright.async_api import Browser, expect

from nano.ui.testing.browser import first_visit, window
from nano.ui.testing.fake_core import FakeCore
from nano.ui.testing.stage import Stage

pytestmark = pytest.mark.anyio


async def test_moving_through_time(browser: Browser, portal: Stage, core: FakeCore) -> None:
    crash = next(fact["position"] for fact in core.facts if fact["event"]["type"] == "guest.crashed")
    async with window(browser, portal.portal, viewport={"width": 390, "height": 844}) as page:
        await first_visit(page)
        await page.goto("/guests")
        await page.click("text=Time travel")
        await page.wait_for_url("**/guests?at=*")
        await page.goto(f"/guests?at={crash}")
        erp = page.locator("#guest-list tr", has_text="legacy-erp")
        await expect(erp.locator(".state")).to_have_text("crashed")
        await expect(page.locator(".quick")).to_have_count(0)
        assert await page.evaluate("document.documentElement.scrollWidth") <= 390
        await page.evaluate("window.same = true")
        await page.locator("#seconds").focus()
        await page.keyboard.press("ArrowLeft")
        await expect(erp.locator(".state")).to_have_text("running")
        await expect(page.locator("#seconds")).to_be_focused()
        await page.locator("#step-on").click()
        await expect(erp.locator(".state")).to_have_text("crashed")
        await expect(page.locator("#then strong")).to_contain_text(await page.locator("#scale output").inner_text())
        core.put("guest", {**next(iter(core.rows["guest"].values())), "name": "renamed"}, "guest.changed")
        await page.locator("#seconds").focus()
        await page.keyboard.press("Home")
        await expect(page.locator("#guest-list")).to_contain_text("There were no guests then")
        assert await page.locator("#seconds").input_value() == await page.locator("#seconds").get_attribute("min")
        box = await page.locator("#seconds").bounding_box()
        assert box
        await page.mouse.click(box["x"] + box["width"] / 2, box["y"] + box["height"] / 2)
        await expect(page.locator("#guest-list .chip", has_text="All")).to_contain_text("20")
        assert "at=20" in page.url, "the address names the moment"
        assert await page.evaluate("window.same"), "and the page was never loaded anew"
        await page.click(".page-head >> text=Back to now")
        await expect(page.locator("#then")).to_have_count(0)
        await expect(page.locator("#guest-list")).to_contain_text("renamed")


async def test_the_dashboard_moves_through_time(browser: Browser, portal: Stage, core: FakeCore) -> None:
    crash = next(fact["position"] for fact in core.facts if fact["event"]["type"] == "guest.crashed")
    async with window(browser, portal.portal) as page:
        await first_visit(page)
        await page.goto("/")
        await page.click("text=Time travel")
        await page.wait_for_url("**/?at=*")
        await page.goto(f"/?at={crash}")
        await expect(page.locator("#numbers")).to_contain_text("1 crashed")
        await page.evaluate("window.same = true")
        await page.locator("#seconds").focus()
        await page.keyboard.press("ArrowLeft")
        await expect(page.locator("#numbers")).not_to_contain_text("crashed")
        await expect(page.locator("#seconds")).to_be_focused()
        await page.keyboard.press("ArrowRight")
        await expect(page.locator("#guest-list tr", has_text="legacy-erp")).to_contain_text("crashed")
        assert f"/?at={crash}" in page.url, "the address names the moment"
        assert await page.evaluate("window.same"), "and the page was never loaded anew"
        await page.set_viewport_size({"width": 360, "height": 800})
        assert await page.evaluate("document.documentElement.scrollWidth") <= 360
        await page.click(".page-head >> text=Back to now")
        await expect(page.locator("#concerns")).to_be_visible()


async def test_time_travel_without_scripts(browser: Browser, portal: Stage) -> None:
    async with window(browser, portal.portal, java_script_enabled=False) as page:
        await first_visit(page)
        await page.goto("/guests?at=now")
        await page.click("text=Earlier")
        await expect(page.locator("#then strong")).to_contain_text("You are looking at the past")
        await page.locator("#seconds").press("Home")
        await page.click("text=Show this moment")
        await expect(page.locator("#guest-list")).to_contain_text("There were no guests then")
