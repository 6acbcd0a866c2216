"""Folding a journal by its node's own model: what was true at one moment, or at two in a single reading.

The reading is checked as it goes (chain, positions); an event that does not follow from those before it, or that this
version does not know, ends in JournalDamaged with file and byte. What is held is one model, and a copy of its (shared,
frozen) states for each further moment.
"""

from collections.abc import Iterator, Sequence
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import msgspec

from nano.domain.errors import JournalDamaged
from nano.domain.facts import Model, State, kind_of
from nano.journal.folded import Capture
from nano.journal.horizon import before_horizon
from nano.journal.line import Line
from nano.tools.replay.moments import Moment
from nano.tools.replay.node import Node, Start


class Fold:
    """A model as it was at a moment, with the versions its resources had."""

    def __init__(self, model: Model) -> None:
        self.model = model
        self.versions: dict[str, int] = {}
        self.position = 0
        self.time = datetime.fromtimestamp(0, UTC)

    def version(self, resource: str) -> int:
        return self.versions.get(resource, 0)

    def take(self, line: "Line[Any]", number: int, place: "tuple[Path, int]") -> tuple[State | None, State | None]:
        """Fold one event of a line that stands at ``place``; its resource's state before and after. Raises JournalDamaged."""
        entry = line.events[number]
        try:
            states = self.model.apply(entry.resource, entry.event, line.time)
        except (AttributeError, TypeError, ValueError, KeyError) as error:
            raise JournalDamaged(
                f"The event at position {line.position + number} does not follow from those before it: {error}.",
                hint="Run nano-replay verify; if the journal is whole, report a defect.",
                file=str(place[0]),
                byte=place[1],
            ) from error
        self.versions[entry.resource] = entry.version
        self.position = line.position + number
        self.time = line.time
        return states

    def start(self, line_hash: str) -> Start:
        """What is true now, for a slice that goes on from here."""
        states = {resource: msgspec.Raw(msgspec.json.encode(state)) for resource, state in self.model.states.items()}
        return Start(
            position=self.position,
            hash=line_hash,
            time=self.time,
            states=states,
            versions=self.versions,
            memory=self.model.memory(),
        )

    def restore(self, start: Start) -> None:
        """Raises msgspec.DecodeError, KeyError for a start of another kind of node."""
        kinds = self.model.rules.states
        states: dict[str, State] = {
            resource: msgspec.json.decode(text, type=kinds[kind_of(resource)])
            for resource, text in start.states.items()
        }
        self.model.restore(states, start.memory)
        self.versions = dict(start.versions)
        self.position, self.time = start.position, start.time

    def restore_base(self, base: Capture) -> None:
        """Begin where old segments were dropped."""
        self.model.restore(base.states, base.memory)
        self.versions, self.position, self.time = dict(base.versions), base.position, base.time

    def copy(self) -> "Fold":
        """The same, left as it is; only its states are copied, not the model's indexes."""
        copied = Fold(_States(self.model))
        copied.versions = dict(self.versions)
        copied.position, copied.time = self.position, self.time
        return copied


class _States(Model):
    """States alone, to be looked at."""

    def __init__(self, model: Model) -> None:
        super().__init__()
        self.rules = model.rules
        self.states = dict(model.states)


def fold(node: Node, until: Moment | None) -> Fold:
    """Raises JournalDamaged."""
    folds, _ = fold_to(node, [until])
    return folds[0]


def fold_to(node: Node, moments: Sequence[Moment | None]) -> tuple[list[Fold], set[str]]:
    """The model at each moment (None = the end), and which resources were written of between the first and the last. Raises
    JournalDamaged, Invalid(before_horizon)."""
    folded = node.begin()
    begins = node.begins()
    for moment in moments:
        if moment is not None and moment.is_before(begins.position, begins.time):
            raise before_horizon(begins)
    found: dict[int, Fold] = {}
    touched: set[str] = set()
    last = len(moments) - 1
    for line, number, place in _events(node):
        for wanted, moment in enumerate(moments):
            if wanted not in found and moment is not None and not moment.covers(line, number):
                found[wanted] = folded if len(found) == last else folded.copy()
        if len(found) == len(moments):
            break
        folded.take(line, number, place)
        if found:
            touched.add(line.events[number].resource)
    return [found.get(wanted, folded) for wanted in range(len(moments))], touched


def _events(node: Node) -> "Iterator[tuple[Line[Any], int, tuple[Path, int]]]":
    reader = node.reader(typed=True)
    for line in reader.lines():
        place = reader.path, reader.offset
        for number in range(len(line.events)):
            yield line, number, place
