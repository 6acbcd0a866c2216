"""Guests: the table (now, or as it was), one guest with its tabs, and what may be done with one."""

from collections.abc import Mapping
from typing import Any, Final

from starlette.requests import Request
from starlette.responses import JSONResponse, RedirectResponse, Response

from nano.domain.errors import Invalid, NanoError, Unknown
from nano.domain.guest_bin import HOURS_MAX
from nano.ui.ability_words import missing
from nano.ui.gate import TERMINAL_POLICY
from nano.ui.mirror import Row
from nano.ui.pages import guest_settings, guest_snapshots, past
from nano.ui.pages.forms import plain, whole_in
from nano.ui.pages.history import read_history
from nano.ui.portal import Portal, back_path, portal_of
from nano.ui.relay import Port
from nano.ui.visit import Visit
from nano.ui.words import N_

PAGE: Final = 30
HOURS: Final = 24  # of a day
STATES: Final = ("running", "stopped", "paused", "creating", "deleting", "crashed", "lost", "missing", "recycled")
SORTS: Final = ("name", "state", "cell", "cores", "memory")
FILTERS: Final = ("q", "state", "pool", "cell", "sort")
TABS: Final = ("overview", "snapshots", "history", "settings")
ACTIONS: Final = {
    "start": N_("%(name)s is being started"),
    "stop": N_("%(name)s is being stopped"),
    "force-stop": N_("%(name)s is being switched off"),
    "reboot": N_("%(name)s is being restarted"),
    "force-reboot": N_("%(name)s is being reset"),
    "redefine": N_("%(name)s is being defined again"),
    "recycle": N_("%(name)s is being put into the recycle bin"),
    "restore": N_("%(name)s is being taken out of the recycle bin"),
}


async def guests(request: Request) -> Response:
    portal, visit = portal_of(request)
    query = {name: request.query_params.get(name, "")[:64] for name in FILTERS}
    query["at"] = past.moment_text(request.query_params)
    number = request.query_params.get("page", "1")
    page = int(number) if number.isdigit() and len(number) < 6 else 1
    part = request.query_params.get("part", "")
    if query["at"]:
        return await _guests_then(portal, visit, request, query, page)
    context = table(portal.mirror.all("guest"), query, page)
    context |= {"usage": portal.usage, "watch": "guests", "past": None, "problem": None}
    return portal.page(visit, "guests/list.html" if part == "list" else "guests.html", context)


async def _guests_then(portal: Portal, visit: Visit, request: Request, query: dict[str, str], page: int) -> Response:
    async def read(at: str) -> tuple[dict[str, Any], int]:
        rows, position, total = await past.guests_at(portal, visit, at)
        return table(rows, query, page) | {"left_out": total - len(rows)}, position

    view = past.View("/guests", query, "guests.html", "guests/then.html", read, table([], query, page))
    return await past.show(portal, visit, request, view)


