"""What pages show and do, against a Core that answers as the API does."""

import json
from pathlib import Path

import anyio
import httpx
import pytest
from websockets.asyncio.client import connect
from websockets.exceptions import ConnectionClosed, InvalidStatus

from nano.ui.testing.demo import demo_core
from nano.ui.testing.fake_core import FakeCore
from nano.ui.testing.fake_guests import guest_row
from nano.ui.testing.http_browser import Browser
from nano.ui.testing.patience import until
from nano.ui.testing.stage import Stage, stage

pytestmark = pytest.mark.anyio
PAGE_BYTES_MAX = 68_000


def named(core: FakeCore, name: str) -> str:
    return str(next(row["id"] for row in core.rows["guest"].values() if row["name"] == name))


async def test_every_page_answers_in_both_languages_and_is_small(admin, core: FakeCore) -> None:  # type: ignore[no-untyped-def]
    guest, task = named(core, "web-1"), next(iter(core.rows["task"]))
    paths = ["/", "/guests", f"/guests/{guest}", f"/guests/{guest}?tab=history", f"/guests/{guest}?tab=settings",
             f"/guests/{guest}/menu", "/guests/new", "/guests/new/estimate", "/pools", "/cells", "/cells/Cell_0a1b2c3d4e5f",
             "/cells/Cell_0a1b2c3d4e5f?tab=history", "/cells/Cell_e9d87f001b3a", "/images", "/tasks", f"/tasks/{task}",
             "/templates", "/templates/new",
             "/journal", "/password", "/search?q=web", "/strip", f"/guests/{guest}/console", f"/guests/{guest}/serial",
             f"/guests/{guest}/inside", f"/guests/{guest}/row"]  # fmt: skip
    for language in ("en", "zh-CN"):
        for path in paths:
            answer = await admin.get(path, accept_language=language)
            assert answer.status_code == 200, path
            assert len(answer.content) < PAGE_BYTES_MAX, f"{path}: {len(answer.content)} bytes"


async def test_a_full_table_is_small_and_pages_through(admin, core: FakeCore) -> None:  # type: ignore[no-untyped-def]
    for number in range(120):
        core.put("guest", guest_row(f"load-{number:03}", "running", "Cell_0a1b2c3d4e5f", addresses=["10.1.2.3"]))
    page = await admin.until("/guests?q=load-&page=4", "load-119")
    assert "load-050" not in page.text
    first = await admin.get("/guests?q=load-")
    assert first.text.count("<tr id=") == 30
    assert len(first.content) < PAGE_BYTES_MAX
    only = await admin.get("/guests?state=crashed")
    assert "legacy-erp" in only.text
    assert "web-1" not in only.text
    assert "No guest matches" in (await admin.get("/guests?q=nothing-like-it")).text


async def test_creating_a_guest_is_done_in_the_users_name(admin, core: FakeCore) -> None:  # type: ignore[no-untyped-def]
    fields = {"name": "fresh", "image": "", "cores": "2", "memory": "1.5", "memory_unit": "GiB", "disk": "512",
              "disk_unit": "MiB", "data": "1", "data_unit": "GiB", "pool": "default", "cell": "", "start": "on"}  # fmt: skip
    wrong = await admin.post("/guests/new", **{**fields, "name": "kept", "cores": "lots"})
    assert wrong.status_code == 422
    assert "invalid_number" in wrong.text
    assert 'value="kept"' in wrong.text
    assert not [asked for asked in core.asked if asked[0] == "POST"]
    taken = await admin.post("/guests/new", **{**fields, "name": "web-1"})
    assert (taken.status_code, "duplicate_name" in taken.text) == (409, True)
    made = await admin.post("/guests/new", **fields)
    assert made.headers["location"].startswith("/tasks/")
    method, path, actor, body = core.asked[-1]
    assert (method, path, actor) == ("POST", "/guests", "ada")
    assert body["memory"] == 3 << 29
    assert body["disks"] == [512 << 20, 1 << 30]
    assert (body["cores"], body["start"], body["autostart"]) == (2, True, False)
    await admin.until(made.headers["location"], "s-done")
    assert "s-running" in (await admin.until("/guests?q=fresh", "s-running")).text


