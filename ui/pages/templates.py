"""Templates: the virtual hardware, and the security policy, that suit a kind of system. List, create, modify, delete.

A form is sent whole, so what it shows is what the template becomes. Guests that were made with one keep what they got.
"""

from collections.abc import Mapping
from typing import Any, Final

import msgspec
from starlette.requests import Request
from starlette.responses import RedirectResponse, Response

from nano.domain.catalogue import RIGHTS_OF_ROLE
from nano.domain.errors import Forbidden, NanoError, Unknown
from nano.domain.machine import HARDWARE_MODELS, Hardware
from nano.domain.security import SecurityPolicy, in_words
from nano.domain.template import DEFAULTS
from nano.ui.mirror import Row
from nano.ui.pages.forms import policy_in
from nano.ui.portal import Explained, Portal, explain, portal_of
from nano.ui.visit import Visit
from nano.ui.words import Words

NEW: Final = {
    "name": "",
    "admin": "root",
    "operating_system": "linux",
    **msgspec.structs.asdict(Hardware()),
    "policy": "",
    "rules": "",
}
POLICY_FIELDS: Final = ("policy", "source", "port", "last_port", "addresses")
POLICY_CODES: Final = ("too_many_rules", "duplicate_rule")


async def templates(request: Request) -> Response:
    portal, visit = portal_of(request)
    rows = sorted(portal.mirror.all("template"), key=lambda row: str(row["name"]))
    used: dict[str, int] = {}
    for guest in portal.mirror.all("guest"):
        used[guest["template"]] = used.get(guest["template"], 0) + 1
    context = {"templates": rows, "used": used, "stock": {row["id"] for row in rows if _is_stock(row)}, "watch": ""}
    name = "templates/list.html" if request.query_params.get("part") == "list" else "templates.html"
    return portal.page(visit, name, context)


async def create_page(request: Request) -> Response:
    portal, visit = portal_of(request)
    _require(visit)
    return portal.page(visit, "templates/edit.html", _context(None, NEW, None))


async def create(request: Request) -> Response:
    portal, visit = portal_of(request)
    form = _typed(visit)
    try:
        await portal.core.ask("POST", "/templates", visit.caller, body=command(form))
    except NanoError as error:
        return _again(portal, visit, None, form, error)
    return RedirectResponse("/templates", 303)


async def edit_page(request: Request) -> Response:
    portal, visit = portal_of(request)
    _require(visit)
    row = _row(portal, request)
    return portal.page(visit, "templates/edit.html", _context(row, form_of(row), None))


async def edit(request: Request) -> Response:
    portal, visit = portal_of(request)
    row, form = _row(portal, request), _typed(visit)
    try:
        body = command(form)
        if "policy" not in body:
            body["no_policy"] = True
        await portal.core.ask("PATCH", f"/templates/{row['id']}", visit.caller, body=body)
    except NanoError as error:
        return _again(portal, visit, row, form, error)
    return RedirectResponse("/templates", 303)


async def delete(request: Request) -> Response:
    portal, visit = portal_of(request)
    row = _row(portal, request)
    try:
        await portal.core.ask("DELETE", f"/templates/{row['id']}", visit.caller)
    except NanoError as error:
        return portal.refused(request, error)
    return portal.done(request, "/templates", visit.words._("Template %(name)s is deleted", name=row["name"]))


def command(form: Mapping[str, str]) -> dict[str, Any]:
    """The body of template.create, and of template.modify for what has a policy. Raises Invalid, Conflict."""
    return {
        "name": form["name"].strip(),
        "admin": form["admin"].strip(),
        "operating_system": form["operating_system"],
        "hardware": {part: form[part] for part in HARDWARE_MODELS},
        **policy_in(form),
    }


def form_of(row: Row) -> dict[str, str]:
    """What the form begins with, its rules as people would type them."""
    policy, lines = "", list[str]()
    if row["policy"] is not None:
        held = msgspec.convert(row["policy"], SecurityPolicy)
        policy = held.default
        lines = [f"{rule.action} {in_words(rule)}".removesuffix(" from anybody") for rule in held.rules]
        lines += [f"address {address}" for address in held.addresses]
    said = {name: str(row[name]) for name in ("name", "admin", "operating_system")}
    return {**said, **row["hardware"], "policy": policy, "rules": "\n".join(lines)}


def _is_stock(row: Row) -> bool:
    """Whether it is one that a zone begins with, as it was."""
    told = row["name"], row["admin"], row["operating_system"], msgspec.convert(row["hardware"], Hardware)
    return told in DEFAULTS and row["policy"] is None


def _require(visit: Visit) -> None:
    """Nobody fills in a form that Core will refuse. Raises Forbidden."""
    if visit.session is None or "administer" not in RIGHTS_OF_ROLE[visit.session.role]:
        raise Forbidden("Your role does not allow this.", code="forbidden", hint="Ask an administrator.")


def _typed(visit: Visit) -> dict[str, str]:
    return {name: visit.form.get(name, value) for name, value in NEW.items()}


def _row(portal: Portal, request: Request) -> Row:
    row = portal.mirror.get("template", str(request.path_params["template"]))
    if row is None:
        raise Unknown("There is no such template.", code="unknown_template", hint="It may have been deleted.")
    return row


def _again(portal: Portal, visit: Visit, row: Row | None, form: dict[str, str], error: NanoError) -> Response:
    context = _context(row, form, _told(error, visit.words))
    return portal.page(visit, "templates/edit.html", context, status=error.status)


def _told(error: NanoError, words: Words) -> Explained:
    """With the field of the form that it is about."""
    told = explain(error, words)
    field = told.field.removeprefix("hardware.")
    if field.split(".")[0] in POLICY_FIELDS or error.code in POLICY_CODES:
        field = "rules"
    elif error.code == "duplicate_name":
        field = "name"
    if error.code == "invalid_name" and field == "name":  # a template's may have blanks, unlike other names
        told = told._replace(hint=words._("Use a word or a few, without “/”; 64 letters at most."))
    return told._replace(field=field if field in NEW else "")


def _context(row: Row | None, form: Mapping[str, str], problem: Explained | None) -> dict[str, Any]:
    return {"template": row, "form": form, "problem": problem, "models": HARDWARE_MODELS, "watch": ""}
