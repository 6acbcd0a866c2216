"""Settings of a guest in the portal: each panel asks Core for what differs, keeps what was typed when it is refused, and shows
what people wrote as they wrote it."""

from typing import Any

import pytest

from nano.projections.rows import GuestRow
from nano.ui.testing.fake_core import FakeCore
from nano.ui.testing.fake_guests import guest_row
from nano.ui.testing.patience import until

pytestmark = pytest.mark.anyio

GIB, MIB = 1 << 30, 1 << 20
POLICY = {
    "default": "drop",
    "rules": [
        {"action": "accept", "protocol": "tcp", "source": "", "port": 80, "last_port": 89},
        {"action": "drop", "protocol": "any", "source": "192.168.7.0/24", "port": 0, "last_port": 0},
    ],
    "addresses": [],
}
HTML = "</textarea><script>alert('1')</script>\"'&<b>"


def named(core: FakeCore, name: str) -> dict[str, Any]:
    return next(row for row in core.rows["guest"].values() if row["name"] == name)


def form_of(page: str, name: str) -> str:
    """The panel of that name in the page."""
    return page.partition(f'id="{name}"')[2].partition("</section>")[0]


def test_rows_of_the_fake_core_are_rows_of_core() -> None:
    assert set(guest_row("web", "running", "one")) == set(GuestRow.__struct_fields__)


@pytest.mark.parametrize(
    ("part", "form", "asked"),
    [
        (
            "about",
            {"description": " front ", "tags": "a, b c", "notes": "x\r\ny"},
            ("PATCH", "/description", {"description": "front", "tags": ["a", "b", "c"], "notes": "x\ny"}),
        ),
        (
            "size",
            {"name": "shop", "cores": "4", "memory": "4.5", "memory_unit": "GiB", "priority": "low", "cores_max": "8"},
            (
                "PATCH",
                "",
                {
                    "name": "shop",
                    "cores": 4,
                    "memory": 4608 * MIB,
                    "priority": "low",
                    "autostart": False,
                    "cores_max": 8,
                },
            ),
        ),
        (
            "limits",
            {"read_bytes": "1.5", "write_operations": "200", "send_bytes": "100"},
            ("PATCH", "", {"read_bytes": 1536 * 1024, "write_operations": 200, "send_bytes": 12_500_000}),
        ),
        ("disk-add", {"size": "10", "size_unit": "GiB"}, ("POST", "/disks", {"size": 10 * GIB})),
        (
            "disk-grow",
            {"number": "0", "size": "30", "size_unit": "GiB"},
            ("POST", "/disks/grow", {"number": 0, "size": 30 * GIB}),
        ),
        ("disk-compact", {"number": "0"}, ("POST", "/disks/compact", {"number": 0})),
        ("nic-add", {}, ("POST", "/nics", None)),
        ("media-insert", {"media": "disc"}, ("POST", "/media", {"media": "disc"})),
        ("media-eject", {}, ("DELETE", "/media", None)),
        ("password", {"user": "ann", "password": ""}, ("POST", "/password", {"user": "ann"})),
        ("vnc-enable", {}, ("POST", "/vnc", None)),
        ("vnc-reset", {}, ("POST", "/vnc/reset", None)),
        ("vnc-disable", {}, ("DELETE", "/vnc", None)),
        (
            "rule-add",
            {"action": "drop", "protocol": "tcp", "source": " 10.0.0.0/8 ", "port": "80", "last_port": ""},
            (
                "POST",
                "/rules",
                {"action": "drop", "protocol": "tcp", "source": "10.0.0.0/8", "port": 80, "last_port": 0},
            ),
        ),
        (
            "rule-modify",
            {"rule": "2", "action": "accept", "protocol": "any"},
            (
                "PATCH",
                "/rules",
                {"rule": 2, "action": "accept", "protocol": "any", "source": "", "port": 0, "last_port": 0},
            ),
        ),
        ("rule-remove", {"rule": "1"}, ("DELETE", "/rules", None)),
        ("rule-move", {"rule": "1", "place": "2"}, ("POST", "/rules/move", {"rule": 1, "place": 2})),
        ("rule-guard", {"guard": "off"}, ("POST", "/rules/guard", {"guard": "off"})),
        ("rule-default", {"action": "drop"}, ("POST", "/rules/default", {"action": "drop"})),
        (
            "rule-addresses",
            {"addresses": "10.0.0.5, ::5"},
            ("POST", "/rules/addresses", {"addresses": ["10.0.0.5", "::5"]}),
        ),
        ("protect", {}, ("POST", "/protect", None)),
        ("unprotect", {}, ("POST", "/unprotect", None)),
        ("reset", {"name": "web-1", "image": "img"}, ("POST", "/reset", {"image": "img"})),
    ],
)
async def test_each_form_asks_core_for_what_differs(
    admin: Any, core: FakeCore, part: str, form: dict[str, str], asked: tuple[str, str, Any]
) -> None:
    guest = named(core, "web-1")
    core.put("guest", {**guest, "security": POLICY}, "guest.changed")
    await admin.until(f"/guests/{guest['id']}?tab=settings", "192.168.7.0/24")
    answer = await admin.post(f"/guests/{guest['id']}/settings/{part}", **form)
    assert answer.status_code == 303
    method, path, body = asked
    assert [(one[0], one[1], one[3]) for one in core.asked] == [(method, f"/guests/{guest['id']}{path}", body)]