async def test_power_buttons_answer_with_a_toast_and_without_scripts_with_a_page(admin, core: FakeCore) -> None:  # type: ignore[no-untyped-def]
    guest = named(core, "backup")
    answer = await admin.post(f"/guests/{guest}/start", htmx=True)
    assert answer.status_code == 204
    assert json.loads(answer.headers["hx-trigger"])["toast"]["title"] == "backup is being started"
    await admin.until(f"/guests/{guest}", "s-running")
    core.refuse[f"POST /guests/{guest}/stop"] = {
        "status": 409,
        "code": "guest_busy",
        "detail": "Busy.",
        "hint": "Wait.",
    }
    refused = await admin.post(f"/guests/{guest}/stop", htmx=True)
    assert refused.status_code == 409
    assert json.loads(refused.headers["hx-trigger"])["toast"] == {
        "target": "body", "kind": "error", "title": "Busy.", "hint": "Wait.", "code": "guest_busy",
    }  # fmt: skip
    page = await admin.post(f"/guests/{guest}/stop")
    assert (page.status_code, "guest_busy" in page.text) == (409, True)
    assert (await admin.post(f"/guests/{guest}/explode")).status_code == 404


async def test_a_stopped_guest_goes_into_the_recycle_bin_and_out_again(admin, core: FakeCore) -> None:  # type: ignore[no-untyped-def]
    guest = named(core, "backup")
    assert f"/guests/{guest}/recycle" in (await admin.get(f"/guests/{guest}/menu")).text
    assert "It is deleted in 7 days" in (await admin.get(f"/guests/{guest}/menu")).text, "as Core is set"
    assert 'placeholder="7"' in (await admin.get(f"/guests/{guest}?tab=settings&part=delete")).text
    assert (await admin.post(f"/guests/{guest}/recycle", days="0", htmx=True)).status_code == 422
    await admin.post(f"/guests/{guest}/recycle", days="30", htmx=True)
    assert [body for _, path, _, body in core.asked if path.endswith("/recycle")] == [{"hours": 720}]
    await admin.until(f"/guests/{guest}", "in the recycle bin")
    core.put("guest", core.rows["guest"][guest] | {"recycled_until": "2026-12-01T10:00:00Z"}, "guest.recycled")
    page = (await admin.until(f"/guests/{guest}", "It is in the recycle bin.")).text
    assert f"/guests/{guest}/restore" in page
    assert f"/guests/{guest}/start" not in page
    assert "2026" in page
    assert f"/guests/{guest}/recycle" not in (await admin.get(f"/guests/{guest}/menu")).text
    assert "/recycle" not in (await admin.get(f"/guests/{named(core, 'web-1')}/menu")).text


async def test_deleting_wants_the_name(admin, core: FakeCore) -> None:  # type: ignore[no-untyped-def]
    guest = named(core, "lab-debian")
    wrong = await admin.post(f"/guests/{guest}/delete", name="lab-deb")
    assert "name_not_repeated" in wrong.text
    assert 'value="lab-deb"' in wrong.text
    gone = await admin.post(f"/guests/{guest}/delete", name="lab-debian")
    assert gone.headers["location"] == "/guests"

    async def is_gone() -> bool:
        return bool((await admin.get(f"/guests/{guest}")).status_code == 404)

    await until(is_gone)
    assert (await admin.get(f"/guests/{guest}/row")).text == ""


async def test_pools_cells_and_images_are_managed(admin, core: FakeCore) -> None:  # type: ignore[no-untyped-def]
    assert (await admin.post("/pools", name="default")).status_code == 409
    assert (await admin.post("/pools", name="fresh")).headers["location"] == "/pools"
    await admin.until("/pools", "fresh")
    await admin.post("/pools/fresh", enabled="false")
    await admin.post("/pools/fresh/delete")
    assert core.rows["compute_pool"].keys() == {"default", "lab"}
    waiting = await admin.get("/cells")
    assert core.rows["cell"]["Cell_e9d87f001b3a"]["fingerprint"] in waiting.text
    await admin.post("/cells/Cell_e9d87f001b3a/add", pool="lab")
    assert core.asked[-1] == ("POST", "/cells/Cell_e9d87f001b3a/add", "ada", {"pool": "lab"})
    await admin.post("/cells/Cell_e9d87f001b3a/disable")
    assert not core.rows["cell"]["Cell_e9d87f001b3a"]["enabled"]
    await admin.post("/images", name="alpine", path="/srv/alpine.qcow2")
    await admin.until("/images", "alpine")
    image = next(row["id"] for row in core.rows["image"].values() if row["name"] == "alpine")
    await admin.post(f"/images/{image}/delete")
    assert image not in core.rows["image"]


