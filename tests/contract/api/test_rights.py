"""Every route with every role: nothing is reachable that the catalogue does not allow."""

from typing import Any

import pytest

from nano.domain.catalogue import COMMANDS, QUERIES, RIGHTS_OF_ROLE
from nano.http.client import ApiError
from nano.http.transfers import UPLOADABLE

pytestmark = pytest.mark.anyio

ACTING = {"nano-actor": "li", "nano-role": "operator"}


async def test_every_route_and_every_role(serve: Any) -> None:
    async with serve() as served:
        routes = served.app.routes.routes
        assert len(routes) == len(COMMANDS) + len(QUERIES) + 3 + 3 * len(UPLOADABLE)
        clients = {role: await served.client(role) for role in ("administrator", "operator", "reader", "frontend")}
        rights = {**RIGHTS_OF_ROLE, "frontend": frozenset()}
        for acting, allowed in RIGHTS_OF_ROLE.items():
            headers = {"nano-actor": "li", "nano-role": acting}
            clients[f"frontend for {acting}"] = await served.client("frontend", headers)
            rights[f"frontend for {acting}"] = allowed
        position = served.core.ledger.position
        for route in routes:
            path = "/".join("nothing-there" if part.startswith("{") else part for part in route.path.split("/"))
            if route.name == "image.sync":  # it needs nothing to be told, so it would begin
                path += "?dry_run=true"
            unsigned = await served.status(route.method, path)
            assert unsigned == (200 if route.right is None else 401), route.name
            for role, client in clients.items():
                status = await served.status(route.method, path, client)
                if route.right is None or route.right in rights[role]:
                    assert status in (200, 400, 404, 422), f"{route.name} as {role}: {status}"
                else:
                    assert status == 403, f"{route.name} as {role}: {status}"
        assert served.core.ledger.position == position, "no refused or empty request has changed anything"


async def test_the_actor_is_recorded(serve: Any) -> None:
    async with serve("one") as served:
        frontend = await served.client("frontend", ACTING)
        body = {"name": "web", "memory": 1 << 27, "disks": [1 << 26]}
        answer = (await frontend.request("POST", "/api/v2/guests", json=body)).json()
        assert answer["task"]["actor"] == "li"
        facts = (await served.admin.request("GET", "/api/v2/journal", params={"actor": "li"})).json()["items"]
        assert {fact["event"]["type"] for fact in facts} >= {"guest.requested", "task.started"}
        assert facts[-1]["command_id"].startswith("frontend/li:~")


async def test_keys_of_two_users_do_not_meet(serve: Any) -> None:
    """An idempotency key never shows one user the answer of another."""
    async with serve() as served:
        administrator = {"nano-role": "administrator"}
        li = await served.client("frontend", administrator | {"nano-actor": "li"})
        wu = await served.client("frontend", administrator | {"nano-actor": "wu"})
        headers = {"idempotency-key": "same"}
        await li.request("POST", "/api/v2/compute-pools", json={"name": "a"}, headers=headers)
        answer = await wu.request("POST", "/api/v2/compute-pools", json={"name": "b"}, headers=headers)
        assert answer.json()["resource"] == "compute_pool/b"


async def test_a_refusal_says_what_is_needed(serve: Any) -> None:
    async with serve() as served:
        reader = await served.client("reader")
        with pytest.raises(ApiError) as refused:
            await reader.request("POST", "/api/v2/compute-pools", json={"name": "a"})
        assert (refused.value.status, refused.value.code) == (403, "forbidden")
        assert refused.value.context == {"right": "administer", "role": "reader"}
