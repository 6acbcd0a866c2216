"""The API's answers, byte for byte: what clients have learned to read stays as it is.

Time stands still and ids come from a seed. After an intended change run with ``--regenerate`` and look at the difference.
"""

import json
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import anyio
import httpx
import msgspec
import pytest

from nano.core.core import Core
from nano.domain.cell import AddCell
from nano.http.app import Api, make_app
from nano.http.client import Signer
from nano.http.credentials import Credential, Credentials
from nano.http.openapi import describe
from nano.tools.simulator.bed import Bed, ended

pytestmark = pytest.mark.anyio

FOLDER = Path(__file__).parent / "api"
KEY = "a-key-that-is-long-enough"
NOW = datetime(2026, 11, 21, 3, 10, 53, 123456, tzinfo=UTC)
SMALL = {"memory": 134217728, "disks": [67108864]}
KEPT_HEADERS = ("content-type", "etag", "location", "allow", "x-nano-position", "x-nano-repeated", "www-authenticate")

Exchange = tuple[str, str, str, Any, dict[str, str]]
EXCHANGES: list[Exchange] = [
    ("compute_pool.create", "POST", "/compute-pools", {"name": "fast"}, {}),
    ("compute_pool.modify", "PATCH", "/compute-pools/fast", {"enabled": False}, {}),
    ("compute_pool.modify.unchanged", "PATCH", "/compute-pools/fast", {"enabled": False}, {}),
    ("compute_pool.list", "GET", "/compute-pools", None, {}),
    ("compute_pool.list.paged", "GET", "/compute-pools?limit=1", None, {}),
    ("compute_pool.delete.stale", "DELETE", "/compute-pools/fast", None, {"if-match": '"v1"'}),
    ("compute_pool.delete", "DELETE", "/compute-pools/fast", None, {}),
    ("cell.show", "GET", "/cells/one", None, {}),
    ("guest.create.dry_run", "POST", "/guests?dry_run=true", {"name": "web", **SMALL}, {}),
    ("guest.create", "POST", "/guests", {"name": "web", **SMALL}, {"idempotency-key": "k1"}),
    ("guest.create.repeated", "POST", "/guests", {"name": "web", **SMALL}, {"idempotency-key": "k1"}),
    ("guest.create.duplicate", "POST", "/guests", {"name": "web", **SMALL}, {}),
    ("guest.list", "GET", "/guests", None, {}),
    ("guest.show", "GET", "/guests/web", None, {}),
    ("guest.history", "GET", "/guests/web/history", None, {}),
    ("task.list", "GET", "/tasks", None, {}),
    ("journal.list", "GET", "/journal?limit=3", None, {}),
    ("placement.explain", "GET", "/placement?cores=2", None, {}),
    ("zone.show", "GET", "/zone", None, {}),
    ("error.unknown_field", "POST", "/guests", {"name": "x", "colour": "red", **SMALL}, {}),
    ("error.unknown_guest", "GET", "/guests/nobody", None, {}),
    ("error.method", "PUT", "/guests", None, {}),
    ("error.query", "GET", "/guests?color=red", None, {}),
]


async def ask(app: Api, exchange: Exchange) -> dict[str, Any]:
    _, method, path, body, headers = exchange
    content = b"" if body is None else json.dumps(body).encode()
    request = httpx.Request(method, f"http://core/api/v2{path}", content=content, headers=headers)
    Signer("nanoctl", KEY, lambda: NOW).sign(request, content)
    async with httpx.AsyncClient(transport=httpx.ASGITransport(app)) as client:
        answer = await client.send(request)
    return {
        "request": {"method": method, "path": path, "body": body, "headers": headers},
        "status": answer.status_code,
        "headers": {name: answer.headers[name] for name in KEPT_HEADERS if name in answer.headers},
        "body": answer.json(),
    }


async def prepare(core: Core) -> None:
    while core.views.find("cell", "one") is None:
        await core.feed.wait_for(core.feed.position + 1)
    await core.execute(AddCell(cell="one"), actor="admin", command_id="add/one")
    while not core.views.tables["cell"].row("one").cores:  # type: ignore[union-attr]
        await core.feed.wait_for(core.feed.position + 1)


async def test_answers_are_what_clients_know(tmp_path: Path, regenerate: bool) -> None:
    bed = Bed(tmp_path, seed=1, clock=lambda: NOW)
    async with bed.zone("one") as (core, _):
        with anyio.fail_after(20):
            await prepare(core)
            app = make_app(core, Credentials([Credential("nanoctl", KEY, "administrator")]), clock=lambda: NOW)
            for exchange in EXCHANGES:
                told = await ask(app, exchange)
                if exchange[0].startswith("guest.create") and told["status"] == 202:
                    await ended(core, told["body"]["task"]["id"])
                if exchange[0] == "guest.create":  # how far its task is when it is answered, is chance
                    told["body"]["task"] = {"id": told["body"]["task"]["id"]}
                    del told["headers"]["x-nano-position"]
                compare(FOLDER / f"{exchange[0]}.json", told, regenerate)
    for host in bed.hosts.values():
        await host.close()


def test_openapi(regenerate: bool) -> None:
    compare(FOLDER / "openapi.json", json.loads(describe("0.0.0")), regenerate)


def compare(path: Path, told: Any, regenerate: bool) -> None:
    now = msgspec.json.format(msgspec.json.encode(told), indent=1).decode() + "\n"
    if regenerate:
        path.write_text(now)
    assert json.loads(path.read_text()) == told, path.name
    assert path.read_text() == now
