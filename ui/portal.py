"""The portal as its pages see it: everything a handler may need, and the one way to answer with a page.

Made once by the node; handlers get it from the request. A handler reads the mirror or asks Core in the visitor's name,
and ends in ``page`` or ``done``.
"""

import json
from collections.abc import Callable, Mapping
from datetime import datetime
from typing import Any, NamedTuple
from urllib.parse import urlsplit

import msgspec
from starlette.requests import Request
from starlette.responses import HTMLResponse, RedirectResponse, Response

from nano.domain.catalogue import RIGHTS_OF_ROLE
from nano.domain.errors import NanoError
from nano.journal.health import NodeHealth
from nano.ui import sentences
from nano.ui.core_api import CoreApi
from nano.ui.doorman import Doorman
from nano.ui.formats import Formats
from nano.ui.gate import local_path
from nano.ui.hub import Hub
from nano.ui.mirror import Mirror
from nano.ui.relay import Consoles
from nano.ui.render import Renderer
from nano.ui.usage_ring import UsageRing
from nano.ui.visit import Visit, visit_of
from nano.ui.words import Words


class Portal(NamedTuple):
    core: CoreApi
    mirror: Mirror
    hub: Hub
    usage: UsageRing
    doorman: Doorman
    consoles: Consoles
    languages: dict[str, Words]
    renderer: Renderer
    clock: Callable[[], datetime]
    https: bool
    health: NodeHealth

    def page(
        self,
        visit: Visit,
        name: str,
        context: Mapping[str, Any],
        *,
        status: int = 200,
        headers: Mapping[str, str] | None = None,
    ) -> Response:
        """The template, with what every page shows around it."""
        rights = RIGHTS_OF_ROLE[visit.session.role] if visit.session else frozenset()
        html = self.renderer.template(visit.words.tag, name).render(
            visit=visit,
            languages=self.languages,
            mirror=self.mirror,
            rights=rights,
            user=visit.session.account if visit.session else "",
            tasks=self.strip() if visit.session else [],
            alarms=self.alarms() if visit.session else [],
            **context,
        )
        return HTMLResponse(html, status, headers=dict(headers or {}))

    def strip(self) -> list[dict[str, Any]]:
        """The tasks shown at the foot of every page: open ones, then those that ended in the last minutes."""
        recent = []
        for task in self.mirror.tasks()[:20]:
            ended = task.get("ended_at")
            if not ended or (self.clock() - datetime.fromisoformat(ended)).total_seconds() < 180:
                recent.append(task)
        return recent[:4]

    def alarms(self) -> list[dict[str, Any]]:
        """Core's alarms as last heard, and this node's own; the gravest first, then the newest."""
        found = [*self.mirror.all("alarm"), *map(msgspec.to_builtins, self.health.alarms.values())]
        found.sort(key=lambda alarm: str(alarm["since"]), reverse=True)
        return sorted(found, key=lambda alarm: str(alarm["severity"]))

    def backups(self) -> list[dict[str, Any]]:
        """How every node stands with its backups, this one last."""
        own = {"node": self.health.node, "kind": "frontend", **msgspec.to_builtins(self.health.backup)}
        order = ("core", "cell")
        return [*sorted(self.mirror.all("backup"), key=lambda row: (order.index(row["kind"]), row["node"])), own]

    def done(self, request: Request, target: str, title: str, *, kind: str = "ok", link: str = "") -> Response:
        """After a change: scripts show a toast and the page mends itself; without scripts the browser goes to ``target``."""
        visit = visit_of(request)
        if not visit.is_htmx:
            return RedirectResponse(target, 303)
        return Response(status_code=204, headers=_toast(kind=kind, title=title, link=link))

    def refused(self, request: Request, error: NanoError) -> Response:
        """Why a change did not happen: a toast for scripts, else a page of its own."""
        visit = visit_of(request)
        words = explain(error, visit.words)
        if visit.is_htmx:
            headers = _toast(kind="error", title=words.message, hint=words.hint, code=error.code)
            return Response(status_code=error.status, headers=headers)
        return self.error_page(visit, error)

    def error_page(self, visit: Visit, error: NanoError) -> Response:
        status = error.status
        context = {"problem": explain(error, visit.words), "code": error.code, "status": status}
        return self.page(visit, "error.html" if visit.session else "error_outside.html", context, status=status)


def portal_of(request: Request) -> tuple[Portal, Visit]:
    portal: Portal = request.app.state.portal
    return portal, visit_of(request)


def formats_of(visit: Visit) -> Formats:
    return Formats(visit.words)


class Explained(NamedTuple):
    """A problem in the visitor's language, and the form field it is about ("" = none)."""

    message: str
    hint: str
    code: str
    field: str


def explain(error: NanoError, words: Words) -> Explained:
    message, hint = sentences.problem_words({"code": error.code, "message": error.message, "hint": error.hint}, words)
    return Explained(message, hint, error.code, str(error.context.get("field", "")))


def back_path(request: Request, otherwise: str) -> str:
    """The page the visitor came from, when it is one of ours."""
    referer = urlsplit(request.headers.get("referer", ""))
    return local_path(referer.path) if referer.netloc == request.headers.get("host") and referer.path else otherwise


def _toast(**told: str) -> dict[str, str]:
    """Shown by the body, as the button that asked may have been replaced meanwhile."""
    return {
        "HX-Trigger": json.dumps({"toast": {"target": "body", **told}})
    }  # ASCII: a header can't carry anything else
