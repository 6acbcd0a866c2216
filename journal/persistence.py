"""A persistence module of the ``eventsourcing`` library (9.5) over Nano's commit log.

    PERSISTENCE_MODULE=nano.journal.persistence
    JOURNAL_FOLDER=<a node's data/journal, or any folder>

The library's own contract tests run over it (``tests/contract``). Nodes do not use it and do not import it: their door
is ``nano.journal.ledger``. It is the door for people who know the library, to a journal no node has open.
"""

from collections.abc import Sequence
from pathlib import Path
from typing import Any
from uuid import UUID

from eventsourcing.persistence import (
    AggregateRecorder,
    ApplicationRecorder,
    InfrastructureFactory,
    ListenNotifySubscription,
    Notification,
    ProcessRecorder,
    StoredEvent,
    Subscription,
    Tracking,
    TrackingRecorder,
)
from eventsourcing.utils import Environment, EnvType, resolve_topic

from nano.journal.store import EventStore


class JournalRecorder:
    """What all recorders share: the store they record in."""

    def __init__(self, store: EventStore) -> None:
        self.store = store

    def _insert(self, stored_events: Sequence[StoredEvent], **kwargs: Any) -> list[int]:
        who = {name: str(kwargs[name]) for name in ("actor", "command_id", "cause") if name in kwargs}
        return self.store.insert(stored_events, None, **who)


class JournalAggregateRecorder(JournalRecorder, AggregateRecorder):
    def insert_events(self, stored_events: Sequence[StoredEvent], **kwargs: Any) -> Sequence[int] | None:
        self._insert(stored_events, **kwargs)
        return None

    def select_events(
        self,
        originator_id: UUID | str,
        *,
        gt: int | None = None,
        lte: int | None = None,
        desc: bool = False,
        limit: int | None = None,
    ) -> Sequence[StoredEvent]:
        found = self.store.of_originator(originator_id, gt, lte, desc, limit)
        return [StoredEvent(one.originator_id, one.originator_version, one.topic, one.state) for _, one in found]


class JournalApplicationRecorder(JournalAggregateRecorder, ApplicationRecorder):
    def insert_events(self, stored_events: Sequence[StoredEvent], **kwargs: Any) -> Sequence[int] | None:
        return self._insert(stored_events, **kwargs)

    def select_notifications(
        self,
        start: int | None,
        limit: int,
        stop: int | None = None,
        topics: Sequence[str] = (),
        *,
        inclusive_of_start: bool = True,
    ) -> Sequence[Notification]:
        first = 1 if start is None else start if inclusive_of_start else start + 1
        return self.store.notifications(max(first, 1), stop, limit, topics)

    def max_notification_id(self) -> int | None:
        return self.store.last_position()

    def subscribe(self, gt: int | None = None, topics: Sequence[str] = ()) -> Subscription[ApplicationRecorder]:
        return JournalSubscription(recorder=self, gt=gt, topics=topics)


class JournalSubscription(ListenNotifySubscription[JournalApplicationRecorder]):
    """Woken by inserts of this process; the journal has no other writer."""

    def __init__(self, recorder: JournalApplicationRecorder, gt: int | None = None, topics: Sequence[str] = ()) -> None:
        super().__init__(recorder=recorder, gt=gt, topics=topics)
        recorder.store.listen(self._has_been_notified)
        self._has_been_notified.set()  # for what was inserted before the line above

    def stop(self) -> None:
        super().stop()
        self._recorder.store.unlisten(self._has_been_notified)


class JournalTrackingRecorder(JournalRecorder, TrackingRecorder):
    def insert_tracking(self, tracking: Tracking) -> None:
        self.store.insert((), tracking)

    def max_tracking_id(self, application_name: str) -> int | None:
        return self.store.tracked(application_name)


class JournalProcessRecorder(JournalTrackingRecorder, JournalApplicationRecorder, ProcessRecorder):
    def _insert(self, stored_events: Sequence[StoredEvent], **kwargs: Any) -> list[int]:
        who = {name: str(kwargs[name]) for name in ("actor", "command_id", "cause") if name in kwargs}
        return self.store.insert(stored_events, kwargs.get("tracking"), **who)


class JournalFactory(InfrastructureFactory[JournalTrackingRecorder]):
    """Recorders of one factory share one store: the journal has one writer."""

    JOURNAL_FOLDER = "JOURNAL_FOLDER"

    def __init__(self, env: Environment | EnvType | None) -> None:
        super().__init__(env)
        folder = self.env.get(self.JOURNAL_FOLDER)
        if not folder:
            raise OSError(f"{self.JOURNAL_FOLDER} is not set: name the folder of the journal.")
        self._folder = Path(folder)
        self._stores: dict[Path, EventStore] = {}

    def aggregate_recorder(self, purpose: str = "events") -> AggregateRecorder:
        """Snapshots of the library go to a journal of their own beside the events."""
        return JournalAggregateRecorder(
            self._store(self._folder if purpose == "events" else self._folder / f"library_{purpose}")
        )

    def application_recorder(self) -> ApplicationRecorder:
        return JournalApplicationRecorder(self._store(self._folder))

    def tracking_recorder(
        self, tracking_recorder_class: type[JournalTrackingRecorder] | None = None
    ) -> JournalTrackingRecorder:
        if tracking_recorder_class is None:
            topic = self.env.get(self.TRACKING_RECORDER_TOPIC)
            tracking_recorder_class = resolve_topic(topic) if topic else JournalTrackingRecorder
        return tracking_recorder_class(self._store(self._folder))

    def process_recorder(self) -> ProcessRecorder:
        return JournalProcessRecorder(self._store(self._folder))

    def close(self) -> None:
        for store in self._stores.values():
            store.close()
        self._stores.clear()

    def _store(self, folder: Path) -> EventStore:
        if folder not in self._stores:
            self._stores[folder] = EventStore(folder)
        return self._stores[folder]


Factory = JournalFactory
