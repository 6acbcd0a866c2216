"""The portal in a real Chromium, with a fake Core behind it: what people see and do, live, by mouse and by keyboard."""

import pytest
from playwright.async_api import Browser, Page, expect

from nano.ui.testing.browser import first_visit, is_colourful, window
from nano.ui.testing.fake_core import FakeCore
from nano.ui.testing.patience import until
from nano.ui.testing.stage import Stage

pytestmark = pytest.mark.anyio


GLOW_WATCH = """
new MutationObserver((changes) => changes.forEach((change) => {
  if (change.target.classList?.contains("glow")) document.body.dataset.glowed = "1";
})).observe(document.body, { subtree: true, attributes: true, attributeFilter: ["class"] })
"""


def named(core: FakeCore, name: str) -> str:
    return str(next(row["id"] for row in core.rows["guest"].values() if row["name"] == name))


async def test_the_password_rule_is_checked_while_typing(browser: Browser, portal: Stage) -> None:
    async with window(browser, portal.portal) as page:
        await page.goto("/")
        await expect(page.locator(".rules .is-met")).to_have_count(0)
        await page.fill("#password", "secret1")
        await expect(page.locator("[data-rule=digit].is-met, [data-rule=lower].is-met")).to_have_count(2)
        await page.fill("#password", "Secret12")
        await expect(page.locator(".rules .is-met")).to_have_count(4)
        await page.fill("#again", "Other")
        await expect(page.locator("[data-differs]")).to_be_visible()


async def test_from_creating_a_guest_to_deleting_it(page: Page, core: FakeCore) -> None:
    await page.click("text=Guests")
    await page.click("text=Create guest")
    await page.fill("#name", "fresh")
    await page.click("text=debian-12")
    await page.click("text=Medium")
    await expect(page.locator("#cores")).to_have_value("2")
    await expect(page.locator("#estimate")).to_contain_text("It would run on")
    await page.click("aside button.primary")
    await page.wait_for_url("**/tasks/*")
    await expect(page.locator("#task-body .badge")).to_have_text("done")
    await page.click("text=To fresh")
    await expect(page.locator("#guest-head .badge")).to_have_text("running")
    await page.click("#guest-head >> text=Stop")
    await expect(page.locator(".toast")).to_contain_text("fresh is being stopped")
    await expect(page.locator("#guest-head .badge")).to_have_text("stopped")
    await page.click("text=History")
    await expect(page.locator("#history")).to_contain_text("Requested with 2 cores")
    await page.click("text=Settings")
    await page.fill("#typed", "fresh")
    await page.click("text=Delete guest")
    await page.wait_for_url("**/guests")
    guest = page.locator("tr", has_text="fresh")
    await expect(guest).to_have_count(0)


async def test_a_template_is_made_by_keyboard_changes_live_and_is_deleted(page: Page, core: FakeCore) -> None:
    await page.goto("/templates/new")
    await page.keyboard.type("Legacy")
    await page.select_option("#display", "none")
    await page.locator("#name").press("Enter")
    await expect(page.locator(".field.wrong .problem")).to_contain_text("is taken")
    await expect(page.locator("#display")).to_have_value("none")
    await page.fill("#name", "Debian 12")
    await page.keyboard.press("Enter")
    row = page.locator("#template-list tr", has_text="Debian")
    await expect(row).to_contain_text("no display")
    made = next(held for held in core.rows["template"].values() if held["name"] == "Debian 12")
    core.put("template", {**made, "name": "Debian 13"}, "template.modified")
    await expect(row).to_contain_text("Debian 13")
    await page.set_viewport_size({"width": 390, "height": 844})
    assert await page.evaluate("document.documentElement.scrollWidth") == 390
    await row.locator("text=Delete").click()
    await expect(page.locator("dialog.confirm")).to_contain_text("Delete the template Debian 13?")
    await page.click("dialog.confirm button[value=yes]")
    await expect(row).to_have_count(0)


