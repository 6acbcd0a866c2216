"""The gate in front of every page: session, form token, origin, and the headers that tell browsers what is allowed.

Deny by default: a path that is not in OPEN needs a session, and a request that may change something needs a form token
that only a page of ours can know, and must not come from another site. Pure ASGI; forms are read here, bounded, once.
"""

import secrets
from collections.abc import Callable, Mapping
from http.cookies import CookieError, SimpleCookie
from typing import Final
from urllib.parse import parse_qsl, quote, urlsplit

import anyio
from msgspec.structs import replace
from starlette.datastructures import Headers, MutableHeaders
from starlette.responses import RedirectResponse, Response
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from nano.domain.errors import Forbidden, NanoError, TooLarge, Unauthenticated
from nano.http.problems import BadRequest
from nano.ui.doorman import Doorman, form_token
from nano.ui.visit import THEMES, Visit
from nano.ui.words import Words, choose

BODY_BYTES_MAX: Final = 192 * 1024
FIELDS_MAX: Final = 100
FORM_SECONDS_MAX: Final = 20.0
OPEN: Final = ("/login", "/welcome", "/health", "/preferences")  # and everything below /static/
SAFE: Final = frozenset({"GET", "HEAD", "OPTIONS"})
SESSION_COOKIE: Final = "nano_session"
VISIT_COOKIE: Final = "nano_visit"
POLICY: Final = (
    "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self' data:; font-src 'self'; "
    "connect-src 'self'; form-action 'self'; base-uri 'none'; frame-ancestors 'none'"
)
# A terminal makes its own style sheet (xterm.js); nothing else is looser on its page.
TERMINAL_POLICY: Final = POLICY.replace("style-src 'self'", "style-src 'self' 'unsafe-inline'")
SECURITY_HEADERS: Final = {
    "content-security-policy": POLICY,
    "x-content-type-options": "nosniff",
    "referrer-policy": "same-origin",
    "x-frame-options": "DENY",
    "cross-origin-opener-policy": "same-origin",
    "permissions-policy": "camera=(), microphone=(), geolocation=()",
}


Refuse = Callable[[Scope, NanoError], Response]