async def test_placement_is_explained_before_anything_is_made(admin, core: FakeCore) -> None:  # type: ignore[no-untyped-def]
    fits = await admin.get("/guests/new/estimate?memory=1&disk=1")
    assert "Cell_0a1b2c3d4e5f" in fits.text
    refused = await admin.get("/guests/new/estimate?memory=4000&disk=1", accept_language="zh")
    assert "没有资源节点具备足够的空闲内存" in refused.text
    assert "空闲内存不足" in refused.text
    assert "invalid_number" not in fits.text
    assert "not a number" in (await admin.get("/guests/new/estimate?memory=much")).text


@pytest.mark.parametrize(
    ("language", "told"),
    [
        (
            "en",
            ("No cell of the pool can limit network interfaces", "The kernel lacks sch_sfq", "It lacks what the guest"),
        ),
        ("zh", ("资源池中没有资源节点能限制网卡", "内核缺少 sch_sfq", "缺少云主机所需的能力")),
    ],
)
async def test_what_cells_can_not_do_is_shown_while_choosing(  # type: ignore[no-untyped-def]
    admin, core: FakeCore, language: str, told: tuple[str, ...]
) -> None:
    admin.http.headers["accept-language"] = language
    plain = (await admin.get("/guests/new/estimate?memory=1&disk=1&read_bytes=5&policy=drop&rules=accept+tcp+22")).text
    assert told[0] in plain, "told whatever is chosen, beside the field"
    assert told[2] not in plain
    limited = (await admin.get("/guests/new/estimate?memory=1&disk=1&receive_bytes=10")).text
    assert all(text in limited for text in told)
    cell = core.rows["cell"]["Cell_0a1b2c3d4e5f"]
    abilities = [{**one, "can": True} for one in cell["abilities"]]
    core.put("cell", {**cell, "abilities": abilities}, "cell.described")
    await admin.until("/guests/new/estimate?memory=1&disk=1&receive_bytes=10", "Cell_0a1b2c3d4e5f</strong>")
    await admin.until("/guests/new", "read_bytes")
    assert told[0] not in (await admin.get("/guests/new/estimate?memory=1&disk=1")).text


async def test_a_templates_policy_counts_and_a_slow_cell_is_told(admin, core: FakeCore) -> None:  # type: ignore[no-untyped-def]
    lacks = {"packet_filter": ("program", "nft"), "kvm": ("told", "no guest runs")}
    for name, cell in list(core.rows["cell"].items()):
        abilities = [
            {**one, "can": one["name"] not in lacks, "reason": lacks.get(one["name"], ("",))[0], "detail": "nft"}
            for one in cell["abilities"]
        ]
        core.put("cell", {**cell, "abilities": abilities, "name": name}, "cell.described")
    page = await admin.until("/guests/new/estimate?memory=1&disk=1", "Its processor is emulated there")
    assert "It lacks what" not in page.text
    template = next(row for row in core.rows["template"].values() if row["name"] == "General")
    policy = {"default": "drop", "rules": [], "addresses": []}
    core.put("template", {**template, "policy": policy}, "template.modified")
    await admin.until(f"/guests/new/estimate?memory=1&disk=1&template={template['id']}", "nft is not installed")


async def test_a_cancelled_task_says_so(admin, core: FakeCore) -> None:  # type: ignore[no-untyped-def]
    core.pace_s = 0.3
    guest = named(core, "web-2")
    await admin.post(f"/guests/{guest}/stop", htmx=True)
    task = core.rows["guest"][guest]["task"]
    await admin.until(f"/tasks/{task}", "Cancel task")
    assert (await admin.post(f"/tasks/{task}/cancel", htmx=True)).status_code == 204
    await admin.until(f"/tasks/{task}", "s-cancelled")


