"""Lists, shows, history: paging, filters, ETags, and reading one's own writes."""

from typing import Any

import anyio
import pytest

from nano.domain.ability import Ability
from nano.domain.cell import DescribeCell

pytestmark = pytest.mark.anyio


async def test_lists_page_filter_and_show(serve: Any) -> None:
    async with serve("one") as served:
        get = served.admin.request
        ids = {name: await served.create(name) for name in ("alpha", "beta", "gamma")}
        everything = (await get("GET", "/api/v2/guests")).json()
        assert [row["name"] for row in everything["items"]] == ["alpha", "beta", "gamma"]
        assert (everything["total"], everything["next"]) == (3, None)
        assert everything["position"] <= served.core.ledger.position

        first = (await get("GET", "/api/v2/guests?limit=2")).json()
        second = (await get("GET", "/api/v2/guests", params={"limit": 2, "cursor": first["next"]})).json()
        assert [row["name"] for row in first["items"] + second["items"]] == ["alpha", "beta", "gamma"]
        assert second["next"] is None

        async def names(query: str) -> list[str]:
            return [row["name"] for row in (await get("GET", f"/api/v2/guests?{query}")).json()["items"]]

        assert await names("name=A") == ["alpha", "beta", "gamma"]
        assert await names("name=ta") == ["beta"]
        assert await names("state=stopped&cell=one&pool=default&limit=1") == ["alpha"]
        assert await names("state=running") == []
        assert await names("pool=other") == []

        by_name = await get("GET", "/api/v2/guests/alpha")
        by_id = await get("GET", f"/api/v2/guests/{ids['alpha']}")
        assert by_name.content == by_id.content
        assert by_name.json() == everything["items"][0]

        tasks = (await get("GET", "/api/v2/tasks", params={"resource": "guest/beta"})).json()
        assert [task["resource"] for task in tasks["items"]] == [f"guest/{ids['beta']}"]
        newest = (await get("GET", "/api/v2/tasks?state=done")).json()["items"]
        assert [task["resource_name"] for task in newest] == ["gamma", "beta", "alpha"]
        for collection in ("cells", "images", "compute-pools"):
            assert (await get("GET", f"/api/v2/{collection}")).status_code == 200
        assert (await get("GET", "/api/v2/zone")).json()["guests"] == {"stopped": 3}
        assert set((await get("GET", "/api/v2/usage")).json()["cells"]) == {"one"}


async def test_etags(serve: Any) -> None:
    async with serve("one") as served:
        get = served.admin.request
        await served.create("alpha")
        for path in ("/api/v2/guests", "/api/v2/guests?name=a", "/api/v2/guests/alpha", "/api/v2/cells/one"):
            etag = (await get("GET", path)).headers["etag"]
            for known in (etag, f'"x", W/{etag}', "*"):
                again = await get("GET", path, headers={"if-none-match": known})
                assert (again.status_code, again.content, again.headers["etag"]) == (304, b"", etag)
            assert (await get("GET", path, headers={"if-none-match": '"other"'})).status_code == 200
        shown = (await get("GET", "/api/v2/guests/alpha")).headers["etag"]
        listed = (await get("GET", "/api/v2/guests")).headers["etag"]
        await served.create("beta")
        await get("POST", "/api/v2/cells/one/disable")
        assert (await get("GET", "/api/v2/guests", headers={"if-none-match": listed})).status_code == 200
        assert (await get("GET", "/api/v2/guests/alpha", headers={"if-none-match": shown})).status_code == 304


async def test_a_row_that_changes_without_its_own_fact_has_a_new_etag(serve: Any) -> None:
    """A pool counts its guests: same version, other content."""
    async with serve("one") as served:
        before = await served.admin.request("GET", "/api/v2/compute-pools/default")
        await served.create("alpha")
        headers = {"if-none-match": before.headers["etag"]}
        after = await served.admin.request("GET", "/api/v2/compute-pools/default", headers=headers)
        assert after.status_code == 200
        assert after.json()["version"] == before.json()["version"]
        assert after.json()["guests"] == {"stopped": 1}


