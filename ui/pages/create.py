"""Create guest: one form with sound defaults, a live answer to "where would it go, and why", and then a task."""

from collections.abc import Mapping
from typing import Any, Final

from starlette.requests import Request
from starlette.responses import RedirectResponse, Response

from nano.domain.errors import NanoError
from nano.domain.machine import CORES_MAX
from nano.ui.mirror import Mirror
from nano.ui.pages.forms import size_in, whole_in
from nano.ui.portal import explain, portal_of

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
}


async def create_page(request: Request) -> Response:
    portal, visit = portal_of(request)
    given = {name: value for name, value in request.query_params.items() if name in DEFAULTS}
    return portal.page(visit, "create.html", _form(portal.mirror, {**DEFAULTS, **given}, None))


async def create(request: Request) -> Response:
    portal, visit = portal_of(request)
    form = {**DEFAULTS, "start": "", **{name: visit.form[name] for name in DEFAULTS if name in visit.form}}
    try:
        answer = await portal.core.ask("POST", "/guests", visit.caller, body=command(form))
    except NanoError as error:
        return portal.page(
            visit, "create.html", _form(portal.mirror, form, explain(error, visit.words)), status=error.status
        )
    return RedirectResponse(f"/tasks/{answer['task']['id']}", 303)


async def estimate(request: Request) -> Response:
    """Which cell would take it, and why each other would not."""
    portal, visit = portal_of(request)
    form = {**DEFAULTS, **dict(request.query_params)}
    try:
        wanted = command({**form, "name": form["name"] or "x"})
        params = {
            "pool": wanted["pool"],
            "cores": wanted["cores"],
            "memory": wanted["memory"],
            "disk": sum(wanted["disks"]),
        }
        verdict = await portal.core.get("/placement", visit.caller, params)
    except NanoError as error:
        context = {"verdict": None, "problem": explain(error, visit.words), "wanted": None}
        return portal.page(visit, "create/estimate.html", context)
    return portal.page(visit, "create/estimate.html", {"verdict": verdict, "problem": None, "wanted": wanted})


def command(form: Mapping[str, str]) -> dict[str, Any]:
    """The body of guest.create. Raises Invalid(invalid_number) naming the field."""
    disks = [size_in(form, "disk")]
    if form["data"].strip() not in ("", "0"):
        disks.append(size_in(form, "data"))
    return {
        "name": form["name"].strip(),
        "cores": whole_in(form["cores"], "cores", CORES_MAX),
        "memory": size_in(form, "memory"),
        "disks": disks,
        "pool": form["pool"],
        "cell": form["cell"],
        "image": form["image"],
        "autostart": form["autostart"] == "on",
        "start": form["start"] == "on",
    }


def _form(mirror: Mirror, form: Mapping[str, str], problem: Any) -> dict[str, Any]:
    return {
        "form": form,
        "problem": problem,
        "images": sorted(mirror.all("image"), key=lambda image: str(image["name"])),
        "pools": sorted(mirror.all("compute_pool"), key=lambda pool: str(pool["name"])),
        "cells": [cell for cell in mirror.all("cell") if cell["pool"]],
    }
