"""The page of templates: what it shows, and what its forms ask of Core."""

import json

import msgspec
import pytest

from nano.domain.catalogue import RIGHTS_OF_ROLE
from nano.domain.template import CreateTemplate, ModifyTemplate
from nano.ui.testing.fake_core import FakeCore
from nano.ui.testing.patience import until

pytestmark = pytest.mark.anyio
WHOLE = {"name": "Debian 12", "admin": "debian", "operating_system": "linux", "disk": "virtio", "network": "virtio",
         "display": "none", "usb": "", "tablet": "", "policy": "drop",
         "rules": "accept tcp 80-89 from 10.0.0.0/8\r\naddress 10.0.0.5"}  # fmt: skip
POLICY = {
    "default": "drop",
    "rules": [{"action": "accept", "protocol": "tcp", "source": "10.0.0.0/8", "port": 80, "last_port": 89}],
    "addresses": ["10.0.0.5"],
}


def named(core: FakeCore, name: str) -> str:
    return str(next(row["id"] for row in core.rows["template"].values() if row["name"] == name))


async def test_the_list_tells_the_defaults_in_words(admin, core: FakeCore) -> None:  # type: ignore[no-untyped-def]
    page = (await admin.get("/templates")).text
    assert page.count('id="template-') == 6, "the list itself, and five templates"
    assert page.count(">default</span>") == 5
    assert "VirtIO SCSI disks, VirtIO network, VGA display, USB 3, USB pointer" in page
    assert "IDE disks, Realtek RTL8139 network, Cirrus display, no USB, no tablet pointer" in page
    assert "Administrator<" in page
    assert page.index("CentOS 6") < page.index("CentOS 7") < page.index("Legacy"), "by name"
    assert "VirtIO SCSI 磁盘" in (await admin.get("/templates", accept_language="zh-CN")).text
    assert 'href="/templates"' in (await admin.get("/guests/new")).text
    assert 'href="/templates"' in (await admin.get("/search?q=legacy")).text


async def test_none_at_all_says_what_to_do(admin, core: FakeCore) -> None:  # type: ignore[no-untyped-def]
    for key in list(core.rows["template"]):
        core.drop("template", key, "template.deleted")
    page = (await admin.until("/templates?part=list", "No template yet")).text
    assert 'href="/templates/new"' in page


async def test_creating_one(admin, core: FakeCore) -> None:  # type: ignore[no-untyped-def]
    fresh = (await admin.get("/templates/new")).text
    assert '<option value="nec-xhci" selected>' in fresh, "the form begins with the usual hardware"
    made = await admin.post("/templates/new", **WHOLE)
    assert (made.status_code, made.headers["location"]) == (303, "/templates")
    method, path, actor, body = core.asked[-1]
    assert (method, path, actor) == ("POST", "/templates", "ada")
    hardware = {"disk": "virtio", "network": "virtio", "display": "none", "usb": "", "tablet": ""}
    said = {name: WHOLE[name] for name in ("name", "admin", "operating_system")}
    assert body == {**said, "hardware": hardware, "policy": POLICY}
    assert msgspec.convert(body, CreateTemplate).policy is not None
    page = (await admin.until("/templates?part=list", "Debian 12")).text
    assert "VirtIO disks, VirtIO network, no display, no USB, no tablet pointer" in page
    assert "1 rule, then: Drop" in page
    assert page.count(">default</span>") == 5


async def test_a_refusal_stands_beside_its_field_and_keeps_what_was_typed(admin, core: FakeCore) -> None:  # type: ignore[no-untyped-def]
    await admin.get("/templates/new")
    wrong = await admin.post("/templates/new", **{**WHOLE, "rules": "accept <b>all"})
    assert wrong.status_code == 422
    assert not [asked for asked in core.asked if asked[0] == "POST"], "the portal reads rules itself"
    rules = wrong.text[wrong.text.index('for="policy-rules"') :]
    assert "invalid_policy" in rules
    assert "accept &lt;b&gt;all</textarea>" in rules
    assert 'value="Debian 12"' in wrong.text
    assert '<option value="none" selected>' in wrong.text
    taken = await admin.post("/templates/new", **{**WHOLE, "name": "Legacy"})
    assert taken.status_code == 409
    beside = taken.text.partition('<div class="field wrong"><label for="name">')[2].partition('id="operating_system"')[
        0
    ]
    assert "duplicate_name" in beside
    assert "accept tcp 80-89 from 10.0.0.0/8\r\naddress 10.0.0.5</textarea>" in taken.text


