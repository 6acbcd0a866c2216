"""The doorman: who may come in. Accounts, passwords and sessions on top of the FrontEnd's ledger.

Invariants: a password is hashed with argon2id outside the ledger and never kept; the browser's token is never kept
either, only its digest; a wrong account costs as much time as a wrong password and gets the same words; at most
HASHERS passwords are hashed at once, however many knock.
"""

import hashlib
import hmac
import logging
import secrets
from collections.abc import Callable
from datetime import datetime
from typing import Final, NamedTuple, Protocol

import anyio
from argon2 import PasswordHasher
from argon2.exceptions import InvalidHashError, VerificationError

from nano.domain.account import PASSWORD_LENGTH_MAX, Account, ChangePassword, CreateFirstAccount, require_password
from nano.domain.errors import Failure, Invalid, Refusal, Unauthenticated, Unknown
from nano.domain.naming import require_name
from nano.domain.office import Office
from nano.domain.session import (
    CloseReason,
    CloseSession,
    ContinueSession,
    Lifetimes,
    OpenSession,
    RecordFailedLogin,
    Session,
    why_over,
)
from nano.domain.throttle import Throttle
from nano.journal.ledger import Ledger
from nano.journal.workers import THREADS, Workers

log = logging.getLogger("nano.ui")

HASHERS: Final = 2
SWEEP_S: Final = 60.0


class Hasher(Protocol):
    """What is asked of ``argon2.PasswordHasher``."""

    def hash(self, password: str) -> str: ...

    def verify(self, hash: str, password: str) -> bool:
        """Raises VerificationError, InvalidHashError."""
        ...


HASHER: Final[Hasher] = PasswordHasher()


def new_token() -> str:
    """A browser's secret, 256 bits."""
    return secrets.token_urlsafe(32)


class TooManyAttempts(Refusal):
    status = 429
    default_code = "too_many_attempts"


class Entry(NamedTuple):
    """An open session, and the token that only its browser keeps."""

    session: Session
    token: str


