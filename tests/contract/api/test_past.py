"""``?at=`` on every read: what was answered then is answered now, and what has no past says so."""

from typing import Any

import pytest

from nano.domain.catalogue import AT, QUERIES
from nano.tools.simulator.bed import ended

pytestmark = pytest.mark.anyio

READS = (
    "/zone",
    "/compute-pools",
    "/compute-pools/default",
    "/compute-pools/default/history",
    "/cells?state=online",
    "/cells/one",
    "/cells/one/history?limit=2",
    "/guests?limit=1&name=a",
    "/guests/alpha",
    "/guests/alpha/history",
    "/images",
    "/tasks?state=done",
    "/journal?limit=7",
    "/journal?resource=guest/alpha",
    "/journal?type=task.&actor=admin",
)
NOT_THEN = ("started_at", "version", "at")  # of the Core that answers, and the clock


def same(body: Any, *, whole: bool) -> Any:
    """What must be equal: a list's own position is that of its last change now, and of the moment then."""
    if "cores_promised" in body:
        return {name: value for name, value in body.items() if name not in NOT_THEN}
    return {name: value for name, value in body.items() if name != "position" or whole}


async def test_every_read_answers_as_it_did_then(serve: Any) -> None:
    async with serve("one", "two") as served:
        get = served.admin.request
        await served.create("alpha")
        told: dict[int, dict[str, Any]] = {}

        async def remember() -> None:
            position = -1
            while served.core.ledger.position != position:  # something may still go on: ask again
                position = served.core.ledger.position
                answers = {path: (await get("GET", f"/api/v2{path}")).json() for path in READS}
            told[position] = answers

        await remember()
        await served.create("beta")
        await remember()
        await get("POST", "/api/v2/cells/two/disable")
        answer = await get("POST", "/api/v2/guests/alpha/start")
        await ended(served.core, answer.json()["task"]["id"])
        await remember()
        answer = await get("DELETE", "/api/v2/guests/alpha?force=true")
        await ended(served.core, answer.json()["task"]["id"])
        for position, answers in told.items():
            for path, body in answers.items():
                mark = "&" if "?" in path else "?"
                then = await get("GET", f"/api/v2{path}{mark}at={position}")
                assert then.status_code == 200, (path, then.text)
                assert int(then.headers["x-nano-position"]) == position
                whole = "journal" in path or "history" in path or path == "/zone"
                assert same(then.json(), whole=whole) == same(body, whole=whole), path


async def test_pages_of_the_past_lead_on_within_it(serve: Any) -> None:
    async with serve("one") as served:
        get = served.admin.request
        await served.create("alpha")
        then = served.core.ledger.position
        await served.create("beta")
        found, cursor = [], ""
        while True:
            page = (await get("GET", f"/api/v2/journal?limit=3&at={then}{cursor}")).json()
            found += [fact["position"] for fact in page["items"]]
            if not page["next"]:
                break
            cursor = f"&cursor={page['next']}"
        assert found == list(range(then, 0, -1))


async def test_placement_of_the_past_goes_by_promises(serve: Any) -> None:
    async with serve("one", "two") as served:
        get = served.admin.request
        then = served.core.ledger.position
        await get("POST", "/api/v2/cells/one/disable")
        assert (await get("GET", "/api/v2/placement?pool=default")).json()["cell"] == "two"
        past = (await get("GET", f"/api/v2/placement?pool=default&at={then}")).json()
        assert past["cell"] == "one"
        assert [score["code"] for score in past["scores"]] == ["", ""]
        assert (await served.refused("GET", "/api/v2/placement?at=0")).code == "unknown_compute_pool"


async def test_of_a_resource_that_was_not_there_yet_nothing_is_told(serve: Any) -> None:
    async with serve("one") as served:
        then = served.core.ledger.position
        guest = await served.create("alpha")
        for reference in ("alpha", guest):
            refused = await served.refused("GET", f"/api/v2/guests/{reference}/history?at={then}")
            assert (refused.status, refused.code) == (404, "unknown_guest")
        zone = (await served.admin.request("GET", "/api/v2/zone?at=0")).json()
        assert (zone["id"], zone["position"], zone["guests"], zone["cells"]) == ("", 0, {}, {})
        assert zone["at"].startswith("1970")


async def test_what_is_only_so_right_now_has_no_past_and_says_so(serve: Any) -> None:
    async with serve("one") as served:
        for path in ("/usage", "/alarms", "/backups"):
            refused = await served.refused("GET", f"/api/v2{path}?at=1")
            assert (refused.status, refused.code, refused.context.get("field")) == (422, "no_past", "at")


def test_every_query_of_the_catalogue_is_of_a_moment_or_has_none() -> None:
    without = {query.name for query in QUERIES if AT not in query.parameters}
    assert without == {
        "usage.show",
        "guest.screenshot",
        "guest.inside",
        "alarm.list",
        "backup.list",
        "drift.list",
        "orphans.list",
        "event.follow",
    }


async def test_the_journal_leads_from_a_request_to_all_that_came_of_it(serve: Any) -> None:
    async with serve("one") as served:
        get = served.admin.request
        await served.create("alpha")
        key = {"idempotency-key": "start-it"}
        answer = await get("POST", "/api/v2/guests/alpha/start", headers=key)
        task = answer.json()["task"]["id"]
        await ended(served.core, task)
        asked = (await get("GET", f"/api/v2/tasks/{task}/history")).json()["items"][-1]
        of_request = (await get("GET", "/api/v2/journal", params={"command": asked["command_id"]})).json()["items"]
        assert asked in of_request
        assert {fact["actor"] for fact in of_request} == {asked["actor"]}
        of_task = (await get("GET", f"/api/v2/journal?cause=task/{task}")).json()["items"]
        assert {"task.ended", "guest.work_ended"} <= {fact["event"]["type"] for fact in of_task}
        assert {fact["cause"] for fact in of_task} == {f"task/{task}"}
