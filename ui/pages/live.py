"""What keeps an open page true: the browser's event stream, chart data, and the parts around every page."""

from collections.abc import AsyncIterator, Callable
from contextlib import AbstractContextManager
from typing import Any, Final

import anyio
import msgspec
from starlette.requests import Request
from starlette.responses import JSONResponse, Response, StreamingResponse
from starlette.types import Receive, Scope, Send

from nano.domain.errors import Unauthenticated
from nano.ui.hub import Seat
from nano.ui.portal import Portal, portal_of
from nano.ui.usage_ring import with_used

GATHER_S: Final = 0.08  # changes within this are told together
SILENCE_S: Final = 15.0


async def events(request: Request) -> Response:
    """Server-sent events: ``changed`` (topics), ``usage`` (what the page watches), ``link`` (Core came or went)."""
    portal, visit = portal_of(request)
    session = visit.session
    if session is None:
        raise Unauthenticated("You are not logged in.", code="not_logged_in", hint="Log in, then try again.")
    token = visit.secret
    watch = request.query_params.get("watch", "")[:200]
    since = (request.headers.get("last-event-id") or request.query_params.get("since", ""))[:80]

    async def told(seat: Seat) -> AsyncIterator[bytes]:
        yield b"retry: 1500\n\n" + _link(portal)
        while not seat.closed:
            with anyio.move_on_after(SILENCE_S):
                await seat.wake.wait()
            if portal.doorman.session_of(token) is None:
                yield b"event: over\ndata: {}\n\n"
                return
            if not seat.wake.is_set():
                yield b": still here\n\n"
                continue
            await anyio.sleep(GATHER_S)
            if text := _told(portal, seat, watch):
                yield text

    return _Seated(lambda: portal.hub.seat(session.id, since), told)


class _Seated(StreamingResponse):
    """Takes its seat before it answers, so that one too many is refused like anything else; gives it back however it ends."""

    def __init__(
        self, seat: Callable[[], AbstractContextManager[Seat]], told: Callable[[Seat], AsyncIterator[bytes]]
    ) -> None:
        headers = {"cache-control": "no-store", "x-accel-buffering": "no"}
        super().__init__((), media_type="text/event-stream", headers=headers)
        self._seat = seat
        self._told = told

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        with self._seat() as seat:
            self.body_iterator = self._told(seat)
            await super().__call__(scope, receive, send)


def _told(portal: Portal, seat: Seat, watch: str) -> bytes:
    topics, usage, link = seat.take()
    text = b""
    if topics:
        text += b"id: %b\n" % portal.hub.mark.encode() + _event("changed", topics)
    if usage is not None and watch:
        text += _event("usage", _watched(portal, usage, watch))
    if link:
        text += _link(portal)
    return text


def _watched(portal: Portal, usage: dict[str, Any], watch: str) -> dict[str, Any]:
    """Only what the page shows: "zone", "guests", "cell/<name>" or "guest/<id>"."""
    kind, _, key = watch.partition("/")
    found: dict[str, Any] = {"at": portal.clock().timestamp()}
    if watch == "guests":
        found["guests"] = {name: round(values["cpu_percent"], 1) for name, values in usage["guests"].items()}
    elif watch == "zone":
        found["now"] = with_used(portal.usage.zone_now())
    elif kind in ("cell", "guest"):
        values = usage[kind + "s"].get(key)
        found["now"] = with_used(values) if values else None
    return found


def _link(portal: Portal) -> bytes:
    away = portal.mirror.away_since
    return _event("link", {"away_since": away.isoformat() if away else None})


def _event(name: str, data: Any) -> bytes:
    return b"event: %b\ndata: %b\n\n" % (name.encode(), msgspec.json.encode(data))


async def chart(request: Request) -> Response:
    """The last hour of the zone, a cell or a guest, by columns."""
    portal, _ = portal_of(request)
    resource = str(request.path_params["resource"])
    series = portal.usage.zone if resource == "zone" else portal.usage.series(resource)
    return JSONResponse(series.columns() if series else {"time": []}, headers={"cache-control": "no-store"})


async def strip(request: Request) -> Response:
    """The strip of tasks at the foot of a page."""
    portal, visit = portal_of(request)
    return portal.page(visit, "parts/strip.html", {})


async def search(request: Request) -> Response:
    """What the palette finds: guests, cells, pools, images by name, address or id; actions by word."""
    portal, visit = portal_of(request)
    text = request.query_params.get("q", "").strip().lower()[:64]
    found: list[dict[str, str]] = []
    if text:
        for guest in portal.mirror.all("guest"):
            if (
                text in guest["name"].lower()
                or guest["id"].startswith(text)
                or any(text in address for address in guest["addresses"])
            ):
                found.append(
                    {"kind": "guest", "name": guest["name"], "url": f"/guests/{guest['id']}", "state": guest["state"]}
                )
        for cell in portal.mirror.all("cell"):
            if text in cell["name"].lower() or text in cell["address"]:
                found.append(
                    {"kind": "cell", "name": cell["name"], "url": f"/cells/{cell['name']}", "state": cell["state"]}
                )
        for kind, url in (
            ("compute_pool", "/pools"),
            ("image", "/images"),
            ("media", "/media"),
            ("template", "/templates"),
        ):
            found += [
                {"kind": kind, "name": row["name"], "url": url, "state": ""}
                for row in portal.mirror.all(kind)
                if text in row["name"].lower()
            ]
    found.sort(key=lambda hit: (not hit["name"].lower().startswith(text), hit["name"]))
    return portal.page(visit, "parts/found.html", {"found": found[:12], "text": text})


async def health(request: Request) -> Response:
    portal, _ = portal_of(request)
    away = portal.mirror.away_since
    return JSONResponse({"status": "ok", "core": "away" if away else "ok"})
