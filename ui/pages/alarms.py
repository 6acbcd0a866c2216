"""Alarms: what is wrong right now, why, since when, what to do; and how every node stands with its backups."""

from typing import Final

from starlette.requests import Request
from starlette.responses import Response

from nano.ui.portal import portal_of

PARTS: Final = {"light": "parts/alarms.html", "list": "alarms/list.html"}


async def alarms(request: Request) -> Response:
    """Every page has the alarms at hand (its header shows how many there are); this one shows them."""
    portal, visit = portal_of(request)
    name = PARTS.get(request.query_params.get("part", ""), "alarms.html")
    return portal.page(visit, name, {"backups": portal.backups()})
