"""A node's journal as an ``Application`` of the ``eventsourcing`` library, in its functional style.

    app = NanoApplication(Path("…/core/data/journal"), model.rules)
    app.save(Recorded("guest/3f0c…", 4, GuestStarted()), actor="me")
    state = app.state("guest/3f0c…")

Events are plain structs, topics are their tags (stable whatever a class or module is called), states are folded by the
model's own ``evolve``: ``Aggregate`` is not used. The node must be stopped: a journal has one writer. What is saved
here is validated as events, not decided as commands; that is what ``Ledger`` is for.
"""

from pathlib import Path
from typing import Any

import msgspec
from eventsourcing.application import Application
from eventsourcing.persistence import Mapper, MapperDeserialisationError, StoredEvent, Transcoder

from nano.domain.facts import Event, Rules, State
from nano.journal.persistence import JournalApplicationRecorder


class Recorded(msgspec.Struct, frozen=True):
    """An event with the resource and version it belongs to: what the library calls a domain event."""

    originator_id: str
    originator_version: int
    event: Event


class StructMapper(Mapper[str]):
    """Between ``Recorded`` and stored events. The topic is the event's tag, the state its tagged JSON."""

    def __init__(self, event_types: tuple[type[Event], ...], transcoder: Transcoder) -> None:
        super().__init__(transcoder)
        self._types = {str(kind.__struct_config__.tag): kind for kind in event_types}

    def to_stored_event(self, domain_event: Any) -> StoredEvent:
        """Raises TypeError for an event that is not in the model's rules, or that would not read back."""
        event = domain_event.event
        topic = str(type(event).__struct_config__.tag)
        if self._types.get(topic) is not type(event):
            raise TypeError(f"{type(event).__name__} is not an event of this model.")
        state = msgspec.json.encode(event)
        try:
            msgspec.json.decode(state, type=type(event))
        except msgspec.DecodeError as error:
            raise TypeError(f"{topic} would not read back: {error}.") from error
        return StoredEvent(domain_event.originator_id, domain_event.originator_version, topic, state)

    def to_domain_event(self, stored_event: StoredEvent) -> Any:
        kind = self._types.get(stored_event.topic)
        if kind is None:
            raise MapperDeserialisationError(f"{stored_event.topic} is not an event of this model.")
        try:
            event = msgspec.json.decode(stored_event.state, type=kind)
        except msgspec.DecodeError as error:
            raise MapperDeserialisationError(f"{stored_event.topic} can't be read: {error}.") from error
        return Recorded(str(stored_event.originator_id), stored_event.originator_version, event)


class NanoApplication(Application[str]):
    """Open from construction until ``close``. Raises JournalError when a node has the journal open."""

    env = {"PERSISTENCE_MODULE": "nano.journal.persistence"}

    def __init__(self, folder: Path, rules: Rules) -> None:
        self._rules = rules
        super().__init__({"JOURNAL_FOLDER": str(folder)})

    def construct_mapper(self) -> Mapper[str]:
        return StructMapper(self._rules.event_types(), self.construct_transcoder())

    def state(self, resource: str, *, version: int | None = None) -> State | None:
        """The resource's state (after its first ``version`` events); None when it does not exist."""
        assert isinstance(self.recorder, JournalApplicationRecorder)
        state: State | None = None
        for at, stored in self.recorder.store.of_originator(resource, None, version, desc=False, limit=None):
            event = self.mapper.to_domain_event(stored).event  # type: ignore[attr-defined]
            state = self._rules.evolve[type(event)](state, event, at)
        return state
