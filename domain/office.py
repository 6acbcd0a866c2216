"""Office: the model of one FrontEnd, its accounts and open sessions. What a FrontEnd's journal folds into."""

from collections.abc import Iterator
from typing import Final

from nano.domain import account as ac
from nano.domain import session as se
from nano.domain.facts import Model, Rules, State

OFFICE_RULES: Final = Rules(
    decide={
        ac.CreateFirstAccount: ac.decide_create_first,
        ac.ChangePassword: se.decide_change_password,
        se.OpenSession: se.decide_open,
        se.ContinueSession: se.decide_continue,
        se.CloseSession: se.decide_close,
        se.RecordFailedLogin: se.decide_record_failed,
    },
    evolve={
        ac.AccountCreated: ac.evolve_created,
        ac.AccountPasswordChanged: ac.evolve_password_changed,
        se.SessionOpened: se.evolve_opened,
        se.SessionContinued: se.evolve_continued,
        se.SessionClosed: se.evolve_closed,
        se.LoginFailed: se.evolve_login_failed,
    },
    states={"account": ac.Account, "session": se.Session, "login": se.LoginFailures},
)


class Office(Model):
    """Accounts by name; sessions by id, and by the digest of the token a browser shows."""

    rules = OFFICE_RULES

    def __init__(self) -> None:
        super().__init__()
        self.accounts: dict[str, ac.Account] = {}
        self.sessions: dict[str, se.Session] = {}
        self._by_digest: dict[str, str] = {}

    def clear_indexes(self) -> None:
        self.accounts.clear()
        self.sessions.clear()
        self._by_digest.clear()

    def of_kind(self, kind: str) -> Iterator[State]:
        if kind == "account":
            return iter(list(self.accounts.values()))
        if kind == "session":
            return iter(list(self.sessions.values()))
        return super().of_kind(kind)

    def session_of(self, digest: str) -> se.Session | None:
        """The open session of a token, by the token's digest."""
        return self.sessions.get(self._by_digest.get(digest, ""))

    def changed(self, resource: str, before: State | None, after: State | None) -> None:
        if isinstance(after, ac.Account):
            self.accounts[after.name] = after
        elif isinstance(after, se.Session):
            self.sessions[after.id] = after
            self._by_digest[after.digest] = after.id
        elif isinstance(before, se.Session):
            self.sessions.pop(before.id, None)
            self._by_digest.pop(before.digest, None)
