"""A portal over real HTTP with a fake Core behind it, and a browser that is only an HTTP client."""

from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from nano.ui.testing.demo import demo_core
from nano.ui.testing.fake_core import FakeCore
from nano.ui.testing.http_browser import Browser
from nano.ui.testing.patience import until
from nano.ui.testing.stage import Stage, stage


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

    async def follows() -> bool:
        return portal.core.followed_after >= 0  # it has read every list by then

    await until(follows)
    await visitor.until("/guests", "db-primary")
    return visitor