class Gate:
    """``refuse(scope, error)`` makes the page for a request that is turned away."""

    def __init__(
        self,
        app: ASGIApp,
        *,
        doorman: Doorman,
        languages: Mapping[str, Words],
        refuse: Refuse,
        https: bool,
        mark: Callable[[], str],
    ) -> None:
        self._app = app
        self._doorman = doorman
        self._languages = dict(languages)
        self._refuse = refuse
        self._https = https
        self._mark = mark

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] not in ("http", "websocket"):
            await self._app(scope, receive, send)
            return
        if scope["path"].startswith("/static/"):
            await self._app(scope, receive, _with_headers(send, ()))
            return
        headers = Headers(scope=scope)
        cookies = read_cookies(headers.get("cookie", ""))
        visit, fresh = self._visit(scope, headers, cookies)
        scope["nano.visit"] = visit
        set_cookies = [cookie(VISIT_COOKIE, visit.secret, secure=self.secure(scope))] if fresh else []
        try:
            if scope["type"] == "websocket":
                if visit.session is None or not same_origin(headers):
                    await send({"type": "websocket.close", "code": 1008, "reason": "log in to the portal first"})
                    return
            elif response := self._turn_away(scope, visit):
                await response(scope, receive, _with_headers(send, set_cookies))
                return
            elif scope["method"] == "PUT":
                self._check_form(headers, visit, {})  # a file's bytes: whoever takes them reads them
            elif scope["method"] not in SAFE:
                form = await self._read_form(headers, receive)
                self._check_form(headers, visit, form)
                scope["nano.visit"] = visit = replace(visit, form=form)
        except NanoError as error:
            response = self._refuse(scope, error)
            await response(scope, receive, _with_headers(send, set_cookies))
            return
        if visit.session is not None and scope["path"] != "/events":
            await self._doorman.used(visit.session)
        await self._app(scope, receive, _with_headers(send, set_cookies))

    def secure(self, scope: Scope) -> bool:
        return self._https or scope.get("scheme") in ("https", "wss")

    def _visit(self, scope: Scope, headers: Headers, cookies: Mapping[str, str]) -> tuple[Visit, bool]:
        token = cookies.get(SESSION_COOKIE, "")
        session = self._doorman.session_of(token)
        secret = token if session else cookies.get(VISIT_COOKIE, "")
        fresh = not secret
        if fresh:
            secret = secrets.token_urlsafe(24)
        theme = cookies.get("nano_theme", "auto")
        client = scope.get("client")
        visit = Visit(
            words=choose(self._languages, cookies.get("nano_language", ""), headers.get("accept-language", "")),
            theme=theme if theme in THEMES else "auto",
            narrow_rail=cookies.get("nano_rail") == "narrow",
            session=session,
            secret=secret,
            form_token=form_token(secret),
            address=client[0] if client else "",
            is_htmx=headers.get("hx-request") == "true",
            mark=self._mark(),
        )
        return visit, fresh

    def _turn_away(self, scope: Scope, visit: Visit) -> Response | None:
        path: str = scope["path"]
        if path in OPEN or visit.session is not None:
            return None
        if path == "/events" or scope["method"] not in SAFE:
            raise Unauthenticated("You are not logged in.", code="not_logged_in", hint="Log in, then try again.")
        query = scope["query_string"].decode("latin-1")
        wanted = path + ("?" + query if query else "")
        target = "/welcome" if self._doorman.is_new else "/login" + ("" if path == "/" else f"?next={quote(wanted)}")
        if visit.is_htmx:
            return Response(status_code=401, headers={"HX-Redirect": target})
        return RedirectResponse(target, 303)

    async def _read_form(self, headers: Headers, receive: Receive) -> dict[str, str]:
        declared = headers.get("content-length", "0")
        if not declared.isdigit() or int(declared) > BODY_BYTES_MAX:
            raise _too_large()
        body = b""
        more = True
        with anyio.move_on_after(FORM_SECONDS_MAX):
            while more:
                message = await receive()
                if message["type"] == "http.disconnect":
                    break
                body += message.get("body", b"")
                more = message.get("more_body", False)
                if len(body) > BODY_BYTES_MAX:
                    raise _too_large()
        if more:
            raise BadRequest("The form did not arrive whole.", code="form_incomplete", hint="Load the page again.")
        try:
            return dict(parse_qsl(body.decode(), keep_blank_values=True, max_num_fields=FIELDS_MAX))
        except ValueError as error:
            raise TooLarge("The form can't be read.", code="bad_form", hint="Load the page again.") from error

    def _check_form(self, headers: Headers, visit: Visit, form: Mapping[str, str]) -> None:
        shown = headers.get("x-form-token") or form.get("form_token", "")
        if not same_origin(headers) or not secrets.compare_digest(shown.encode(), visit.form_token.encode()):
            raise Forbidden(
                "The form is from another time or another site.",
                code="form_token_invalid",
                hint="Load the page again and repeat what you did.",
            )


def same_origin(headers: Headers) -> bool:
    """Whether the browser says that the request comes from a page of this very origin (or says nothing)."""
    site = headers.get("sec-fetch-site")
    if site not in (None, "same-origin", "none"):
        return False
    origin = headers.get("origin")
    return origin is None or urlsplit(origin).netloc == headers.get("host", "")


def read_cookies(text: str) -> dict[str, str]:
    try:
        return {name: morsel.value for name, morsel in SimpleCookie(text[:4096]).items()}
    except CookieError:
        return {}


def cookie(name: str, value: str, *, secure: bool, max_age_s: int | None = None, script: bool = False) -> str:
    """A Set-Cookie value; ``script`` lets the page's scripts read it. Without ``max_age_s`` it ends with the browser."""
    parts = [f"{name}={value}", "Path=/", "SameSite=Strict"]
    if max_age_s is not None:
        parts.append(f"Max-Age={max_age_s}")
    if not script:
        parts.append("HttpOnly")
    if secure:
        parts.append("Secure")
    return "; ".join(parts)


def local_path(wanted: str) -> str:
    """The path to go on to after login: one of ours, or the start page."""
    ours = wanted.startswith("/") and not wanted.startswith(("//", "/\\")) and "\\" not in wanted
    return wanted if ours and wanted.isprintable() else "/"


def _with_headers(send: Send, set_cookies: "list[str] | tuple[str, ...]") -> Send:
    async def sending(message: Message) -> None:
        if message["type"] == "http.response.start":
            headers = MutableHeaders(scope=message)
            for name, value in SECURITY_HEADERS.items():
                headers.setdefault(name, value)
            if "cache-control" not in headers:
                headers["cache-control"] = "no-store"
            for value in set_cookies:
                headers.append("set-cookie", value)
        await send(message)

    return sending


def _too_large() -> TooLarge:
    return TooLarge(f"A form has at most {BODY_BYTES_MAX} bytes.", hint="Send less.")