async def read_event(http: httpx.AsyncClient, path: str, name: str, act) -> object:  # type: ignore[no-untyped-def]
    """The data of the first event of that name after ``act``."""
    with anyio.fail_after(10):
        async with http.stream("GET", path) as answer:
            event, acted = "", False
            async for line in answer.aiter_lines():
                if not acted and line.startswith("event: link"):
                    await act()
                    acted = True
                if line.startswith("event: "):
                    event = line[7:]
                elif line.startswith("data: ") and event == name and acted:
                    return json.loads(line[6:])
    return None


async def test_open_pages_are_told_what_changed(admin, core: FakeCore) -> None:  # type: ignore[no-untyped-def]
    guest = named(core, "web-1")

    async def stop() -> None:
        core.put("guest", {**core.rows["guest"][guest], "state": "stopped"}, "guest.stopped")

    told = await read_event(admin.http, "/events", "changed", stop)
    assert isinstance(told, list)
    assert {f"guest.{guest}", "guest.list"} <= set(told)

    async def measure() -> None:
        core.measure({"cells": {}, "guests": {guest: {"cpu_percent": 42.0, "memory_used": 1, "secret": 1}}})

    usage = await read_event(admin.http, "/events?watch=guests", "usage", measure)
    assert isinstance(usage, dict)
    assert usage["guests"] == {guest: 42.0}


async def test_core_may_go_and_come_back(admin, core: FakeCore) -> None:  # type: ignore[no-untyped-def]
    told = await read_event(admin.http, "/events", "link", lambda: _leave(core))
    assert isinstance(told, dict)
    stale = await admin.until("/guests", "Core does not answer since")
    assert "db-primary" in stale.text, "what was known stays readable"
    assert (await admin.get("/health")).json()["core"] == "away"
    assert (await admin.get("/journal")).status_code == 200
    core.drop("guest", named(core, "wiki"), "guest.deleted")
    core.away = False

    async def is_fresh() -> bool:
        page = (await admin.get("/guests")).text
        return "wiki" not in page and "Core does not answer since" not in page

    await until(is_fresh, 15)


async def _leave(core: FakeCore) -> None:
    core.leave()


async def test_sessions_survive_a_restart_of_the_node(tmp_path: Path) -> None:
    async with stage(tmp_path, demo_core(0.01)) as running:
        browser = Browser(running.portal)
        await browser.enter()
        kept = dict(browser.http.cookies)
        await browser.http.aclose()
    async with (
        stage(tmp_path, demo_core(0.01)) as running,
        httpx.AsyncClient(base_url=running.portal, cookies=kept) as http,
    ):
        assert (await http.get("/guests")).status_code == 200


async def test_the_console_takes_one_ticket_once_from_one_session(admin, core: FakeCore, portal: Stage) -> None:  # type: ignore[no-untyped-def]
    guest = named(core, "web-1")
    host = portal.portal.removeprefix("http://")
    cookie = {"Cookie": f"nano_session={admin.http.cookies['nano_session']}"}

    async def ticket() -> str:
        answer = await admin.http.post(f"/guests/{guest}/console/ticket", headers={"X-Form-Token": admin.token})
        return f"ws://{host}{answer.json()['path']}"

    url = await ticket()
    with pytest.raises(InvalidStatus):
        await connect(url, proxy=None)
    with pytest.raises(InvalidStatus):
        await connect(url, proxy=None, additional_headers=cookie, origin="http://evil.example")  # type: ignore[arg-type]
    async with connect(url, proxy=None, additional_headers=cookie) as socket:
        assert await socket.recv() == b"RFB 003.008\n"
        await socket.send(b"RFB 003.008\n")
        assert await socket.recv() == b"\x01\x01"
    with pytest.raises(InvalidStatus):
        await connect(url, proxy=None, additional_headers=cookie)
    core.refuse[f"POST /guests/{guest}/console"] = {"status": 409, "code": "guest_not_running", "detail": "It is off."}
    async with connect(await ticket(), proxy=None, additional_headers=cookie) as socket:
        with pytest.raises(ConnectionClosed) as closed:
            await socket.recv()
        assert closed.value.rcvd
        assert (closed.value.rcvd.code, closed.value.rcvd.reason) == (4000, "guest_not_running: It is off.")
