"""Changes of a guest over HTTP: each does what it says, and what nobody should send is refused and changes nothing."""

from typing import Any

import pytest

pytestmark = pytest.mark.anyio

MEBI = 1 << 20
WEB = "/guests/web"
HOSTILE = ("../etc", "a\0b", "a\nb", "a;b", "<b>", "'/><evil/>", "x" * 10_000, "")

REFUSED: list[tuple[str, str, Any, int, str]] = [
    ("PATCH", WEB, {}, 422, "nothing_to_change"),
    ("PATCH", WEB, {"colour": 1}, 422, "unknown_field"),
    ("PATCH", WEB, {"guest": "other"}, 422, "unknown_field"),
    ("PATCH", WEB, {"cores": "2"}, 422, "invalid_type"),
    ("PATCH", WEB, {"cores": 2.5}, 422, "invalid_type"),
    ("PATCH", WEB, {"cores": True}, 422, "invalid_type"),
    ("PATCH", WEB, {"cores": 0}, 422, "invalid_cores"),
    ("PATCH", WEB, {"cores": 10**30}, 422, "invalid_cores"),
    ("PATCH", WEB, {"memory": "1GiB"}, 422, "invalid_type"),
    ("PATCH", WEB, {"memory": -1}, 422, "invalid_memory"),
    ("PATCH", WEB, {"priority": "highest"}, 422, "invalid_value"),
    ("PATCH", WEB, {"autostart": 1}, 422, "invalid_type"),
    ("PATCH", WEB, {"read_bytes": -1}, 422, "invalid_read_bytes"),
    ("PATCH", WEB, {"send_bytes": 10**30}, 422, "invalid_send_bytes"),
    ("PATCH", WEB, {"disk_limits": {"read_bytes": 1}}, 422, "unknown_field"),
    ("PATCH", "/guests/none", {"cores": 2}, 404, "unknown_guest"),
    ("PATCH", WEB, ["cores"], 422, "invalid_type"),
    ("POST", f"{WEB}/disks", {}, 422, "missing_field"),
    ("POST", f"{WEB}/disks", {"size": 0}, 422, "invalid_disks"),
    ("POST", f"{WEB}/disks", {"size": -MEBI}, 422, "invalid_disks"),
    ("POST", f"{WEB}/disks", {"size": MEBI + 1}, 422, "invalid_disks"),
    ("POST", f"{WEB}/disks/grow", {"size": 10**30}, 422, "invalid_disks"),
    ("POST", f"{WEB}/disks/grow", {"size": MEBI}, 422, "disk_not_larger"),
    ("POST", f"{WEB}/disks/grow", {"size": 96 * MEBI, "number": 5}, 422, "invalid_number"),
    ("POST", f"{WEB}/disks/shrink", {"size": 32 * MEBI, "number": 0}, 409, "shrink_loses_data"),
    ("POST", f"{WEB}/disks/shrink", {"size": 0, "number": 0, "force": True}, 422, "invalid_disks"),
    ("DELETE", f"{WEB}/disks?number=0", None, 422, "system_disk"),
    ("DELETE", f"{WEB}/disks?number=-1", None, 422, "invalid_number"),
    ("DELETE", f"{WEB}/disks?number=x", None, 422, "invalid_type"),
    ("DELETE", f"{WEB}/disks", None, 422, "missing_field"),
    ("DELETE", f"{WEB}/nics?mac=52:54:00:00:00:01", None, 422, "unknown_nic"),
    ("POST", f"{WEB}/reset", {}, 422, "missing_field"),
    ("POST", f"{WEB}/reset", {"image": "none"}, 404, "unknown_image"),
    ("PATCH", f"{WEB}/description", {"description": "a\u202eb"}, 422, "invalid_description"),
    ("PATCH", f"{WEB}/description", {"description": 5}, 422, "invalid_type"),
    ("PATCH", f"{WEB}/description", {"tags": "prod"}, 422, "invalid_type"),
    ("PATCH", f"{WEB}/description", {"tags": [None]}, 422, "invalid_type"),
    ("PATCH", f"{WEB}/description", {"notes": "x" * 4001}, 422, "invalid_notes"),
    *(("PATCH", WEB, {"name": name}, 422, "invalid_name") for name in HOSTILE),
    *(("PATCH", f"{WEB}/description", {"tags": [tag]}, 422, "invalid_name") for tag in HOSTILE[:-1]),
    *(("POST", f"{WEB}/reset", {"image": image}, 404, "unknown_image") for image in HOSTILE),
]


async def test_refused_with_a_code(serve: Any) -> None:
    async with serve("one") as served:
        await served.create("web", disks=(64 * MEBI,))
        position = served.core.ledger.position
        for method, path, body, status, code in REFUSED:
            error = await served.refused(method, "/api/v2" + path, json=body)
            assert (error.status, error.code) == (status, code), (method, path, str(body)[:80])
            assert error.message
            assert len(error.message) <= 1000
        assert served.core.ledger.position == position


async def test_what_is_said_of_a_guest_comes_back_as_it_was_said(serve: Any) -> None:
    async with serve("one") as served:
        await served.create("web")
        await served.create("other")
        said = "<script>alert(1)</script> \"&' 云"
        body = {"description": said, "tags": ["prod"], "notes": "a\nb"}
        answer = await served.admin.request("PATCH", "/api/v2/guests/web/description", json=body)
        assert answer.status_code == 200
        found = (await served.admin.request("GET", "/api/v2/guests?tag=prod")).json()["items"]
        assert [(row["name"], row["description"], row["notes"]) for row in found] == [("web", said, "a\nb")]
        assert (await served.admin.request("GET", "/api/v2/guests?tag=pro")).json()["items"] == []


async def test_a_change_answers_with_its_task_and_the_row_follows(serve: Any) -> None:
    async with serve("one") as served:
        await served.create("web", disks=(64 * MEBI,))
        for method, path, body, field, value in (
            ("PATCH", WEB, {"cores": 2, "name": "shop"}, "cores", 2),
            ("POST", "/guests/shop/disks", {"size": 4 * MEBI}, "disks", [64 * MEBI, 4 * MEBI]),
            ("POST", "/guests/shop/disks/grow", {"size": 8 * MEBI, "number": 1}, "disks", [64 * MEBI, 8 * MEBI]),
            ("DELETE", "/guests/shop/disks?number=1", None, "disks", [64 * MEBI]),
        ):
            answer = await served.admin.request(method, "/api/v2" + path, json=body)
            assert answer.status_code == 202
            await served.task(answer.json()["task"]["id"])
            row = (await served.admin.request("GET", "/api/v2/guests/shop")).json()
            assert (row["name"], row[field]) == ("shop", value)


async def test_a_protected_guest_is_not_deleted(serve: Any) -> None:
    async with serve("one") as served:
        await served.create("web")
        protected = await served.admin.request("POST", "/api/v2/guests/web/protect")
        assert (protected.status_code, protected.json()["row"]["protected"]) == (200, True)
        error = await served.refused("DELETE", "/api/v2/guests/web?force=true")
        assert (error.status, error.code) == (409, "guest_protected")
        await served.admin.request("POST", "/api/v2/guests/web/unprotect")
        assert (await served.admin.request("DELETE", "/api/v2/guests/web")).status_code == 202