class Doorman:
    def __init__(
        self,
        office: Office,
        ledger: Ledger,
        *,
        lifetimes: Lifetimes,
        throttle: Throttle,
        clock: Callable[[], datetime],
        hasher: Hasher = HASHER,
        token: Callable[[], str] = new_token,
        workers: Workers = THREADS,
        on_close: Callable[[str], None] = lambda _: None,
    ) -> None:
        self._office = office
        self._ledger = ledger
        self._lifetimes = lifetimes
        self._throttle = throttle
        self._clock = clock
        self._hasher = hasher
        self._token = token
        self._workers = workers
        self._limiter = anyio.CapacityLimiter(HASHERS)
        self._seen: dict[str, datetime] = {}
        self._on_close = on_close
        self._dummy = self._hasher.hash(token())

    @property
    def is_new(self) -> bool:
        """No account yet: the next visitor makes the administrator."""
        return not self._office.accounts

    def session_of(self, token: str) -> Session | None:
        """The session of a browser's token, if it is still good."""
        session = self._office.session_of(digest_of(token)) if token else None
        if session is None:
            return None
        seen = self._seen.get(session.id, session.continued_at)
        return None if why_over(session, seen, self._clock(), self._lifetimes) else session

    async def used(self, session: Session) -> None:
        """Note that a person used the session; journaled once in a third of the idle limit."""
        now = self._clock()
        self._seen[session.id] = now
        if now - session.continued_at < self._lifetimes.idle / 3:
            return
        try:
            await self._ledger.execute(ContinueSession(session.id), actor=session.account, command_id="")
        except (Failure, Unknown) as error:  # closed meanwhile, or a full disk: reading must go on
            log.warning("session use not recorded session=%s reason=%s", session.id, error)

    async def set_up(self, name: str, password: str, address: str) -> Entry:
        """Make the administrator and let them in. Raises Invalid(invalid_name, weak_password), Conflict(already_set_up)."""
        require_name(name, "account name")
        require_password(password)
        hashed = await self._hash(password)
        await self._ledger.execute(CreateFirstAccount(name=name, password_hash=hashed), actor=name, command_id="")
        return await self._open(name, address)

    async def log_in(self, name: str, password: str, address: str) -> Entry:
        """Raises Unauthenticated(wrong_login, session_over), TooManyAttempts."""
        now = self._clock().timestamp()
        known = self._office.accounts.get(name)
        keys = {"account": name[:PASSWORD_LENGTH_MAX], "address": address}
        if wait_s := self._throttle.wait_s(now, **keys):
            raise TooManyAttempts(
                "There were too many failed logins.",
                hint=f"Wait {max(1, round(wait_s))} s and try again.",
                wait_s=max(1, round(wait_s)),
            )
        self._throttle.failed(now, **keys)  # counted before the slow part, so that parallel tries count too
        if not await self._verify(known, password) or not self._is_still(known):
            await self._ledger.execute(RecordFailedLogin(account=name, address=address), actor="", command_id="")
            raise Unauthenticated(
                "Name or password is wrong.", code="wrong_login", hint="Check both, and the Caps Lock key."
            )
        self._throttle.forgive("account", keys["account"])
        self._throttle.take_back(now, "address", address)
        return await self._open(name, address)

    async def change_password(self, session: Session, current: str, fresh: str) -> None:
        """Raises Invalid(wrong_password, weak_password), TooManyAttempts. Other sessions of the account end."""
        account = self._office.accounts.get(session.account)
        if account is None:
            raise Unknown("The account is gone.", code="unknown_account")
        now = self._clock().timestamp()
        if self._throttle.wait_s(now, account=account.name):
            raise TooManyAttempts("There were too many wrong passwords.", hint="Wait some minutes and try again.")
        if not await self._verify(account, current):
            self._throttle.failed(now, account=account.name)
            raise Invalid(
                "The current password is wrong.", code="wrong_password", hint="Type it again.", field="current"
            )
        require_password(fresh)
        command = ChangePassword(name=account.name, password_hash=await self._hash(fresh), keep=session.id)
        others = [other.id for other in self._office.sessions.values() if other.account == account.name]
        await self._ledger.execute(command, actor=account.name, command_id="")
        for other in others:
            if other != session.id:
                self._forget(other)

    async def log_out(self, session: Session) -> None:
        await self._close(session, "logout")

    async def sweep(self) -> None:
        """Close sessions that have ended by themselves."""
        now = self._clock()
        for session in list(self._office.sessions.values()):
            reason = why_over(session, self._seen.get(session.id, session.continued_at), now, self._lifetimes)
            if reason:
                await self._close(session, reason)

    async def run(self) -> None:
        """Sweep until cancelled."""
        while True:
            await self.sweep()
            await anyio.sleep(SWEEP_S)

    async def _open(self, name: str, address: str) -> Entry:
        token = self._token()
        command = OpenSession(account=name, digest=digest_of(token), address=address)
        await self._ledger.execute(command, actor=name, command_id="")
        session = self._office.session_of(digest_of(token))
        if session is None:
            raise Unauthenticated(
                "The session ended while it was opened: perhaps the password was changed.",
                code="session_over",
                hint="Log in again.",
            )
        return Entry(session, token)

    def _is_still(self, known: Account | None) -> bool:
        """Checking takes long enough for somebody to change the password; who knows the old one must not come in then."""
        account = self._office.accounts.get(known.name) if known else None
        return known is not None and account is not None and account.password_hash == known.password_hash

    async def _close(self, session: Session, reason: CloseReason) -> None:
        await self._ledger.execute(CloseSession(session.id, reason), actor=session.account, command_id="")
        self._forget(session.id)

    def _forget(self, session_id: str) -> None:
        self._seen.pop(session_id, None)
        self._on_close(session_id)

    async def _hash(self, password: str) -> str:
        async with self._limiter:
            return await self._workers.run(self._hasher.hash, password)

    async def _verify(self, account: Account | None, password: str) -> bool:
        hashed = account.password_hash if account else self._dummy

        def check() -> bool:
            try:
                return self._hasher.verify(hashed, password[:PASSWORD_LENGTH_MAX])
            except (VerificationError, InvalidHashError):
                return False

        async with self._limiter:
            return await self._workers.run(check) and account is not None


def digest_of(token: str) -> str:
    return hashlib.sha256(token.encode()).hexdigest()


def form_token(secret: str) -> str:
    """The CSRF token that goes with a cookie's secret: whoever can't read the cookie can't make it."""
    return hmac.new(secret.encode(), b"nano form token", "sha256").hexdigest()
