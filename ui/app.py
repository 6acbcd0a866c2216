"""The portal as one ASGI application: routes, the gate in front, errors as pages."""

from collections.abc import Mapping

from starlette.applications import Starlette
from starlette.exceptions import HTTPException
from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import Route, WebSocketRoute
from starlette.types import ASGIApp, Receive, Scope, Send
from starlette.websockets import WebSocket

from nano.domain.errors import NanoError, Unknown
from nano.ui.gate import Gate
from nano.ui.pages import doors, guests, live
from nano.ui.pages.routes import PAGES
from nano.ui.portal import Portal, portal_of
from nano.ui.statics import Statics
from nano.ui.visit import visit_of


def make_app(portal: Portal, statics: Statics) -> ASGIApp:
    """The whole portal; answers on any host name, at the site's root."""

    async def console(socket: WebSocket) -> None:
        await portal.consoles.serve(socket)

    routes = [
        Route("/health", live.health),
        Route("/login", doors.login_page),
        Route("/login", doors.login, methods=["POST"]),
        Route("/welcome", doors.welcome_page),
        Route("/welcome", doors.welcome, methods=["POST"]),
        Route("/logout", doors.logout, methods=["POST"]),
        Route("/password", doors.password_page),
        Route("/password", doors.change_password, methods=["POST"]),
        Route("/preferences", doors.preferences, methods=["POST"]),
        Route("/events", live.events),
        Route("/search", live.search),
        Route("/strip", live.strip),
        Route("/charts/{resource:path}", live.chart),
        *(
            Route(f"/guests/{{guest}}/{port}/ticket", guests.console_ticket, methods=["POST"])
            for port in ("console", "serial")
        ),
        WebSocketRoute("/console/{guest}/ws", console),
        *PAGES,
    ]
    app = Starlette(
        routes=routes, exception_handlers={NanoError: _refused, HTTPException: _no_page, Exception: _broken}
    )
    app.state.portal = portal

    def refuse(scope: Scope, error: NanoError) -> Response:
        return portal.error_page(visit_of(Request(scope)), error)

    return Gate(
        _StaticsFirst(app, statics),
        doorman=portal.doorman,
        languages=portal.languages,
        refuse=refuse,
        https=portal.https,
        mark=lambda: portal.hub.mark,
    )


class _StaticsFirst:
    """Static files need no router."""

    def __init__(self, app: ASGIApp, statics: Statics) -> None:
        self._app = app
        self._statics = statics

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        is_static = scope["type"] == "http" and scope["path"].startswith("/static/")
        await (self._statics if is_static else self._app)(scope, receive, send)


async def _refused(request: Request, error: Exception) -> Response:
    portal, _ = portal_of(request)
    assert isinstance(error, NanoError)
    return portal.refused(request, error)


async def _broken(request: Request, error: Exception) -> Response:  # noqa: ARG001 (the server logs it)
    """A defect of ours: nothing of it is shown."""
    portal, _ = portal_of(request)
    return portal.refused(request, NanoError("Something broke inside the portal.", hint="It is in the log."))


async def _no_page(request: Request, error: Exception) -> Response:
    portal, visit = portal_of(request)
    assert isinstance(error, HTTPException)
    unknown = Unknown(
        "There is no such page.", code="unknown_page", hint="Check the address, or start from the dashboard."
    )
    response = portal.error_page(visit, unknown)
    headers: Mapping[str, str] = error.headers or {}
    response.status_code = error.status_code
    response.headers.update(headers)
    return response
