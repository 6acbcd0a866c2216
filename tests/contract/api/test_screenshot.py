"""What a guest shows, over the API: PNG, with an ETag, only of guests that run, and for many viewers taken once."""

from typing import Any

import pytest

from nano.hypervisor.picture import SIGNATURE

pytestmark = pytest.mark.anyio


async def test_a_running_guest_is_seen(serve: Any) -> None:
    async with serve("one") as served:
        await served.create("web", start=True)
        answer = await served.admin.request("GET", "/api/v2/guests/web/screenshot")
        assert answer.headers["content-type"] == "image/png"
        assert answer.content.startswith(SIGNATURE)
        asked = {"If-None-Match": answer.headers["etag"]}
        again = await served.admin.request("GET", "/api/v2/guests/web/screenshot", headers=asked)
        assert (again.status_code, again.content) == (304, b"")
        facts = (await served.admin.request("GET", "/api/v2/journal?limit=100")).json()["items"]
        assert not any("screen" in fact["event"]["type"] for fact in facts), "looking is no fact"


async def test_refusals(serve: Any) -> None:
    async with serve("one") as served:
        await served.create("web")
        stopped = await served.refused("GET", "/api/v2/guests/web/screenshot")
        assert (stopped.status, stopped.code) == (409, "guest_stopped")
        assert (await served.refused("GET", "/api/v2/guests/nobody/screenshot")).code == "unknown_guest"
        assert (await served.refused("GET", "/api/v2/guests/web/screenshot?at=1")).status == 422
        reader = await served.client("reader")
        assert await served.status("GET", "/api/v2/guests/web/screenshot", reader) == 403
