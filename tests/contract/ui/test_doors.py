"""Getting in: first visit, login, logout, and everything that must not get in."""

import re

import httpx
import pytest
from starlette.routing import Route

from nano.ui.gate import BODY_BYTES_MAX
from nano.ui.pages.routes import PAGES

pytestmark = pytest.mark.anyio
PASSWORD = "Correct1horse"


async def test_the_first_visitor_makes_the_administrator(visitor) -> None:  # type: ignore[no-untyped-def]
    assert (await visitor.get("/")).headers["location"] == "/welcome"
    await visitor.get("/welcome")
    weak = await visitor.post("/welcome", name="ada", password="short", again="short")
    assert weak.status_code == 422
    assert "weak_password" in weak.text
    assert 'value="ada"' in weak.text, "what was typed is kept"
    assert "short" not in re.sub(r"<script.*?</script>", "", weak.text), "but never a password"
    differs = await visitor.post("/welcome", name="ada", password=PASSWORD, again=PASSWORD + "x")
    assert "passwords_differ" in differs.text
    made = await visitor.post("/welcome", name="ada", password=PASSWORD, again=PASSWORD)
    assert made.status_code == 303
    kept = made.headers["set-cookie"]
    assert "HttpOnly" in kept
    assert "SameSite=Strict" in kept
    assert (await visitor.get("/")).status_code == 200
    assert (await visitor.get("/welcome")).headers["location"] == "/login"


async def test_login_rotates_the_session_and_logout_ends_it(admin) -> None:  # type: ignore[no-untyped-def]
    first = admin.http.cookies["nano_session"]
    assert (await admin.post("/logout")).headers["location"] == "/login"
    admin.http.cookies.set("nano_session", first)
    assert (await admin.get("/guests")).headers["location"] == "/login?next=/guests"
    admin.http.cookies.clear()
    await admin.get("/login?next=/cells")
    wrong = await admin.post("/login", name="ada", password="Wrong1horse")
    unknown = await admin.post("/login", name="bob", password="Wrong1horse")
    assert wrong.status_code == unknown.status_code == 401
    assert "wrong_login" in wrong.text
    assert wrong.text.replace('value="ada"', "") == unknown.text.replace('value="bob"', "")
    entered = await admin.post("/login", name="ada", password=PASSWORD, next="/cells")
    assert (entered.status_code, entered.headers["location"]) == (303, "/cells")
    assert admin.http.cookies["nano_session"] != first
    for evil in ("//evil.example", "https://evil.example/"):
        await admin.get("/password")
        await admin.post("/logout")
        await admin.get("/login")
        assert (await admin.post("/login", name="ada", password=PASSWORD, next=evil)).headers["location"] == "/"


async def test_every_page_is_closed_to_strangers(visitor) -> None:  # type: ignore[no-untyped-def]
    await visitor.enter()
    visitor.http.cookies.clear()
    paths = [
        (method, re.sub(r"{\w+(:path)?}", "x", route.path))
        for route in PAGES
        if isinstance(route, Route)
        for method in sorted((route.methods or set()) - {"HEAD"})
    ]
    paths += [("GET", path) for path in ("/events", "/search", "/strip", "/charts/zone", "/password", "/nowhere")]
    assert len(paths) > 25
    for method, path in paths:
        answer = await visitor.http.request(method, path)
        if method == "GET" and path != "/events":
            assert answer.status_code == 303, path
            assert answer.headers["location"].startswith("/login"), path
        else:
            assert answer.status_code == 401, path
    told = await visitor.http.get("/guests", headers={"HX-Request": "true"})
    assert (told.status_code, told.headers["hx-redirect"]) == (401, "/login?next=/guests")
    assert (await visitor.http.get("/health")).json()["status"] == "ok"


