"""The API served for real: Core with its journal, simulated cells, uvicorn on a free port, signed clients of every role."""

from collections.abc import AsyncIterator, Callable
from contextlib import AbstractAsyncContextManager, AsyncExitStack, asynccontextmanager
from datetime import datetime
from pathlib import Path
from typing import Any

import anyio
import httpx
import pytest

from nano.cell.cell import CellNode
from nano.core.core import Core
from nano.domain.cell import AddCell
from nano.http.app import Api, make_app
from nano.http.client import ApiError, AsyncSignedClient, Signer, _ready
from nano.http.credentials import Credential, Credentials
from nano.http.server import run_server
from nano.journal.disk import Disk
from nano.tools.simulator.bed import Bed, ended, utc_now

KEY = "a-key-that-is-long-enough-for-a-test"
ROLES = ("administrator", "operator", "reader", "frontend")


class Served:
    def __init__(self, core: Core, app: Api, port: int, bed: Bed, stack: AsyncExitStack, cells: list[CellNode]) -> None:
        self.core = core
        self.app = app
        self.port = port
        self.bed = bed
        self.cells = cells
        self.address = f"http://127.0.0.1:{port}"
        self.admin = AsyncSignedClient(self.address, Signer("administrator", KEY))
        self._stack = stack

    async def client(self, role: str, headers: dict[str, str] | None = None) -> AsyncSignedClient:
        client = AsyncSignedClient(self.address, Signer(role, KEY), headers=headers)
        return await self._stack.enter_async_context(client)

    async def status(self, method: str, path: str, client: AsyncSignedClient | None = None) -> int:
        """Only the status, also of an answer that does not end. Without a client the request is not signed."""
        if client is not None:
            request = _ready(client._signer, client._client, method, path, None, None, None)
            response = await client._client.send(request, stream=True)
            await response.aclose()
            return response.status_code
        async with httpx.AsyncClient(trust_env=False) as plain, plain.stream(method, self.address + path) as response:
            return response.status_code

    async def refused(self, method: str, path: str, **options: Any) -> ApiError:
        """The problem that a request of the administrator gets."""
        with pytest.raises(ApiError) as error:
            await self.admin.request(method, path, **options)
        return error.value

    async def task(self, task_id: str) -> None:
        await ended(self.core, task_id)

    async def create(self, name: str, **fields: object) -> str:
        """A guest, made and ready; its id."""
        body = {"name": name, "memory": 128 << 20, "disks": [64 << 20], **fields}
        answer = await self.admin.request("POST", "/api/v2/guests", json=body)
        await ended(self.core, answer.json()["task"]["id"])
        return answer.json()["resource"].removeprefix("guest/")


Serve = Callable[..., AbstractAsyncContextManager[Served]]


@pytest.fixture
def serve(tmp_path: Path) -> Serve:
    @asynccontextmanager
    async def opened(
        *cells: str, disks: dict[str, Disk] | None = None, clock: Callable[[], datetime] = utc_now
    ) -> AsyncIterator[Served]:
        bed = Bed(tmp_path, clock=clock)
        bed.disks.update(disks or {})
        credentials = Credentials([Credential(role, KEY, role) for role in ROLES])
        failure: BaseException | None = None  # of the test: told as it is, not wrapped by every task group on the way
        async with AsyncExitStack() as stack:
            core, nodes = await stack.enter_async_context(bed.zone(*cells))
            for cell in cells:
                await _add(core, cell)
            app = make_app(core, credentials, clock=utc_now)
            tasks = await stack.enter_async_context(anyio.create_task_group())
            port = await tasks.start(run_server, app, "127.0.0.1", 0)
            served = Served(core, app, port, bed, stack, nodes)
            await stack.enter_async_context(served.admin)
            try:
                yield served
            except Exception as error:  # noqa: BLE001
                failure = error
            tasks.cancel_scope.cancel()
        for host in bed.hosts.values():
            await host.close()
        if failure is not None:
            raise failure

    return opened


async def _add(core: Core, cell: str) -> None:
    """Put the cell into pool ``default`` and wait for what it tells of itself at first."""
    heard = anyio.Event()
    core.usage.listen(heard.set)
    with anyio.fail_after(10):
        while core.zone.get(f"cell/{cell}") is None:
            await core.feed.wait_for(core.feed.position + 1)
        await core.execute(AddCell(cell=cell), actor="admin", command_id=f"add/{cell}")
        await heard.wait()
        while not core.views.tables["cell"].row(cell).cores:
            await core.feed.wait_for(core.feed.position + 1)
    core.usage.unlisten(heard.set)
