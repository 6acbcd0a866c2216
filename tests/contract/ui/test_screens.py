"""Pictures of guests' screens in the portal: for those who may look, of guests that run, asked again only when they moved."""

import pytest

from nano.hypervisor.picture import SIGNATURE
from nano.ui.testing.fake_core import FakeCore
from nano.ui.testing.http_browser import Browser

pytestmark = pytest.mark.anyio


def id_of(core: FakeCore, state: str) -> str:
    return next(row["id"] for row in core.rows["guest"].values() if row["state"] == state)


async def test_running_guests_show_their_screens(admin: Browser, core: FakeCore) -> None:
    page = (await admin.get("/guests")).text
    assert f"/guests/{id_of(core, 'running')}/screen.png" in page
    assert f"/guests/{id_of(core, 'stopped')}/screen.png" not in page
    large = (await admin.get(f"/guests/{id_of(core, 'running')}")).text
    assert 'data-screen="large"' in large


async def test_the_picture_is_passed_on_with_its_tag(admin: Browser, core: FakeCore) -> None:
    path = f"/guests/{id_of(core, 'running')}/screen.png"
    answer = await admin.get(path)
    assert answer.content.startswith(SIGNATURE)
    assert (answer.headers["content-type"], answer.headers["cache-control"]) == ("image/png", "private, max-age=5")
    again = await admin.http.get(path, headers={"if-none-match": answer.headers["etag"]})
    assert (again.status_code, again.content) == (304, b"")
    assert (await admin.get("/guests/nobody/screen.png")).status_code == 404


async def test_nothing_is_shown_to_strangers(visitor: Browser, core: FakeCore) -> None:
    answer = await visitor.get(f"/guests/{id_of(core, 'running')}/screen.png")
    assert answer.status_code in (303, 401)
