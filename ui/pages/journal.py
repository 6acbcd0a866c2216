"""The journal: everything that was recorded, newest first, with filters."""

from typing import Any, Final
from urllib.parse import urlencode

from starlette.requests import Request
from starlette.responses import Response

from nano.domain.errors import NanoError
from nano.ui.mirror import Mirror
from nano.ui.pages.tasks import resource_url
from nano.ui.portal import explain, portal_of
from nano.ui.words import Words

PAGE: Final = 80
FILTERS: Final = ("actor", "resource", "type", "command", "cause")
KINDS: Final = ("guest.", "cell.", "compute_pool.", "image.", "template.", "task.")


async def journal(request: Request) -> Response:
    portal, visit = portal_of(request)
    query = {name: request.query_params.get(name, "").strip()[:100] for name in (*FILTERS, "cursor")}
    params: dict[str, str | int] = {name: value for name, value in query.items() if value}
    params["limit"] = PAGE
    facts: list[dict[str, Any]] = []
    older, problem = None, None
    try:
        page = await portal.core.get("/journal", visit.caller, params)
        facts, older = page["items"], page.get("next")
    except NanoError as error:
        problem = explain(error, visit.words)

    def link(**changes: str) -> str:
        kept = {name: value for name, value in {**query, "cursor": "", **changes}.items() if value}
        return "/journal" + ("?" + urlencode(kept) if kept else "")

    context = {
        "facts": facts,
        "older": older,
        "problem": problem,
        "query": query,
        "link": link,
        "kinds": KINDS,
        "name_of": lambda resource: name_of(portal.mirror, resource, visit.words),
        "resource_url": resource_url,
        "watch": "",
    }
    name = "journal/list.html" if request.query_params.get("part") == "list" else "journal.html"
    return portal.page(visit, name, context)


def name_of(mirror: Mirror, resource: str, words: Words) -> str:
    """The name people know a resource by; a short id when it is gone."""
    kind, _, key = resource.partition("/")
    if kind == "zone":
        return words._("The zone")
    row = mirror.rows[kind].get(key) if kind in mirror.rows else None
    if row is None:
        return key[:8] if len(key) > 30 else key
    return str(row.get("name") or row.get("resource_name") or key[:8])
