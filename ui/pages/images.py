"""Disk images: list, register a file that Core can read, take off the list."""

from typing import Any

from starlette.requests import Request
from starlette.responses import RedirectResponse, Response

from nano.domain.errors import NanoError
from nano.ui.portal import Portal, explain, portal_of


async def images(request: Request) -> Response:
    portal, visit = portal_of(request)
    name = "images/list.html" if request.query_params.get("part") == "list" else "images.html"
    return portal.page(visit, name, _context(portal, {"name": "", "path": ""}, None))


async def register(request: Request) -> Response:
    portal, visit = portal_of(request)
    form = {field: visit.form.get(field, "").strip() for field in ("name", "path")}
    try:
        await portal.core.ask("POST", "/images", visit.caller, body=form)
    except NanoError as error:
        problem = explain(error, visit.words)
        return portal.page(visit, "images.html", _context(portal, form, problem), status=error.status)
    return RedirectResponse("/images", 303)


async def delete(request: Request) -> Response:
    portal, visit = portal_of(request)
    image = str(request.path_params["image"])
    row = portal.mirror.get("image", image)
    try:
        await portal.core.ask("DELETE", f"/images/{image}", visit.caller)
    except NanoError as error:
        return portal.refused(request, error)
    return portal.done(
        request, "/images", visit.words._("Image %(name)s is deleted", name=row["name"] if row else image)
    )


def _context(portal: Portal, form: dict[str, str], problem: Any) -> dict[str, Any]:
    rows = sorted(portal.mirror.all("image"), key=lambda image: str(image["name"]))
    used: dict[str, int] = {}
    for guest in portal.mirror.all("guest"):
        used[guest["image_id"]] = used.get(guest["image_id"], 0) + 1
    return {"images": rows, "form": form, "problem": problem, "used": used, "watch": ""}
