"""Snapshots of a guest in the portal: what each form asks Core for, and that a refused one keeps what was typed."""

from typing import Any

import pytest

from nano.ui.testing.fake_core import FakeCore
from nano.ui.testing.fake_guests import snapshot_row
from tests.contract.ui.test_guest_settings import HTML, named

pytestmark = pytest.mark.anyio

FAILED = {"status": 409, "code": "guest_busy", "detail": "Guest web-1 is busy with another task.", "hint": "Wait."}


async def page_of(admin: Any, guest: dict[str, Any], part: str = "") -> str:
    answer = await admin.get(f"/guests/{guest['id']}?tab=snapshots&part={part}")
    assert answer.status_code == 200
    return str(answer.text)


async def test_the_tree_says_what_each_holds_and_where_the_guest_is(admin: Any, core: FakeCore) -> None:
    guest = named(core, "web-1")
    assert "There is none yet" in await page_of(admin, guest)
    tree = [
        snapshot_row("one", current=False, description=HTML),
        snapshot_row("left", "one", current=False, frozen=True, scheduled=True),
        snapshot_row("right", "one", memory=True),
    ]
    core.put("guest", {**guest, "snapshots": tree}, "guest.snapshot_made", snapshot={"name": "right"})
    await admin.until(f"/guests/{guest['id']}?tab=snapshots", "right")
    for part in ("", "snapshots"):
        page = await page_of(admin, guest, part)
        assert page.count('class="depth-1"') == 2
        assert page.count("the guest is here") == 1
        assert "disks, with file systems frozen ·" in page
        assert "<script>alert" not in page


async def test_each_form_asks_core(admin: Any, core: FakeCore) -> None:
    guest = named(core, "web-1")
    url, one = f"/guests/{guest['id']}", snapshot_row("one")
    core.put("guest", {**guest, "snapshots": [one]}, "guest.snapshot_made", snapshot={"name": "one"})
    await admin.until(f"{url}?tab=snapshots", one["id"])
    rhythm = {"every_hours": "6", "keep": "3", "expire_hours": "", "with_memory": "on"}
    for path, form in (
        ("/snapshots", {"name": " two ", "description": "x", "disks_only": "on"}),
        (f"/snapshots/{one['id']}/restore", {}),
        (f"/snapshots/{one['id']}/delete", {}),
        ("/snapshot-schedule", rhythm),
        ("/snapshot-schedule", {"stop": "on"}),
    ):
        assert (await admin.post(url + path, **form)).status_code == 303
    assert [(method, path.removeprefix(url), body) for method, path, _, body in core.asked] == [
        ("POST", "/snapshots", {"name": "two", "description": "x", "disks_only": True}),
        ("POST", f"/snapshots/{one['id']}/restore", None),
        ("DELETE", f"/snapshots/{one['id']}", None),
        ("POST", "/snapshot-schedule", {"every_hours": 6, "keep": 3, "expire_hours": 0, "with_memory": True}),
        ("DELETE", "/snapshot-schedule", None),
    ]


async def test_what_is_refused_keeps_what_was_typed(admin: Any, core: FakeCore) -> None:
    guest = named(core, "web-1")
    url = f"/guests/{guest['id']}"
    core.refuse[f"POST {url}/snapshots"] = core.refuse[f"POST {url}/snapshot-schedule"] = FAILED
    page = await admin.post(f"{url}/snapshots", name="two", description=HTML)
    assert (page.status_code, 'value="two"' in page.text, "<script>alert" in page.text) == (409, True, False)
    page = await admin.post(f"{url}/snapshot-schedule", every_hours="5", keep="2", expire_hours="99")
    assert (page.status_code, 'value="5"' in page.text, 'value="99"' in page.text) == (409, True, True)
    page = await admin.post(f"{url}/snapshot-schedule", every_hours="<b>", keep="2", expire_hours="99")
    assert (page.status_code, "&lt;b&gt;" in page.text, 'class="field wrong"' in page.text) == (422, True, True)


async def test_a_schedule_tells_its_rhythm(admin: Any, core: FakeCore) -> None:
    guest = named(core, "web-1")
    rhythm = {"every_hours": 6, "keep": 1, "expire_hours": 48, "with_memory": False, "next_at": guest["created_at"]}
    core.put("guest", {**guest, "snapshot_schedule": rhythm}, "guest.snapshots_scheduled", schedule=rhythm)
    await admin.until(f"/guests/{guest['id']}?tab=snapshots", "No schedule any more")
    page = await page_of(admin, guest)
    for words in (
        "One every 6 hours,",
        "the newest is kept.",
        "Older than 48 hours they are deleted",
        "The next one is",
    ):
        assert words in page
