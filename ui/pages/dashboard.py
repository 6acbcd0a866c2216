"""The dashboard: is all well, how much is used, and what needs somebody's attention."""

from collections import Counter
from collections.abc import Iterable
from datetime import datetime, timedelta
from typing import Any, NamedTuple

from starlette.requests import Request
from starlette.responses import Response

from nano.ui.mirror import Mirror, Row
from nano.ui.pages import past
from nano.ui.portal import Portal, portal_of
from nano.ui.sentences import alarm_words
from nano.ui.usage_ring import UsageRing
from nano.ui.visit import Visit
from nano.ui.vocabulary import TASKS
from nano.ui.words import N_, Words

ATTENTION_MAX = 12
GUEST_TROUBLE = {
    "lost": N_("%(name)s is lost: %(cell)s is not connected"),
    "missing": N_("%(name)s is missing: its definition vanished from %(cell)s"),
    "crashed": N_("%(name)s has crashed"),
}
GUESTS_THEN = 12
LISTED_MAX = 1_000
FAILED_SHOWN = timedelta(hours=24)


class Concern(NamedTuple):
    """Something that needs attention: a sentence, where to look, and what would mend it."""

    tone: str  # bad, warn, info
    icon: str
    text: str
    url: str
    action: str = ""
    post: str = ""


async def dashboard(request: Request) -> Response:
    portal, visit = portal_of(request)
    if at := past.moment_text(request.query_params):
        return await _dashboard_then(portal, visit, request, at)
    context = numbers(portal.mirror, portal.usage)
    context |= {"concerns": concerns(portal.mirror, portal.alarms(), visit.words, portal.clock()), "watch": "zone"}
    context |= {"first": "first" in request.query_params, "query": {"at": ""}}
    part = request.query_params.get("part")
    name = {"numbers": "dashboard/numbers.html", "concerns": "dashboard/concerns.html"}.get(
        part or "", "dashboard.html"
    )
    return portal.page(visit, name, context)


async def _dashboard_then(portal: Portal, visit: Visit, request: Request, at: str) -> Response:
    async def read(at: str) -> tuple[dict[str, Any], int]:
        zone, position = await portal.core.read_list("/zone", visit.caller, {"at": at})

        async def rows(path: str, limit: int = LISTED_MAX, **wanted: str) -> list[Row]:
            found, _ = await portal.core.read_list(path, visit.caller, {**wanted, "at": position, "limit": limit})
            return list(found["items"])

        shown: dict[str, Row] = {}  # what needed somebody first
        for state in [state for state in GUEST_TROUBLE if state in zone["guests"]]:
            shown |= {guest["id"]: guest for guest in await rows("/guests", GUESTS_THEN, state=state)}
        shown |= {guest["id"]: guest for guest in await rows("/guests", GUESTS_THEN) if guest["id"] not in shown}
        guests, total = [*shown.values()][:GUESTS_THEN], sum(zone["guests"].values())
        context = {"zone": zone, "guests": guests, "guest_total": total, "more": total - len(guests)}
        context |= {"pools": await rows("/compute-pools"), "members": _members(await rows("/cells"))}
        return context, position

    view = past.View("/", {"at": at}, "dashboard.html", "dashboard/then.html", read, {})
    return await past.show(portal, visit, request, view)


