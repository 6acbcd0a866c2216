"""Time travel: the guests as they were, by an address that can be shared, read from Core at each look."""

import re
from urllib.parse import unquote

import pytest

from nano.ui.testing.fake_core import FakeCore
from nano.ui.testing.fake_guests import guest_row

pytestmark = pytest.mark.anyio
PAGE_BYTES_MAX = 60_000


def facts_of(core: FakeCore, name: str) -> dict[str, int]:
    """Positions of a guest's facts by type."""
    key = next(row["id"] for row in core.rows["guest"].values() if row["name"] == name)
    return {fact["event"]["type"]: fact["position"] for fact in core.facts if fact["resource"] == f"guest/{key}"}


async def test_the_table_is_as_it_was_and_says_so(admin, core: FakeCore) -> None:  # type: ignore[no-untyped-def]
    crash = facts_of(core, "legacy-erp")["guest.crashed"]
    after = await admin.get(f"/guests?at={crash}&q=legacy")
    assert 'data-state="crashed"' in after.text
    assert "You are looking at the past: 2026" in after.text
    assert "legacy-erp · Crashed: the guest panicked" in after.text
    before = await admin.get(f"/guests?at={crash - 1}&q=legacy")
    assert 'data-state="running"' in before.text
    assert 'data-state="crashed"' not in before.text
    now = await admin.get("/guests")
    assert "You are looking at the past: 2026" not in now.text


async def test_nothing_can_be_changed_there_and_nothing_moves(admin, core: FakeCore) -> None:  # type: ignore[no-untyped-def]
    page = (await admin.get(f"/guests?at={len(core.facts)}")).text
    assert "db-primary" in page
    assert "/start" not in page
    assert "/guests/new" not in page.split('id="palette"')[0]
    table = page.split('id="guest-list"')[1].split("</table>")[0]
    assert "data-live" not in table
    assert '<form class="inline"' not in table
    assert 'data-watch=""' in page


async def test_steps_lead_from_event_to_event_and_keep_the_filters(admin, core: FakeCore) -> None:  # type: ignore[no-untyped-def]
    first = core.facts[0]["position"]
    opened = facts_of(core, "web-1")["guest.console_opened"]
    position, seen = opened + 9, []
    while True:
        page = (await admin.get(f"/guests?pool=lab&at={position}&part=then")).text
        assert "<html" not in page
        step = re.search(r'data-step="back" href="/guests\?pool=lab&amp;at=(\d+)"', page)
        if step is None:
            break
        assert int(step[1]) < position
        position = int(step[1])
        seen.append(position)
    assert position == first
    assert facts_of(core, "web-1")["guest.started"] in seen
    assert opened not in seen, "a console changes nothing in the table"
    on = (await admin.get(f"/guests?at={first}&part=then")).text
    assert re.search(r'data-step="on" href="/guests\?at=\d+"', on)
    assert "There were no guests then" in on


async def test_now_and_a_plain_form_lead_to_an_address_that_lasts(admin, core: FakeCore) -> None:  # type: ignore[no-untyped-def]
    opened = await admin.get("/guests?at=now&state=running")
    assert (opened.status_code, opened.headers["location"]) == (303, f"/guests?state=running&at={len(core.facts)}")
    sent = await admin.get("/guests?seconds=1795000000")
    assert unquote(sent.headers["location"]) == "/guests?at=2026-11-18T11:06:40Z"
    page = await admin.get("/guests?at=" + core.facts[-1]["at"].replace("Z", "+00:00"))
    assert page.status_code == 200, "an unquoted plus arrives as a space and is understood"


async def test_the_scale_shows_the_life_of_the_zone_and_stays_small(admin, core: FakeCore) -> None:  # type: ignore[no-untyped-def]
    few = (await admin.get("/guests?at=now", accept_language="zh")).headers["location"]
    page = (await admin.get(few, accept_language="zh")).text
    assert "刻痕表示有事件发生。" in page
    assert len(re.findall(r"<text[^>]*>\d+月\d+日</text>", page)) > 3
    for number in range(1000):
        core.put("guest", guest_row(f"load-{number:03}", "running", "Cell_0a1b2c3d4e5f", addresses=["10.1.2.3"]))
    await admin.until("/guests?q=load-999", "load-999</a>")
    many = await admin.get(f"/guests?at={len(core.facts)}")
    assert "samples of older ones" in many.text
    assert len(many.content) < PAGE_BYTES_MAX
    assert many.text.count("<tr id=") == 30


