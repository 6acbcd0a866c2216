"""A real PostgreSQL server that crashes, loses its disk's promises, or asks for a password; and a Nano without its package."""

import signal
import sys
from collections.abc import Iterator
from typing import Any

import pytest

from nano.domain.errors import Invalid, JournalError
from nano.journal.disk import RealDisk
from nano.journal.engines.opening import database_of
from nano.journal.engines.settings import PASSWORD_VARIABLE, EngineSettings
from nano.journal.testing import Count, make_counters, values
from nano.tools.testbed.postgres import PostgresServer, postgres_server

pytestmark = pytest.mark.anyio


@pytest.fixture
def settings() -> EngineSettings:
    """Each test says which server."""
    return EngineSettings()


@pytest.fixture
def own_server() -> Iterator[PostgresServer]:
    with postgres_server() as running:
        yield running


async def test_a_server_that_crashes_and_comes_back(
    own_server: PostgresServer, place: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Between commands: the next waits for it. For good: it is refused or poisoned, and a restart knows what happened."""
    monkeypatch.setattr("nano.journal.engines.postgres.PATIENCE_S", 3)
    place.settings = EngineSettings(engine="postgres", host=str(own_server.folder), database="postgres")
    async with place.opened() as ledger:
        await make_counters(ledger, "a")
        own_server.stop(signal.SIGQUIT)
        own_server.start()
        await ledger.execute(Count("a", 3), actor="admin", command_id="three")
        with pytest.raises(JournalError) as refused:  # it has the lock again
            async with place.opened(place.log(node=place.node / "other")):
                pass
        assert refused.value.code == "journal_locked"
        own_server.stop(signal.SIGQUIT)
        with pytest.raises(JournalError) as refused:
            await ledger.execute(Count("a", 4), actor="admin", command_id="four")
        assert refused.value.code in ("journal_write_failed", "journal_poisoned")
    own_server.start()
    async with place.opened() as ledger:
        assert values(ledger) == {"a": 3}
        await ledger.execute(Count("a", 4), actor="admin", command_id="four")
        assert values(ledger) == {"a": 7}


async def test_a_server_that_would_lose_commits_is_refused(place: Any) -> None:
    with postgres_server(fsync="off") as careless:
        place.settings = EngineSettings(engine="postgres", host=str(careless.folder), database="postgres")
        with pytest.raises(JournalError) as refused:
            async with place.opened():
                pass
    assert refused.value.code == "database_not_durable"


async def test_the_password_is_read_and_never_told(
    own_server: PostgresServer, place: Any, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    own_server.execute("ALTER USER nano PASSWORD 'sesame-7f3a'")
    (own_server.folder / "data" / "pg_hba.conf").write_text("local all all scram-sha-256\n")
    own_server.stop()
    monkeypatch.setenv("PGPASSWORD", "sesame-7f3a")  # the test's own connection
    own_server.start()
    monkeypatch.delenv("PGPASSWORD")
    place.settings = EngineSettings(engine="postgres", host=str(own_server.folder), database="postgres")
    for wrong in ("", "sesame-wrong"):
        monkeypatch.setenv(PASSWORD_VARIABLE, wrong)
        with pytest.raises(JournalError) as refused:
            async with place.opened():
                pass
        assert "sesame" not in f"{refused.value} {refused.value.context}"
    monkeypatch.setenv(PASSWORD_VARIABLE, "sesame-7f3a")
    async with place.opened() as ledger:
        await make_counters(ledger, "a")
    monkeypatch.delenv(PASSWORD_VARIABLE)
    secret = place.node / "password"
    secret.write_text("sesame-7f3a\n")
    place.settings = EngineSettings(
        engine="postgres", host=str(own_server.folder), database="postgres", password_file=str(secret)
    )
    async with place.opened() as ledger:
        assert values(ledger) == {"a": 0}
    files = [path for path in place.node.rglob("*") if path.is_file() and path != secret]
    assert files
    assert not any(b"sesame" in path.read_bytes() for path in files)
    assert "sesame" not in caplog.text
    secret.unlink()
    with pytest.raises(Invalid) as absent:
        place.settings.password()
    assert absent.value.code == "password_unreadable"


async def test_without_the_package_the_engine_says_so(place: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "nano.journal.engines.postgres", None)
    with pytest.raises(Invalid) as refused:
        database_of(EngineSettings(engine="postgres"), place.journal, RealDisk())
    assert refused.value.code == "engine_not_installed"
    assert "nano-cloud[postgres]" in refused.value.hint
