"""Console tokens: secret, single, short-lived, few."""

from datetime import UTC, datetime, timedelta

import pytest

from nano.domain.errors import Failure
from nano.http import console
from nano.http.console import TOKEN_S, Tokens


class Clock:
    now = datetime(2026, 11, 21, tzinfo=UTC)

    def __call__(self) -> datetime:
        return self.now


def test_taken_once() -> None:
    tokens = Tokens(Clock())
    one, two = tokens.issue("a"), tokens.issue("b")
    assert len({one.token, two.token}) == 2
    assert len(one.token) == 43
    assert tokens.take(one.token) == ("a", "display")
    assert tokens.take(one.token) is None
    assert tokens.take("x" * 43) is None
    assert tokens.take(two.token) == ("b", "display")
    assert tokens.take(tokens.issue("a", "serial").token) == ("a", "serial")


def test_late_is_too_late() -> None:
    clock = Clock()
    tokens = Tokens(clock)
    ticket = tokens.issue("a")
    assert ticket.expires_at == clock.now + timedelta(seconds=TOKEN_S)
    clock.now = ticket.expires_at
    assert tokens.take(ticket.token) is None


def test_bounded(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(console, "TOKENS_MAX", 2)
    clock = Clock()
    tokens = Tokens(clock)
    tokens.issue("a")
    tokens.issue("b")
    with pytest.raises(Failure) as refused:
        tokens.issue("c")
    assert refused.value.code == "too_many_consoles"
    clock.now += timedelta(seconds=TOKEN_S)
    tokens.issue("d")
