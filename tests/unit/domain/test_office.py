"""Accounts and sessions: what FrontEnd's journal may hold, and what it refuses."""

from datetime import UTC, datetime, timedelta
from itertools import count

import msgspec
import pytest

from nano.domain import account as ac
from nano.domain import session as se
from nano.domain.errors import Conflict, Invalid, Unknown
from nano.domain.facts import Command, Context, Emitted
from nano.domain.office import Office

NOON = datetime(2026, 11, 21, 12, tzinfo=UTC)


class Desk:
    """An office with a clock, where decided events are applied at once."""

    def __init__(self) -> None:
        self.office = Office()
        self.at = NOON
        self._ids = (f"id-{n}" for n in count(1))

    def do(self, command: Command) -> list[Emitted]:
        events = self.office.decide(command, Context(self.at, "ada", "", lambda: next(self._ids)))
        for resource, event in events:
            self.office.apply(resource, event, self.at)
        return events


@pytest.fixture
def desk() -> Desk:
    desk = Desk()
    desk.do(ac.CreateFirstAccount(name="ada", password_hash="hash-1"))
    return desk


@pytest.mark.parametrize(
    ("password", "missing"),
    [
        ("Secret12", ()),
        ("Ünïcödé1", ()),
        ("Sec1", ("length",)),
        ("secretsecret", ("digit", "upper")),
        ("SECRET123", ("lower",)),
        ("", ("length", "digit", "lower", "upper")),
        ("Aa1" + "x" * 300, ("length",)),
    ],
)
def test_the_password_rule(password: str, missing: tuple[str, ...]) -> None:
    assert ac.unmet_rules(password) == missing
    if missing:
        with pytest.raises(Invalid) as refused:
            ac.require_password(password)
        assert refused.value.code == "weak_password"
        assert refused.value.context["missing"] == list(missing)
        assert not password or password not in str(refused.value)
    else:
        assert ac.require_password(password) == password


def test_the_first_account_is_the_administrator_and_there_is_one_first(desk: Desk) -> None:
    assert desk.office.accounts["ada"].role == "administrator"
    with pytest.raises(Conflict) as refused:
        desk.do(ac.CreateFirstAccount(name="eve", password_hash="hash-2"))
    assert refused.value.code == "already_set_up"
    assert list(desk.office.accounts) == ["ada"]


@pytest.mark.parametrize("name", ["", "a b", "../x", "名", "x" * 65])
def test_names_of_accounts_are_spelt_like_names(name: str) -> None:
    with pytest.raises(Invalid):
        Desk().do(ac.CreateFirstAccount(name=name, password_hash="hash"))


def test_a_session_is_found_by_its_digest_until_it_is_closed(desk: Desk) -> None:
    desk.do(se.OpenSession(account="ada", digest="d1", address="::1"))
    session = desk.office.session_of("d1")
    assert session is not None
    assert (session.account, session.role, session.address) == ("ada", "administrator", "::1")
    assert desk.office.session_of("d2") is None
    desk.do(se.CloseSession(session.id, "logout"))
    assert desk.office.session_of("d1") is None
    assert desk.do(se.CloseSession(session.id, "logout")) == []
    with pytest.raises(Unknown):
        desk.do(se.ContinueSession(session.id))


def test_nobody_gets_a_session_without_an_account(desk: Desk) -> None:
    with pytest.raises(Unknown):
        desk.do(se.OpenSession(account="eve", digest="d1", address=""))


def test_another_password_ends_the_other_sessions(desk: Desk) -> None:
    for digest in ("mine", "phone", "old"):
        desk.do(se.OpenSession(account="ada", digest=digest, address=""))
    mine = desk.office.session_of("mine")
    assert mine is not None
    desk.do(ac.ChangePassword(name="ada", password_hash="hash-2", keep=mine.id))
    assert desk.office.accounts["ada"].password_hash == "hash-2"
    assert list(desk.office.sessions.values()) == [mine]


def test_when_a_session_is_over() -> None:
    session = se.Session(
        id="s", digest="d", account="ada", role="reader", address="", opened_at=NOON, continued_at=NOON
    )
    limits = se.Lifetimes(idle=timedelta(minutes=30), absolute=timedelta(hours=12))

    def why(seen: timedelta, now: timedelta) -> str | None:
        return se.why_over(session, NOON + seen, NOON + now, limits)

    assert why(timedelta(0), timedelta(minutes=29)) is None
    assert why(timedelta(0), timedelta(minutes=30)) == "idle"
    assert why(timedelta(minutes=20), timedelta(minutes=40)) is None
    assert why(timedelta(hours=12), timedelta(hours=12)) == "too_old"


def test_a_failed_login_names_only_accounts_that_exist(desk: Desk) -> None:
    desk.do(se.RecordFailedLogin(account="ada", address="10.0.0.9"))
    (told,) = desk.do(se.RecordFailedLogin(account="My secret pass phrase", address="10.0.0.9"))
    assert told.event == se.LoginFailed(account="", address="10.0.0.9")
    failures = desk.office.get(se.FAILURES)
    assert isinstance(failures, se.LoginFailures)
    assert failures.count == 2


def test_every_event_reads_back_from_json(desk: Desk) -> None:
    types = desk.office.rules.event_types()
    union = types[0]
    for kind in types[1:]:
        union |= kind  # type: ignore[assignment]
    for resource, event in desk.do(se.OpenSession(account="ada", digest="d", address="")):
        assert resource.startswith("session/")
        assert msgspec.json.decode(msgspec.json.encode(event), type=union) == event


def test_clear_forgets_everything(desk: Desk) -> None:
    desk.do(se.OpenSession(account="ada", digest="d1", address=""))
    desk.office.clear()
    assert (desk.office.accounts, desk.office.sessions, desk.office.session_of("d1")) == ({}, {}, None)