def numbers(mirror: Mirror, usage: UsageRing) -> dict[str, Any]:
    cells = [cell for cell in mirror.all("cell") if cell["pool"]]
    online = [cell for cell in cells if cell["state"] == "online"]
    guests = mirror.all("guest")
    now = usage.zone_now()
    promised_cores = sum(guest["cores"] for guest in guests)
    return {
        "guest_states": Counter(guest["state"] for guest in guests),
        "guest_total": len(guests),
        "cells_online": len(online),
        "cells_total": len(cells),
        "cells_waiting": sum(not cell["pool"] for cell in mirror.all("cell")),
        "pools_total": len(mirror.rows["compute_pool"]),
        "images_total": len(mirror.rows["image"]),
        "cores": sum(cell["cores"] for cell in online),
        "cores_promised": promised_cores,
        "memory": now["memory_total"] or sum(cell["memory"] for cell in online),
        "memory_used": now["memory_total"] - now["memory_available"],
        "memory_promised": sum(guest["memory"] for guest in guests),
        "disk": now["disk_total"] or sum(cell["disk"] for cell in online),
        "disk_used": now["disk_total"] - now["disk_available"],
        "disk_promised": sum(sum(guest["disks"]) for guest in guests),
        "cpu": now["cpu_percent"],
        "measured": bool(usage.latest["cells"]),
        "pools": sorted(mirror.all("compute_pool"), key=lambda pool: str(pool["name"])),
        "members": _members(mirror.all("cell")),
    }


def concerns(mirror: Mirror, alarms: Iterable[Row], words: Words, now: datetime) -> list[Concern]:
    """The worst first, at most ATTENTION_MAX. Failed tasks for a day, unless made good."""
    found = [*_alarm_concerns(alarms, words), *_guest_concerns(mirror.all("guest"), words)]
    found += _waiting_cells(mirror.all("cell"), words)
    for task in mirror.tasks()[:50]:
        recent = now - datetime.fromisoformat(task["started_at"]) < FAILED_SHOWN
        if task["state"] == "failed" and recent and not _made_good(mirror, task):
            text = words._("A task failed: %(task)s %(name)s", task=words._(_title(task)), name=task["resource_name"])
            found.append(Concern("warn", "st-crashed", text, f"/tasks/{task['id']}", words._("See why")))
    order = {"bad": 0, "info": 1, "warn": 2}
    return sorted(found, key=lambda concern: order[concern.tone])[:ATTENTION_MAX]


def _guest_concerns(guests: Iterable[Row], words: Words) -> list[Concern]:
    found = []
    for guest in guests:
        if sentence := GUEST_TROUBLE.get(guest["state"]):
            text = words._(sentence, name=guest["name"], cell=guest["cell"])
            url, action, post = f"/guests/{guest['id']}", "", ""
            if guest["state"] == "missing":
                action, post = words._("Define again"), f"{url}/redefine"
            elif guest["state"] == "crashed":
                action, post = words._("Start"), f"{url}/start"
            found.append(Concern("bad", f"st-{guest['state']}", text, url, action, post))
    return found


def _alarm_concerns(alarms: Iterable[Row], words: Words) -> list[Concern]:
    found = []
    for alarm in alarms:
        critical = alarm["severity"] == "critical"
        tone, icon = ("bad", "st-crashed") if critical else ("warn", "st-missing")
        found.append(Concern(tone, icon, alarm_words(alarm, words)[0], "/alarms", words._("What to do")))
    return found


def _waiting_cells(cells: Iterable[Row], words: Words) -> list[Concern]:
    found = []
    for cell in cells:
        if not cell["pool"]:
            text = words._("%(cell)s was found and waits to be added", cell=cell["name"])
            found.append(Concern("info", "st-new", text, f"/cells/{cell['name']}", words._("Look at it")))
    return found


def _made_good(mirror: Mirror, failed: Row) -> bool:
    """A later task of the same kind on the same thing succeeded, or the thing is gone on purpose."""
    later = [
        task
        for task in mirror.tasks()
        if task["resource_name"] == failed["resource_name"] and task["started_at"] > failed["started_at"]
    ]
    return any(task["state"] == "done" and task["kind"] in (failed["kind"], "guest.delete") for task in later)


def _members(cells: Iterable[Row]) -> dict[str, list[Row]]:
    members: dict[str, list[Row]] = {}
    for cell in sorted(cells, key=lambda cell: str(cell["name"])):
        if cell["pool"]:
            members.setdefault(cell["pool"], []).append(cell)
    return members


def _title(task: Row) -> str:
    return TASKS.get(task["kind"], str(task["kind"]))
