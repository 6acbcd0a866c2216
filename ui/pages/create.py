"""Create guest: one form with sound defaults, a live answer to "where would it go, and why", and then a task."""

from collections.abc import Mapping
from typing import Any, Final

from starlette.requests import Request
from starlette.responses import RedirectResponse, Response

from nano.domain.errors import NanoError, Unknown
from nano.domain.limits import LIMITS
from nano.domain.machine import CORES_MAX
from nano.ui.ability_words import needs_of, nowhere
from nano.ui.mirror import Mirror
from nano.ui.pages.forms import LIMITS as RATES
from nano.ui.pages.forms import limits_in, policy_in, size_in, whole_in
from nano.ui.portal import explain, portal_of
from nano.ui.words import N_, Words

CLOUD_INIT: Final = ("user", "password", "host_name", "address", "gateway", "data_path", "user_data")
DEFAULTS: Final = {
    "name": "",
    "image": "",
    "pool": "default",
    "cell": "",
    "cores": "1",
    "memory": "1",
    "memory_unit": "GiB",
    "disk": "5",
    "disk_unit": "GiB",
    "data": "",
    "data_unit": "GiB",
    "autostart": "",
    "start": "on",
    "count": "1",
    "template": "",
    "priority": "high",
    **dict.fromkeys(CLOUD_INIT, ""),
    "dns": "",
    "ssh_keys": "",
    "policy": "",
    "rules": "",
    "unguarded": "",
    "linked": "",
    **dict.fromkeys(RATES, ""),
}


OFFERED: Final = (*(name for name in DEFAULTS if name not in ("password", "user_data")),)  # what an address may fill in
PLACING: Final = (
    *("pool", "cores", "memory", "memory_unit", "disk", "disk_unit", "data", "data_unit"),
    *("image", "template", "linked", "policy", "rules", *RATES),
)


PICK: Final = "guest_"  # and the guest's id: a box that is ticked
BATCHES: Final = {
    "start": N_("The chosen guests are being started"),
    "stop": N_("The chosen guests are being stopped"),
    "delete": N_("The chosen guests are being deleted"),
}


async def create_page(request: Request) -> Response:
    portal, visit = portal_of(request)
    given = {name: value for name, value in request.query_params.items() if name in OFFERED}
    return portal.page(visit, "create.html", _form(portal.mirror, {**DEFAULTS, **given}, None))


async def create(request: Request) -> Response:
    portal, visit = portal_of(request)
    form = {**DEFAULTS, "start": "", **{name: visit.form[name] for name in DEFAULTS if name in visit.form}}
    try:
        body, count = command(form), whole_in(form["count"].strip() or "1", "count", LIMITS.batch_items)
        if count > 1:
            body |= {"prefix": body.pop("name"), "count": count}
        answer = await portal.core.ask("POST", "/batches/create" if count > 1 else "/guests", visit.caller, body=body)
    except NanoError as error:
        form["password"] = ""  # never sent back to a page
        problem = explain(error, visit.words)
        return portal.page(visit, "create.html", _form(portal.mirror, form, problem), status=error.status)
    return RedirectResponse(f"/tasks/{answer['task']['id']}", 303)


async def batch(request: Request) -> Response:
    """The same with every chosen guest."""
    portal, visit = portal_of(request)
    action = str(request.path_params["action"])
    if action not in BATCHES:
        raise Unknown("There is no such page.", code="unknown_page")
    chosen = [name.removeprefix(PICK) for name in visit.form if name.startswith(PICK)]
    try:
        answer = await portal.core.ask("POST", f"/batches/{action}", visit.caller, body={"guests": chosen})
    except NanoError as error:
        return portal.refused(request, error)
    task = f"/tasks/{answer['task']['id']}"
    return portal.done(request, task, visit.words._(BATCHES[action]), link=task)


async def estimate(request: Request) -> Response:
    """Which cell would take it, and why each other would not."""
    portal, visit = portal_of(request)
    form = {**DEFAULTS, **{name: value for name, value in request.query_params.items() if name in PLACING}}
    shown: dict[str, Any]
    try:
        wanted = command(form)
        params = {
            "pool": wanted["pool"],
            "cores": wanted["cores"],
            "memory": wanted["memory"],
            "disk": sum(wanted["disks"]),
        }
        needs = needs_of(wanted, policy=_has_policy(portal.mirror, wanted))
        if needs:
            params["needs"] = ",".join(needs)
        verdict = await portal.core.get("/placement", visit.caller, params)
    except NanoError as error:
        shown = {"verdict": None, "problem": explain(error, visit.words), "wanted": None}
    else:
        shown = {"verdict": verdict, "problem": None, "wanted": wanted}
    return portal.page(visit, "create/estimate.html", shown | _cells_of(portal.mirror, form["pool"], visit.words))


def _has_policy(mirror: Mirror, wanted: Mapping[str, Any]) -> bool:
    template = mirror.get("template", wanted["template"]) if wanted["template"] else None
    return "policy" in wanted or bool(template and template["policy"])


def _cells_of(mirror: Mirror, pool: str, words: Words) -> dict[str, Any]:
    """What they can't do: each of them, and all of the pool's."""
    cells = sorted((cell for cell in mirror.all("cell") if cell["pool"] == pool), key=lambda cell: str(cell["name"]))
    full_copies = not (mirror.get("compute_pool", pool) or {}).get("linked_clones", True)
    return {
        "by_name": {cell["name"]: cell for cell in cells},
        "nowhere": nowhere(cells, words),
        "full_copies": full_copies,
    }


def command(form: Mapping[str, str]) -> dict[str, Any]:
    """The body of guest.create. Raises Invalid(invalid_number) naming the field."""
    disks = [size_in(form, "disk")]
    if form["data"].strip() not in ("", "0"):
        disks.append(size_in(form, "data"))
    body = {
        "name": form["name"].strip(),
        "cores": whole_in(form["cores"], "cores", CORES_MAX),
        "memory": size_in(form, "memory"),
        "disks": disks,
        "pool": form["pool"],
        "cell": form["cell"],
        "image": form["image"],
        "autostart": form["autostart"] == "on",
        "start": form["start"] == "on",
        "template": form["template"],
        "priority": form["priority"],
    }
    body |= {name: True for name in ("unguarded", "linked") if form[name] == "on"}
    body |= {name: value for name, value in limits_in(form).items() if value}
    return body | policy_in(form) | _cloud_init(form)


def _cloud_init(form: Mapping[str, str]) -> dict[str, Any]:
    """Nothing when nothing of it was filled in."""
    told: dict[str, Any] = {name: form[name].strip() for name in CLOUD_INIT if form[name].strip()}
    if form["password"]:
        told["password"] = form["password"]  # blanks may be part of it
    if "user_data" in told:
        told["user_data"] = form["user_data"].replace("\r\n", "\n")
    if dns := form["dns"].replace(",", " ").split():
        told["dns"] = dns
    if keys := [line.strip() for line in form["ssh_keys"].splitlines() if line.strip()]:
        told["ssh_keys"] = keys
    return {"cloud_init": told} if told else {}


def _form(mirror: Mirror, form: Mapping[str, str], problem: Any) -> dict[str, Any]:
    return {
        "form": form,
        "problem": problem,
        "templates": sorted(mirror.all("template"), key=lambda template: str(template["created_at"])),
        "images": sorted(mirror.all("image"), key=lambda image: str(image["name"])),
        "pools": sorted(mirror.all("compute_pool"), key=lambda pool: str(pool["name"])),
        "cells": [cell for cell in mirror.all("cell") if cell["pool"]],
    }
