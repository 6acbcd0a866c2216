"""Lists over all their pages, filters, the journal, raw requests, the console."""

from typing import Any

import msgspec
import pytest

from nano.domain.errors import Conflict, Unknown
from nano.tools.nanoctl import exits


def paths(api: Any) -> list[str]:
    return [asked.path for asked in api.requests]


def test_all_pages_are_read(nanoctl: Any, api: Any) -> None:
    api.page_max = 2
    assert [row["name"] for row in nanoctl("guest", "list", "-o", "json").json] == ["db", "mail", "web"]
    assert [asked.query.get("cursor") for asked in api.requests] == [None, ["2"]]


def test_a_limit_stops_early(nanoctl: Any, api: Any) -> None:
    api.page_max = 1
    assert len(nanoctl("guest", "list", "--limit", "2", "-o", "json").json) == 2
    assert [asked.query["limit"] for asked in api.requests] == [["2"], ["1"]]


def test_filters_are_passed_on(nanoctl: Any, api: Any) -> None:
    nanoctl("guest", "list", "--in-state", "running", "--pool", "default", "--cell", "C", "--name", "we")
    query = api.requests[0].query
    assert {name: query[name] for name in ("state", "pool", "cell", "name")} == {
        "state": ["running"],
        "pool": ["default"],
        "cell": ["C"],
        "name": ["we"],
    }


def test_an_empty_list_is_empty_for_programs_and_a_hint_for_people(nanoctl: Any, api: Any) -> None:
    api.rows["guests"] = []
    assert nanoctl("guest", "list", "-o", "json").out == "[]\n"
    outcome = nanoctl("guest", "list")
    assert outcome.out == ""
    assert "nanoctl guest create NAME" in outcome.err


def test_names_are_one_part_of_the_path(nanoctl: Any, api: Any) -> None:
    assert nanoctl("guest", "show", "../cells").code == exits.NOT_FOUND
    assert api.requests[0].path == "/api/v2/guests/..%2Fcells"


def test_rows_of_a_newer_core_are_shown(nanoctl: Any, api: Any) -> None:
    row = {"id": "x", "name": "web", "state": "dreaming", "colour": "blue", "changed_at": "2026-11-21T03:00:00Z"}
    api.answer("GET", "/guests", {"items": [row], "next": None})
    api.answer("GET", "/guests/web", row)
    assert "dreaming" in nanoctl("guest", "list").out
    assert "colour" in nanoctl("guest", "show", "web").out


def test_history_is_told_oldest_first(nanoctl: Any, api: Any) -> None:
    def fact(position: int) -> dict[str, Any]:
        return {
            "position": position, "at": "2026-11-21T03:00:00Z", "actor": "admin", "command_id": "", "cause": "",
            "resource": "cell/C", "version": position, "event": {"type": "cell.enabled"},
        }  # fmt: skip

    pages = [{"items": [fact(9), fact(8)], "next": "8"}, {"items": [fact(7)], "next": None}]
    api.answer("GET", "/cells/C/history", lambda _: (200, pages.pop(0)))
    assert [row["position"] for row in nanoctl("cell", "history", "C", "-o", "json").json] == [7, 8, 9]
    pages += [{"items": [fact(9), fact(8)], "next": "8"}, {"items": [fact(7), fact(6)], "next": "6"}]
    api.answer("GET", "/journal", lambda _: (200, pages.pop(0)))
    assert [row["position"] for row in nanoctl("events", "--after", "7", "-o", "json").json] == [8, 9]
    assert not any(asked.query.get("resource") for asked in api.requests)
    assert api.requests[-1].query["cursor"] == ["8"]


def test_a_raw_request(nanoctl: Any, api: Any) -> None:
    outcome = nanoctl("api", "GET", "/api/v2/guests?limit=1&name=a%20b")
    assert outcome.code == exits.OK
    assert outcome.json["total"] == 3
    assert api.requests[0].query == {"limit": ["1"], "name": ["a b"]}
    api.answer("POST", "/compute-pools", {"done": True}, 201)
    outcome = nanoctl(
        "api", "post", "/api/v2/compute-pools", "-d", '{"name": "fast"}', "-H", "Idempotency-Key: k", "-i"
    )
    assert outcome.out.splitlines()[0] == "201"
    assert outcome.out.endswith('{"done":true}\n')
    assert api.requests[-1].body == {"name": "fast"}
    assert api.requests[-1].headers["idempotency-key"] == "k"


@pytest.mark.parametrize(("error", "code"), [(Unknown("No."), exits.NOT_FOUND), (Conflict("No."), exits.REFUSED)])
def test_a_raw_request_prints_the_problem_and_exits_by_its_status(
    nanoctl: Any, api: Any, error: Any, code: int
) -> None:
    api.answer("DELETE", "/guests/x", error)
    outcome = nanoctl("api", "DELETE", "/api/v2/guests/x")
    assert outcome.code == code
    assert msgspec.json.decode(outcome.out)["code"] == error.code
    assert outcome.err == ""


def test_raw_requests_that_make_no_sense(nanoctl: Any, api: Any, tmp_path: Any) -> None:
    for words in (
        ("GET", "api"),
        ("FETCH", "/api"),
        ("POST", "/api", "-d", f"@{tmp_path}/none"),
        ("GET", "/a", "-H", "x"),
    ):
        assert nanoctl("api", *words).code == exits.USAGE
    assert not api.requests


def test_a_body_from_a_file(nanoctl: Any, api: Any, tmp_path: Any) -> None:
    (tmp_path / "pool.json").write_text('{"name":"slow"}')
    api.answer("POST", "/compute-pools", {}, 201)
    nanoctl("api", "POST", "/api/v2/compute-pools", "-d", f"@{tmp_path}/pool.json")
    assert api.requests[0].body == {"name": "slow"}


def test_a_token_of_a_display(nanoctl: Any, api: Any) -> None:
    answer = {"token": "secret", "path": "/api/v2/console/secret", "expires_at": "2026-11-21T03:30:15Z"}
    api.answer("POST", "/guests/web/console", answer)
    url = api.url.replace("http", "ws") + "/api/v2/console/secret"
    assert nanoctl("guest", "display", "web", "-o", "json").json["url"] == url
    outcome = nanoctl("guest", "display", "web")
    assert url in outcome.out
    assert "in 15 s" in outcome.out


def test_yaml_says_the_same_as_json(nanoctl: Any, api: Any) -> None:
    api.rows["images"][0] = msgspec.structs.replace(api.rows["images"][0], name="no", format='a: "b"', sha256="12e4")
    text = nanoctl("image", "list", "-o", "yaml").out
    assert text.startswith('- id: "9a8b7c6d')
    assert '  name: "no"\n' in text
    assert '  format: "a: \\"b\\""\n' in text
    assert '  sha256: "12e4"\n' in text


@pytest.mark.parametrize(
    "words",
    ["guest list", "guest show web", "guest history web", "cell list", "pool show default", "image list", "task list",
     "journal list", "placement explain --cores 1 --memory 128MiB --disk 1GiB", "status"],
)  # fmt: skip
def test_every_read_can_be_of_a_moment(nanoctl: Any, api: Any, words: str) -> None:
    """Also what is looked up beside it: the names in a history are those of that moment."""
    nanoctl(*words.split(), "--at", "1200")
    assert api.requests
    assert all(asked.query.get("at") == ["1200"] for asked in api.requests), api.requests
