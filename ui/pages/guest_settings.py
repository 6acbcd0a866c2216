"""Settings of a guest: what it is for, its size and limits, disks, network interfaces and who reaches them, media, a new
system disk, protection.

Each panel is a form of its own that asks Core for one thing. What is refused is shown in its panel with what was typed; what
is accepted is work, and the panel follows when it is done. Only what differs from what the guest has is asked for.
"""

from typing import Any, Final

from starlette.requests import Request
from starlette.responses import Response

from nano.domain.ability import LIVE_MIGRATION
from nano.domain.errors import Invalid, NanoError, Unknown
from nano.domain.machine import CORES_MAX
from nano.ui.ability_words import needs_of
from nano.ui.mirror import Row
from nano.ui.pages.cells import sharing_storage
from nano.ui.pages.forms import (
    DISK_OPERATIONS,
    DISK_RATES,
    MBIT,
    MEBI,
    NETWORK_RATES,
    limits_in,
    plain,
    size_in,
    whole_in,
    with_unit,
)
from nano.ui.pages.guest_parts import Ask, Form, Part
from nano.ui.pages.guest_rules import RULE_PARTS
from nano.ui.pages.guest_rules import shown as shown_rules
from nano.ui.portal import Explained, Portal, explain, portal_of
from nano.ui.visit import Visit
from nano.ui.words import N_

PANELS: Final = (
    "about",
    "size",
    "limits",
    "disks",
    "nics",
    "media",
    "rules",
    "password",
    "vnc",
    "reset",
    "cell",
    "delete",
)


def _about(guest: Row, form: Form) -> Ask | None:
    wanted = {
        "description": form.get("description", "").strip(),
        "tags": [tag for tag in form.get("tags", "").replace(",", " ").split() if tag],
        "notes": form.get("notes", "").replace("\r\n", "\n").strip(),
    }
    return _differing(guest, wanted, "PATCH", "/description")


def _size(guest: Row, form: Form) -> Ask | None:
    wanted = {
        "name": form.get("name", "").strip(),
        "cores": whole_in(form.get("cores", ""), "cores", CORES_MAX),
        "memory": size_in(form, "memory"),
        "priority": form.get("priority", ""),
        "autostart": form.get("autostart") == "on",
        "cores_max": whole_in(form.get("cores_max", "") or "0", "cores_max", CORES_MAX, 0),
        "memory_max": size_in(form, "memory_max") if form.get("memory_max", "").strip() else 0,
    }
    return _differing(guest, wanted, "PATCH", "")


def _limits(guest: Row, form: Form) -> Ask | None:
    return _differing({**guest["disk_limits"], **guest["network_limits"]}, limits_in(form), "PATCH", "")


def _differing(now: Row, wanted: dict[str, Any], method: str, path: str) -> Ask | None:
    body = {name: value for name, value in wanted.items() if value != now[name]}
    return Ask(method, path, body) if body else None


def _add_disk(guest: Row, form: Form) -> Ask:  # noqa: ARG001
    return Ask("POST", "/disks", {"size": size_in(form, "size")})


def _grow_disk(guest: Row, form: Form) -> Ask:  # noqa: ARG001
    return Ask("POST", "/disks/grow", {"number": _number(form), "size": size_in(form, "size")})


def _compact_disk(guest: Row, form: Form) -> Ask:  # noqa: ARG001
    return Ask("POST", "/disks/compact", {"number": _number(form)})


def _remove_disk(guest: Row, form: Form) -> Ask:  # noqa: ARG001
    return Ask("DELETE", "/disks", params={"number": str(_number(form))})


def _add_nic(guest: Row, form: Form) -> Ask:  # noqa: ARG001
    return Ask("POST", "/nics")


def _remove_nic(guest: Row, form: Form) -> Ask:  # noqa: ARG001
    return Ask("DELETE", "/nics", params={"mac": form.get("mac", "")})


def _insert(guest: Row, form: Form) -> Ask:  # noqa: ARG001
    return Ask("POST", "/media", {"media": form.get("media", "")})


def _password(guest: Row, form: Form) -> Ask:  # noqa: ARG001
    given = {"user": form.get("user", "").strip(), "password": form.get("password", "")}
    return Ask("POST", "/password", {name: value for name, value in given.items() if value})


def _reset(guest: Row, form: Form) -> Ask:
    if form.get("name", "").strip() != guest["name"]:
        raise Invalid("The name you typed is another one.", code="name_not_repeated", field="name")
    return Ask("POST", "/reset", {"image": form.get("image", "")})


def _migrate(guest: Row, form: Form) -> Ask:
    return Ask("POST", "/migrate", {"to": form.get("to", ""), "live": guest["state"] == "running"})


def _number(form: Form) -> int:
    return whole_in(form.get("number", ""), "number", 99, 0)