async def test_rows_change_in_place_and_glow(page: Page, core: FakeCore) -> None:
    await page.goto("/guests")
    row = page.locator("tr", has_text="web-1")
    await expect(row.locator(".state")).to_have_text("running")
    await page.evaluate(GLOW_WATCH)
    await page.evaluate("window.same = true")
    key = named(core, "web-1")
    core.put("guest", {**core.rows["guest"][key], "state": "crashed"}, "guest.crashed")
    await expect(row.locator(".state")).to_have_text("crashed")
    await expect(page.locator("body[data-glowed]")).to_have_count(1)
    core.drop("guest", named(core, "wiki"), "guest.deleted")
    await expect(page.locator("tr", has_text="wiki")).to_have_count(0)
    await expect(page.locator(".chip", has_text="All")).to_contain_text("19")
    assert await page.evaluate("window.same"), "and the page was never loaded anew"


async def test_asking_before_harm_and_no_means_no(page: Page, core: FakeCore) -> None:
    key = named(core, "web-2")
    await page.goto(f"/guests/{key}")
    await page.click("#guest-head details.menu > summary")
    await page.click("text=Switch off at once")
    dialog = page.locator("#confirm")
    await expect(dialog).to_contain_text("web-2")
    await dialog.get_by_text("Cancel").click()
    assert not any(asked[0] == "POST" for asked in core.asked)
    await page.click("#guest-head details.menu > summary")
    await page.click("#guest-head >> text=Switch off at once")
    await dialog.get_by_text("Switch off at once").last.click()
    await expect(page.locator("#guest-head .badge")).to_have_text("stopped")


async def test_chosen_guests_stay_chosen_until_something_is_asked_of_them(page: Page, core: FakeCore) -> None:
    await page.goto("/guests")
    row = page.locator("tr", has_text="web-1")
    await expect(page.locator("#chosen")).to_be_hidden()
    await row.locator(".pick").check()
    await page.locator("tr", has_text="web-2").locator(".pick").check()
    key = named(core, "web-1")
    core.put("guest", {**core.rows["guest"][key], "state": "paused"}, "guest.paused")
    await expect(row.locator(".state")).to_have_text("paused")
    await expect(row.locator(".pick")).to_be_checked()
    await page.locator("#chosen").get_by_text("Stop").click()
    await page.locator("#confirm").get_by_text("Stop", exact=True).last.click()
    await expect(page.locator(".toast a[href^='/tasks/']")).to_have_text("The chosen guests are being stopped")
    await expect(page.locator("#chosen")).to_be_hidden()
    (asked,) = [body for method, path, _, body in core.asked if (method, path) == ("POST", "/batches/stop")]
    assert asked == {"guests": [key, named(core, "web-2")]}
    await page.locator("[data-pick-all]").check()
    await expect(page.locator(".pick:checked")).to_have_count(20)


async def test_the_menu_of_a_row_is_fetched_when_opened(page: Page) -> None:
    await page.goto("/guests")
    row = page.locator("tr", has_text="web-1")
    await row.locator("summary").click()
    await expect(row.locator(".menu-list")).to_contain_text("Restart")
    await page.keyboard.press("Escape")
    await expect(row.locator(".menu-list")).to_be_hidden()


async def test_everything_is_reached_by_keyboard(page: Page) -> None:
    await page.goto("/cells")
    await page.keyboard.press("Tab")
    await expect(page.locator(".skip")).to_be_focused()
    await page.keyboard.press("/")
    await expect(page.locator("#palette")).to_be_visible()
    await page.keyboard.type("db-pri")
    await expect(page.locator("#found a")).to_have_count(1)
    await page.keyboard.press("Enter")
    await expect(page.locator("h1")).to_contain_text("db-primary")
    await page.keyboard.press("Control+k")
    await page.keyboard.type("jour")
    await page.keyboard.press("Enter")
    await page.wait_for_url("**/journal")


async def test_language_theme_and_rail_are_remembered(page: Page) -> None:
    await page.click("summary[title=Language]")
    await page.click("text=简体中文")
    await expect(page.locator("html")).to_have_attribute("lang", "zh-Hans")
    await page.click("summary[title=主题]")
    await page.click("text=深色")
    await expect(page.locator("html")).to_have_attribute("data-theme", "dark")
    assert await page.evaluate("getComputedStyle(document.body).backgroundColor") == "rgb(15, 17, 21)"
    await page.click("[data-fold]")
    await page.reload()
    await expect(page.locator("html")).to_have_attribute("data-rail", "narrow")