@pytest.mark.parametrize(
    ("code", "field", "shown"),
    [
        ("invalid_hardware", "hardware.display", "display"),
        ("invalid_name", "admin", "admin"),
        ("invalid_name", "name", "name"),
        ("too_many_templates", "", ""),
    ],
)
async def test_what_core_refuses_stands_there_too(admin, core: FakeCore, code: str, field: str, shown: str) -> None:  # type: ignore[no-untyped-def]
    core.refuse["POST /templates"] = {"status": 422, "code": code, "detail": "No.", "hint": "", "field": field}
    await admin.get("/templates/new")
    page = (await admin.post("/templates/new", **WHOLE)).text
    assert page.count('role="alert"') == 1
    before = page[: page.index('role="alert"')]
    assert before.rpartition('class="field')[2].partition('for="')[2].partition('"')[0] == shown
    assert ("without “/”" in page) == (field == "name"), "a template's name may have blanks"


async def test_modifying_one_sends_the_form_whole(admin, core: FakeCore) -> None:  # type: ignore[no-untyped-def]
    key = named(core, "General")
    core.put("template", core.rows["template"][key] | {"policy": POLICY}, "template.modified")
    page = (await admin.until(f"/templates/{key}/edit", "accept tcp 80-89 from 10.0.0.0/8")).text
    assert "\naddress 10.0.0.5</textarea>" in page
    assert '<option value="drop" selected>' in page
    assert '<option value="rtl8139" selected>' in page
    changed = {**WHOLE, "name": "General", "policy": "", "rules": ""}
    answer = await admin.post(f"/templates/{key}/edit", **changed)
    assert (answer.status_code, answer.headers["location"]) == (303, "/templates")
    method, path, _, body = core.asked[-1]
    assert (method, path) == ("PATCH", f"/templates/{key}")
    assert (body["no_policy"], "policy" in body, body["hardware"]["usb"]) == (True, False, "")
    assert msgspec.convert({**body, "template": key}, ModifyTemplate).hardware.display == "none"
    await admin.until("/templates?part=list", "VirtIO disks, VirtIO network, no display")
    core.refuse[f"PATCH /templates/{key}"] = {"status": 409, "code": "duplicate_name", "detail": "Taken.", "hint": ""}
    refused = await admin.post(f"/templates/{key}/edit", **{**changed, "name": "Legacy"})
    assert (refused.status_code, 'value="Legacy"' in refused.text) == (409, True)
    assert (await admin.get("/templates/nothing/edit")).status_code == 404
    assert (await admin.post("/templates/nothing/edit", **changed)).status_code == 404


async def test_deleting_asks_first_and_a_refusal_is_told(admin, core: FakeCore) -> None:  # type: ignore[no-untyped-def]
    key = named(core, "Legacy")
    page = (await admin.get("/templates")).text
    assert f'action="/templates/{key}/delete" hx-post="/templates/{key}/delete"' in page
    assert 'data-confirm="Delete the template Legacy?' in page
    told = {"status": 409, "code": "template_in_use", "detail": "Guests use it.", "hint": "Delete them first."}
    core.refuse[f"DELETE /templates/{key}"] = told
    refused = await admin.post(f"/templates/{key}/delete", htmx=True)
    assert json.loads(refused.headers["hx-trigger"])["toast"]["title"] == "Guests use it."
    del core.refuse[f"DELETE /templates/{key}"]
    done = await admin.post(f"/templates/{key}/delete", htmx=True)
    assert json.loads(done.headers["hx-trigger"])["toast"]["title"] == "Template Legacy is deleted"
    assert key not in core.rows["template"]
    assert 'data-live="template guest.list"' in page, "so the row goes from open pages"

    async def gone() -> bool:
        return key not in (await admin.get("/templates?part=list")).text

    await until(gone)
    assert (await admin.post(f"/templates/{key}/delete")).status_code == 404


async def test_who_may_only_read_sees_no_buttons(admin, monkeypatch: pytest.MonkeyPatch) -> None:  # type: ignore[no-untyped-def]
    monkeypatch.setitem(RIGHTS_OF_ROLE, "administrator", frozenset({"read"}))
    page = (await admin.get("/templates")).text
    assert "CentOS 7" in page
    for path in ("/templates/new", "/edit", "/delete", "/guests/new?template="):
        assert path not in page
    assert (await admin.get("/templates/new")).status_code == 403
    monkeypatch.setitem(RIGHTS_OF_ROLE, "administrator", frozenset({"read", "operate"}))
    page = (await admin.get("/templates")).text
    assert ("/guests/new?template=" in page, "/delete" in page) == (True, False)