PARTS: Final[dict[str, Part]] = {
    "about": Part("about", _about, N_("%(name)s is described")),
    "size": Part("size", _size, N_("%(name)s is being changed")),
    "limits": Part("limits", _limits, N_("%(name)s is being changed")),
    "disk-add": Part("disks", _add_disk, N_("%(name)s is being given a disk")),
    "disk-grow": Part("disks", _grow_disk, N_("A disk of %(name)s is being made larger")),
    "disk-compact": Part("disks", _compact_disk, N_("A disk of %(name)s is being compacted")),
    "disk-remove": Part("disks", _remove_disk, N_("A disk of %(name)s is being removed")),
    "nic-add": Part("nics", _add_nic, N_("%(name)s is being given a network interface")),
    "nic-remove": Part("nics", _remove_nic, N_("A network interface of %(name)s is being removed")),
    "media-insert": Part("media", _insert, N_("Media is being put into the drive of %(name)s")),
    "media-eject": Part("media", lambda *_: Ask("DELETE", "/media"), N_("The drive of %(name)s is being emptied")),
    "password": Part("password", _password, N_("The password of %(name)s is being set")),
    "vnc-enable": Part("vnc", lambda *_: Ask("POST", "/vnc"), N_("VNC access to %(name)s is being opened")),
    "vnc-reset": Part("vnc", lambda *_: Ask("POST", "/vnc/reset"), N_("%(name)s is being given another VNC secret")),
    "vnc-disable": Part("vnc", lambda *_: Ask("DELETE", "/vnc"), N_("VNC access to %(name)s is being closed")),
    **RULE_PARTS,
    "reset": Part("reset", _reset, N_("%(name)s is being given a new system disk")),
    "migrate": Part("cell", _migrate, N_("%(name)s is being moved")),
    "protect": Part("delete", lambda *_: Ask("POST", "/protect"), N_("%(name)s is protected")),
    "unprotect": Part("delete", lambda *_: Ask("POST", "/unprotect"), N_("%(name)s is not protected any more")),
}


async def change(request: Request) -> Response:
    """One panel's form, or one of its buttons."""
    portal, visit = portal_of(request)
    name = str(request.path_params["part"])
    guest = portal.mirror.guest(str(request.path_params["guest"]))
    if name not in PARTS or guest is None:
        raise Unknown("There is no such page.", code="unknown_page")
    part, url = PARTS[name], f"/guests/{guest['id']}"
    said = visit.words._("Nothing was to be changed")
    try:
        if ask := part.ask(guest, visit.form):
            await portal.core.ask(ask.method, url + ask.path, visit.caller, body=ask.body, params=ask.params)
            said = visit.words._(part.said, name=guest["name"])
    except NanoError as error:
        if visit.is_htmx:
            return portal.refused(request, error)
        return again(portal, visit, guest, part.panel, name, error)
    return portal.done(request, f"{url}?tab=settings#{part.panel}", said)


def again(portal: Portal, visit: Visit, guest: Row, panel: str, part: str, error: NanoError) -> Response:
    """The page once more: what was typed, and what is wrong with it."""
    context = settings(portal, guest) | {
        "guest": guest,
        "tab": "settings",
        "usage": portal.usage,
        "watch": "",
        "gone": False,
    }
    context["forms"] |= {part: {**context["forms"].get(part, {}), **visit.form}}
    context |= {"problem": explain(error, visit.words), "problem_in": panel}
    return portal.page(visit, "guest.html", context, status=error.status)


def settings(portal: Portal, guest: Row) -> dict[str, Any]:
    """What the panels show besides the guest: values as people type them, images to start from."""
    problem: Explained | None = None
    cell = portal.mirror.get("cell", guest["cell"])
    return {
        "forms": _shown(guest),
        "images": ready(portal, "image"),
        "media": ready(portal, "media"),
        "cell": cell,
        "cells": _others(portal, guest),
        "moving_needs": _moving_needs(guest),
        "same_storage": sharing_storage(portal.mirror.all("cell"), cell) if cell else [],
        "bin_days": "",
        "problem": problem,
        "problem_in": "",
    }


def _moving_needs(guest: Row) -> tuple[str, ...]:
    """Abilities that a cell must have which it moves to."""
    needs = needs_of({**guest["disk_limits"], **guest["network_limits"]}, policy=guest["security"] is not None)
    return (*needs, LIVE_MIGRATION) if guest["state"] == "running" else needs


def _others(portal: Portal, guest: Row) -> list[Row]:
    """Cells that it could move to."""
    cells = (cell for cell in portal.mirror.all("cell") if cell["pool"] == guest["pool"] and cell["enabled"])
    return sorted((cell for cell in cells if cell["name"] != guest["cell"]), key=lambda one: str(one["name"]))


def ready(portal: Portal, kind: str) -> list[Row]:
    return sorted((one for one in portal.mirror.all(kind) if not one["task"]), key=lambda one: str(one["name"]))


def _shown(guest: Row) -> dict[str, dict[str, str]]:
    memory, memory_unit = with_unit(guest["memory"])
    room, room_unit = with_unit(guest["memory_max"])
    limits = {**guest["disk_limits"], **guest["network_limits"]}
    return {
        "about": {
            "description": guest["description"],
            "tags": ", ".join(guest["tags"]),
            "notes": guest["notes"],
        },
        "password": {"user": guest["admin"]},
        "size": {
            "name": guest["name"],
            "cores": str(guest["cores"]),
            "memory": memory,
            "memory_unit": memory_unit,
            "priority": guest["priority"],
            "autostart": "on" if guest["autostart"] else "",
            "cores_max": str(guest["cores_max"] or ""),
            "memory_max": room,
            "memory_max_unit": room_unit if room else memory_unit,
        },
        "limits": {
            **{field: plain(limits[field] / MEBI) for field in DISK_RATES},
            **{field: str(limits[field] or "") for field in DISK_OPERATIONS},
            **{field: plain(limits[field] / MBIT) for field in NETWORK_RATES},
        },
        "disk-add": {"size": "", "size_unit": "GiB"},
        "disk-grow": {},
        "migrate": {"to": ""},
        **shown_rules(guest),
        "reset": {"image": guest["image_id"], "name": ""},
    }