@pytest.mark.parametrize("width", [360, 390, 768, 1024, 2560])
async def test_no_page_is_wider_than_the_screen(browser: Browser, portal: Stage, core: FakeCore, width: int) -> None:
    async with window(browser, portal.portal, viewport={"width": width, "height": 800}, locale="zh-CN") as page:
        await first_visit(page)
        guest, task = named(core, "web-1"), next(iter(core.rows["task"]))
        for path in ("/", "/guests", f"/guests/{guest}", f"/guests/{guest}?tab=history", "/guests/new", "/pools", "/cells",
                     "/cells/Cell_e9d87f001b3a", "/images", "/tasks", f"/tasks/{task}", "/journal", "/password"):  # fmt: skip
            await page.goto(path)
            wide = await page.evaluate("document.documentElement.scrollWidth")
            assert wide <= width, f"{path} is {wide} px wide"


async def test_pages_can_be_read_without_scripts(browser: Browser, portal: Stage, core: FakeCore) -> None:
    async with window(browser, portal.portal, java_script_enabled=False) as page:
        await first_visit(page)
        for path, text in (
            ("/guests", "db-primary"),
            ("/cells", "Cell_0a1b2c3d4e5f"),
            ("/journal", "opened its console"),
        ):
            await page.goto(path)
            await expect(page.locator("main")).to_contain_text(text)
        await page.goto(f"/guests/{named(core, 'backup')}")
        await page.click("#guest-head >> text=Start")
        await expect(page.locator("h1")).to_contain_text("backup")


async def test_a_stale_page_says_since_when_and_recovers(page: Page, core: FakeCore) -> None:
    await page.goto("/guests")
    await expect(page.locator("#stale")).to_be_hidden()
    core.leave()
    await expect(page.locator("#stale")).to_contain_text("Core does not answer since")
    core.away = False
    await expect(page.locator("#stale")).to_be_hidden()


async def test_measurements_keep_the_big_numbers_true(page: Page, core: FakeCore) -> None:
    cell = {"cpu_percent": 77.0, "memory_total": 100, "memory_available": 25, "disk_total": 100, "disk_available": 50}

    async def shown() -> bool:
        core.measure({"cells": {"Cell_0a1b2c3d4e5f": cell}, "guests": {}})
        return "77" in await page.locator("#numbers").inner_text()

    await until(shown, 15)


async def test_charts_are_drawn_and_say_when_there_is_nothing(page: Page, core: FakeCore) -> None:
    key = named(core, "backup")
    await page.goto(f"/guests/{key}")
    await expect(page.locator(".chart .none").first).to_be_visible()
    for second in (1, 2):
        del second
        core.measure({"cells": {}, "guests": {key: {"cpu_percent": 50.0, "memory_used": 1 << 29}}})
    await page.goto("/")
    await expect(page.locator(".chart").first).to_be_visible()


async def test_the_serial_console_is_a_terminal(page: Page, core: FakeCore) -> None:
    key = named(core, "web-1")
    await page.goto(f"/guests/{key}/serial")
    await expect(page.locator("#says")).to_have_text("Connected")
    await expect(page.locator(".xterm-rows")).to_contain_text("web-1 login:")
    await page.keyboard.type("operator")
    await expect(page.locator(".xterm-rows")).to_contain_text("web-1 login: operator")
    await page.locator("summary", has_text="Media").click()
    await expect(page.locator(".pop[open]")).to_be_visible()


async def test_the_console_shows_the_display_and_says_why_when_it_cannot(page: Page, core: FakeCore) -> None:
    key = named(core, "web-1")
    await page.goto(f"/guests/{key}/console")
    await expect(page.locator("#says")).to_have_text("Connected")
    canvas = page.locator("#display canvas")
    await expect(canvas).to_be_visible()
    assert is_colourful(await canvas.screenshot())
    core.refuse[f"POST /guests/{key}/console"] = {"status": 409, "code": "guest_not_running", "detail": "It is off."}
    await page.click("#again")
    await expect(page.locator("#notice")).to_contain_text("It is off.")
    core.refuse.clear()
    await page.click("#again")
    await expect(page.locator("#says")).to_have_text("Connected")
