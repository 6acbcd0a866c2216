"""What is inside a guest, over the API: its agent's words, and its password for those who may have it, each time on record."""

from typing import Any

import anyio
import pytest

pytestmark = pytest.mark.anyio


async def listening(served: Any) -> None:
    await served.create("web", start=True)
    with anyio.fail_after(10):
        while not served.core.zone.find_guest("web").agent:
            await served.core.feed.wait_for(served.core.feed.position + 1)


async def test_a_password_is_set_told_and_on_record(serve: Any) -> None:
    async with serve("one") as served:
        await listening(served)
        answer = await served.admin.request("POST", "/api/v2/guests/web/password", json={"user": "ann"})
        await served.task(answer.json()["task"]["id"])
        told = await served.admin.request("POST", "/api/v2/guests/web/password/show")
        assert told.headers["cache-control"] == "no-store"
        assert (told.json()["user"], len(told.json()["password"])) == ("ann", 16)
        row = (await served.admin.request("GET", "/api/v2/guests/web")).json()
        assert (row["admin"], "password" in row) == ("ann", False)
        journal = (await served.admin.request("GET", "/api/v2/journal?limit=200")).text
        assert "guest.password_told" in journal
        assert told.json()["password"] not in journal
        dry = await served.admin.request(
            "POST", "/api/v2/guests/web/password?dry_run=true", json={"password": "Geheim"}
        )
        assert "Geheim" not in dry.text


async def test_what_its_agent_says(serve: Any) -> None:
    async with serve("one") as served:
        await listening(served)
        told = (await served.admin.request("GET", "/api/v2/guests/web/inside")).json()
        assert (told["host_name"], told["memory_used"] > 0, len(told["file_systems"])) == ("web", True, 1)


async def test_refusals(serve: Any) -> None:
    async with serve("one") as served:
        await served.create("off")
        for method, path in (("GET", "inside"), ("POST", "password")):
            refused = await served.refused(method, f"/api/v2/guests/off/{path}")
            assert (refused.status, refused.code) == (409, "guest_stopped")
            assert (await served.refused(method, f"/api/v2/guests/nobody/{path}")).code == "unknown_guest"
        assert (await served.refused("POST", "/api/v2/guests/off/password/show")).code == "password_unknown"
        secret = "Geheim\n1"
        bad = await served.refused("POST", "/api/v2/guests/off/password", json={"password": secret})
        assert (bad.status, bad.code, secret in str(bad)) == (422, "invalid_password", False)
        assert (await served.refused("POST", "/api/v2/guests/off/password", json={"user": "../x"})).status == 422
        reader = await served.client("reader")
        assert await served.status("POST", "/api/v2/guests/off/password/show", reader) == 403
