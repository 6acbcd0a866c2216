"""A portal over real HTTP with a fake Core behind it, and a browser that is only an HTTP client."""

import re
from collections.abc import AsyncIterator
from pathlib import Path

import anyio
import httpx
import pytest

from nano.ui.testing.demo import demo_core
from nano.ui.testing.fake_core import FakeCore
from nano.ui.testing.stage import Stage, stage

PASSWORD = "Correct1horse"


class Browser:
    """Keeps cookies; posts forms with the token of the last page."""

    def __init__(self, portal: str) -> None:
        self.http = httpx.AsyncClient(base_url=portal, trust_env=False, timeout=20)
        self.token = ""

    async def get(self, path: str, **headers: str) -> httpx.Response:
        answer = await self.http.get(path, headers={name.replace("_", "-"): value for name, value in headers.items()})
        if found := re.search(r'name="form_token" value="([0-9a-f]+)"', answer.text):
            self.token = found[1]
        return answer

    async def post(self, path: str, /, htmx: bool = False, **fields: str) -> httpx.Response:
        headers = {"HX-Request": "true"} if htmx else {}
        return await self.http.post(path, data={"form_token": self.token, **fields}, headers=headers)

    async def until(self, path: str, text: str, limit_s: float = 10) -> httpx.Response:
        """Ask for a page until it says the text."""
        with anyio.fail_after(limit_s):
            while True:
                answer = await self.get(path)
                if text in answer.text:
                    return answer
                await anyio.sleep(0.03)

    async def enter(self) -> None:
        """Make the administrator."""
        await self.get("/welcome")
        answer = await self.post("/welcome", name="ada", password=PASSWORD, again=PASSWORD)
        assert answer.status_code == 303, answer.text
        await self.get("/password")


@pytest.fixture
def core() -> FakeCore:
    return demo_core(pace_s=0.01)


@pytest.fixture
async def portal(tmp_path: Path, core: FakeCore) -> AsyncIterator[Stage]:
    async with stage(tmp_path, core) as running:
        yield running


@pytest.fixture
async def visitor(portal: Stage) -> AsyncIterator[Browser]:
    """Somebody who is not logged in."""
    browser = Browser(portal.portal)
    yield browser
    await browser.http.aclose()


@pytest.fixture
async def admin(visitor: Browser, portal: Stage) -> Browser:
    """Somebody who is, when the portal knows what Core has."""
    await visitor.enter()
    await visitor.until("/guests", "db-primary")
    return visitor
