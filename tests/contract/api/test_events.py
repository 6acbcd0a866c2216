"""The event stream: each fact once and in order, resumable, filtered, bounded, and ended at shutdown."""

import socket
from collections.abc import AsyncIterator
from contextlib import aclosing, asynccontextmanager
from typing import Any

import anyio
import httpx
import pytest

from nano.http.client import ApiError, AsyncSignedClient, _events_request
from nano.http.event_lines import EventParser, ServerEvent
from nano.http.events import change_data

pytestmark = pytest.mark.anyio


async def take(client: AsyncSignedClient, count: int, last: int | None = None, **options: Any) -> list[ServerEvent]:
    found: list[ServerEvent] = []
    with anyio.fail_after(10):
        async with aclosing(client.events(last, **options)) as events:
            async for event in events:
                found.append(event)
                if len(found) == count:
                    break
    return found


@asynccontextmanager
async def raw_stream(client: AsyncSignedClient, last: int | None = None) -> AsyncIterator[httpx.Response]:
    request = _events_request(client._signer, client._client, last, (), None)
    response = await client._client.send(request, stream=True)
    try:
        yield response
    finally:
        await response.aclose()


async def until(holds: Any, limit_s: float = 5.0) -> None:
    with anyio.fail_after(limit_s):
        while not holds():
            await anyio.lowlevel.checkpoint()


async def test_every_fact_once_and_in_order(serve: Any) -> None:
    async with serve("one") as served:
        await served.create("web")
        position = served.core.ledger.position
        kinds = ("compute_pool", "cell", "guest", "image", "template", "task", "zone")
        events = await take(served.admin, position, 0, kinds=kinds)
        assert [event.id for event in events] == list(range(1, position + 1))
        facts = (await served.admin.request("GET", "/api/v2/journal?limit=1000")).json()["items"][::-1]
        for event, fact in zip(events, facts, strict=True):
            data = event.json()
            assert event.event == "change"
            assert [data[name] for name in ("position", "at", "actor", "resource", "version")] == [
                fact[name] for name in ("position", "at", "actor", "resource", "version")
            ]
            assert data["type"] == fact["event"]["type"]
        row = (await served.admin.request("GET", "/api/v2/guests/web")).json()
        assert next(data["row"] for event in events if (data := event.json())["type"] == "guest.requested") == row


async def test_resumes_where_it_was_left(serve: Any) -> None:
    async with serve() as served:
        for name in ("a", "b", "c"):
            await served.admin.request("POST", "/api/v2/compute-pools", json={"name": name})
        last = served.core.ledger.position
        first = await take(served.admin, 1, last - 3)
        rest = await take(served.admin, 2, first[0].id)
        assert [event.json()["resource"] for event in first + rest] == [f"compute_pool/{name}" for name in "abc"]


async def test_new_facts_arrive_at_once(serve: Any) -> None:
    async with serve() as served:
        found: list[ServerEvent] = []

        async def follow() -> None:
            found.extend(await take(served.admin, 1, kinds=("compute_pool",)))

        async with anyio.create_task_group() as tasks:
            tasks.start_soon(follow)
            await until(lambda: len(served.app.streams) == 1)
            await served.admin.request("POST", "/api/v2/compute-pools", json={"name": "p"})
        assert found[0].json()["row"]["name"] == "p"
        await until(lambda: len(served.app.streams) == 0)


async def test_kinds(serve: Any) -> None:
    async with serve("one") as served:
        await served.create("web")
        guests = await take(served.admin, 2, 0, kinds=("guest",))
        assert all(event.json()["resource"].startswith("guest/") for event in guests)
        usage = (await take(served.admin, 1, kinds=("usage",)))[0]
        assert (usage.id, usage.event, set(usage.json())) == (None, "usage", {"cells", "guests"})
        with pytest.raises(ApiError) as refused:
            await take(served.admin, 1, kinds=("ghost",))
        assert (refused.value.status, refused.value.code) == (422, "invalid_kinds")
        wrong = await served.refused("GET", "/api/v2/events", headers={"last-event-id": "x"})
        assert wrong.code == "invalid_last_event_id"


async def test_live_progress_has_no_id(serve: Any) -> None:
    async with serve("one") as served:
        served.bed.host("one").hang_next("make_volumes")
        body = {"name": "web", "memory": 1 << 27, "disks": [1 << 26]}
        task = (await served.admin.request("POST", "/api/v2/guests", json=body)).json()["task"]["id"]
        found: list[ServerEvent] = []

        async def follow() -> None:
            found.extend(await take(served.admin, 1, served.core.ledger.position + 1000, kinds=("task",)))

        async with anyio.create_task_group() as tasks:
            tasks.start_soon(follow)
            await until(lambda: len(served.app.streams) == 1)
            served.core.views.set_progress(task, 41, "copying")
        data = found[0].json()
        assert (found[0].id, data["type"], data["row"]["id"], data["row"]["step"]) == (
            None,
            "task.progress",
            task,
            "copying",
        )
        assert data["position"] is None


async def test_streams_are_counted(serve: Any) -> None:
    async with serve() as served:
        served.app.streams._streams_max = 2
        async with raw_stream(served.admin), raw_stream(served.admin):
            refused = await served.refused("GET", "/api/v2/events")
            assert (refused.status, refused.code) == (503, "too_many_streams")
        await until(lambda: len(served.app.streams) == 0)
        assert len(await take(served.admin, 1, 0)) == 1


async def test_heartbeat(serve: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("nano.http.events.HEARTBEAT_S", 0.05)
    async with serve() as served, raw_stream(served.admin) as response:
        with anyio.fail_after(5):
            async for chunk in response.aiter_bytes():
                if b": heartbeat\n\n" in chunk:
                    break


async def test_shutdown_ends_streams_with_a_word(serve: Any) -> None:
    async with serve() as served, raw_stream(served.admin) as response:
        parser = EventParser()
        await until(lambda: len(served.app.streams) == 1)
        served.app.begin_shutdown()
        with anyio.fail_after(2):
            async for chunk in response.aiter_bytes():
                list(parser.feed(chunk))
        assert parser.comment == "end: Core is stopping"


async def test_a_client_that_does_not_read_is_sent_off(serve: Any) -> None:
    """Nothing piles up for it: what Core holds is one batch, and after a while the connection is closed."""
    async with serve() as served:
        served.app.streams._patience_s = 0.2
        request = _events_request(served.admin._signer, served.admin._client, 0, (), None)
        head = b"".join(b"%b: %b\r\n" % pair for pair in request.headers.raw)
        with socket.create_connection(("127.0.0.1", served.port)) as deaf:
            deaf.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)
            deaf.sendall(b"GET %b HTTP/1.1\r\n%b\r\n" % (request.url.raw_path, head))
            await until(lambda: len(served.app.streams) == 1)
            for number in range(1, 4):  # the facts to come, as if their rows were huge
                position = served.core.ledger.position + number
                served.app.streams._encoded[position] = b": " + b"x" * (8 << 20) + b"\n\n"
            for name in "abc":
                await served.admin.request("POST", "/api/v2/compute-pools", json={"name": name})
            await until(lambda: len(served.app.streams) == 0)


async def test_a_change_is_valid_json_for_a_deleted_row(serve: Any) -> None:
    async with serve() as served:
        await served.admin.request("POST", "/api/v2/compute-pools", json={"name": "p"})
        await served.admin.request("DELETE", "/api/v2/compute-pools/p")
        (fact,) = await served.core.ledger.facts(served.core.ledger.position - 1, 1)
        assert b'"row":null' in change_data(served.core, fact)
