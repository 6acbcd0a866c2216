"""Small parts of the gate, and the files behind the pages."""

import hashlib
import json
from pathlib import Path

import pytest
from starlette.datastructures import Headers

from nano.domain.errors import Failure, Invalid
from nano.ui.doorman import digest_of, form_token
from nano.ui.gate import cookie, local_path, read_cookies, same_origin
from nano.ui.render import TEMPLATES
from nano.ui.settings import Settings, load_settings
from nano.ui.statics import ROOT, Statics


@pytest.mark.parametrize(
    ("wanted", "path"),
    [("/guests?q=a", "/guests?q=a"), ("//evil.example", "/"), ("https://evil.example", "/"), ("/\\evil", "/"), ("", "/"),
     ("/a\nb", "/"), ("/guests\\@evil", "/")],
)  # fmt: skip
def test_after_login_one_only_goes_to_our_own_pages(wanted: str, path: str) -> None:
    assert local_path(wanted) == path


@pytest.mark.parametrize(
    ("headers", "ours"),
    [
        ({"host": "nano:5870"}, True),
        ({"host": "nano:5870", "origin": "http://nano:5870", "sec-fetch-site": "same-origin"}, True),
        ({"host": "nano:5870", "origin": "http://evil"}, False),
        ({"host": "nano:5870", "origin": "http://nano:5871"}, False),
        ({"host": "nano:5870", "origin": "null"}, False),
        ({"host": "nano:5870", "sec-fetch-site": "cross-site"}, False),
        ({"host": "nano:5870", "sec-fetch-site": "same-site"}, False),
    ],
)
def test_which_requests_are_from_our_own_pages(headers: dict[str, str], ours: bool) -> None:
    assert same_origin(Headers(headers)) is ours


def test_cookies_are_guarded_and_odd_ones_are_nothing() -> None:
    assert cookie("a", "b", secure=True) == "a=b; Path=/; SameSite=Strict; HttpOnly; Secure"
    assert cookie("a", "", secure=False, max_age_s=0, script=True) == "a=; Path=/; SameSite=Strict; Max-Age=0"
    assert read_cookies('nano_session=abc; other="x y"')["nano_session"] == "abc"
    assert read_cookies("=;;[") == {}


def test_a_form_token_is_made_from_the_secret_and_tells_nothing_of_it() -> None:
    assert form_token("one") != form_token("two")
    assert "one" not in form_token("one")
    assert digest_of("one") != form_token("one")


def test_vendored_files_are_what_the_manifest_says() -> None:
    vendor = ROOT / "vendor"
    packages = json.loads((vendor / "manifest.json").read_text())["packages"]
    named = {vendor / "manifest.json"}
    for package in packages.values():
        for name, digest in package["files"].items():
            path = vendor / package["folder"] / name
            named.add(path)
            assert hashlib.sha256(path.read_bytes()).hexdigest() == digest, f"{path.name}: run scripts/vendor"
    assert {path for path in vendor.rglob("*") if path.is_file()} == named


def test_every_icon_a_template_names_is_in_the_sprite() -> None:
    import re

    from nano.ui.sentences import TELLERS
    from nano.ui.vocabulary import STATE_ICONS

    drawn = set(re.findall(r'<symbol id="([\w-]+)"', (ROOT / "icons.svg").read_text()))
    used = set(STATE_ICONS.values()) | {teller[0] for teller in TELLERS.values()}
    for path in TEMPLATES.rglob("*.html"):
        used |= set(re.findall(r'(?<!_)icon\("([\w-]+)"', path.read_text()))
    assert used <= drawn, used - drawn


def test_templates_hold_no_scripts_and_no_styles_of_their_own() -> None:
    import re

    odd = re.compile(r"<script(?![^>]*\bsrc=)|<style|\sstyle=|\son\w+=|javascript:", re.IGNORECASE)
    for path in TEMPLATES.rglob("*.html"):
        assert not odd.search(path.read_text()), f"the policy would block it: {path}"


def test_static_names_change_with_their_content(tmp_path: Path) -> None:
    (tmp_path / "css").mkdir()
    (tmp_path / "css" / "1.css").write_text("a{}")
    (tmp_path / "x.js").write_text("1")
    (tmp_path / "vendor").mkdir()
    (tmp_path / "vendor" / "manifest.json").write_text('{"packages": {}}')
    first = Statics(tmp_path)
    assert first.url("nano.css") == f"/static/{first.digest}/nano.css"
    (tmp_path / "x.js").write_text("2")
    assert Statics(tmp_path).digest != first.digest
    with pytest.raises(KeyError):
        first.url("y.js")


def test_a_portal_without_a_vendored_file_does_not_start(tmp_path: Path) -> None:
    vendor = tmp_path / "vendor"
    (vendor / "htmx" / "dist").mkdir(parents=True)
    manifest = {"packages": {"htmx.org": {"folder": "htmx", "files": {"dist/htmx.min.js": "d6", "LICENSE": "d3"}}}}
    (vendor / "manifest.json").write_text(json.dumps(manifest))
    (vendor / "htmx" / "LICENSE").write_text("")
    with pytest.raises(Failure, match=r"1 of the portal's 2 vendored files are missing.*htmx\.min\.js") as missing:
        Statics(tmp_path)
    assert missing.value.code == "static_missing"
    (vendor / "htmx" / "dist" / "htmx.min.js").write_text("")
    Statics(tmp_path)


def test_settings_are_made_with_comments_and_misspelt_ones_are_refused(tmp_path: Path) -> None:
    assert load_settings(tmp_path) == Settings()
    path = tmp_path / "config" / "frontend.toml"
    assert path.read_text().count("#") > 10
    path.write_text("[listen]\nport = 1\nprot = 2\n")
    with pytest.raises(Invalid) as refused:
        load_settings(tmp_path)
    assert str(path) in str(refused.value)
