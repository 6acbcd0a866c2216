"""Routes: a tree over path segments, made once from the catalogue.

A literal segment goes before a ``{name}``. Paths are exact: no trailing slash, no folding of case, nothing decoded
before it is split, so an encoded slash never makes a new segment.
"""

from collections.abc import Awaitable, Callable
from typing import Final, NamedTuple
from urllib.parse import unquote_to_bytes

from nano.domain.catalogue import Right
from nano.domain.errors import Unknown
from nano.http.answers import Answer, Receive, Request, Send
from nano.http.problems import MethodNotAllowed

PREFIX: Final = "/api/v2"
ARGUMENT_MAX: Final = 200

Handler = Callable[[Request], Awaitable[Answer]]
Streamer = Callable[[Request, Receive, Send], Awaitable[None]]


class Route(NamedTuple):
    """``right`` None = open to everybody, unsigned. Either ``handler`` or ``streamer``; one that ``takes_body`` reads the body
    itself, and is signed as if there were none."""

    name: str
    method: str
    path: str  # with the prefix
    right: Right | None
    handler: Handler | None = None
    streamer: Streamer | None = None
    takes_body: bool = False


class _Node:
    __slots__ = ("argument", "literals", "methods", "name")

    def __init__(self) -> None:
        self.literals: dict[bytes, _Node] = {}
        self.argument: _Node | None = None
        self.name = ""
        self.methods: dict[str, Route] = {}


class Routes:
    def __init__(self, routes: list[Route]) -> None:
        self.routes = routes
        self._root = _Node()
        self._plain: dict[tuple[str, bytes], Route] = {}
        for route in routes:
            self._insert(route)
            if "{" not in route.path:
                self._plain[(route.method, route.path.encode())] = route

    def _insert(self, route: Route) -> None:
        node = self._root
        for part in route.path.split("/")[1:]:
            if part.startswith("{"):
                node.argument = node.argument or _Node()
                name = part[1:-1]
                assert node.argument.name in ("", name), "one place in a path has one name"
                node = node.argument
                node.name = name
            else:
                node = node.literals.setdefault(part.encode(), _Node())
        assert route.method not in node.methods, f"{route.method} {route.path} is there twice"
        node.methods[route.method] = route

    def find(self, method: str, raw_path: bytes) -> tuple[Route, dict[str, str]]:
        """The route and its arguments. HEAD finds GET. Raises Unknown(unknown_route), MethodNotAllowed."""
        wanted = "GET" if method == "HEAD" else method
        route = self._plain.get((wanted, raw_path))
        if route is not None:
            return route, {}
        arguments: dict[str, str] = {}
        node: _Node | None = self._root
        for part in raw_path.split(b"/")[1:]:
            assert node is not None
            below = node.literals.get(part)
            if below is None and node.argument is not None:
                value = _decode(part)
                if value:
                    below = node.argument
                    arguments[below.name] = value
            node = below
            if node is None:
                break
        if node is None or not node.methods:
            raise Unknown("There is nothing at this address.", code="unknown_route", hint="See /api/v2/openapi.json.")
        found = node.methods.get(wanted)
        if found is None:
            allowed = [*node.methods, *(["HEAD"] if "GET" in node.methods else [])]
            raise MethodNotAllowed(method, tuple(sorted(allowed)))
        return found, arguments


def _decode(part: bytes) -> str:
    """Empty for what can't be the name of anything."""
    if len(part) > 3 * ARGUMENT_MAX:
        return ""
    try:
        text = unquote_to_bytes(part).decode()
    except UnicodeDecodeError:
        return ""
    return text if len(text) <= ARGUMENT_MAX and text.isprintable() else ""