@pytest.mark.parametrize("at", ["999999999", "yesterday", "-4", "2026-11-21", "%00", "9" * 300])
async def test_a_moment_that_is_not_there_is_met_kindly(admin, at: str) -> None:  # type: ignore[no-untyped-def]
    page = await admin.get(f"/guests?at={at}")
    if at != "2026-11-21":
        assert page.status_code == 422
        assert "invalid_at" in page.text
        assert "Back to now" in page.text
        assert 'id="seconds"' in page.text, "the scale is there to go on"
    stepped = await admin.get(f"/guests?at={at}&part=then", hx_request="true")
    assert stepped.status_code == page.status_code
    chinese = await admin.get(f"/guests?at={at}", accept_language="zh")
    assert chinese.status_code != 422 or "日志中没有这个时刻。" in chinese.text


async def test_the_deleted_are_in_the_past_and_history_leads_there(admin, core: FakeCore) -> None:  # type: ignore[no-untyped-def]
    wiki = next(row["id"] for row in core.rows["guest"].values() if row["name"] == "wiki")
    history = await admin.get(f"/guests/{wiki}?tab=history")
    started = facts_of(core, "wiki")["guest.started"]
    assert f'<a href="/guests?at={started}">as it was then</a>' in history.text
    core.drop("guest", wiki, "guest.deleted")
    gone = len(core.facts)
    before = await admin.get(f"/guests?at={gone - 1}&q=wiki")
    assert "wiki" in before.text.split('id="guest-list"')[1]
    assert 'id="guest-' + wiki not in (await admin.get(f"/guests?at={gone}")).text


async def test_while_core_is_away_the_past_says_so(admin, core: FakeCore) -> None:  # type: ignore[no-untyped-def]
    core.leave()
    page = await admin.get("/guests?at=5")
    assert page.status_code == 503
    assert "core_unreachable" in page.text


async def test_the_dashboard_is_as_it_was(admin, core: FakeCore) -> None:  # type: ignore[no-untyped-def]
    crash = facts_of(core, "legacy-erp")["guest.crashed"]
    opened = await admin.get("/?at=now")
    assert (opened.status_code, opened.headers["location"]) == (303, f"/?at={len(core.facts)}")
    after, before = (await admin.get(f"/?at={crash}")).text, (await admin.get(f"/?at={crash - 1}")).text
    for page in (after, before):
        assert "You are looking at the past: 2026" in page
        assert "Back to now" in page
        assert 'action="/"' in page, "the scale moves this page"
        assert 'data-live="' not in page.split('id="then"')[1].split("</main>")[0]
        assert "/start" not in page
        assert "/charts/zone" not in page
    assert "1 crashed" in after
    assert "1 crashed" not in before
    listed = after.split('id="guest-list"')[1]
    assert "legacy-erp" in listed.split("</table>")[0], "what needed somebody comes first"
    assert f'href="/guests?at={crash}"' in listed
    cells = after.split('id="pools-then"')[1]
    assert re.search(r"Cell_0a1b2c3d4e5f.*?\d+ guests", cells, re.S)
    none = (await admin.get("/?at=0")).text
    assert "There were no guests then" in none
    assert "Nothing had happened yet." in none
    part = await admin.get(f"/?at={crash}&part=then", hx_request="true")
    assert "<html" not in part.text
    assert re.search(r'data-step="back" href="/\?at=\d+"', part.text)
    assert (await admin.get("/?at=yesterday")).status_code == 422


async def test_history_says_who_why_and_leads_on(admin, core: FakeCore) -> None:  # type: ignore[no-untyped-def]
    wiki = next(row["id"] for row in core.rows["guest"].values() if row["name"] == "wiki")
    facts = {fact["event"]["type"]: fact for fact in core.facts if fact["resource"] == f"guest/{wiki}"}
    history = (await admin.get(f"/guests/{wiki}?tab=history")).text
    asked, started = facts["guest.requested"]["command_id"], facts["guest.started"]["cause"]
    assert f'<a href="/journal?command={asked}"' in history
    cell, _, number = started.removeprefix("cell/").partition("@")
    assert f'<a href="/cells/{cell}?tab=history">entry #{number} of {cell}&#39;s journal</a>' in history
    of_request = (await admin.get(f"/journal?command={asked}")).text
    assert "Requested with" in of_request
    assert of_request.count('title="Position in the journal"') == 1
    task = next(iter(core.rows["task"]))
    of_task = (await admin.get(f"/journal?cause=task/{task}")).text
    assert f'href="/tasks/{task}"' in of_task
    assert "task.started" not in of_task
