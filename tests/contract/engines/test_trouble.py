"""A database that fails: nothing that was answered is lost, nothing that was refused comes back, and what is unknown is said."""

import sqlite3
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import psycopg
import pytest
from eventsourcing.persistence import ApplicationRecorder, OperationalError, StoredEvent

from nano.domain.errors import DiskFull, JournalDamaged, JournalError
from nano.journal.engines.log import DatabaseLog
from nano.journal.engines.rows import LOG, VOID
from nano.journal.engines.settings import EngineSettings
from nano.journal.snapshots import SnapshotSettings
from nano.journal.testing import Count, make_counters, values
from nano.tools.testbed.postgres import PostgresServer

pytestmark = pytest.mark.anyio


@pytest.fixture(params=["sqlite", "postgres"])
def settings(request: pytest.FixtureRequest) -> EngineSettings:
    if request.param == "postgres":
        found: EngineSettings = request.getfixturevalue("postgres")
        return found
    return EngineSettings(engine="sqlite")


def sqlite_error(code: int) -> OperationalError:
    cause = sqlite3.OperationalError("it broke")
    cause.sqlite_errorcode = code
    return _caused(cause)


def postgres_error(kind: type[psycopg.Error]) -> OperationalError:
    return _caused(kind("it broke"))


def _caused(cause: Exception) -> OperationalError:
    error = OperationalError(str(cause))
    error.__cause__ = cause
    return error


FULL = {
    "sqlite": lambda: sqlite_error(sqlite3.SQLITE_FULL),
    "postgres": lambda: postgres_error(psycopg.errors.DiskFull),
}
REFUSED = {
    "sqlite": lambda: sqlite_error(sqlite3.SQLITE_READONLY),
    "postgres": lambda: postgres_error(psycopg.errors.ReadOnlySqlTransaction),
}
UNKNOWN = {
    "sqlite": lambda: sqlite_error(sqlite3.SQLITE_IOERR),
    "postgres": lambda: postgres_error(psycopg.OperationalError),
}


class Faulty:
    """A real recorder whose next inserts fail with these errors; "after" = once the rows are committed."""

    def __init__(self, recorder: ApplicationRecorder, faults: list[tuple[str, Callable[[], Exception]]]) -> None:
        self._recorder = recorder
        self._faults = faults

    def insert_events(self, rows: Sequence[StoredEvent]) -> Sequence[int] | None:
        when, fault = self._faults.pop(0) if self._faults else ("", None)
        if when == "after":
            self._recorder.insert_events(rows)
        if fault is not None:
            raise fault()
        return self._recorder.insert_events(rows)

    def __getattr__(self, name: str) -> Any:
        return getattr(self._recorder, name)


def break_down(log: Any, *faults: tuple[str, Callable[[], Exception]]) -> None:
    assert isinstance(log, DatabaseLog)
    database = log._database
    database._recorder = Faulty(database.recorder, list(faults))  # type: ignore[attr-defined]


def topics(log: Any) -> list[str]:
    return [row.topic for row in log._database.recorder.select_events(LOG)]


@pytest.mark.parametrize(("faults", "kind"), [(FULL, DiskFull), (REFUSED, JournalError)])
async def test_what_is_refused_leaves_nothing_and_the_log_goes_on(
    place: Any, faults: Any, kind: type[Exception]
) -> None:
    async with place.opened() as ledger:
        await make_counters(ledger, "a")
        break_down(ledger.log, ("before", faults[place.settings.engine]))
        with pytest.raises(kind):
            await ledger.execute(Count("a", 5), actor="admin", command_id="five")
        assert values(ledger) == {"a": 0}
        assert not (await ledger.execute(Count("a", 5), actor="admin", command_id="five")).repeated
    async with place.opened() as ledger:
        assert (values(ledger), ledger.position) == ({"a": 5}, 2)


