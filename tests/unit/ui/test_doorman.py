"""Who comes in, and for how long: the doorman on a real journal, with a clock of the test's own."""

import threading
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from datetime import UTC, datetime, timedelta
from itertools import count
from pathlib import Path
from typing import Any

import anyio
import anyio.to_thread
import pytest
from argon2 import PasswordHasher

from nano.domain.account import ChangePassword
from nano.domain.errors import Conflict, Invalid, Unauthenticated
from nano.domain.facts import Command
from nano.domain.office import Office
from nano.domain.session import Lifetimes, OpenSession
from nano.domain.throttle import Throttle
from nano.journal.commit_log import CommitLog
from nano.journal.feed import Feed
from nano.journal.ledger import Ledger, Receipt
from nano.ui.doorman import Doorman, TooManyAttempts

pytestmark = pytest.mark.anyio
QUICK = PasswordHasher(time_cost=1, memory_cost=64, parallelism=1)
PASSWORD = "Correct1horse"


def everything_in(folder: Path) -> bytes:
    return b"".join(path.read_bytes() for path in folder.rglob("*") if path.is_file())


class Clock:
    def __init__(self) -> None:
        self.now = datetime(2026, 11, 21, 12, tzinfo=UTC)

    def __call__(self) -> datetime:
        return self.now


@asynccontextmanager
async def doorman_at(folder: Path, clock: Clock, closed: list[str] | None = None) -> AsyncIterator[Doorman]:
    office, ids = Office(), count(int(clock.now.timestamp()))
    log = CommitLog(folder, clock=clock)
    async with Ledger.open(log, office, clock=clock, new_id=lambda: f"id-{next(ids)}", feed=Feed()) as ledger:
        yield Doorman(
            office,
            ledger,
            lifetimes=Lifetimes(),
            throttle=Throttle({"account": 3, "address": 6}, 300),
            clock=clock,
            hasher=QUICK,
            on_close=closed.append if closed is not None else lambda _: None,
        )


async def test_two_first_visitors_make_one_administrator(tmp_path: Path) -> None:
    outcomes: list[str] = []

    async def visit(doorman: Doorman, name: str) -> None:
        try:
            entry = await doorman.set_up(name, PASSWORD, "::1")
            outcomes.append(entry.session.account)
        except Conflict as refused:
            outcomes.append(refused.code)

    async with doorman_at(tmp_path, Clock()) as doorman:
        assert doorman.is_new
        async with anyio.create_task_group() as group:
            group.start_soon(visit, doorman, "ada")
            group.start_soon(visit, doorman, "eve")
        assert not doorman.is_new
    assert sorted(outcomes)[0] in ("ada", "already_set_up")
    assert outcomes.count("already_set_up") == 1


async def test_wrong_name_and_wrong_password_are_told_alike_and_the_right_one_comes_in(tmp_path: Path) -> None:
    async with doorman_at(tmp_path, Clock()) as doorman:
        await doorman.set_up("ada", PASSWORD, "::1")
        said = []
        for name, password in (("ada", "wrong"), ("nobody", PASSWORD)):
            with pytest.raises(Unauthenticated) as refused:
                await doorman.log_in(name, password, "10.0.0.9")
            said.append((refused.value.code, refused.value.message))
        assert said[0] == said[1]
        entry = await doorman.log_in("ada", PASSWORD, "10.0.0.9")
        assert doorman.session_of(entry.token) == entry.session


class Slow:
    """Checks passwords, and stays at it until told to go on."""

    def __init__(self) -> None:
        self.begun, self.go_on = threading.Event(), threading.Event()

    def hash(self, password: str) -> str:
        return QUICK.hash(password)

    def verify(self, hashed: str, password: str) -> bool:
        first = not self.begun.is_set()
        self.begun.set()
        if first:
            assert self.go_on.wait(10)
        return QUICK.verify(hashed, password)


