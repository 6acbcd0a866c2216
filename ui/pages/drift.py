"""Drift: where hosts are not as the journals say, and what on them nobody owns. Every cell is asked when the page is opened.

Nothing of it is mirrored: it is looked at, not recorded. While the cells are asked the page is there already.
"""

from typing import Any

from starlette.requests import Request
from starlette.responses import Response

from nano.domain.errors import NanoError
from nano.ui.portal import back_path, portal_of


async def drift(request: Request) -> Response:
    portal, visit = portal_of(request)
    if request.query_params.get("part") != "list":
        return portal.page(visit, "drift.html", {"asked": False})
    found: dict[str, Any] = await portal.core.get("/drift", visit.caller)
    orphans: dict[str, Any] = await portal.core.get("/orphans", visit.caller)
    guests: dict[str, list[dict[str, Any]]] = {}
    for row in found["items"]:
        guests.setdefault(row["guest_id"], []).append(row)
    context = {"guests": guests, "orphans": orphans["items"], "unasked": found["unasked"], "asked": True}
    return portal.page(visit, "drift/list.html", context)


async def repair(request: Request) -> Response:
    _, visit = portal_of(request)
    return await _ask(
        request, f"/guests/{request.path_params['guest']}/repair", None, visit.words._("It is being mended")
    )


async def remove(request: Request) -> Response:
    _, visit = portal_of(request)
    body = {"orphan": visit.form.get("orphan", "")}
    return await _ask(request, "/orphans/remove", body, visit.words._("It is being removed"))


async def _ask(request: Request, path: str, body: dict[str, str] | None, said: str) -> Response:
    portal, visit = portal_of(request)
    try:
        await portal.core.ask("POST", path, visit.caller, body=body)
    except NanoError as error:
        return portal.refused(request, error)
    return portal.done(request, back_path(request, "/drift"), said)
