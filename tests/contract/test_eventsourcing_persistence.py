"""The ``eventsourcing`` library's own contract tests, over Nano's commit log and over the library's SQLite module.

The abstract cases come from the library's package; each engine below only says how a recorder is made. They import the
library's cipher from ``eventsourcing.cipher``, which needs PyCryptodome; its twin over ``cryptography``, which Nano has,
is put in its place.
"""
# ruff: noqa: PT009, PT027 (the library's cases are unittest cases)

import sys
import tempfile
from pathlib import Path
from uuid import uuid4

import eventsourcing.cryptography
from eventsourcing.persistence import (
    AggregateRecorder,
    ApplicationRecorder,
    InfrastructureFactory,
    ProcessRecorder,
    TrackingRecorder,
)
from eventsourcing.sqlite import SQLiteFactory
from eventsourcing.utils import Environment, get_topic

from nano.journal.persistence import (
    JournalAggregateRecorder,
    JournalApplicationRecorder,
    JournalFactory,
    JournalProcessRecorder,
    JournalTrackingRecorder,
)
from nano.journal.verify import verify
from tests.contract.threads_first import ThreadsFirst

sys.modules.setdefault("eventsourcing.cipher", eventsourcing.cryptography)

from eventsourcing.tests import persistence as cases  # noqa: E402


class Journal(ThreadsFirst):
    """Makes factories over a new folder, and checks at the end that the folder is whole."""

    def folder(self) -> Path:
        temporary = tempfile.TemporaryDirectory()
        self.addCleanup(temporary.cleanup)
        return Path(temporary.name) / "journal"

    def factory_of(self) -> InfrastructureFactory[JournalTrackingRecorder]:
        folder = self.folder()
        factory = JournalFactory({"JOURNAL_FOLDER": str(folder)})

        def close_and_verify() -> None:
            factory.close()
            damage = verify(folder).damage
            self.assertIsNone(damage)

        self.at_the_end(close_and_verify)
        return factory


class SQLite(ThreadsFirst):
    def factory_of(self) -> SQLiteFactory:
        temporary = tempfile.TemporaryDirectory()
        self.addCleanup(temporary.cleanup)
        factory = SQLiteFactory(Environment(env={"SQLITE_DBNAME": str(Path(temporary.name) / "events.db")}))
        self.at_the_end(factory.close)
        return factory


class TestJournalAggregates(Journal, cases.AggregateRecorderTestCase):
    def create_recorder(self) -> AggregateRecorder:
        return self.factory_of().aggregate_recorder()


class TestJournalAggregatesWithTextIds(TestJournalAggregates):
    def new_originator_id(self) -> str:
        return f"dog/{uuid4()}"


class TestJournalApplication(Journal, cases.ApplicationRecorderTestCase[ApplicationRecorder]):
    def create_recorder(self) -> ApplicationRecorder:
        return self.factory_of().application_recorder()

    def test_insert_subscribe(self) -> None:
        self.optional_test_insert_subscribe()


class TestJournalProcess(Journal, cases.ProcessRecorderTestCase):
    def create_recorder(self) -> ProcessRecorder:
        return self.factory_of().process_recorder()


class TestJournalTracking(Journal, cases.TrackingRecorderTestCase):
    def create_recorder(self) -> TrackingRecorder:
        return self.factory_of().tracking_recorder()


class TestJournalNonInterleaving(Journal, cases.NonInterleavingNotificationIDsBaseCase):
    def create_recorder(self) -> ApplicationRecorder:
        return self.factory_of().application_recorder()


class SpecialTrackingRecorder(JournalTrackingRecorder):
    """What an application may put in place of the standard one."""


class TestJournalFactory(Journal, cases.InfrastructureFactoryTestCase[JournalFactory]):
    def setUp(self) -> None:
        self.env = Environment("TestCase")
        self.env[InfrastructureFactory.PERSISTENCE_MODULE] = "nano.journal.persistence"
        self.env[JournalFactory.JOURNAL_FOLDER] = str(self.folder())
        super().setUp()

    def expected_factory_class(self) -> type[JournalFactory]:
        return JournalFactory

    def expected_aggregate_recorder_class(self) -> type[AggregateRecorder]:
        return JournalAggregateRecorder

    def expected_application_recorder_class(self) -> type[ApplicationRecorder]:
        return JournalApplicationRecorder

    def expected_tracking_recorder_class(self) -> type[TrackingRecorder]:
        return JournalTrackingRecorder

    def tracking_recorder_subclass(self) -> type[TrackingRecorder]:
        return SpecialTrackingRecorder

    def expected_process_recorder_class(self) -> type[ProcessRecorder]:
        return JournalProcessRecorder

    def test_the_folder_must_be_named(self) -> None:
        with self.assertRaises(OSError):
            JournalFactory({})

    def test_topics_are_stable(self) -> None:
        self.assertEqual(get_topic(JournalFactory), "nano.journal.persistence:JournalFactory")


class TestSQLiteAggregates(SQLite, cases.AggregateRecorderTestCase):
    def create_recorder(self) -> AggregateRecorder:
        return self.factory_of().aggregate_recorder()


class TestSQLiteApplication(SQLite, cases.ApplicationRecorderTestCase[ApplicationRecorder]):
    def create_recorder(self) -> ApplicationRecorder:
        return self.factory_of().application_recorder()


class TestSQLiteProcess(SQLite, cases.ProcessRecorderTestCase):
    def create_recorder(self) -> ProcessRecorder:
        return self.factory_of().process_recorder()


class TestSQLiteTracking(SQLite, cases.TrackingRecorderTestCase):
    def create_recorder(self) -> TrackingRecorder:
        return self.factory_of().tracking_recorder()


class TestSQLiteNonInterleaving(SQLite, cases.NonInterleavingNotificationIDsBaseCase):
    def create_recorder(self) -> ApplicationRecorder:
        return self.factory_of().application_recorder()