async def test_a_password_that_was_changed_while_it_was_checked_lets_nobody_in(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    async with doorman_at(tmp_path, Clock()) as doorman:
        entry, slow = await doorman.set_up("ada", PASSWORD, "::1"), Slow()
        monkeypatch.setattr(doorman, "_hasher", slow)

        async def come_in() -> None:
            with pytest.raises(Unauthenticated, match="wrong"):
                await doorman.log_in("ada", PASSWORD, "10.0.0.9")

        async with anyio.create_task_group() as group:
            group.start_soon(come_in)
            assert await anyio.to_thread.run_sync(slow.begun.wait, 10)
            await doorman.change_password(entry.session, PASSWORD, "Another1horse")
            slow.go_on.set()


async def test_a_session_that_ends_while_it_is_opened_is_told(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    async with doorman_at(tmp_path, Clock()) as doorman:
        await doorman.set_up("ada", PASSWORD, "::1")
        ledger = doorman._ledger
        execute = ledger.execute

        async def beside(command: Command, **asked: Any) -> Receipt:
            receipt = await execute(command, **asked)
            if isinstance(command, OpenSession):
                change = ChangePassword(name="ada", password_hash=QUICK.hash("Another1horse"), keep="")
                await execute(change, actor="ada", command_id="")
            return receipt

        monkeypatch.setattr(ledger, "execute", beside)
        with pytest.raises(Unauthenticated) as refused:
            await doorman.log_in("ada", PASSWORD, "10.0.0.9")
        assert refused.value.code == "session_over"


async def test_guessing_is_throttled_even_with_the_right_password_at_last(tmp_path: Path) -> None:
    clock = Clock()
    async with doorman_at(tmp_path, clock) as doorman:
        await doorman.set_up("ada", PASSWORD, "::1")
        for _ in range(3):
            with pytest.raises(Unauthenticated):
                await doorman.log_in("ada", "wrong", "10.0.0.9")
        with pytest.raises(TooManyAttempts):
            await doorman.log_in("ada", PASSWORD, "10.0.0.9")
        clock.now += timedelta(minutes=6)
        await doorman.log_in("ada", PASSWORD, "10.0.0.9")


async def test_sessions_survive_a_restart_and_end_when_idle(tmp_path: Path) -> None:
    clock, closed = Clock(), list[str]()
    async with doorman_at(tmp_path, clock) as doorman:
        entry = await doorman.set_up("ada", PASSWORD, "::1")
        clock.now += timedelta(minutes=20)
        await doorman.used(entry.session)
    async with doorman_at(tmp_path, clock, closed) as doorman:
        clock.now += timedelta(minutes=25)
        session = doorman.session_of(entry.token)
        assert session is not None, "it was used 25 minutes ago"
        clock.now += timedelta(minutes=6)
        assert doorman.session_of(entry.token) is None
        await doorman.sweep()
        assert closed == [session.id]
        assert doorman.session_of("") is None


async def test_a_session_grows_too_old_however_much_it_is_used(tmp_path: Path) -> None:
    clock = Clock()
    async with doorman_at(tmp_path, clock) as doorman:
        entry = await doorman.set_up("ada", PASSWORD, "::1")
        for _ in range(36):
            clock.now += timedelta(minutes=20)
            session = doorman.session_of(entry.token)
            if session is None:
                break
            await doorman.used(session)
        assert doorman.session_of(entry.token) is None


async def test_changing_the_password_asks_for_the_old_one(tmp_path: Path) -> None:
    closed: list[str] = []
    async with doorman_at(tmp_path, Clock(), closed) as doorman:
        first = await doorman.set_up("ada", PASSWORD, "::1")
        other = await doorman.log_in("ada", PASSWORD, "::1")
        with pytest.raises(Invalid) as refused:
            await doorman.change_password(first.session, "wrong", "Better2horse")
        assert refused.value.code == "wrong_password"
        with pytest.raises(Invalid):
            await doorman.change_password(first.session, PASSWORD, "weak")
        await doorman.change_password(first.session, PASSWORD, "Better2horse")
        assert doorman.session_of(first.token) is not None
        assert doorman.session_of(other.token) is None
        assert closed == [other.session.id]
        with pytest.raises(Unauthenticated):
            await doorman.log_in("ada", PASSWORD, "::1")
        await doorman.log_in("ada", "Better2horse", "::1")


async def test_right_passwords_are_not_counted_against_an_address(tmp_path: Path) -> None:
    async with doorman_at(tmp_path, Clock()) as doorman:
        await doorman.set_up("ada", PASSWORD, "::1")
        for _ in range(100):
            await doorman.log_in("ada", PASSWORD, "::1")


async def test_the_journal_holds_no_secret(tmp_path: Path) -> None:
    async with doorman_at(tmp_path, Clock()) as doorman:
        entry = await doorman.set_up("ada", PASSWORD, "::1")
        with pytest.raises(Unauthenticated):
            await doorman.log_in(PASSWORD, "x", "::1")
    written = everything_in(tmp_path)
    assert b"account.created" in written
    assert PASSWORD.encode() not in written
    assert entry.token.encode() not in written
