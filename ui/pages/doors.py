"""The doors: first visit, login, logout, own password, language and theme."""

from starlette.requests import Request
from starlette.responses import RedirectResponse, Response

from nano.domain.account import unmet_rules
from nano.domain.errors import Invalid, NanoError
from nano.ui.doorman import Entry
from nano.ui.gate import SESSION_COOKIE, VISIT_COOKIE, cookie, local_path
from nano.ui.portal import Portal, back_path, explain, portal_of
from nano.ui.visit import THEMES

YEAR_S = 365 * 86400


async def login_page(request: Request) -> Response:
    portal, visit = portal_of(request)
    if portal.doorman.is_new:
        return RedirectResponse("/welcome", 303)
    if visit.session is not None:
        return RedirectResponse("/", 303)
    context = {"name": "", "next": local_path(request.query_params.get("next", "/")), "problem": None}
    return portal.page(visit, "login.html", context)


async def login(request: Request) -> Response:
    portal, visit = portal_of(request)
    name, wanted = visit.form.get("name", "").strip(), local_path(visit.form.get("next", "/"))
    try:
        entry = await portal.doorman.log_in(name, visit.form.get("password", ""), visit.address)
    except NanoError as error:
        context = {"name": name, "next": wanted, "problem": explain(error, visit.words)}
        return portal.page(visit, "login.html", context, status=error.status)
    return _let_in(portal, entry, wanted, request)


async def welcome_page(request: Request) -> Response:
    portal, visit = portal_of(request)
    if not portal.doorman.is_new:
        return RedirectResponse("/login", 303)
    return portal.page(visit, "welcome.html", {"name": "", "problem": None, "unmet": unmet_rules("")})


async def welcome(request: Request) -> Response:
    portal, visit = portal_of(request)
    name, password = visit.form.get("name", "").strip(), visit.form.get("password", "")
    try:
        _same_twice(password, visit.form.get("again", ""))
        entry = await portal.doorman.set_up(name, password, visit.address)
    except NanoError as error:
        context = {"name": name, "problem": explain(error, visit.words), "unmet": unmet_rules(password)}
        return portal.page(visit, "welcome.html", context, status=error.status)
    return _let_in(portal, entry, "/?first", request)


async def logout(request: Request) -> Response:
    portal, visit = portal_of(request)
    if visit.session is not None:
        await portal.doorman.log_out(visit.session)
    response = RedirectResponse("/login", 303)
    response.headers.append("set-cookie", cookie(SESSION_COOKIE, "", secure=_secure(portal, request), max_age_s=0))
    return response


async def password_page(request: Request) -> Response:
    portal, visit = portal_of(request)
    context = {"problem": None, "unmet": unmet_rules(""), "changed": "changed" in request.query_params}
    return portal.page(visit, "password.html", context)


async def change_password(request: Request) -> Response:
    portal, visit = portal_of(request)
    assert visit.session is not None
    fresh = visit.form.get("password", "")
    try:
        _same_twice(fresh, visit.form.get("again", ""))
        await portal.doorman.change_password(visit.session, visit.form.get("current", ""), fresh)
    except NanoError as error:
        context = {"problem": explain(error, visit.words), "unmet": unmet_rules(fresh), "changed": False}
        return portal.page(visit, "password.html", context, status=error.status)
    return RedirectResponse("/password?changed", 303)


async def preferences(request: Request) -> Response:
    """Language and theme, kept in the browser; open to visitors who are not logged in."""
    portal, visit = portal_of(request)
    response = RedirectResponse(back_path(request, "/"), 303)
    secure = _secure(portal, request)
    if visit.form.get("language") in portal.languages:
        kept = cookie("nano_language", visit.form["language"], secure=secure, max_age_s=YEAR_S)
        response.headers.append("set-cookie", kept)
    if visit.form.get("theme") in THEMES:
        kept = cookie("nano_theme", visit.form["theme"], secure=secure, max_age_s=YEAR_S, script=True)
        response.headers.append("set-cookie", kept)
    return response


def _let_in(portal: Portal, entry: Entry, target: str, request: Request) -> Response:
    """A fresh token at every login, so that one planted before is worth nothing."""
    response = RedirectResponse(target, 303)
    secure = _secure(portal, request)
    response.headers.append("set-cookie", cookie(SESSION_COOKIE, entry.token, secure=secure))
    response.headers.append("set-cookie", cookie(VISIT_COOKIE, "", secure=secure, max_age_s=0))
    return response


def _secure(portal: Portal, request: Request) -> bool:
    return portal.https or request.url.scheme == "https"


def _same_twice(password: str, again: str) -> None:
    if password != again:
        raise Invalid(
            "The two passwords differ.", code="passwords_differ", hint="Type the same password twice.", field="again"
        )
