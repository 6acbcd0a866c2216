"""Cells: the servers that run guests. Approve, enable, disable, remove."""

from collections.abc import Iterable
from typing import Any, Final

from starlette.requests import Request
from starlette.responses import Response

from nano.domain.errors import NanoError, Unknown
from nano.ui.mirror import Row
from nano.ui.pages.history import read_history
from nano.ui.portal import back_path, portal_of
from nano.ui.words import N_

SAID: Final = {
    "add": N_("%(cell)s is added"),
    "enable": N_("%(cell)s is enabled"),
    "disable": N_("%(cell)s is disabled"),
    "probe": N_("%(cell)s is looking what its host can do"),
    "remove": N_("%(cell)s is removed"),
}
TABS: Final = ("overview", "history")


async def cells(request: Request) -> Response:
    portal, visit = portal_of(request)
    rows = sorted(portal.mirror.all("cell"), key=lambda cell: (bool(cell["pool"]), cell["pool"], cell["name"]))
    context = {
        "cells": rows,
        "usage": portal.usage,
        "pools": sorted(portal.mirror.rows["compute_pool"]),
        "watch": "zone",
    }
    return portal.page(
        visit, "cells/list.html" if request.query_params.get("part") == "list" else "cells.html", context
    )


async def cell_page(request: Request) -> Response:
    portal, visit = portal_of(request)
    cell = portal.mirror.get("cell", str(request.path_params["cell"]))
    if cell is None:
        raise Unknown(
            "There is no such cell.", code="unknown_cell", hint="It may have been removed. The journal knows."
        )
    tab = request.query_params.get("tab", "overview")
    tab = tab if tab in TABS else "overview"
    part = request.query_params.get("part", "")
    guests = [guest for guest in portal.mirror.all("guest") if guest["cell"] == cell["name"]]
    context: dict[str, Any] = {
        "cell": cell,
        "tab": tab,
        "guests": sorted(guests, key=lambda guest: str(guest["name"])),
        "usage": portal.usage,
        "pools": sorted(portal.mirror.rows["compute_pool"]),
        "sharing": sharing_storage(portal.mirror.all("cell"), cell),
        "watch": f"cell/{cell['name']}",
    }
    if tab == "history" and part != "head":
        context |= await read_history(portal, visit, f"/cells/{cell['name']}", request.query_params.get("before", ""))
    name = {"head": "cell/head.html", tab: f"cell/{tab}.html"}.get(part, "cell.html")
    return portal.page(visit, name, context)


def sharing_storage(cells: Iterable[Row], cell: Row) -> list[str]:
    """Names of the other cells whose volumes are on the storage of this one."""
    storage = cell.get("storage", "")
    others = (one for one in cells if one["name"] != cell["name"])
    return sorted(str(one["name"]) for one in others if storage and one.get("storage", "") == storage)


async def act(request: Request) -> Response:
    portal, visit = portal_of(request)
    cell, action = str(request.path_params["cell"]), str(request.path_params["action"])
    if action not in SAID:
        raise Unknown("There is no such page.", code="unknown_page")
    body = {"pool": visit.form.get("pool", "default")} if action == "add" else None
    try:
        await portal.core.ask("POST", f"/cells/{cell}/{action}", visit.caller, body=body)
    except NanoError as error:
        return portal.refused(request, error)
    target = "/cells" if action == "remove" else back_path(request, "/cells")
    return portal.done(request, target, visit.words._(SAID[action], cell=cell))
