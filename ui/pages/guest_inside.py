"""What is told of a guest when somebody looks: what its agent says, the password last set in it, its VNC access's secret.

None of it is kept by the portal. Who looks at a secret is recorded by Core.
"""

from typing import Any, Final

from starlette.requests import Request
from starlette.responses import Response

from nano.domain.errors import NanoError, Unknown
from nano.ui.mirror import Row
from nano.ui.portal import Portal, explain, portal_of
from nano.ui.words import N_

NO_STORE: Final = {"cache-control": "no-store"}
TOLD: Final = {  # what can be told, where Core tells it, and the fields that are shown
    "password": ("password/show", (("user", N_("Account")), ("password", N_("Password")))),
    "vnc": ("vnc/show", (("secret", N_("Secret")),)),
}


async def inside(request: Request) -> Response:
    """A part of the page, which asks for it by itself."""
    portal, visit = portal_of(request)
    guest = _guest(portal, request)
    context: dict[str, Any] = {"problem": None, "inside": None}
    try:
        context["inside"] = await portal.core.get(f"/guests/{guest['id']}/inside", visit.caller)
    except NanoError as error:
        context["problem"] = explain(error, visit.words)
    return portal.page(visit, "guest/inside.html", context, headers=NO_STORE)


async def told(request: Request) -> Response:
    portal, visit = portal_of(request)
    guest, what = _guest(portal, request), str(request.path_params["what"])
    if what not in TOLD:
        raise Unknown("There is no such page.", code="unknown_page")
    path, fields = TOLD[what]
    context: dict[str, Any] = {"problem": None, "told": []}
    try:
        answer = await portal.core.ask("POST", f"/guests/{guest['id']}/{path}", visit.caller)
        context["told"] = [(visit.words._(name), str(answer[field])) for field, name in fields]
    except NanoError as error:
        context["problem"] = explain(error, visit.words)
    return portal.page(visit, "guest/told.html", context, headers=NO_STORE)


def _guest(portal: Portal, request: Request) -> Row:
    guest = portal.mirror.guest(str(request.path_params["guest"]))
    if guest is None:
        raise Unknown("There is no such guest.", code="unknown_guest")
    return guest
