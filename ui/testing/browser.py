"""A real headless Chromium for tests and screenshots. A script error or a breach of the page's policy fails the test."""

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from shutil import which
from typing import Any, Final

from playwright.async_api import Browser, ConsoleMessage, Page, async_playwright

ARGUMENTS: Final = ["--no-sandbox", "--disable-gpu", "--disable-background-networking", "--disable-dev-shm-usage"]
HARMLESS: Final = ("Failed to load resource",)  # what the server refused is told by the page itself


@asynccontextmanager
async def chromium() -> AsyncIterator[Browser]:
    """Raises FileNotFoundError when no Chromium is installed: a missing real part is a failure."""
    path = which("chromium") or which("chromium-browser") or which("google-chrome")
    if path is None:
        raise FileNotFoundError("no chromium is installed: scripts/test installs it")
    async with async_playwright() as playwright:
        browser = await playwright.chromium.launch(executable_path=path, args=ARGUMENTS)
        try:
            yield browser
        finally:
            await browser.close()


@asynccontextmanager
async def window(browser: Browser, portal: str, **options: Any) -> AsyncIterator[Page]:
    """A fresh browser profile; on leaving, nothing must have been complained about on its console."""
    options = {"viewport": {"width": 1440, "height": 900}, "locale": "en-GB", "base_url": portal, **options}
    context = await browser.new_context(**options)
    complaints: list[str] = []

    def heard(message: ConsoleMessage) -> None:
        if message.type in ("error", "warning") and not message.text.startswith(HARMLESS):
            complaints.append(message.text)

    context.on("console", heard)
    context.on("weberror", lambda error: complaints.append(str(error.error)))
    page = await context.new_page()
    page.set_default_timeout(15_000)
    try:
        yield page
    finally:
        await context.close()
    assert not complaints, complaints


async def first_visit(page: Page, name: str = "ada", password: str = "Correct1horse") -> None:  # noqa: S107
    """From nothing to the dashboard."""
    await page.goto("/")
    await page.fill("#name", name)
    await page.fill("#password", password)
    await page.fill("#again", password)
    await page.click("button.primary")
    await page.wait_for_selector("#numbers")


async def picture(page: Page, path: Path, *, full: bool = False) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    await page.screenshot(path=path, full_page=full, animations="disabled")


def is_colourful(png: bytes) -> bool:
    """Whether a screenshot shows more than one flat colour: a flat one compresses to almost nothing."""
    return len(png) > 4_000
