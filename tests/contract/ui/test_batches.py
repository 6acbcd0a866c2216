"""Creating with templates and cloud-init, several at once, and doing something with chosen guests."""

from typing import Any

import pytest

from nano.ui.testing.fake_core import FakeCore

pytestmark = pytest.mark.anyio

FIELDS = {
    "name": "shop",
    "image": "",
    "cores": "1",
    "memory": "1",
    "memory_unit": "GiB",
    "disk": "5",
    "disk_unit": "GiB",
}
PASSWORD = "Correct-Horse-7!"


def posted(core: FakeCore, path: str) -> list[Any]:
    return [body for method, asked, _, body in core.asked if (method, asked) == ("POST", path)]


async def test_several_are_one_batch_whose_page_tells_of_each(admin: Any, core: FakeCore) -> None:
    template = next(row["id"] for row in core.rows["template"].values() if row["name"] == "Legacy")
    made = await admin.post("/guests/new", **FIELDS, count="3", template=template, priority="low")
    assert made.headers["location"].startswith("/tasks/")
    (body,) = posted(core, "/batches/create")
    assert (body["prefix"], body["count"], body["template"], body["priority"]) == ("shop", 3, template, "low")
    assert "name" not in body
    assert "cloud_init" not in body
    page = await admin.until(made.headers["location"], "3 of 3")
    assert all(f"shop_{number}" in page.text for number in range(3))


async def test_what_failed_says_why_in_both_languages(admin: Any, core: FakeCore) -> None:
    task = next(row["id"] for row in core.rows["task"].values() if row.get("items"))
    for language, word in (("en", "shop_11"), ("zh", "原因")):
        page = await admin.get(f"/tasks/{task}", accept_language=language)
        assert word in page.text
        assert page.text.count("shop_") >= 12
        assert "11 of 12" in page.text or "11 / 12" in page.text
        assert 'class="button" href="/tasks/' not in page.text


async def test_cloud_init_is_sent_and_its_password_never_shown_again(admin: Any, core: FakeCore) -> None:
    told = {"user": "ops", "password": PASSWORD, "ssh_keys": "ssh-ed25519 AAAA one\r\n\r\nssh-ed25519 BBBB two\r\n",
            "dns": "10.0.0.2, 10.0.0.3", "user_data": "#!/bin/sh\r\necho\r\n"}  # fmt: skip
    await admin.post("/guests/new", **FIELDS, **told)
    (body,) = posted(core, "/guests")
    assert body["cloud_init"] == {
        "user": "ops",
        "password": PASSWORD,
        "ssh_keys": ["ssh-ed25519 AAAA one", "ssh-ed25519 BBBB two"],
        "dns": ["10.0.0.2", "10.0.0.3"],
        "user_data": "#!/bin/sh\necho\n",
    }
    again = await admin.post("/guests/new", **{**FIELDS, **told, "cores": "lots"})
    assert again.status_code == 422
    assert PASSWORD not in again.text
    assert 'value="ops"' in again.text
    offered = await admin.get(f"/guests/new?password={PASSWORD}&user=root")
    assert PASSWORD not in offered.text


@pytest.mark.parametrize("action", ["start", "stop", "delete"])
async def test_chosen_guests_are_one_request(admin: Any, core: FakeCore, action: str) -> None:
    guests = [row["id"] for row in core.rows["guest"].values()][:2]
    answer = await admin.post(f"/guests/batch/{action}", htmx=True, **{f"guest_{guest}": "on" for guest in guests})
    assert answer.status_code == 204
    assert "/tasks/" in answer.headers["hx-trigger"]
    assert posted(core, f"/batches/{action}") == [{"guests": guests}]


async def test_nothing_else_is_a_batch(admin: Any, core: FakeCore) -> None:
    assert (await admin.post("/guests/batch/explode", htmx=True)).status_code == 404
    assert (await admin.post("/guests/new", **FIELDS, count="0")).status_code == 422
    assert (await admin.post("/guests/new", **FIELDS, count="9999")).status_code == 422
    assert not [asked for asked in core.asked if asked[0] == "POST"]


@pytest.mark.parametrize(("count", "path"), [("1", "/guests"), ("3", "/batches/create")])
async def test_a_security_policy_is_sent_with_one_or_many(admin: Any, core: FakeCore, count: str, path: str) -> None:
    rules = "accept tcp 22 from 10.0.0.0/8\r\n\r\naccept icmp\r\naddress 10.0.0.5\r\n"
    await admin.post("/guests/new", **FIELDS, count=count, policy="drop", rules=rules)
    (body,) = posted(core, path)
    ssh = {"action": "accept", "protocol": "tcp", "source": "10.0.0.0/8", "port": 22, "last_port": 0}
    ping = {"action": "accept", "protocol": "icmp", "source": "", "port": 0, "last_port": 0}
    assert body["policy"] == {"default": "drop", "rules": [ssh, ping], "addresses": ["10.0.0.5"]}


@pytest.mark.parametrize(("language", "words"), [("en", "no security rule"), ("zh", "不是安全规则")])
async def test_a_refused_form_keeps_everything_that_was_typed(
    admin: Any, core: FakeCore, language: str, words: str
) -> None:
    typed = {"user": "ops", "ssh_keys": "ssh-ed25519 AAAA one", "user_data": "#cloud-config\nx: 1", "priority": "low",
             "count": "4", "policy": "drop", "rules": "accept tcp 22\naccept <b>tcp", "data": "3"}  # fmt: skip
    admin.http.headers["accept-language"] = language
    page = await admin.post("/guests/new", **{**FIELDS, **typed}, password=PASSWORD)
    assert page.status_code == 422
    assert not [asked for method, asked, _, _ in core.asked if method == "POST" and asked.startswith(("/guests", "/b"))]
    assert words in page.text
    for kept in ('value="shop"', 'value="ops"', "AAAA one", "x: 1", 'value="4"', 'value="3"', "accept &lt;b&gt;tcp"):
        assert kept in page.text, kept
    for chosen in ('value="drop" selected', 'value="low" selected'):
        assert chosen in page.text
    assert PASSWORD not in page.text


async def test_a_sync_is_one_button_and_its_page_tells_of_each_file(admin: Any, core: FakeCore) -> None:
    for place in ("/images", "/media"):
        assert 'action="/images/sync"' in (await admin.get(place)).text
    begun = await admin.post("/images/sync")
    page = await admin.until(begun.headers["location"], "disk.raw")
    assert "debian-13.qcow2" in page.text
    assert "<h2>Files</h2>" in page.text
    assert "<h2>文件</h2>" in (await admin.get(begun.headers["location"], accept_language="zh")).text
    core.refuse["POST /images/sync"] = {"status": 409, "code": "sync_running", "message": "They are being taken in."}
    refused = await admin.post("/images/sync")
    assert refused.status_code == 409
    assert "sync_running" in refused.text
