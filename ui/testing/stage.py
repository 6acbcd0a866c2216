"""The stage: a FrontEnd and a fake Core in one process on free loopback ports, over real HTTP and websockets.

``python -m nano.ui.testing.stage FOLDER [PORT]`` shows the demo until interrupted; tests use ``stage()``.
"""

import random
import socket
import sys
from collections.abc import AsyncIterator, Callable, Mapping
from contextlib import asynccontextmanager
from datetime import UTC, datetime
from functools import partial
from pathlib import Path
from typing import Any, NamedTuple

import anyio
import httpx
import uvicorn

from nano.http.listener import Listener
from nano.ui.core_api import CoreClient
from nano.ui.node import run_frontend, serve_http
from nano.ui.settings import Listen, Settings
from nano.ui.testing.demo import demo_core, measurements
from nano.ui.testing.fake_core import FakeCore
from nano.ui.usage_ring import STEP_S, UsageRing


class Stage(NamedTuple):
    """Where the portal answers, and the Core behind it."""

    portal: str
    core: FakeCore


class PlainClient:
    """The client the portal expects, without signatures: the fake Core asks for none."""

    def __init__(self, base_url: str) -> None:
        self.base_url = base_url
        self._http = httpx.AsyncClient(base_url=base_url, trust_env=False, timeout=10)

    async def request(self, method: str, path: str, **asked: Any) -> httpx.Response:
        from nano.http.client import raise_for_problem

        try:
            response = await self._http.request(method, path, **asked)
        except httpx.TransportError as error:
            raise _unreachable(self.base_url) from error
        raise_for_problem(response)
        return response

    async def events(self, last_event_id: int | None = None, **asked: Any) -> AsyncIterator[Any]:
        from nano.http.event_lines import EventParser

        parser = EventParser()
        headers = {**asked.get("headers", {}), "last-event-id": str(last_event_id or 0)}
        try:
            quiet = httpx.Timeout(10, read=None)  # there may be nothing to tell for long
            async with self._http.stream("GET", "/api/v2/events", headers=headers, timeout=quiet) as response:
                asked["opened"]()
                async for chunk in response.aiter_bytes():
                    for event in parser.feed(chunk):
                        yield event
        except httpx.TransportError as error:
            raise _unreachable(self.base_url) from error

    async def send(
        self, path: str, params: Mapping[str, int], pieces: AsyncIterator[bytes], headers: Mapping[str, str]
    ) -> httpx.Response:
        from nano.http.client import raise_for_problem

        response = await self._http.put(path, params=params, content=pieces, headers=dict(headers))
        raise_for_problem(response)
        return response

    async def stream(self, path: str, headers: Mapping[str, str]) -> httpx.Response:
        from nano.http.client import raise_for_problem

        response = await self._http.send(self._http.build_request("GET", path, headers=dict(headers)), stream=True)
        raise_for_problem(response)
        return response

    def websocket_address(self, path: str) -> str:
        return "ws" + self.base_url.removeprefix("http") + path

    async def aclose(self) -> None:
        await self._http.aclose()


def _unreachable(address: str) -> Exception:
    from nano.domain.errors import Unreachable

    return Unreachable(f"Core at {address} can't be reached.", code="core_unreachable")


@asynccontextmanager
async def stage(folder: Path, core: FakeCore, *, port: int = 0, usage: UsageRing | None = None) -> AsyncIterator[Stage]:
    """Both running, until the block ends."""
    core_socket = socket.create_server(("127.0.0.1", 0))
    address = f"http://127.0.0.1:{core_socket.getsockname()[1]}"
    config = uvicorn.Config(
        core.app,
        log_config=None,
        lifespan="off",
        ws="websockets-sansio",
        timeout_graceful_shutdown=1,
        timeout_keep_alive=600,  # one that ends just as it is used again would look like a Core that is away
    )
    server = Listener(config)
    settings = Settings(listen=Listen(port=port or _free_port()))

    async def find() -> CoreClient:
        return PlainClient(address)

    ready = anyio.Event()
    said: list[str] = []

    def on_ready(message: str) -> None:
        said.append(message.removeprefix("portal at "))
        ready.set()

    async with anyio.create_task_group() as group:
        await group.start(serve_http, server, core_socket)
        group.start_soon(core.run)
        group.start_soon(partial(run_frontend, folder, settings, find, on_ready, usage=usage))
        await ready.wait()
        try:
            yield Stage(said[0], core)
        finally:
            group.cancel_scope.cancel()


async def tick(core: FakeCore, pause: Callable[[float], Any] = anyio.sleep) -> None:
    """Keep measuring, as cells do."""
    dice, number = random.Random(3), 0  # noqa: S311 (pictures, not secrets)
    while True:
        core.measure(measurements(core, dice, number))
        number += 1
        await pause(2)


def measured_hour(core: FakeCore, now: datetime) -> UsageRing:
    """An hour of measurements up to now."""
    ring, dice = UsageRing(), random.Random(5)  # noqa: S311 (pictures, not secrets)
    for number in range(-360, 0):
        ring.put(measurements(core, dice, number), now.timestamp() + number * STEP_S)
    return ring


def _free_port() -> int:
    with socket.create_server(("127.0.0.1", 0)) as found:
        return int(found.getsockname()[1])


async def _show(folder: Path, port: int) -> None:
    now = datetime.now(UTC)
    core = demo_core(now=now)
    async with stage(folder, core, port=port, usage=measured_hour(core, now)) as running:
        print(running.portal, flush=True)  # noqa: T201 (this is the program's answer)
        await tick(core)


if __name__ == "__main__":
    anyio.run(_show, Path(sys.argv[1]), int(sys.argv[2]) if len(sys.argv) > 2 else 0)
