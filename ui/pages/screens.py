"""Pictures of guests' screens, passed on from Core with their ETag: the browser keeps them, and asks only for what it shows."""

from typing import Final

from starlette.requests import Request
from starlette.responses import Response

from nano.domain.errors import NanoError
from nano.ui.portal import portal_of

KEPT: Final = ("etag", "cache-control")


async def screen(request: Request) -> Response:
    """PNG; nothing where there is none to see (a guest that just stopped, a cell that does not answer)."""
    portal, visit = portal_of(request)
    guest = portal.mirror.guest(str(request.path_params["guest"]))
    if guest is None:
        return Response(status_code=404)
    asked = {"if-none-match": tag} if (tag := request.headers.get("if-none-match")) else {}
    try:
        answer = await portal.core.fetch(f"/guests/{guest['id']}/screenshot", visit.caller, asked)
    except NanoError as error:
        return Response(status_code=error.status, headers={"cache-control": "no-store"})
    headers = {name: answer.headers[name] for name in KEPT if name in answer.headers}
    return Response(answer.content, answer.status_code, headers, "image/png")
