"""The route tree: exact, literal before argument, and never more segments than the path has."""

import pytest

from nano.domain.errors import NanoError
from nano.http.answers import Answer, Request
from nano.http.routing import Route, Routes


async def nothing(request: Request) -> Answer:
    return Answer(200, [], b"")


ROUTES = Routes(
    [
        Route("list", "GET", "/api/v2/guests", "read", nothing),
        Route("create", "POST", "/api/v2/guests", "operate", nothing),
        Route("show", "GET", "/api/v2/guests/{guest}", "read", nothing),
        Route("delete", "DELETE", "/api/v2/guests/{guest}", "operate", nothing),
        Route("start", "POST", "/api/v2/guests/{guest}/start", "operate", nothing),
    ]
)


@pytest.mark.parametrize(
    ("method", "path", "name", "arguments"),
    [
        ("GET", b"/api/v2/guests", "list", {}),
        ("HEAD", b"/api/v2/guests", "list", {}),
        ("POST", b"/api/v2/guests", "create", {}),
        ("GET", b"/api/v2/guests/web", "show", {"guest": "web"}),
        ("GET", b"/api/v2/guests/%E4%B8%AD%2Fa", "show", {"guest": "中/a"}),
        ("DELETE", b"/api/v2/guests/web", "delete", {"guest": "web"}),
        ("POST", b"/api/v2/guests/start/start", "start", {"guest": "start"}),
    ],
)
def test_found(method: str, path: bytes, name: str, arguments: dict[str, str]) -> None:
    route, found = ROUTES.find(method, path)
    assert (route.name, found) == (name, arguments)


@pytest.mark.parametrize(
    "path",
    [
        b"/", b"", b"/api/v2", b"/api/v2/guests/", b"//api/v2/guests", b"/api/v2/Guests", b"/api/v2/guests/web/",
        b"/api/v2/guests/web/stop", b"/api/v2/guests/%00", b"/api/v2/guests/%ff", b"/api/v2/guests/" + b"x" * 201,
        b"/api/v2/%67uests", b"/api/v2/guests/a/../b",
    ],
)  # fmt: skip
def test_not_found(path: bytes) -> None:
    with pytest.raises(NanoError) as refused:
        ROUTES.find("GET", path)
    assert (refused.value.status, refused.value.code) == (404, "unknown_route")


def test_wrong_method_names_the_right_ones() -> None:
    with pytest.raises(NanoError) as refused:
        ROUTES.find("PUT", b"/api/v2/guests/web")
    assert (refused.value.status, refused.value.code) == (405, "method_not_allowed")
    assert refused.value.context["allowed"] == ["DELETE", "GET", "HEAD"]
