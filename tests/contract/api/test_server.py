"""The server around the API: where it listens, how it stops, what it tells of itself."""

import time
from contextlib import aclosing
from typing import Any

import anyio
import httpx
import pytest

from nano.domain.errors import NanoError, Unreachable
from nano.http.client import AsyncSignedClient, Signer
from nano.http.server import bind, run_server

pytestmark = pytest.mark.anyio


async def test_a_taken_port_is_said_kindly(serve: Any) -> None:
    async with serve() as served:
        with pytest.raises(NanoError) as refused:
            await run_server(served.app, "127.0.0.1", served.port)
        assert (refused.value.code, refused.value.context["port"]) == ("port_in_use", served.port)
    with pytest.raises(NanoError) as refused:
        bind("203.0.113.1", 0)
    assert refused.value.code == "address_unusable"


async def test_stops_promptly_with_streams_open(serve: Any) -> None:
    async with serve() as served:
        ended = []

        async def follow() -> None:
            async for _ in served.admin.events(kinds=("guest",)):
                pass
            ended.append(True)

        async with anyio.create_task_group() as outer:
            tasks = await outer.start(_server_of, served.app)
            served.admin._client.base_url = f"http://127.0.0.1:{tasks.port}"
            outer.start_soon(follow)
            with anyio.fail_after(5):
                while not len(served.app.streams):
                    await anyio.lowlevel.checkpoint()
            begun = time.perf_counter()
            tasks.scope.cancel()
            await tasks.ended.wait()
            assert time.perf_counter() - begun < 2.0
        assert ended == [True]


class _Running:
    def __init__(self) -> None:
        self.port = 0
        self.scope = anyio.CancelScope()
        self.ended = anyio.Event()


async def _server_of(app: Any, *, task_status: Any) -> None:
    """A second server of the same app, in a scope of its own."""
    running = _Running()
    with running.scope:
        async with anyio.create_task_group() as tasks:
            running.port = await tasks.start(run_server, app, "127.0.0.1", 0)
            task_status.started(running)
            await anyio.sleep_forever()
    running.ended.set()


async def test_says_nothing_of_itself(serve: Any) -> None:
    async with serve() as served, httpx.AsyncClient(trust_env=False) as plain:
        answer = await plain.get(f"{served.address}/api/v2/health")
        assert answer.json() == {"status": "ok", "version": served.core.version}
        assert "server" not in answer.headers


async def test_health_tells_of_a_journal_that_is_lost(serve: Any) -> None:
    async with serve() as served, httpx.AsyncClient(trust_env=False) as plain:
        from nano.domain.errors import JournalError

        served.core.ledger.log.poisoned = JournalError("The disk failed.")
        answer = await plain.get(f"{served.address}/api/v2/health")
        assert (answer.status_code, answer.json()["code"]) == (503, "journal_unavailable")
        served.core.ledger.log.poisoned = None


async def test_an_error_inside_is_told_by_number_only(
    serve: Any, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    async with serve() as served:

        def broken() -> bytes:
            raise RuntimeError("inner secret")

        monkeypatch.setattr(served.core.usage, "json", broken)
        error = await served.refused("GET", "/api/v2/usage")
        assert (error.status, error.code) == (500, "internal")
        assert "inner secret" not in str(error)
        assert error.context["error_id"] in caplog.text


async def test_clients_find_core_by_its_state_folder(serve: Any, tmp_path: Any) -> None:
    from nano.http.client import load_async_client
    from nano.http.credentials import load_or_make_credentials

    with pytest.raises(Unreachable) as absent:
        load_async_client(tmp_path / "none")
    assert absent.value.code == "core_not_running"
    async with serve() as served:
        folder = tmp_path / "state"
        made = load_or_make_credentials(folder / "core/config")
        (folder / "core/run").mkdir()
        (folder / "core/run/endpoint.json").write_text(f'{{"api": "{served.address}"}}')
        served.app.verifier._credentials = made
        async with load_async_client(folder) as client:
            rows = await client.request("GET", "/api/v2/compute-pools")
            assert rows.json()["total"] == 1
            async with aclosing(client.events(0)) as events:
                assert (await anext(events)).id == 1


async def test_nobody_there() -> None:
    async with AsyncSignedClient("http://127.0.0.1:9", Signer("a", "k")) as client:
        with pytest.raises(Unreachable) as refused:
            await client.request("GET", "/api/v2/health")
        assert refused.value.code == "core_unreachable"
