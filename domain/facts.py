"""The vocabulary every resource is written in: command, event, fact, context, model.

A *command* asks for something (imperative, from the catalogue or from a task). A pure ``decide`` answers
with *events* (past tense) addressed to resources, or refuses. A pure ``evolve`` folds one event into the
state of its resource. A *fact* is an event with the who, when and why under which it was recorded.

Resources are named ``kind/id`` ("guest/3f0c…", "compute_pool/default"); that text is also the path of the
resource's journal, so both halves are restricted to ``[0-9A-Za-z_.-]``.

Facts, events and states are values and refer to values only, so they are never part of a cycle and the garbage collector
is told not to look at them (``gc=False``): with 50,000 guests each of its walks would stop a node for 200 ms.
"""

from collections.abc import Callable, Iterator, Mapping
from datetime import datetime
from typing import Any, NamedTuple

import msgspec

State = msgspec.Struct


class Event(msgspec.Struct, frozen=True, gc=False, tag_field="type"):
    """A thing that happened. Subclasses carry ``tag="kind.past_tense"``; fields are plain JSON values."""


class Command(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """A thing somebody wants. Subclasses are decoded from requests, so unknown fields are refused."""


class Emitted(NamedTuple):
    """One event addressed to one resource, not yet recorded."""

    resource: str
    event: Event


class Context(msgspec.Struct, frozen=True):
    """What a decision may know besides the states: the instant, who asks, and where ids come from.

    ``at`` is an aware UTC datetime. ``new_id`` gives a fresh UUID text at each call (seeded in the simulator).
    ``cause`` names what led here ("task/<id>", "request/<id>"), empty for a person's own request.
    """

    at: datetime
    actor: str
    command_id: str
    new_id: Callable[[], str]
    cause: str = ""


class Fact(msgspec.Struct, frozen=True, gc=False):
    """One recorded event. ``position`` counts events of a node's journal from 1; ``version`` those of the resource."""

    position: int
    at: datetime
    actor: str
    command_id: str
    cause: str
    resource: str
    version: int
    event: Event


class Change(NamedTuple):
    """A fact with the state of its resource on both sides of it; None where there is none (yet, or any more)."""

    fact: Fact
    before: State | None
    after: State | None


Decide = Callable[[Any, Any, Context], list[Emitted]]
Evolve = Callable[[Any, Any, datetime], State | None]


class Rules(NamedTuple):
    """The tables of a model: what answers a command or event of exactly this type, and what the states of a kind are.

    ``states`` has a struct type for every kind of resource that ``evolve`` gives; without it there are no snapshots.
    ``last`` are the events after which nothing more happens to a resource, so that its model may forget it.
    """

    decide: Mapping[type[Command], Decide]
    evolve: Mapping[type[Event], Evolve]
    states: Mapping[str, type[State]] = {}
    last: frozenset[type[Event]] = frozenset()

    def event_types(self) -> tuple[type[Event], ...]:
        return tuple(self.evolve)

    @classmethod
    def joined(cls, *parts: "Rules") -> "Rules":
        """The tables of several modules as one model's. Raises ValueError when two answer for the same thing."""
        decide: dict[type[Command], Decide] = {}
        evolve: dict[type[Event], Evolve] = {}
        states: dict[str, type[State]] = {}
        last: frozenset[type[Event]] = frozenset()
        for part in parts:
            if twice := decide.keys() & part.decide.keys() or evolve.keys() & part.evolve.keys():
                raise ValueError(f"Two rules for {sorted(kind.__name__ for kind in twice)}.")
            decide |= part.decide
            evolve |= part.evolve
            states |= part.states
            last |= part.last
        return cls(decide, evolve, states, last)


class Model:
    """States by resource name, and whatever indexes a subclass keeps beside them.

    The container changes, the states never do (frozen structs), so a reader may keep one. ``apply`` is the
    only way in, for live events and for what-if copies alike; only a replay of a whole log goes beside it, and makes the
    indexes once, by ``reindex``.
    """

    rules: Rules

    def __init__(self) -> None:
        self.states: dict[str, State] = {}

    def clear(self) -> None:
        """Back to nothing, before a refold."""
        self.states.clear()
        self.recall({})
        self.clear_indexes()

    def clear_indexes(self) -> None:
        """Forget everything that ``changed`` makes of the states."""

    def memory(self) -> dict[str, list[str]]:
        """What decisions or trimming lean on and no state says, by name: orders in which things came about."""
        return {}

    def recall(self, memory: Mapping[str, list[str]]) -> None:
        """Take over what ``memory`` gave, in place of what was there; called before the states come back."""

    def restore(self, states: Mapping[str, State], memory: Mapping[str, list[str]]) -> None:
        """Become the model that had these states, in this order, and this memory."""
        self.clear()
        self.recall(memory)
        self.states.update(states)
        self.reindex()

    def reindex(self) -> None:
        """Make the indexes anew from the states."""
        self.clear_indexes()
        for resource, state in self.states.items():
            self.changed(resource, None, state)

    def get(self, resource: str) -> State | None:
        return self.states.get(resource)

    def of_kind(self, kind: str) -> Iterator[State]:
        """States of one kind, in order of their first event. Subclasses override it where an index exists."""
        prefix = kind + "/"
        return (state for name, state in self.states.items() if name.startswith(prefix))

    def decide(self, command: Command, context: Context) -> list[Emitted]:
        """Events that carry out the command. Raises Refusal, and then nothing has changed."""
        return self.rules.decide[type(command)](self, command, context)

    def apply(self, resource: str, event: Event, at: datetime) -> tuple[State | None, State | None]:
        """Fold one event; returns the resource's state before and after (None = does not exist)."""
        before = self.states.get(resource)
        after = self.rules.evolve[type(event)](before, event, at)
        if after is None:
            self.states.pop(resource, None)
        else:
            self.states[resource] = after
        self.changed(resource, before, after)
        if type(event) in self.rules.last:
            self.over(after)
        return before, after

    def changed(self, resource: str, before: State | None, after: State | None) -> None:
        """Hook for indexes, which are functions of the states; called after every event."""

    def over(self, state: State | None) -> None:
        """Hook for forgetting: nothing more happens to this resource (``Rules.last``), nor to those of earlier calls."""


def kind_of(resource: str) -> str:
    return resource.partition("/")[0]


def id_of(resource: str) -> str:
    return resource.partition("/")[2]
