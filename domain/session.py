"""Session: one browser that logged in, until it logs out, is idle too long or grows too old.

The browser keeps a random token; here is only its sha256 digest, so a journal opens no door. A session survives a restart
of FrontEnd because it is replayed. When it was last used is an observation, too frequent to journal; a coarse
``session.continued`` is written instead, a few times per idle limit, and the last such instant counts after a restart.
"""

from datetime import datetime, timedelta
from typing import Literal

import msgspec

from nano.domain.account import Account, AccountPasswordChanged, ChangePassword, Role, account_named
from nano.domain.errors import Unknown
from nano.domain.facts import Command, Context, Emitted, Event, Model

CloseReason = Literal["logout", "idle", "too_old", "password_changed"]


class Session(msgspec.Struct, frozen=True, kw_only=True):
    id: str
    digest: str
    account: str
    role: Role
    address: str
    opened_at: datetime
    continued_at: datetime


class LoginFailures(msgspec.Struct, frozen=True, kw_only=True):
    count: int
    last_at: datetime


class SessionOpened(Event, frozen=True, kw_only=True, tag="session.opened"):
    id: str
    digest: str
    account: str
    role: Role
    address: str


class SessionContinued(Event, frozen=True, tag="session.continued"):
    """Still in use."""


class SessionClosed(Event, frozen=True, tag="session.closed"):
    reason: CloseReason


class LoginFailed(Event, frozen=True, kw_only=True, tag="login.failed"):
    """``account`` is empty when no such account exists: people type passwords into the wrong field."""

    account: str
    address: str


class OpenSession(Command, frozen=True, kw_only=True, tag="session.open"):
    """Let somebody in whose password was checked. ``digest`` = sha256 of the browser's token, hex."""

    account: str
    digest: str
    address: str


class ContinueSession(Command, frozen=True, tag="session.continue"):
    session: str


class CloseSession(Command, frozen=True, tag="session.close"):
    session: str
    reason: CloseReason


class RecordFailedLogin(Command, frozen=True, kw_only=True, tag="login.record_failed"):
    account: str
    address: str


FAILURES = "login/failures"


class Lifetimes(msgspec.Struct, frozen=True):
    """How long a session lasts without use, and at all."""

    idle: timedelta = timedelta(minutes=30)
    absolute: timedelta = timedelta(hours=12)


def why_over(session: Session, last_seen: datetime, now: datetime, lifetimes: Lifetimes) -> CloseReason | None:
    """The reason for which a session has ended by itself; None while it is good."""
    if now - session.opened_at >= lifetimes.absolute:
        return "too_old"
    if now - max(last_seen, session.continued_at) >= lifetimes.idle:
        return "idle"
    return None


def decide_open(model: Model, command: OpenSession, context: Context) -> list[Emitted]:
    account = account_named(model, command.account)
    session_id = context.new_id()
    event = SessionOpened(
        id=session_id, digest=command.digest, account=account.name, role=account.role, address=command.address
    )
    return [Emitted(f"session/{session_id}", event)]


def decide_continue(model: Model, command: ContinueSession, context: Context) -> list[Emitted]:
    if not isinstance(model.get(f"session/{command.session}"), Session):
        raise Unknown("The session has ended.", code="unknown_session", hint="Log in again.")
    return [Emitted(f"session/{command.session}", SessionContinued())]


def decide_close(model: Model, command: CloseSession, context: Context) -> list[Emitted]:
    if not isinstance(model.get(f"session/{command.session}"), Session):
        return []  # closing twice is no mistake
    return [Emitted(f"session/{command.session}", SessionClosed(reason=command.reason))]


def decide_record_failed(model: Model, command: RecordFailedLogin, context: Context) -> list[Emitted]:
    known = isinstance(model.get(f"account/{command.account}"), Account)
    event = LoginFailed(account=command.account if known else "", address=command.address)
    return [Emitted(FAILURES, event)]


def decide_change_password(model: Model, command: ChangePassword, context: Context) -> list[Emitted]:
    account = account_named(model, command.name)
    events = [Emitted(f"account/{account.name}", AccountPasswordChanged(password_hash=command.password_hash))]
    for session in model.of_kind("session"):
        if isinstance(session, Session) and session.account == account.name and session.id != command.keep:
            events.append(Emitted(f"session/{session.id}", SessionClosed(reason="password_changed")))
    return events


def evolve_opened(state: Session | None, event: SessionOpened, at: datetime) -> Session:
    return Session(
        id=event.id,
        digest=event.digest,
        account=event.account,
        role=event.role,
        address=event.address,
        opened_at=at,
        continued_at=at,
    )


def evolve_continued(state: Session, event: SessionContinued, at: datetime) -> Session:
    return msgspec.structs.replace(state, continued_at=at)


def evolve_closed(state: Session, event: SessionClosed, at: datetime) -> None:
    return None


def evolve_login_failed(state: LoginFailures | None, event: LoginFailed, at: datetime) -> LoginFailures:
    return LoginFailures(count=state.count + 1 if state else 1, last_at=at)
