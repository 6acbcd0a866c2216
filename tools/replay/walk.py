"""A journal to walk about in: its facts in order, each with what its resource was before it and after it.

The newest KEPT facts up to a moment are held (states are shared, so one costs about a kilobyte); of those before them only
what they folded to. ``go_on`` reads what a live node has written since.
"""

from collections import deque
from datetime import datetime
from typing import Any, Final, NamedTuple

import msgspec

from nano.domain.facts import State
from nano.journal.line import Line, format_time
from nano.tools.replay.facts import Fact, hide
from nano.tools.replay.folding import name_of
from nano.tools.replay.moments import Moment
from nano.tools.replay.node import Node

KEPT: Final = 50_000


class Step(NamedTuple):
    """One fact; ``before`` and ``after`` None = its resource was not, or is no more."""

    line: "Line[Any]"
    number: int
    before: State | None
    after: State | None

    @property
    def position(self) -> int:
        return self.line.position + self.number

    @property
    def resource(self) -> str:
        return self.line.events[self.number].resource

    @property
    def at(self) -> datetime:
        return self.line.time

    @property
    def fact(self) -> Fact:
        entry = self.line.events[self.number]
        return {
            "position": self.position,
            "at": format_time(self.at),
            "actor": self.line.actor,
            "command_id": self.line.command,
            "cause": self.line.cause,
            "resource": entry.resource,
            "version": entry.version,
            "event": hide(msgspec.to_builtins(entry.event)),
        }

    @property
    def name(self) -> str:
        state = self.after or self.before
        return name_of(state) if state is not None else ""


class Walk:
    """Raises JournalDamaged while it reads. ``left_out`` counts the facts before the first that is held."""

    def __init__(self, node: Node, until: Moment | None, kept: int = KEPT) -> None:
        self.node = node
        self.steps: deque[Step] = deque(maxlen=kept)
        self.left_out = 0
        self.is_whole = until is None  # nothing after the last step was passed over
        self._fold = node.begin()
        self._reader = node.reader(typed=True)
        self._read(until)

    def go_on(self) -> int:
        """How many facts came since the last look."""
        if self.node.is_copy or not self.is_whole:
            return 0
        count = self.left_out + len(self.steps)
        self._read(None)
        return self.left_out + len(self.steps) - count

    def _read(self, until: Moment | None) -> None:
        for line in self._reader.lines():
            for number in range(len(line.events)):
                if until is not None and not until.covers(line, number):
                    return
                self.left_out += len(self.steps) == self.steps.maxlen
                self.steps.append(
                    Step(line, number, *self._fold.take(line, number, (self._reader.path, self._reader.offset)))
                )
