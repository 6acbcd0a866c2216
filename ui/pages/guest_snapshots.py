"""Snapshots of a guest: the tree that they form, forms for one more and for a schedule, going back to one, deleting it."""

from typing import Any, Final
from urllib.parse import quote

from starlette.requests import Request
from starlette.responses import Response

from nano.domain.errors import NanoError, Unknown
from nano.domain.snapshot import tree_order
from nano.domain.snapshot_schedule import EVERY_MAX, EXPIRE_MAX, KEEP_MAX
from nano.ui.mirror import Row
from nano.ui.pages.forms import whole_in
from nano.ui.portal import Portal, explain, portal_of
from nano.ui.visit import Visit
from nano.ui.words import N_

ACTIONS: Final = {
    "restore": ("POST", "/restore", N_("%(name)s is being taken back to %(snapshot)s")),
    "delete": ("DELETE", "", N_("Snapshot %(snapshot)s of %(name)s is being deleted")),
}
RHYTHM: Final = {"every_hours": EVERY_MAX, "keep": KEEP_MAX, "expire_hours": EXPIRE_MAX}
USUAL: Final = {"every_hours": 24, "keep": 7, "expire_hours": 0, "with_memory": False}
DEPTH_MAX: Final = 6  # deeper ones stand no further to the right


def shown(guest: Row) -> dict[str, Any]:
    """The tree as lines, and an empty form. Only where it branches does a line stand further to the right."""
    by_name: dict[str, Row] = {row["name"]: row for row in guest["snapshots"]}
    siblings: dict[str, int] = {}
    for row in by_name.values():
        siblings[row["parent"]] = siblings.get(row["parent"], 0) + 1
    depths: dict[str, int] = {}
    for name, _ in tree_order({name: row["parent"] for name, row in by_name.items()}):
        parent = by_name[name]["parent"]
        depths[name] = depths.get(parent, 0) + (1 if parent and siblings[parent] > 1 else 0)
    lines = [{**by_name[name], "depth": min(depth, DEPTH_MAX)} for name, depth in depths.items()]
    return {
        "tree": lines,
        "form": {"name": "", "description": ""},
        "rhythm": guest["snapshot_schedule"] or USUAL,
        "problem": None,
        "problem_in": "",
    }


async def create(request: Request) -> Response:
    portal, visit = portal_of(request)
    guest = _guest(portal, request)
    form = {name: visit.form.get(name, "").strip() for name in ("name", "description")}
    body = {**form, "disks_only": visit.form.get("disks_only") == "on"}
    try:
        await portal.core.ask("POST", f"/guests/{guest['id']}/snapshots", visit.caller, body=body)
    except NanoError as error:
        return _refused(portal, request, visit, guest, error, {"form": form, "problem_in": "create"})
    said = visit.words._("A snapshot of %(name)s is being taken", name=guest["name"])
    return portal.done(request, f"/guests/{guest['id']}?tab=snapshots", said)


async def schedule(request: Request) -> Response:
    """Snapshots by schedule from now on, otherwise, or no more."""
    portal, visit = portal_of(request)
    guest = _guest(portal, request)
    path, stop = f"/guests/{guest['id']}/snapshot-schedule", visit.form.get("stop") == "on"
    try:
        if stop:
            await portal.core.ask("DELETE", path, visit.caller)
        else:
            rhythm = {name: whole_in(visit.form.get(name, "") or "0", name, most, 0) for name, most in RHYTHM.items()}
            body = {**rhythm, "with_memory": visit.form.get("with_memory") == "on"}
            await portal.core.ask("POST", path, visit.caller, body=body)
    except NanoError as error:
        return _refused(
            portal, request, visit, guest, error, {"rhythm": {**USUAL, **visit.form}, "problem_in": "schedule"}
        )
    said = N_("Snapshots of %(name)s are scheduled") if not stop else N_("No more snapshots of %(name)s by schedule")
    return portal.done(request, f"/guests/{guest['id']}?tab=snapshots", visit.words._(said, name=guest["name"]))


def _refused(
    portal: Portal, request: Request, visit: Visit, guest: Row, error: NanoError, kept: dict[str, Any]
) -> Response:
    """With what was typed still in its form."""
    if visit.is_htmx:
        return portal.refused(request, error)
    context = shown(guest) | {"guest": guest, "tab": "snapshots", "usage": portal.usage, "watch": "", "gone": False}
    context |= {"problem": explain(error, visit.words), **kept}
    return portal.page(visit, "guest.html", context, status=error.status)


async def act(request: Request) -> Response:
    """Going back to one, or deleting it."""
    portal, visit = portal_of(request)
    guest, wanted, action = _guest(portal, request), str(request.path_params["snapshot"]), request.path_params["action"]
    if action not in ACTIONS:
        raise Unknown("There is no such page.", code="unknown_page")
    method, more, said = ACTIONS[action]
    name = next((row["name"] for row in guest["snapshots"] if row["id"] == wanted), wanted)
    try:
        path = f"/guests/{guest['id']}/snapshots/{quote(wanted, safe='')}{more}"
        await portal.core.ask(method, path, visit.caller)
    except NanoError as error:
        return portal.refused(request, error)
    told = visit.words._(said, name=guest["name"], snapshot=name)
    return portal.done(request, f"/guests/{guest['id']}?tab=snapshots", told)


def _guest(portal: Portal, request: Request) -> Row:
    guest = portal.mirror.guest(str(request.path_params["guest"]))
    if guest is None:
        raise Unknown(
            "There is no such guest.", code="unknown_guest", hint="It may have been deleted. The journal knows."
        )
    return guest
