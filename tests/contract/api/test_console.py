"""A console over HTTP: one-time token, binary relay, and an end that says why."""

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from datetime import timedelta
from typing import Any

import anyio
import pytest
from websockets.asyncio.client import ClientConnection, connect
from websockets.exceptions import ConnectionClosed, InvalidStatus

from nano.http.console import TOKEN_S
from nano.hypervisor.simulated import DISPLAY, PROMPT

pytestmark = pytest.mark.anyio


async def token_for(served: Any, guest: str = "web") -> dict[str, Any]:
    return (await served.admin.request("POST", f"/api/v2/guests/{guest}/console")).json()


@asynccontextmanager
async def opened(served: Any, path: str, **options: Any) -> AsyncIterator[ClientConnection]:
    async with connect(served.admin.websocket_address(path), proxy=None, **options) as websocket:
        yield websocket


async def test_bytes_both_ways(serve: Any) -> None:
    async with serve("one") as served:
        await served.create("web", start=True)
        ticket = await token_for(served)
        assert ticket["path"] == f"/api/v2/console/{ticket['token']}"
        assert len(ticket["token"]) >= 43
        with anyio.fail_after(10):
            async with opened(served, ticket["path"], subprotocols=["binary"]) as websocket:
                assert websocket.subprotocol == "binary"
                assert await websocket.recv() == DISPLAY
                await websocket.send("text is passed over")
                await websocket.send(b"RFB 003.008\n")
                (peer,) = served.bed.host("one").peers
                peer.setblocking(False)
                got = b""
                while len(got) < 12:
                    await anyio.wait_readable(peer)
                    got += peer.recv(100)
                assert got == b"RFB 003.008\n"
                big = bytes(range(256)) * 1024
                peer.setblocking(True)
                await anyio.to_thread.run_sync(peer.sendall, big)
                received = b""
                while len(received) < len(big):
                    received += await websocket.recv()
                assert received == big
        facts = (await served.admin.request("GET", "/api/v2/journal?type=guest.console_opened")).json()["items"]
        assert [fact["event"]["by"] for fact in facts] == ["administrator"]
        assert ticket["token"] not in str(facts)


async def test_a_token_is_good_once_and_briefly(serve: Any) -> None:
    async with serve("one") as served:
        await served.create("web", start=True)
        ticket = await token_for(served)
        async with opened(served, ticket["path"]) as websocket:
            assert websocket.subprotocol is None, "only when it is offered"
            await websocket.recv()
        late = await token_for(served)
        served.app.consoles._tokens._clock = lambda: served.bed.clock() + timedelta(seconds=TOKEN_S)
        for path in (ticket["path"], late["path"], "/api/v2/console/" + "x" * 43, "/api/v2/console/x", "/other"):
            with pytest.raises(InvalidStatus) as refused:
                async with opened(served, path):
                    pass
            assert refused.value.response.status_code == 401
            assert b'"code":"invalid_console_token"' in (refused.value.response.body or b"")


async def test_the_end_says_why(serve: Any) -> None:
    async with serve("one") as served:
        guest = await served.create("web", start=True)
        ticket = await token_for(served)
        async with opened(served, ticket["path"]) as websocket:
            await websocket.recv()
            host = served.bed.host("one")
            host.stop_behind(guest)
            with anyio.fail_after(5):
                while served.core.views.tables["guest"].row(guest).state != "stopped":
                    await served.core.feed.wait_for(served.core.feed.position + 1)
            host.peers.pop().close()
            with anyio.fail_after(5), pytest.raises(ConnectionClosed) as closed:
                await websocket.recv()
            assert closed.value.rcvd is not None
            assert (closed.value.rcvd.code, closed.value.rcvd.reason) == (1000, "The guest is stopped.")


async def test_what_can_not_be_looked_at(serve: Any) -> None:
    async with serve("one") as served:
        await served.create("web")
        stopped = await served.refused("POST", "/api/v2/guests/web/console")
        assert (stopped.status, stopped.code) == (409, "guest_stopped")
        assert (await served.refused("POST", "/api/v2/guests/none/console")).code == "unknown_guest"
        await served.create("two", start=True)
        ticket = await token_for(served, "two")
        served.bed.host("one").fail_next("console", served_error())
        with pytest.raises(InvalidStatus) as refused:
            async with opened(served, ticket["path"]):
                pass
        assert refused.value.response.status_code == 502


def served_error() -> Exception:
    from nano.domain.errors import HostError

    return HostError("The display does not answer.", code="console_failed")


async def test_a_repeated_request_gets_no_second_token(serve: Any) -> None:
    async with serve("one") as served:
        await served.create("web", start=True)
        key = {"idempotency-key": "look"}
        await served.admin.request("POST", "/api/v2/guests/web/console", headers=key)
        again = await served.refused("POST", "/api/v2/guests/web/console", headers=key)
        assert (again.status, again.code) == (409, "console_token_spent")
        dry = (await served.admin.request("POST", "/api/v2/guests/web/console?dry_run=true")).json()
        assert "token" not in dry


async def test_shutdown_closes_consoles(serve: Any) -> None:
    async with serve("one") as served:
        await served.create("web", start=True)
        ticket = await token_for(served)
        async with opened(served, ticket["path"]) as websocket:
            await websocket.recv()
            served.app.begin_shutdown()
            with anyio.fail_after(3), pytest.raises(ConnectionClosed) as closed:
                await websocket.recv()
            assert closed.value.rcvd is not None
            assert closed.value.rcvd.code == 1001


async def test_the_serial_port_is_another_console(serve: Any) -> None:
    async with serve("one") as served:
        await served.create("web", start=True)
        ticket = (await served.admin.request("POST", "/api/v2/guests/web/serial")).json()
        with anyio.fail_after(10):
            async with opened(served, ticket["path"]) as websocket:
                assert await websocket.recv() == PROMPT
        facts = (await served.admin.request("GET", "/api/v2/journal?type=guest.serial_opened")).json()["items"]
        assert [fact["event"]["by"] for fact in facts] == ["administrator"]
        reader = await served.client("reader")
        assert await served.status("POST", "/api/v2/guests/web/serial", reader) == 403