@pytest.mark.parametrize("when", ["before", "after"])
async def test_what_failed_in_the_middle_is_there_exactly_once(place: Any, when: str) -> None:
    async with place.opened() as ledger:
        await make_counters(ledger, "a")
        break_down(ledger.log, (when, UNKNOWN[place.settings.engine]))
        await ledger.execute(Count("a", 5), actor="admin", command_id="five")
        await ledger.execute(Count("a", 1), actor="admin", command_id="one")
        assert topics(ledger.log).count(VOID) == (1 if when == "before" else 0)
    async with place.opened() as ledger:
        assert (values(ledger), ledger.position) == ({"a": 6}, 3)
    assert place.verified().damage is None


@pytest.mark.parametrize("when", ["before", "after"])
async def test_what_stays_unknown_poisons_and_a_restart_tells(place: Any, when: str) -> None:
    async with place.opened() as ledger:
        await make_counters(ledger, "a")
        fault = UNKNOWN[place.settings.engine]
        break_down(ledger.log, (when, fault), ("before", fault))
        if when == "after":
            ledger.log._database._recorder.select_events = _broken(fault)
        with pytest.raises(JournalError) as refused:
            await ledger.execute(Count("a", 5), actor="admin", command_id="five")
        assert refused.value.code == "journal_poisoned"
        with pytest.raises(JournalError):
            await ledger.execute(Count("a"), actor="admin", command_id="")
    async with place.opened() as ledger:
        assert values(ledger) == {"a": 5 if when == "after" else 0}
        assert (await ledger.execute(Count("a", 5), actor="admin", command_id="five")).repeated is (when == "after")
        assert values(ledger) == {"a": 5}


def _broken(fault: Callable[[], Exception]) -> Callable[..., Any]:
    def select(*_: Any, **__: Any) -> Any:
        raise fault()

    return select


