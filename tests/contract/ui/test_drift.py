"""Drift in the portal: what differs on which guest, what would mend it, and what nobody owns; mended and removed by a button."""

import pytest

from nano.domain.inspection import PLANS, Repair, told_debts
from nano.ui.drift_words import PLANS as PLAN_WORDS
from nano.ui.drift_words import WHY
from nano.ui.testing.http_browser import Browser
from nano.ui.testing.stage import Stage
from nano.ui.words import load_words

pytestmark = pytest.mark.anyio

HTML = "<script>alert(1)</script>"


async def test_the_page_is_there_before_the_cells_have_answered(admin: Browser, portal: Stage) -> None:
    portal.core.asked.clear()
    page = (await admin.get("/drift")).text
    assert "Asking every cell" in page
    assert not [path for _, path, *_ in portal.core.asked if path in ("/drift", "/orphans")]
    assert 'href="/drift"' in (await admin.get("/cells")).text


async def test_what_differs_is_told_with_what_would_mend_it(admin: Browser, portal: Stage) -> None:
    page = (await admin.get("/drift?part=list")).text
    for text in ("db-primary", "priority", "shares 77, quota 0", "A repair mends it at once.", "while it runs"):
        assert text in page
    assert "host can&#39;t do it" in page or "host can't do it" in page
    guests = {row["name"]: row["id"] for row in portal.core.rows["guest"].values()}
    assert f'action="/drift/repair/{guests["db-primary"]}"' in page
    assert f'action="/drift/repair/{guests["web-1"]}"' not in page, "nothing there can be mended"


async def test_a_button_mends_and_another_removes(admin: Browser, portal: Stage) -> None:
    guest = next(row for row in portal.core.rows["guest"].values() if row["name"] == "db-primary")
    (orphan,) = portal.core.found.orphans
    await admin.get("/drift?part=list")
    await admin.post(f"/drift/repair/{guest['id']}")
    assert ("POST", f"/guests/{guest['id']}/repair") in [(method, path) for method, path, *_ in portal.core.asked]
    await admin.post("/drift/remove", orphan=orphan["id"])
    assert portal.core.asked[-1][3] == {"orphan": orphan["id"]}
    page = (await admin.get("/drift?part=list")).text
    assert "db-primary" not in page
    assert "Nobody owns these" not in page
    portal.core.found.drift = []
    assert "Everything is as the journals say" in (await admin.get("/drift?part=list")).text


async def test_who_could_not_be_asked_is_named_and_nothing_is_markup(admin: Browser, portal: Stage) -> None:
    portal.core.found.unasked = [{"cell": "Cell_b04e6677a1c2", "reason": HTML}]
    for row in portal.core.found.drift:
        row["found"] = row["guest"] = HTML
    page = (await admin.get("/drift?part=list")).text
    assert "Cell_b04e6677a1c2 could not be asked" in page
    assert HTML not in page


async def test_a_refusal_is_shown(admin: Browser, portal: Stage) -> None:
    problem = {"status": 409, "code": "not_an_orphan", "detail": "It belongs to guest web.", "hint": ""}
    portal.core.refuse["POST /orphans/remove"] = problem
    answer = await admin.post("/drift/remove", orphan="one/volume/x")
    assert answer.status_code == 409
    assert "not_an_orphan" in answer.text


def test_every_plan_and_reason_has_words_in_both_languages() -> None:
    assert PLAN_WORDS.keys() == PLANS.keys() == set(Repair.__args__)  # type: ignore[attr-defined]
    assert {row.why for row in told_debts("one", ["x"])} <= WHY.keys()
    for words in load_words().values():
        assert all(words._(text) for text in (*PLAN_WORDS.values(), *WHY.values()))
