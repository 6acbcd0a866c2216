"""The ``eventsourcing`` library's own contract tests, over its modules for databases as a Core sets them up.

``tests/contract/test_eventsourcing_persistence.py`` has them over the journal of files. A Core uses an application recorder with
text ids, and of PostgreSQL's one that tries once.
"""

import sys
from pathlib import Path
from uuid import uuid4

import eventsourcing.cryptography
import pytest
from eventsourcing.persistence import ApplicationRecorder
from eventsourcing.postgres import PostgresFactory
from eventsourcing.sqlite import SQLiteFactory

from nano.journal.engines.postgres import OneTry, postgres_environment
from nano.journal.engines.settings import EngineSettings
from nano.journal.engines.sqlite import sqlite_environment
from tests.contract.threads_first import ThreadsFirst

sys.modules.setdefault("eventsourcing.cipher", eventsourcing.cryptography)

from eventsourcing.tests import persistence as cases  # noqa: E402


class TextIds:
    def new_originator_id(self) -> str:
        return f"dog/{uuid4()}"


class SQLite(ThreadsFirst):
    folder: Path

    @pytest.fixture(autouse=True)
    def _place(self, tmp_path: Path) -> None:
        self.folder = tmp_path

    def create_recorder(self) -> ApplicationRecorder:
        factory = SQLiteFactory(sqlite_environment(str(self.folder / "events.db")))
        self.at_the_end(factory.close)
        return factory.application_recorder()


class Postgres(ThreadsFirst):
    settings: EngineSettings

    @pytest.fixture(autouse=True)
    def _place(self, postgres: EngineSettings) -> None:
        self.settings = postgres

    def create_recorder(self) -> ApplicationRecorder:
        factory = PostgresFactory(postgres_environment(self.settings))
        self.at_the_end(factory.close)
        recorder = factory.application_recorder()
        assert type(recorder) is OneTry
        return recorder


class TestSQLiteApplication(TextIds, SQLite, cases.ApplicationRecorderTestCase[ApplicationRecorder]):
    pass


class TestSQLiteNonInterleaving(TextIds, SQLite, cases.NonInterleavingNotificationIDsBaseCase):
    pass


class TestPostgresApplication(TextIds, Postgres, cases.ApplicationRecorderTestCase[ApplicationRecorder]):
    def test_insert_subscribe(self) -> None:
        self.optional_test_insert_subscribe()


class TestPostgresNonInterleaving(TextIds, Postgres, cases.NonInterleavingNotificationIDsBaseCase):
    pass