async def test_a_writer_that_another_has_followed_gets_no_further(
    place: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Its lock is gone, and it does not know: the database itself keeps its lines out."""
    async with place.opened() as first:
        await make_counters(first, "a")
        _let_go(first.log._database)
        monkeypatch.setattr(type(first.log._database), "hold", lambda self: None)
        file = str((place.journal / "journal.db").absolute())
        other = EngineSettings(engine="sqlite", file=file) if place.settings.engine == "sqlite" else place.settings
        place.settings = other
        async with place.opened(place.log(node=tmp_path / "other")) as second:
            await second.execute(Count("a", 7), actor="admin", command_id="")
            with pytest.raises(JournalError) as refused:
                await first.execute(Count("a", 1), actor="admin", command_id="")
            assert refused.value.code == "journal_poisoned"
            await second.execute(Count("a", 1), actor="admin", command_id="")
            assert values(second) == {"a": 8}


def _let_go(database: Any) -> None:
    lock, database._lock = database._lock, None
    if isinstance(lock, int):
        database._disk.close(lock)
    else:
        lock.close()


HARM = {
    "an event is changed": "UPDATE {t} SET state = {state} WHERE originator_id = 'counter/a' AND originator_version = 2",
    "an event is gone": "DELETE FROM {t} WHERE originator_id = 'counter/a' AND originator_version = 2",
    "a line is gone": "DELETE FROM {t} WHERE originator_id = 'nano.log' AND originator_version = 3",
    "the last line is gone": "DELETE FROM {t} WHERE originator_id = 'nano.log' AND originator_version = 4",
    "a row is added": "INSERT INTO {t} (originator_id, originator_version, topic, state) VALUES ('counter/z', 1, 'x', {state})",
    "the last line is no JSON": "UPDATE {t} SET state = {state} WHERE originator_id = 'nano.log' AND originator_version = 4",
    "a count is wrong": "UPDATE {t} SET state = {count} WHERE originator_id = 'nano.log' AND originator_version = 3",
    "a line is no JSON": "UPDATE {t} SET state = {state} WHERE originator_id = 'nano.log' AND originator_version = 3",
}


@pytest.mark.parametrize("harm", HARM)
async def test_rows_that_were_harmed_are_damage(place: Any, server: PostgresServer, harm: str) -> None:
    async with place.opened() as ledger:
        await make_counters(ledger, "a")
        for number in range(2):
            await ledger.execute(Count("a", number + 1), actor="admin", command_id="")
    if place.settings.engine == "sqlite":
        with sqlite3.connect(place.journal / "journal.db") as connection:
            count = """CAST(replace(CAST(state AS TEXT), '"count":1', '"count":-1') AS BLOB)"""
            connection.execute(HARM[harm].format(t="stored_events", state="x'7b7d'", count=count))
        connection.close()
    else:
        table = f"{place.settings.schema}.stored_events"
        count = """convert_to(replace(convert_from(state, 'UTF8'), '"count":1', '"count":-1'), 'UTF8')"""
        server.execute(HARM[harm].format(t=table, state=r"'\x7b7d'", count=count), database="nano")
    assert place.verified().damage is not None
    with pytest.raises(JournalDamaged) as refused:
        async with place.opened():
            pass
    assert ", row " in refused.value.message


async def test_a_database_that_was_emptied_is_not_taken_for_a_new_one(place: Any, server: PostgresServer) -> None:
    async with place.opened() as ledger:
        await make_counters(ledger, "a")
    if place.settings.engine == "sqlite":
        for file in place.journal.glob("journal.db*"):
            file.unlink()
    else:
        server.execute(f"TRUNCATE {place.settings.schema}.stored_events", database="nano")
    with pytest.raises(JournalError) as refused:
        async with place.opened():
            pass
    assert refused.value.code == "journal_elsewhere"


async def test_another_node_s_database_is_refused(place: Any, tmp_path: Path) -> None:
    async with place.opened() as ledger:
        await make_counters(ledger, "a")
    place.settings = (
        place.settings
        if place.settings.engine == "postgres"
        else EngineSettings(engine="sqlite", file=str((place.journal / "journal.db").absolute()))
    )
    log = place.log(node=tmp_path / "other", owner="another")
    with pytest.raises(JournalError) as refused:
        async with place.opened(log):
            pass
    assert refused.value.code == "journal_elsewhere"


GAP = {
    "sqlite": "UPDATE stored_events SET rowid = rowid + 1000000 WHERE rowid > {last}",
    "postgres": "SELECT setval('{schema}.stored_events_notification_id_seq', {last} + 1000000)",
}


async def test_gaps_in_the_numbers_of_a_database_do_not_matter(place: Any, server: PostgresServer) -> None:
    """A failed insert leaves one in a sequence of PostgreSQL. Positions are the log's own."""
    often = SnapshotSettings(at_stop_events=1)
    async with place.opened(snapshots=often) as ledger:
        await make_counters(ledger, "a")
        for _ in range(350):
            await ledger.execute(Count("a"), actor="admin", command_id="")
        last = ledger.log._database.recorder.max_notification_id()
    statement = GAP[place.settings.engine].format(schema=place.settings.schema, last=last - 100)
    if place.settings.engine == "postgres":
        server.execute(statement, database="nano")
    else:
        with sqlite3.connect(place.journal / "journal.db") as connection:
            connection.execute(statement)
        connection.close()
    for _ in range(2):  # the second starts from a snapshot that lies behind the gap
        async with place.opened(snapshots=often) as ledger:
            for _ in range(350):
                await ledger.execute(Count("a"), actor="admin", command_id="")
            for after in (0, 200, 340, 349, 352, 500, 690):
                assert [fact.position for fact in await ledger.facts(after, 3)] == [after + 1, after + 2, after + 3]
            assert ledger.log._database.recorder.max_notification_id() > 1_000_000
    assert (place.verified().damage, place.verified().position) == (None, 1_051)
    async with place.opened(snapshots=SnapshotSettings(every_events=0)) as ledger:
        assert values(ledger) == {"a": 1_050}
