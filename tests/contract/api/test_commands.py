"""Commands over HTTP: tasks, repeats, dry runs, versions."""

from typing import Any

import httpx
import pytest

from nano.http.client import Signer

pytestmark = pytest.mark.anyio
SMALL = {"memory": 1 << 27, "disks": [1 << 26]}


async def test_work_answers_with_its_task(serve: Any) -> None:
    async with serve("one") as served:
        answer = await served.admin.request("POST", "/api/v2/guests", json={"name": "web", **SMALL})
        document = answer.json()
        assert answer.status_code == 202
        assert answer.headers["location"] == f"/api/v2/tasks/{document['task']['id']}"
        assert document["task"]["kind"] == "guest.create"
        assert document["resource"] == document["task"]["resource"]
        assert document["position"] <= int(answer.headers["x-nano-position"])
        await served.task(document["task"]["id"])
        task = (await served.admin.request("GET", answer.headers["location"])).json()
        assert (task["state"], task["progress"], task["error"]) == ("done", 100, None)


async def test_immediate_commands_show_the_row(serve: Any) -> None:
    async with serve() as served:
        made = await served.admin.request("POST", "/api/v2/compute-pools", json={"name": "p"})
        assert (made.status_code, made.headers["location"]) == (201, "/api/v2/compute-pools/p")
        shown = await served.admin.request("GET", "/api/v2/compute-pools/p")
        assert made.json()["row"] == shown.json()
        assert made.headers["etag"] == shown.headers["etag"]
        changed = await served.admin.request("PATCH", "/api/v2/compute-pools/p", json={"enabled": False})
        assert (changed.status_code, changed.json()["row"]["enabled"]) == (200, False)
        gone = await served.admin.request("DELETE", "/api/v2/compute-pools/p")
        assert (gone.status_code, gone.json()["row"]) == (200, None)


async def test_a_repeated_key_gets_the_first_answer(serve: Any) -> None:
    async with serve("one") as served:
        key = {"idempotency-key": "8e03978e-40d5-43dd-bc93-6894a57f9324"}
        body = {"name": "web", **SMALL}
        first = await served.admin.request("POST", "/api/v2/guests", json=body, headers=key)
        position = served.core.ledger.position
        again = await served.admin.request("POST", "/api/v2/guests", json=body, headers=key)
        assert again.status_code == 202
        assert again.json()["task"]["id"] == first.json()["task"]["id"]
        assert again.json()["resource"] == first.json()["resource"]
        assert again.headers["x-nano-repeated"] == "true"
        await served.task(first.json()["task"]["id"])
        ended = await served.admin.request("POST", "/api/v2/guests", json=body, headers=key)
        assert ended.json()["task"]["state"] == "done"
        assert len(served.core.views.tables["guest"]) == 1
        assert position <= served.core.ledger.position
        other = await served.refused("POST", "/api/v2/guests", json={**body, "name": "b"}, headers=key)
        assert (other.status, other.code) == (409, "idempotency_key_reused")
        for bad in ("~x", "x" * 129, "a b"):
            wrong = await served.refused("POST", "/api/v2/guests", json=body, headers={"idempotency-key": bad})
            assert (wrong.status, wrong.code) == (422, "invalid_idempotency_key")


async def test_a_captured_command_does_nothing_after_a_restart(serve: Any) -> None:
    """The memory of signatures ends with the process; the journal still knows the command."""
    async with serve() as served:
        url = f"{served.address}/api/v2/compute-pools"
        request = httpx.Request("POST", url, content=b'{"name":"p"}', headers={"content-type": "application/json"})
        Signer("administrator", served.admin._signer._key.decode()).sign(request, b'{"name":"p"}')
        async with httpx.AsyncClient(trust_env=False) as plain:
            assert (await plain.send(request)).status_code == 201
            replayed = await plain.send(request)
            assert (replayed.status_code, replayed.json()["code"]) == (401, "signature_replayed")
            served.app.verifier._memory._buckets.clear()  # what a restart does
            position = served.core.ledger.position
            again = await plain.send(request)
            assert again.headers["x-nano-repeated"] == "true"
            assert served.core.ledger.position == position