async def test_what_is_the_same_is_not_asked_for(admin: Any, core: FakeCore) -> None:
    guest = named(core, "web-1")
    same = {"name": "web-1", "cores": "2", "memory": "4", "memory_unit": "GiB", "priority": "high", "autostart": "on"}
    assert guest["autostart"]
    answer = await admin.post(f"/guests/{guest['id']}/settings/size", **same)
    assert (answer.status_code, core.asked) == (303, [])


@pytest.mark.parametrize(
    ("part", "form", "field"),
    [
        ("size", {"name": "web-1", "cores": "0", "memory": "4"}, "cores"),
        ("size", {"name": "web-1", "cores": "١", "memory": "4"}, "cores"),
        ("size", {"name": "web-1", "cores": "2", "memory": "nan"}, "memory"),
        ("size", {"name": "web-1", "cores": "2", "memory": "1e99"}, "memory"),
        ("limits", {"read_bytes": "-1"}, "read_bytes"),
        ("limits", {"read_operations": "1.5"}, "read_operations"),
        ("disk-add", {"size": "", "size_unit": "GiB"}, "size"),
        ("rule-add", {"action": "accept", "protocol": "tcp", "port": "70000"}, "port"),
        ("rule-add", {"action": "accept", "protocol": "tcp", "port": "-1"}, "port"),
    ],
)
async def test_a_number_that_is_none_is_marked_and_kept(
    admin: Any, core: FakeCore, part: str, form: dict[str, str], field: str
) -> None:
    guest = named(core, "web-1")
    page = await admin.post(f"/guests/{guest['id']}/settings/{part}", **form)
    assert (page.status_code, core.asked) == (422, [])
    assert "invalid_number" in page.text
    assert 'class="field wrong"' in page.text
    assert f'value="{form[field]}"' in page.text


async def test_what_core_refuses_is_told_in_its_panel_with_what_was_typed(admin: Any, core: FakeCore) -> None:
    guest = named(core, "web-1")
    refused = {"status": 409, "code": "duplicate_name", "detail": "Taken.", "hint": ""}
    core.refuse[f"PATCH /guests/{guest['id']}"] = refused
    form = {"name": "db-primary", "cores": "3", "memory": "4", "memory_unit": "GiB", "priority": "high"}
    page = await admin.post(f"/guests/{guest['id']}/settings/size", **form)
    assert page.status_code == 409
    panel = form_of(page.text, "size")
    assert "duplicate_name" in panel
    assert 'value="db-primary"' in panel
    assert 'value="3"' in panel


async def test_what_people_wrote_is_shown_as_they_wrote_it(admin: Any, core: FakeCore) -> None:
    guest = named(core, "web-1")
    core.put(
        "guest", {**guest, "description": HTML, "notes": HTML, "tags": ["a.b-c"]}, "guest.described", description=HTML
    )
    for path in ("", "?tab=settings", "?tab=history", "?tab=settings&part=about", "?part=head"):
        await admin.until(f"/guests/{guest['id']}{path}", "&lt;script&gt;")
        page = await admin.get(f"/guests/{guest['id']}{path}")
        assert "<script>alert" not in page.text
        assert "</textarea><script>" not in page.text
    found = await admin.get("/guests?q=a.b-c")
    assert f"/guests/{guest['id']}" in found.text
    assert f"/guests/{named(core, 'db-primary')['id']}" not in found.text


async def test_rules_stand_in_their_order_with_what_becomes_of_the_rest(admin: Any, core: FakeCore) -> None:
    guest = named(core, "web-1")
    url = f"/guests/{guest['id']}?tab=settings&part=rules"
    page = (await admin.get(url)).text
    assert "Everything comes through yet" in page
    assert "It is kept from posing as another machine." in page
    core.put("guest", {**guest, "security": POLICY}, "guest.changed")
    await admin.until(url, "192.168.7.0/24")
    page = (await admin.get(url)).text
    told = ["TCP 80–89", "from 192.168.7.0/24", "everything else", "Let through instead"]
    assert [page.index(text) for text in told] == sorted(page.index(text) for text in told)
    assert "2 rules" in (await admin.get(f"/guests/{guest['id']}")).text
    refused = {"status": 422, "code": "invalid_source", "detail": "No.", "hint": "", "field": "source"}
    core.refuse[f"POST /guests/{guest['id']}/rules"] = refused
    form = {"action": "drop", "protocol": "udp", "source": HTML, "port": "9", "last_port": ""}
    page = form_of((await admin.post(f"/guests/{guest['id']}/settings/rule-add", **form)).text, "rules")
    assert "invalid_source" in page
    assert "<script>alert" not in page
    assert '<option value="drop" selected>' in page, "what was chosen is kept"


