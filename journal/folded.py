"""Folded: everything that replaying a log gives: the model, versions, tracking, receipts, and the time of the last line.

Invariant: it is a function of the lines that were folded in, in order, and of nothing else; so a ``Capture`` of it at a
position, taken back with ``restore`` and followed by the lines after that position, is the same as folding every line.

It does not read or write files, and knows nothing of what is durable.
"""

from collections.abc import Callable, Iterable
from datetime import datetime
from typing import Any

import msgspec

from nano.domain.errors import JournalDamaged
from nano.domain.facts import Change, Emitted, Model, State
from nano.domain.naming import require_name
from nano.journal.line import BEGINNING, Entry, Line
from nano.journal.reader import facts_of
from nano.journal.receipts import Receipts

Read = tuple[int, str]
"""How far of another node's journal was read, and the mark there (``Tracked``)."""


class Capture(msgspec.Struct, frozen=True, kw_only=True):
    """All of it at one position: dictionaries of its own, states shared (they are frozen).

    ``hash`` is that of the line that ends at the position; ``receipts`` are command ids with what ``Receipts`` keeps.
    """

    position: int
    hash: bytes
    time: datetime
    epoch: int
    states: dict[str, State]
    versions: dict[str, int]
    tracking: dict[str, Read]
    memory: dict[str, list[str]]
    receipts: dict[str, int]


class Folded:
    """``receipts`` are given when the node's secret is known, before anything is folded."""

    receipts: Receipts

    def __init__(self, model: Model) -> None:
        self.model = model
        self.versions: dict[str, int] = {}
        self.tracking: dict[str, Read] = {}
        self.time = BEGINNING
        self.epoch = 0  # of the last line

    def clear(self) -> None:
        self.model.clear()
        self.versions.clear()
        self.tracking.clear()
        self.receipts.clear()
        self.time, self.epoch = BEGINNING, 0

    def fold(
        self, blocks: Iterable[list[Line[Any]]], damage: Callable[[int, str], JournalDamaged] | None = None
    ) -> None:
        """Fold many lines. With ``damage`` (the error for a line of the last block) versions are checked:
        raises JournalDamaged."""
        versions, receipts = self.versions, self.receipts
        model = self.model
        states, evolve, ends = model.states, model.rules.evolve, model.rules.last
        for lines in blocks:
            for line in lines:
                at = line.time
                for entry in line.events:
                    resource, version = entry.resource, entry.version
                    if version - 1 != versions.get(resource, 0) and damage is not None:
                        number = next(number for number, one in enumerate(lines) if one is line)
                        raise damage(number, f"{resource} should have version {versions.get(resource, 0) + 1}")
                    versions[resource] = version
                    # as Model.apply does it, but without the indexes: they are made once, at the end
                    event = entry.event
                    kind = type(event)
                    after = evolve[kind](states.get(resource), event, at)
                    if after is None:
                        states.pop(resource, None)
                    else:
                        states[resource] = after
                        if kind in ends:
                            model.over(after)
                if line.tracking is not None:
                    self.tracking[line.tracking.upstream] = line.tracking.position, line.tracking.mark
            receipts.replay(lines)
            self.time, self.epoch = lines[-1].time, lines[-1].epoch
        receipts.replayed()
        model.reindex()

    def apply(self, line: Line[Any]) -> list[Change]:
        """Fold the events of one new line, with what changed. An event that breaks leaves the model half changed."""
        apply = self.model.apply
        changes = []
        for fact in facts_of(line):
            before, after = apply(fact.resource, fact.event, fact.at)
            changes.append(Change(fact, before, after))
        for entry in line.events:
            self.versions[entry.resource] = entry.version
        if line.tracking is not None:
            self.tracking[line.tracking.upstream] = line.tracking.position, line.tracking.mark
        self.receipts.remember(line.command, line.digest, line.position)
        self.time, self.epoch = line.time, line.epoch
        return changes

    def address(self, emitted: list[Emitted]) -> tuple[Entry[Any], ...]:
        """Give each new event the next version of its resource. Raises Invalid for the name of a new one that is odd."""
        versions = self.versions
        ahead: dict[str, int] = {}
        entries = []
        for resource, event in emitted:
            version = ahead.get(resource) or versions.get(resource, 0)
            if version == 0:
                _require_resource(resource)
            ahead[resource] = version + 1
            entries.append(Entry(resource, version + 1, event))
        return tuple(entries)

    def capture(self, position: int, line_hash: bytes) -> Capture:
        """Copies of the dictionaries: some 12 ms for 50,000 guests and 100,000 command ids."""
        return Capture(
            position=position,
            hash=line_hash,
            time=self.time,
            epoch=self.epoch,
            states=dict(self.model.states),
            versions=dict(self.versions),
            tracking=dict(self.tracking),
            memory=self.model.memory(),
            receipts=self.receipts.copy(),
        )

    def begin(self, base: Capture | None) -> None:
        """As before the first line: with nothing, or with what lines that are gone folded to."""
        if base is None:
            self.clear()
        else:
            self.restore(base)

    def restore(self, capture: Capture) -> None:
        """Become what was captured. The capture's dictionaries are taken over, not copied, but for the states."""
        self.clear()
        self.model.restore(capture.states, capture.memory)
        self.versions.update(capture.versions)
        self.tracking.update(capture.tracking)
        self.receipts.restore(capture.receipts)
        self.time, self.epoch = capture.time, capture.epoch


def _require_resource(resource: str) -> None:
    """A resource's name is the path of its journal: nothing odd may get in."""
    kind, _, name = resource.partition("/")
    require_name(kind, "kind of resource")
    require_name(name, "resource id", dotted=True)
