"""The API as one ASGI application: every request goes through the same few stations, in this order.

    route → body within its limit → signature → rights → handler → answer

Routes come from the catalogue; nothing that is not in it can be reached, and what is in it needs a right. An error
becomes a problem document here and nowhere else. Lists are served without building anything but the page itself.
"""

import contextlib
import logging
import time
from collections.abc import Callable, Mapping
from datetime import datetime
from functools import cached_property, partial
from typing import TYPE_CHECKING, Any, Final

import anyio

from nano.domain.catalogue import COMMANDS, QUERIES, CommandEntry, QueryEntry
from nano.domain.errors import DeadlineExceeded, Invalid, NanoError, TooLarge
from nano.http.answers import Answer, Receive, Request, Send, json_answer, send_answer
from nano.http.bodies import BodyReader, ClientGone, refuse_body
from nano.http.commands import make_command
from nano.http.console import Consoles
from nano.http.credentials import Credentials
from nano.http.decoding import QUERY_BYTES_MAX, decode_query, whole_number
from nano.http.events import EventStreams
from nano.http.gate import NOBODY, authorize, principal_of
from nano.http.history import make_history, make_journal
from nano.http.lists import make_list, make_show
from nano.http.openapi import describe
from nano.http.overview import Overview
from nano.http.problems import BadRequest, MethodNotAllowed, problem_answer, unexpected_answer
from nano.http.request_stats import NO_ROUTE, RequestStats
from nano.http.routing import PREFIX, Handler, Route, Routes
from nano.http.screenshot import make_screenshot
from nano.http.signing import Headers
from nano.http.snapshots import make_snapshots
from nano.http.telling import make_inside, make_show_password, make_show_vnc
from nano.http.transfers import transfer_routes
from nano.http.verifier import Verifier

if TYPE_CHECKING:
    from nano.core.core import Core
    from nano.http.metrics import CoreMetrics

log = logging.getLogger("nano.http")

AFTER: Final = b"x-nano-after"
AFTER_PATIENCE_S: Final = 5.0