async def test_a_form_must_be_ours(admin) -> None:  # type: ignore[no-untyped-def]
    good = admin.token
    cases: list[tuple[dict[str, str], dict[str, str], int]] = [
        ({}, {}, 403),
        ({"form_token": "0" * 64}, {}, 403),
        ({"form_token": good}, {"Origin": "http://evil.example"}, 403),
        ({"form_token": good}, {"Sec-Fetch-Site": "cross-site"}, 403),
        ({"form_token": good, "name": "x" * BODY_BYTES_MAX}, {}, 413),
        ({"form_token": good, **{f"f{n}": "" for n in range(200)}}, {}, 413),
    ]
    for fields, headers, status in cases:
        answer = await admin.http.post("/pools", data=fields, headers=headers)
        assert answer.status_code == status
    answer = await admin.http.post("/pools", data={"name": "fresh"}, headers={"X-Form-Token": good})
    assert answer.status_code == 303


async def test_guessing_has_an_end(admin) -> None:  # type: ignore[no-untyped-def]
    admin.http.cookies.clear()
    await admin.get("/login")
    statuses = [(await admin.post("/login", name="ada", password=f"Guess{n}xx")).status_code for n in range(11)]
    assert statuses == [401] * 10 + [429]
    late = await admin.post("/login", name="ada", password=PASSWORD)
    assert late.status_code == 429
    assert "too_many_attempts" in late.text


async def test_browsers_are_told_what_is_allowed(admin) -> None:  # type: ignore[no-untyped-def]
    page = await admin.get("/")
    static = re.search(r'href="(/static/[^"]+/nano.css)"', page.text)
    assert static
    sheet = await admin.http.get(static[1], headers={"Accept-Encoding": "gzip"})
    for answer in (page, sheet, await admin.http.get("/login"), await admin.http.get("/static/x/nothing.js")):
        policy = answer.headers["content-security-policy"]
        assert "script-src 'self'" in policy
        assert "unsafe" not in policy
        assert "frame-ancestors 'none'" in policy
        assert answer.headers["x-content-type-options"] == "nosniff"
    assert page.headers["cache-control"] == "no-store"
    assert "immutable" in sheet.headers["cache-control"]
    assert sheet.headers["content-encoding"] == "gzip"
    again = await admin.http.get(static[1], headers={"If-None-Match": sheet.headers["etag"]})
    assert again.status_code == 304
    assert (await admin.http.get("/static/x/../../settings.py")).status_code in (303, 404)


async def test_the_language_is_the_browsers_or_ones_own(visitor) -> None:  # type: ignore[no-untyped-def]
    chinese = await visitor.get("/welcome", accept_language="zh-CN,zh;q=0.9")
    assert 'lang="zh-Hans"' in chinese.text
    assert "欢迎使用 Nano" in chinese.text
    chosen = await visitor.post("/preferences", language="en", theme="dark")
    assert chosen.status_code == 303
    page = await visitor.get("/welcome", accept_language="zh-CN")
    assert 'lang="en"' in page.text
    assert 'data-theme="dark"' in page.text
    await visitor.post("/preferences", language="../../etc", theme="<script>")
    assert 'lang="en"' in (await visitor.get("/welcome")).text


async def test_changing_ones_password(admin) -> None:  # type: ignore[no-untyped-def]
    wrong = await admin.post("/password", current="nope", password="Better2horse", again="Better2horse")
    assert wrong.status_code == 422
    assert "wrong_password" in wrong.text
    done = await admin.post("/password", current=PASSWORD, password="Better2horse", again="Better2horse")
    assert done.headers["location"] == "/password?changed"
    assert (await admin.get("/guests")).status_code == 200


async def test_odd_requests_do_no_harm(admin) -> None:  # type: ignore[no-untyped-def]
    for path in ("/guests?page=99999999999999", "/guests?page=-1&sort=;drop", "/guests/%2e%2e", "/tasks?page=x&state=y",
                 "/guests/nobody", "/cells/nobody", "/journal?cursor=abc", "/charts/guest/none", "/search?q=%00"):  # fmt: skip
        assert (await admin.get(path)).status_code < 500, path
    async with httpx.AsyncClient(base_url=admin.http.base_url, trust_env=False) as raw:
        assert (await raw.get("/guests", headers={"Cookie": "nano_session=" + "x" * 5000})).status_code == 303
        assert (await raw.put("/guests")).status_code in (401, 403)
