"""VNC access over the API: enabled, told to those who may, on record, reset and ended; no secret elsewhere."""

from typing import Any

import pytest

pytestmark = pytest.mark.anyio

PATH = "/api/v2/guests/web/vnc"


async def done(served: Any, method: str, path: str = PATH) -> None:
    answer = await served.admin.request(method, path)
    assert answer.status_code == 202
    await served.task(answer.json()["task"]["id"])


async def told(served: Any) -> Any:
    answer = await served.admin.request("POST", f"{PATH}/show")
    assert answer.headers["cache-control"] == "no-store"
    return answer.json()


async def test_it_is_enabled_told_reset_and_ended(serve: Any) -> None:
    async with serve("one") as served:
        await served.create("web", start=True)
        await done(served, "POST")
        first = await told(served)
        assert (first["address"], first["port"], len(first["secret"])) == ("192.0.2.1", 5901, 8)
        row = (await served.admin.request("GET", "/api/v2/guests/web")).json()
        assert row["vnc"] == {"address": "192.0.2.1", "port": 5901}
        await done(served, "POST", f"{PATH}/reset")
        second = await told(served)
        assert (second["port"], second["secret"] == first["secret"]) == (first["port"], False)
        journal = (await served.admin.request("GET", "/api/v2/journal?limit=200")).text
        assert journal.count("guest.vnc_told") == 2
        history = (await served.admin.request("GET", "/api/v2/guests/web/history")).text
        tasks = (await served.admin.request("GET", "/api/v2/tasks")).text
        for secret in (first["secret"], second["secret"]):
            assert secret not in journal + history + tasks + str(row)
        await done(served, "DELETE")
        assert (await served.admin.request("GET", "/api/v2/guests/web")).json()["vnc"] is None
        assert (await served.refused("POST", f"{PATH}/show")).code == "vnc_off"


async def test_who_may_not_and_what_is_refused(serve: Any) -> None:
    async with serve("one") as served:
        await served.create("web")
        reader = await served.client("reader")
        for method, path in (("POST", PATH), ("POST", f"{PATH}/reset"), ("POST", f"{PATH}/show"), ("DELETE", PATH)):
            assert await served.status(method, path, reader) == 403
        refused = await served.refused("POST", PATH, json={"sealed": "v1:AAAA"})
        assert (refused.status, refused.code) == (422, "invalid_sealed")
        dry = await served.admin.request("POST", f"{PATH}?dry_run=true")
        assert dry.status_code == 200
        assert (await served.refused("POST", f"{PATH}/reset")).code == "vnc_off"
        await done(served, "POST")
        assert (await served.refused("POST", PATH)).code == "no_change"
        assert (await served.admin.request("POST", f"{PATH}/show?dry_run=true")).json()["events"] == []
        assert "guest.vnc_told" not in (await served.admin.request("GET", "/api/v2/journal?limit=200")).text