class Api:
    """An ASGI application. ``begin_shutdown`` ends event streams and consoles, so that a server can stop promptly."""

    def __init__(self, core: "Core", credentials: Credentials, *, clock: Callable[[], datetime]) -> None:
        self.core = core
        self.verifier = Verifier(credentials, clock)
        self._bodies = BodyReader()
        self.streams = EventStreams(core)
        self.consoles = Consoles(core, clock)
        self.requests = RequestStats()
        self.routes = Routes(self._make_routes())

    @cached_property
    def metrics(self) -> "CoreMetrics":
        from nano.http.metrics import CoreMetrics

        return CoreMetrics(self.core, self.requests, lambda: len(self.streams))

    def begin_shutdown(self) -> None:
        self.streams.close()
        self.consoles.close()

    async def __call__(self, scope: Mapping[str, Any], receive: Receive, send: Send) -> None:
        if scope["type"] == "http":
            await self._http(scope, receive, send)
        elif scope["type"] == "websocket":
            await self.consoles.websocket(dict(scope), receive, send)
        else:
            raise RuntimeError(f"no such thing is served: {scope['type']}")

    async def _http(self, scope: Mapping[str, Any], receive: Receive, send: Send) -> None:
        pairs: list[tuple[bytes, bytes]] = scope["headers"]
        headers = dict(pairs)
        if len(headers) != len(pairs):
            headers = dict(reversed(pairs))  # of a repeated header the first one counts, as the signature has it
        route: Route | None = None
        began = time.perf_counter()
        try:
            route, arguments = self.routes.find(scope["method"], scope["raw_path"])
            answer = await self._answer(route, arguments, scope, headers, receive, send)
        except TooLarge as error:
            self.requests.answered(route.name if route else NO_ROUTE, error.status, None)
            await refuse_body(problem_answer(error), headers, receive, send)
            return
        except NanoError as error:
            if error.status == 401:
                log.info("request refused code=%s method=%s path=%r", error.code, scope["method"], scope["path"][:200])
            answer = problem_answer(error)
        except ClientGone:
            return
        except Exception as error:  # noqa: BLE001 (logged with its traceback; the client gets its number)
            answer = unexpected_answer(error, scope["method"], scope["path"])
        seconds = time.perf_counter() - began if answer is not None else None
        self.requests.answered(route.name if route else NO_ROUTE, answer.status if answer else 200, seconds)
        if answer is not None and route is not None and route.takes_body:
            await refuse_body(answer, headers, receive, send)
        elif answer is not None:
            await send_answer(send, answer)

    async def _answer(
        self,
        route: Route,
        arguments: dict[str, str],
        scope: Mapping[str, Any],
        headers: Headers,
        receive: Receive,
        send: Send,
    ) -> Answer | None:
        """None when it was a stream, which has sent its answer itself."""
        method, raw_path, query = scope["method"], scope["raw_path"], scope["query_string"]
        if route.name == "event.follow" and method == "HEAD":
            raise MethodNotAllowed(method, ("GET",))
        if len(query) > QUERY_BYTES_MAX:
            raise BadRequest(
                "The query is too long.", code="invalid_query", hint=f"Use {QUERY_BYTES_MAX} bytes at most."
            )
        body = b"" if route.takes_body else await self._bodies.read(headers, receive)
        if body and route.method == "GET":
            raise BadRequest("A GET has no body.", code="unexpected_body", hint="Use the query.")
        if route.right is None:
            assert route.handler is not None, "a stream needs a right"
            return await route.handler(_anonymous(method, scope["path"], query, headers))
        verified = self.verifier.verify(method, raw_path, query, headers, body)
        principal = principal_of(verified)
        authorize(principal, route.right)
        request = Request(method, scope["path"], query, headers, body, arguments, principal, verified.signature)
        if AFTER in headers:
            await self._catch_up(request.header(AFTER))
        if route.handler is not None:
            return await route.handler(request)
        assert route.streamer is not None
        await route.streamer(request, receive, send)
        return None

    async def _catch_up(self, text: str) -> None:
        """Read your writes: wait until the views show the position, for a moment at most."""
        position = whole_number(text, "x_nano_after", 0, 10**15)
        if position <= self.core.views.position:
            return
        with anyio.move_on_after(AFTER_PATIENCE_S), contextlib.suppress(anyio.ClosedResourceError):  # Core is stopping
            await self.core.feed.wait_for(position)
            return
        raise DeadlineExceeded(
            f"Core is at position {self.core.views.position}, not yet at {position}.",
            code="position_not_reached",
            hint="Is this position from this Core?",
        )

    # ------------------------------------------------------------------ routes

    def _make_routes(self) -> list[Route]:
        document = describe(self.core.version)
        overview = Overview(self.core)

        async def openapi(request: Request) -> Answer:
            decode_query(request.query, ())
            return json_answer(document, 200)

        async def metrics(request: Request) -> Answer:
            from nano.http.metrics_page import metrics_answer  # its library is wanted by few

            decode_query(request.query, ())
            return metrics_answer(self.metrics)

        own: dict[str, Handler] = {
            "placement.explain": overview.placement,
            "zone.show": overview.zone,
            "usage.show": overview.usage,
            "guest.screenshot": make_screenshot(self.core),
            "guest.inside": make_inside(self.core),
            "drift.list": overview.drift,
            "orphans.list": overview.orphans,
        }
        telling: dict[str, Callable[[CommandEntry], Handler]] = {
            "guest.open_console": self.consoles.make_handler,
            "guest.open_serial": self.consoles.make_handler,
            "guest.show_password": partial(make_show_password, self.core),
            "guest.vnc.show": partial(make_show_vnc, self.core),
        }
        routes = [
            Route("openapi.show", "GET", f"{PREFIX}/openapi.json", "read", openapi),
            Route("metrics.show", "GET", f"{PREFIX}/metrics", "read", metrics),
            *transfer_routes(self.core),
            Route("health.show", "GET", f"{PREFIX}/health", None, overview.health),
        ]
        for command in COMMANDS:
            handler = telling[command.name](command) if command.name in telling else make_command(self.core, command)
            routes.append(Route(command.name, command.method, PREFIX + command.path, command.right, handler))
        for query in QUERIES:
            path = PREFIX + query.path
            if query.name == "event.follow":
                routes.append(Route(query.name, "GET", path, query.right, streamer=self.streams.stream))
            else:
                handler = own.get(query.name) or self._query_handler(query)
                routes.append(Route(query.name, "GET", path, query.right, handler))
        return routes

    def _query_handler(self, query: QueryEntry) -> Handler:
        verb = query.name.rpartition(".")[2]
        if query.name == "guest.snapshot.list":
            return make_snapshots(self.core)
        if query.name == "journal.list":
            return make_journal(self.core, query)
        if verb == "history":
            return make_history(self.core, query)
        if verb == "list":
            return make_list(self.core, query)
        if verb == "show":
            return make_show(self.core, query)
        raise Invalid(f"Nothing answers the query {query.name}.", code="unserved_query")


def _anonymous(method: str, path: str, query: bytes, headers: Headers) -> Request:
    """A request to what is open to everybody; its principal has no rights."""
    return Request(method, path, query, headers, b"", {}, NOBODY, "")


def make_app(core: "Core", credentials: Credentials, *, clock: Callable[[], datetime]) -> Api:
    return Api(core, credentials, clock=clock)