def table(rows: list[Row], query: dict[str, str], number: int) -> dict[str, Any]:
    """One page of the guests that match, the counts behind the chips, and addresses that keep the filters."""
    scope = [guest for guest in rows if _in_scope(guest, query)]
    counts = {state: sum(guest["state"] == state for guest in scope) for state in STATES}
    shown = [guest for guest in scope if not query["state"] or guest["state"] == query["state"]]
    sort = query["sort"].removeprefix("-")
    sort = sort if sort in SORTS else "name"
    shown.sort(key=lambda guest: (guest[sort], guest["name"]), reverse=query["sort"].startswith("-"))
    pages = max(1, -(-len(shown) // PAGE))
    number = max(1, min(number, pages))

    def link(**changes: str) -> str:
        return past.address("/guests", {**query, **changes})

    return {
        "guests": shown[(number - 1) * PAGE : number * PAGE],
        "total": len(shown),
        "everything": len(rows),
        "counts": {state: count for state, count in counts.items() if count},
        "all_count": len(scope),
        "query": query,
        "page": number,
        "pages": pages,
        "link": link,
        "sort": sort,
        "descending": query["sort"].startswith("-"),
        "first": (number - 1) * PAGE + 1,
    }


def _in_scope(guest: Row, query: dict[str, str]) -> bool:
    wanted = query["q"].lower()
    found = not wanted or (
        wanted in guest["name"].lower()
        or guest["id"].startswith(wanted)
        or any(wanted in address for address in guest["addresses"])
        or any(wanted in tag.lower() for tag in guest["tags"])
        or wanted in guest["description"].lower()
    )
    return found and query["pool"] in ("", guest["pool"]) and query["cell"] in ("", guest["cell"])


async def guest_row(request: Request) -> Response:
    """One row of the table; nothing when the guest is gone, so that the row leaves the page."""
    portal, visit = portal_of(request)
    guest = portal.mirror.get("guest", request.path_params["guest"])
    if guest is None:
        return Response("", media_type="text/html")
    return portal.page(visit, "guests/row.html", {"guest": guest, "usage": portal.usage, "past": None})


async def guest_menu(request: Request) -> Response:
    """The rest of what may be done with a guest, fetched when its menu opens: long tables stay light."""
    portal, visit = portal_of(request)
    context = {"guest": _guest(portal, request), "bin_days": await _bin_days(portal, visit)}
    return portal.page(visit, "guests/menu.html", context)


async def _bin_days(portal: Portal, visit: Visit) -> str:
    """How long guests rest in the recycle bin, as Core is set; empty when it does not say."""
    try:
        return plain((await portal.core.get("/zone", visit.caller))["recycle_hours"] / HOURS)
    except (NanoError, KeyError):  # an older Core has no such setting
        return ""


async def guest_page(request: Request) -> Response:
    portal, visit = portal_of(request)
    guest = _guest(portal, request)
    if guest["id"] != request.path_params["guest"]:
        query = f"?{request.url.query}" if request.url.query else ""
        return RedirectResponse(f"/guests/{guest['id']}{query}", 303)
    tab = request.query_params.get("tab", "overview")
    tab = tab if tab in TABS else "overview"
    part = request.query_params.get("part", "")
    context: dict[str, Any] = {"guest": guest, "tab": tab, "problem": None, "watch": f"guest/{guest['id']}"}
    context |= {"usage": portal.usage, "gone": False}
    if part == "head":
        return portal.page(visit, "guest/head.html", context)
    if tab == "history":
        context |= await read_history(portal, visit, f"/guests/{guest['id']}", request.query_params.get("before", ""))
    if tab == "snapshots":
        context |= guest_snapshots.shown(guest)
    if tab == "settings":
        context |= guest_settings.settings(portal, guest) | {"bin_days": await _bin_days(portal, visit)}
    is_panel = tab == "settings" and part in guest_settings.PANELS
    name = f"guest/set/{part}.html" if is_panel else f"guest/{tab}.html" if part == tab else "guest.html"
    return portal.page(visit, name, context)


async def act(request: Request) -> Response:
    """A power button."""
    portal, visit = portal_of(request)
    reference, action = str(request.path_params["guest"]), str(request.path_params["action"])
    if action not in ACTIONS:
        raise Unknown("There is no such page.", code="unknown_page")
    guest = portal.mirror.guest(reference)
    name = guest["name"] if guest else reference
    try:
        body = _resting(visit.form) if action == "recycle" else None
        await portal.core.ask("POST", f"/guests/{reference}/{action}", visit.caller, body=body)
    except NanoError as error:
        return portal.refused(request, error)
    return portal.done(request, back_path(request, f"/guests/{reference}"), visit.words._(ACTIONS[action], name=name))


def _resting(form: Mapping[str, str]) -> dict[str, int] | None:
    """Days that somebody chose; nothing leaves it to Core. Raises Invalid(invalid_number)."""
    typed = form.get("days", "").strip()
    return {"hours": whole_in(typed, "days", HOURS_MAX // HOURS) * HOURS} if typed else None


async def delete(request: Request) -> Response:
    portal, visit = portal_of(request)
    guest = _guest(portal, request)
    try:
        if visit.form.get("name", "").strip() != guest["name"]:
            raise Invalid("The name you typed is another one.", code="name_not_repeated", field="name")
        params = {"force": "true"} if visit.form.get("force") else None
        await portal.core.ask("DELETE", f"/guests/{guest['id']}", visit.caller, params=params)
    except NanoError as error:
        if visit.is_htmx:
            return portal.refused(request, error)
        return guest_settings.again(portal, visit, guest, "delete", "delete", error)
    if visit.is_htmx:
        return Response(status_code=204, headers={"HX-Redirect": "/guests"})
    return RedirectResponse("/guests", 303)


async def console_page(request: Request) -> Response:
    """Its display, or its serial port, as the address says."""
    portal, visit = portal_of(request)
    port = _port(request)
    headers = {"content-security-policy": TERMINAL_POLICY} if port == "serial" else {}
    guest = _guest(portal, request)
    no_clipboard = missing(portal.mirror.get("cell", guest["cell"]), "clipboard", visit.words)
    media = guest_settings.ready(portal, "media")
    context = {"guest": guest, "port": port, "media": media, "no_clipboard": no_clipboard}
    return portal.page(visit, "console.html", context, headers=headers)


async def console_ticket(request: Request) -> Response:
    """A one-time ticket for the websocket of either."""
    portal, visit = portal_of(request)
    assert visit.session is not None
    guest = _guest(portal, request)
    ticket = portal.consoles.ticket(visit.session.id, guest["id"], _port(request))
    return JSONResponse({"path": f"/console/{guest['id']}/ws?ticket={ticket}"})


def _port(request: Request) -> Port:
    return "serial" if request.url.path.removesuffix("/ticket").endswith("/serial") else "console"


def _guest(portal: Portal, request: Request) -> Row:
    guest = portal.mirror.guest(str(request.path_params["guest"]))
    if guest is None:
        raise Unknown(
            "There is no such guest.", code="unknown_guest", hint="It may have been deleted. The journal knows."
        )
    return guest