async def test_dry_run_changes_nothing(serve: Any) -> None:
    async with serve("one") as served:
        position = served.core.ledger.position
        body = {"name": "web", **SMALL}
        told = await served.admin.request("POST", "/api/v2/guests", json=body, params={"dry_run": True})
        assert told.status_code == 200
        types = [event["event"]["type"] for event in told.json()["events"]]
        assert types[:2] == ["guest.requested", "task.started"]
        assert told.json()["explanation"]["cell"] == "one"
        power = await served.admin.request("POST", "/api/v2/cells/one/disable?dry_run=1")
        assert power.json() == {
            "events": [{"resource": "cell/one", "event": {"type": "cell.disabled"}}],
            "explanation": None,
        }
        refused = await served.refused("PATCH", "/api/v2/compute-pools/none?dry_run=true", json={"enabled": False})
        assert (refused.status, refused.code) == (404, "unknown_compute_pool")
        assert (await served.refused("POST", "/api/v2/guests?dry_run=perhaps", json=body)).code == "invalid_dry_run"
        assert served.core.ledger.position == position


async def test_if_match(serve: Any) -> None:
    async with serve("one") as served:
        await served.create("web")
        row = await served.admin.request("GET", "/api/v2/guests/web")
        stale = {"if-match": '"v1"'}
        position = served.core.ledger.position
        for headers in (stale, {"if-match": "nonsense"}, {"if-match": f'"v{row.json()["version"] + 1}"'}):
            refused = await served.refused("DELETE", "/api/v2/guests/web", headers=headers)
            assert (refused.status, refused.code) == (412, "stale_version")
        assert served.core.ledger.position == position
        unknown = await served.refused("DELETE", "/api/v2/guests/none", headers={"if-match": "*"})
        assert (unknown.status, unknown.code) == (404, "unknown_guest")
        early = await served.refused("POST", "/api/v2/compute-pools", json={"name": "x"}, headers=stale)
        assert (early.status, early.code) == (422, "invalid_if_match")
        headers = {"if-match": row.headers["etag"]}
        assert (await served.admin.request("DELETE", "/api/v2/guests/web", headers=headers)).status_code == 202


async def test_power_over_http(serve: Any) -> None:
    async with serve("one") as served:
        await served.create("web")
        for verb, state in (
            ("start", "running"), ("reboot", "running"), ("force-reboot", "running"), ("stop", "stopped"),
            ("start", "running"), ("force-stop", "stopped"),
        ):  # fmt: skip
            answer = await served.admin.request("POST", f"/api/v2/guests/web/{verb}")
            assert answer.status_code == 202
            await served.task(answer.json()["task"]["id"])
            assert (await served.admin.request("GET", "/api/v2/guests/web")).json()["state"] == state
        served.bed.host("one").hang_next("start")
        held = await served.admin.request("POST", "/api/v2/guests/web/start")
        busy = await served.refused("POST", "/api/v2/guests/web/start")
        assert (busy.status, busy.code, busy.context["task"]) == (409, "guest_busy", held.json()["task"]["id"])


async def test_delete_takes_force_by_query_or_body(serve: Any) -> None:
    async with serve("one") as served:
        for name, options in (("a", {"params": {"force": True}}), ("b", {"json": {"force": True}})):
            await served.create(name, start=True)
            assert (await served.refused("DELETE", f"/api/v2/guests/{name}")).code == "guest_running"
            answer = await served.admin.request("DELETE", f"/api/v2/guests/{name}", **options)
            await served.task(answer.json()["task"]["id"])
        twice = await served.refused("DELETE", "/api/v2/guests/a?force=true", json={"force": True})
        assert twice.code == "repeated_parameter"
        wrong = await served.refused("DELETE", "/api/v2/guests/a?force=maybe")
        assert (wrong.status, wrong.code) == (422, "invalid_type")
