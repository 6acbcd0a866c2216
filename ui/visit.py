"""A visit: what one request is known to be before any page runs: who, in which language, theme and browser.

Made once by the gate, read by every page; a page never looks at cookies itself.
"""

from collections.abc import Mapping
from typing import Any, Final

import msgspec
from starlette.requests import HTTPConnection

from nano.domain.session import Session
from nano.ui.core_api import Caller
from nano.ui.words import Words

THEMES: Final = ("auto", "light", "dark")


class Visit(msgspec.Struct, frozen=True, kw_only=True):
    """``secret`` is the value of the cookie that ``form_token`` belongs to. ``form`` is the decoded body of a POST."""

    words: Words
    theme: str
    narrow_rail: bool
    session: Session | None
    secret: str
    form_token: str
    address: str
    is_htmx: bool
    mark: str  # how far changes had come when the request arrived: what a page shows is at least that fresh
    form: Mapping[str, str] = {}

    @property
    def caller(self) -> Caller:
        assert self.session is not None, "the gate lets nobody in here without a session"
        return Caller(self.session.account, self.session.role)


def visit_of(request: HTTPConnection) -> Visit:
    visit: Any = request.scope["nano.visit"]
    assert isinstance(visit, Visit)
    return visit
