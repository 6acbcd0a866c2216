"""Compute pools: list, create, modify, delete."""

from typing import Any

from starlette.requests import Request
from starlette.responses import RedirectResponse, Response

from nano.domain.errors import NanoError
from nano.ui.portal import Portal, explain, portal_of
from nano.ui.visit import Visit


async def pools(request: Request) -> Response:
    portal, visit = portal_of(request)
    name = "pools/list.html" if request.query_params.get("part") == "list" else "pools.html"
    return portal.page(visit, name, _context(portal, "", None))


async def create(request: Request) -> Response:
    portal, visit = portal_of(request)
    name = visit.form.get("name", "").strip()
    try:
        await portal.core.ask("POST", "/compute-pools", visit.caller, body={"name": name})
    except NanoError as error:
        return _again(portal, visit, name, error)
    return RedirectResponse("/pools", 303)


async def modify(request: Request) -> Response:
    portal, visit = portal_of(request)
    pool = str(request.path_params["pool"])
    enabled = visit.form.get("enabled") == "true"
    try:
        await portal.core.ask("PATCH", f"/compute-pools/{pool}", visit.caller, body={"enabled": enabled})
    except NanoError as error:
        return portal.refused(request, error)
    said = (
        visit.words._("Pool %(pool)s is enabled", pool=pool)
        if enabled
        else visit.words._("Pool %(pool)s is disabled", pool=pool)
    )
    return portal.done(request, "/pools", said)


async def delete(request: Request) -> Response:
    portal, visit = portal_of(request)
    pool = str(request.path_params["pool"])
    try:
        await portal.core.ask("DELETE", f"/compute-pools/{pool}", visit.caller)
    except NanoError as error:
        return portal.refused(request, error)
    return portal.done(request, "/pools", visit.words._("Pool %(pool)s is deleted", pool=pool))


def _again(portal: Portal, visit: Visit, name: str, error: NanoError) -> Response:
    return portal.page(visit, "pools.html", _context(portal, name, explain(error, visit.words)), status=error.status)


def _context(portal: Portal, name: str, problem: Any) -> dict[str, Any]:
    rows = sorted(portal.mirror.all("compute_pool"), key=lambda pool: str(pool["name"]))
    return {"pools": rows, "name": name, "problem": problem, "watch": ""}