async def test_a_host_that_filters_no_packets_is_named_at_the_rules(admin: Any, core: FakeCore) -> None:
    guest = named(core, "web-1")
    cell = core.rows["cell"][guest["cell"]]
    lacks = [{"name": "packet_filter", "can": False, "reason": "program", "detail": "nft"}]
    core.put("cell", {**cell, "abilities": lacks}, "cell.described")
    await admin.until(f"/guests/{guest['id']}?tab=settings&part=rules", "t be filtered on")


async def test_a_console_without_a_shared_clipboard_says_why_and_offers_typing(admin: Any, core: FakeCore) -> None:
    guest = named(core, "web-1")
    url, cell = f"/guests/{guest['id']}/console", core.rows["cell"][guest["cell"]]
    page = (await admin.get(url)).text
    assert "spice-vdagent" in page
    assert 'id="paste">' in page
    lacks = [{"name": "clipboard", "can": False, "reason": "qemu", "detail": "migration of qemu-vdagent"}]
    core.put("cell", {**cell, "abilities": lacks}, "cell.described")
    page = (await admin.until(url, "share clipboards: QEMU lacks migration of qemu-vdagent.")).text
    assert 'id="paste" disabled>' in page
    assert 'id="type">' in page


async def test_what_waits_for_the_next_start_is_said(admin: Any, core: FakeCore) -> None:
    guest = named(core, "web-1")
    core.put("guest", {**guest, "pending": ["cores", "memory"]}, "guest.changed")
    await admin.until(f"/guests/{guest['id']}", "cores, memory")
    await admin.until(f"/guests/{guest['id']}?tab=settings&part=size", "At its next start: cores, memory")


async def test_a_protected_guest_offers_nothing_that_destroys(admin: Any, core: FakeCore) -> None:
    guest = named(core, "lab-debian")
    url = f"/guests/{guest['id']}"
    await admin.post(f"{url}/settings/protect")
    await admin.until(f"{url}?tab=settings", "/settings/unprotect")
    page = (await admin.get(f"{url}?tab=settings")).text
    assert f'action="{url}/delete"' not in page
    assert f'action="{url}/settings/reset"' not in page
    assert f'action="{url}/settings/disk-remove"' not in page


async def test_a_reset_wants_the_name(admin: Any, core: FakeCore) -> None:
    guest = named(core, "lab-debian")
    page = await admin.post(f"/guests/{guest['id']}/settings/reset", name="lab", image="x")
    assert (page.status_code, "name_not_repeated" in form_of(page.text, "reset")) == (422, True)
    assert core.asked == []


async def test_there_are_no_other_settings(admin: Any, core: FakeCore) -> None:
    guest = named(core, "web-1")
    for address in (f"/guests/{guest['id']}/settings/explode", "/guests/none/settings/size"):
        assert (await admin.post(address)).status_code == 404


@pytest.mark.parametrize(("language", "words"), [("en", "lacks what the guest needs"), ("zh", "缺少云主机所需的能力")])
async def test_a_cell_that_can_not_take_a_guest_is_not_offered_and_says_why(
    admin: Any, core: FakeCore, language: str, words: str
) -> None:
    guest = named(core, "web-1")
    url = f"/guests/{guest['id']}?tab=settings&part=cell"
    admin.http.headers["accept-language"] = language
    assert words not in (await admin.get(url)).text
    core.put("guest", {**guest, "network_limits": {"receive_bytes": 1 << 20, "send_bytes": 0}}, "guest.changed")
    page = (await admin.until(url, words)).text
    assert "sch_sfq" in page
    assert " disabled>Cell_" in page


async def test_cells_with_one_storage_are_named_where_it_matters(admin: Any, core: FakeCore) -> None:
    guest = named(core, "web-1")
    here, other = core.rows["cell"][guest["cell"]], "Cell_5f21aa0349c1"
    assert here["name"] != other
    url = f"/guests/{guest['id']}?tab=settings&part=cell"
    await admin.until(url, "same storage")
    assert f"also that of {other}" in (await admin.get(f"/cells/{here['name']}?tab=overview")).text
    core.put("cell", {**core.rows["cell"][other], "storage": "f" * 32}, "cell.described")

    async def apart() -> bool:
        return "same storage" not in (await admin.get(url)).text

    await until(apart)
