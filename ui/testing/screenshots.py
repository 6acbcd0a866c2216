"""``scripts/screenshots``: pictures of the portal for README and docs, taken of the demo in a real browser.

Both themes, both languages, wide and narrow; the same every time but for the clock.
"""

import sys
import tempfile
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Final, NamedTuple

import anyio
from playwright.async_api import Browser

from nano.ui.testing.browser import chromium, first_visit, picture, window
from nano.ui.testing.demo import demo_core
from nano.ui.testing.fake_core import FakeCore
from nano.ui.testing.fake_guests import snapshot_row, text_of
from nano.ui.testing.stage import measured_hour, stage

WIDE, NARROW = (1440, 900), (390, 844)
GUEST, TASK, BATCH, CRASH = "GUEST", "TASK", "BATCH", "CRASH"  # stand for ids and a position of the demo


class Shot(NamedTuple):
    name: str
    path: str
    size: tuple[int, int] = WIDE
    theme: str = "light"
    language: str = "en-GB"


SHOTS: Final = (
    Shot("dashboard", "/"),
    Shot("dashboard-dark-zh", "/", theme="dark", language="zh-CN"),
    Shot("dashboard-narrow", "/", NARROW),
    Shot("guests", "/guests"),
    Shot("guests-narrow-dark", "/guests", NARROW, "dark"),
    Shot("dashboard-past", f"/?at={CRASH}"),
    Shot("dashboard-past-narrow-dark-zh", f"/?at={CRASH}", NARROW, "dark", "zh-CN"),
    Shot("past", f"/guests?at={CRASH}"),
    Shot("past-narrow-dark-zh", f"/guests?at={CRASH}", NARROW, "dark", "zh-CN"),
    Shot("guest-dark", f"/guests/{GUEST}", theme="dark"),
    Shot("guest-narrow-zh", f"/guests/{GUEST}", NARROW, language="zh-CN"),
    Shot("history", f"/guests/{GUEST}?tab=history"),
    Shot("snapshots", f"/guests/{GUEST}?tab=snapshots"),
    Shot("snapshots-narrow-dark-zh", f"/guests/{GUEST}?tab=snapshots", NARROW, "dark", "zh-CN"),
    Shot("recycle-bin", "/guests?state=recycled"),
    Shot("recycle-bin-narrow-dark-zh", "/guests?state=recycled", NARROW, "dark", "zh-CN"),
    Shot("images", "/images"),
    Shot("create", "/guests/new?name=web-3&image=debian-12"),
    Shot("create-narrow-dark-zh", "/guests/new?name=web-3", NARROW, "dark", "zh-CN"),
    Shot("cells", "/cells"),
    Shot("alarms", "/alarms"),
    Shot("alarms-narrow-dark-zh", "/alarms", NARROW, "dark", "zh-CN"),
    Shot("task", f"/tasks/{TASK}"),
    Shot("batch", f"/tasks/{BATCH}"),
    Shot("batch-narrow-dark-zh", f"/tasks/{BATCH}", NARROW, "dark", "zh-CN"),
    Shot("journal-zh", "/journal", language="zh-CN"),
)


async def take(folder: Path) -> None:
    now = datetime.now(UTC)
    core = demo_core(now=now)
    _fill(core, now)
    with tempfile.TemporaryDirectory() as state:
        async with stage(Path(state), core, usage=measured_hour(core, now)) as running, chromium() as browser:
            await _welcome(browser, running.portal, folder)
            for shot in SHOTS:
                await _take(browser, running.portal, shot, core, folder)


def _fill(core: FakeCore, now: datetime) -> None:
    """What pages need that the demo is silent about: a tree of snapshots, a guest in the recycle bin."""
    guests = {row["name"]: row for row in core.rows["guest"].values()}
    tree = [
        snapshot_row("installed", created_at=text_of(now - timedelta(days=9)), description="all packages, no data"),
        snapshot_row("before-upgrade", "installed", memory=True, created_at=text_of(now - timedelta(days=2))),
        snapshot_row("nightly-1", "before-upgrade", scheduled=True, frozen=True, created_at=text_of(now)),
    ]
    for one in tree:
        one["current"] = one is tree[-1]
    core.put("guest", {**guests["web-1"], "snapshots": tree}, "guest.changed")
    until = text_of(now + timedelta(days=6, hours=4))
    core.put(
        "guest", {**guests["lab-debian"], "state": "recycled", "recycled_until": until}, "guest.recycled", until=until
    )


async def _welcome(browser: Browser, portal: str, folder: Path) -> None:
    async with window(browser, portal) as page:
        await page.goto("/")
        await page.fill("#name", "admin")
        await page.fill("#password", "Secret1")
        await picture(page, folder / "welcome.png")
        await first_visit(page, "admin")


async def _take(browser: Browser, portal: str, shot: Shot, core: FakeCore, folder: Path) -> None:
    guest = next(row["id"] for row in core.rows["guest"].values() if row["name"] == "web-1")
    task = next(row["id"] for row in core.rows["task"].values() if row["state"] == "failed")
    crash = next(fact["position"] for fact in core.facts if fact["event"]["type"] == "guest.crashed")
    batch = next(row["id"] for row in core.rows["task"].values() if row.get("items"))
    path = shot.path.replace(GUEST, guest).replace(TASK, task).replace(BATCH, batch).replace(CRASH, str(crash))
    size = {"width": shot.size[0], "height": shot.size[1]}
    async with window(browser, portal, viewport=size, color_scheme=shot.theme, locale=shot.language) as page:
        await page.goto("/login")
        await page.fill("#name", "admin")
        await page.fill("#password", "Correct1horse")
        await page.click("button.primary")
        await page.wait_for_selector("#numbers")
        await page.goto(path, wait_until="load")
        if await page.locator(".chart").count():
            await page.wait_for_selector(".chart canvas")
        if await page.locator("#estimate").count():
            await page.wait_for_selector("#estimate .scores")
        await picture(page, folder / f"{shot.name}.png")


if __name__ == "__main__":
    anyio.run(take, Path(sys.argv[1]))