async def test_head_is_get_without_a_body(serve: Any) -> None:
    async with serve() as served:
        got = await served.admin.request("GET", "/api/v2/compute-pools")
        headed = await served.admin.request("HEAD", "/api/v2/compute-pools")
        assert (headed.status_code, headed.content) == (200, b"")
        assert headed.headers["content-length"] == got.headers["content-length"]


async def test_read_your_writes(serve: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("nano.http.app.AFTER_PATIENCE_S", 0.05)
    async with serve() as served:
        made = await served.admin.request("POST", "/api/v2/compute-pools", json={"name": "p"})
        position = made.headers["x-nano-position"]
        assert int(position) == made.json()["position"]
        found = await served.admin.request("GET", "/api/v2/compute-pools/p", headers={"x-nano-after": position})
        assert int(found.headers["x-nano-position"]) >= int(position)
        late = await served.refused("GET", "/api/v2/guests", headers={"x-nano-after": str(int(position) + 1)})
        assert (late.status, late.code) == (504, "position_not_reached")
        wrong = await served.refused("GET", "/api/v2/guests", headers={"x-nano-after": "soon"})
        assert (wrong.status, wrong.code) == (422, "invalid_x_nano_after")


async def test_waiting_for_a_position_ends_when_it_is_reached(serve: Any) -> None:
    async with serve() as served:
        answers = []

        async def wait() -> None:
            ahead = str(served.core.ledger.position + 1)
            answers.append(await served.admin.request("GET", "/api/v2/zone", headers={"x-nano-after": ahead}))

        with anyio.fail_after(4):
            async with anyio.create_task_group() as tasks:
                tasks.start_soon(wait)
                await served.admin.request("POST", "/api/v2/compute-pools", json={"name": "p"})
        assert answers[0].json()["compute_pools"] == 2


async def test_history_of_one_resource(serve: Any) -> None:
    async with serve("one") as served:
        guest_id = await served.create("web")
        get = served.admin.request
        whole = (await get("GET", "/api/v2/guests/web/history")).json()
        versions = [fact["version"] for fact in whole["items"]]
        assert versions == sorted(versions, reverse=True)
        assert whole["items"][-1]["event"]["type"] == "guest.requested"
        assert whole["items"][-1]["actor"] == "administrator"
        assert {fact["resource"] for fact in whole["items"]} == {f"guest/{guest_id}"}
        paged, cursor = [], None
        while True:
            params = {"limit": 1} | ({"cursor": cursor} if cursor else {})
            page = (await get("GET", f"/api/v2/guests/{guest_id}/history", params=params)).json()
            paged += page["items"]
            cursor = page["next"]
            if cursor is None:
                break
        assert paged == whole["items"]

        answer = await get("DELETE", "/api/v2/guests/web?force=true")
        await served.task(answer.json()["task"]["id"])
        gone = (await get("GET", f"/api/v2/guests/{guest_id}/history")).json()
        assert gone["items"][0]["event"]["type"] == "guest.deleted"
        assert (await served.refused("GET", "/api/v2/guests/web/history")).code == "unknown_guest"


async def test_journal(serve: Any) -> None:
    async with serve("one") as served:
        get = served.admin.request
        guest_id = await served.create("web")
        for number in range(12):
            await get("PATCH", "/api/v2/compute-pools/default", json={"enabled": number % 2 == 1})
        last = served.core.ledger.position
        page = (await get("GET", "/api/v2/journal?limit=5")).json()
        assert [fact["position"] for fact in page["items"]] == [last - back for back in range(5)]
        everything, cursor = page["items"], page["next"]
        while cursor:
            page = (await get("GET", f"/api/v2/journal?limit=5&cursor={cursor}")).json()
            everything += page["items"]
            cursor = page["next"]
        assert [fact["position"] for fact in everything] == list(range(last, 0, -1))

        async def found(query: str) -> list[dict[str, Any]]:
            items, following = [], ""
            while True:
                part = (await get("GET", f"/api/v2/journal?{query}{following}")).json()
                items += part["items"]
                if part["next"] is None:
                    return items
                following = f"&cursor={part['next']}"

        def matching(key: str, value: str) -> list[Any]:
            return [fact for fact in everything if fact[key] == value]

        assert await found("resource=guest/web&limit=2") == matching("resource", f"guest/{guest_id}")
        assert await found("actor=administrator&limit=3") == matching("actor", "administrator")
        assert len(await found("type=compute_pool.modified")) == 12
        tasks = [fact for fact in everything if fact["event"]["type"].startswith("task.")]
        assert await found("type=task.") == await found("resource=task") == tasks


async def test_placement_explains(serve: Any) -> None:
    async with serve("one", "two") as served:
        get = served.admin.request
        fits = (await get("GET", "/api/v2/placement?cores=1&memory=128MiB&disk=67108864")).json()
        assert fits["cell"] in ("one", "two")
        assert len(fits["scores"]) == 2
        await get("POST", "/api/v2/cells/one/disable")
        other = (await get("GET", "/api/v2/placement?pool=default")).json()
        assert other["cell"] == "two"
        assert other["scores"][0]["code"] == "cell_disabled"
        assert (await served.refused("GET", "/api/v2/placement?pool=none")).code == "unknown_compute_pool"
        cell = served.core.zone.get("cell/two")
        told = {
            field: getattr(cell, field) for field in ("cores", "memory", "disk", "virt_type", "virt_note", "hypervisor")
        }
        lacks = (Ability("network_limits", False, "kernel", "sch_sfq"),)
        described = DescribeCell(name="two", **told, abilities=lacks)
        await served.core.ledger.execute(described, actor="core", command_id="")
        needy = (await get("GET", "/api/v2/placement?needs=network_limits,packet_filter")).json()
        assert needy["code"] == "ability_missing"
        assert "limit network interfaces" in needy["message"]
        assert [score["lacks"] for score in needy["scores"]] == [[], ["network_limits"]]
        assert (await served.refused("GET", "/api/v2/placement?needs=flying")).code == "invalid_needs"
        for query in ("cores=0", "memory=0", "disk=-1", "cores=1.5", "memory=much"):
            assert (await served.refused("GET", f"/api/v2/placement?{query}")).status == 422


async def test_the_past(serve: Any) -> None:
    async with serve("one") as served:
        get = served.admin.request
        await served.create("alpha")
        then = served.core.ledger.position
        shown = (await get("GET", "/api/v2/guests/alpha")).json()
        moment = served.core.clock().isoformat()
        await served.create("beta")
        answer = await get("DELETE", "/api/v2/guests/alpha")
        await served.task(answer.json()["task"]["id"])
        assert [row["name"] for row in (await get("GET", "/api/v2/guests")).json()["items"]] == ["beta"]
        for at in (then, moment):
            past = await get("GET", "/api/v2/guests", params={"at": at})
            assert [row["name"] for row in past.json()["items"]] == ["alpha"]
            assert int(past.headers["x-nano-position"]) == then
            assert (await get("GET", "/api/v2/guests/alpha", params={"at": at})).json() == shown
        headers = {"if-none-match": past.headers["etag"]}
        assert (await get("GET", "/api/v2/guests", params={"at": then}, headers=headers)).status_code == 304
        assert (await get("GET", "/api/v2/guests?at=0")).json()["items"] == []
        for wrong in ("soon", "2026-11-21T03:10:53", "-1", str(served.core.ledger.position + 1)):
            error = await served.refused("GET", "/api/v2/guests", params={"at": wrong})
            assert (error.status, error.code) == (422, "invalid_at")
        assert (await served.refused("GET", f"/api/v2/guests/beta?at={then}")).code == "unknown_guest"
