# ruff: noqa: ARG001 (deciding and evolving functions have one shape, whatever they use of it)
"""For tests and measurements of journals: a model as small as one can be, a ticking clock, numbered ids.

Counters are made, counted up and removed. Nothing in a node uses this module.
"""

from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from itertools import count
from typing import Any

from nano.domain.errors import Conflict, Unknown
from nano.domain.facts import Command, Context, Emitted, Event, Model, Rules, State


class Counter(State, frozen=True):
    name: str
    value: int = 0


class Made(Event, frozen=True, tag="counter.made"):
    name: str


class Counted(Event, frozen=True, tag="counter.counted"):
    by: int


class Removed(Event, frozen=True, tag="counter.removed"):
    pass


class Broken(Event, frozen=True, tag="counter.broken"):
    """Its evolve raises."""


class Odd(Event, frozen=True, tag="counter.odd"):
    """Not in the rules."""


class Make(Command, frozen=True):
    name: str


class Count(Command, frozen=True):
    name: str
    by: int = 1


class CountAll(Command, frozen=True):
    by: int = 1


class Remove(Command, frozen=True):
    name: str


class Spoil(Command, frozen=True):
    """Emits a good event, then one that is wrong in the named way."""

    name: str
    how: str


def _known(model: Model, name: str) -> str:
    resource = f"counter/{name}"
    if model.get(resource) is None:
        raise Unknown(f"There is no counter {name}.")
    return resource


def make(model: Model, command: Make, context: Context) -> list[Emitted]:
    if model.get(f"counter/{command.name}") is not None:
        raise Conflict(f"Counter {command.name} exists.", code="name_taken")
    return [Emitted(f"counter/{command.name}", Made(command.name))]


def tally(model: Model, command: Count, context: Context) -> list[Emitted]:
    resource = _known(model, command.name)
    return [Emitted(resource, Counted(command.by))] if command.by else []


def tally_all(model: Model, command: CountAll, context: Context) -> list[Emitted]:
    return [Emitted(resource, Counted(command.by)) for resource in model.states]


def remove(model: Model, command: Remove, context: Context) -> list[Emitted]:
    return [Emitted(_known(model, command.name), Removed())]


def spoil(model: Model, command: Spoil, context: Context) -> list[Emitted]:
    resource = _known(model, command.name)
    wrong: dict[str, Any] = {
        "type": Counted("many"),  # type: ignore[arg-type]
        "unlisted": Odd(),
        "evolve": Broken(),
    }
    return [Emitted(resource, Counted(1)), Emitted(resource, wrong[command.how])]


def made(state: Counter | None, event: Made, at: datetime) -> Counter:
    return Counter(event.name)


def counted(state: Counter, event: Counted, at: datetime) -> Counter:
    return Counter(state.name, state.value + event.by)


def removed(state: Counter, event: Removed, at: datetime) -> None:
    return


def broken(state: Counter, event: Broken, at: datetime) -> Counter:
    raise RuntimeError("this event breaks")


class Counters(Model):
    rules = Rules(
        {Make: make, Count: tally, CountAll: tally_all, Remove: remove, Spoil: spoil},
        {Made: made, Counted: counted, Removed: removed, Broken: broken},
    )

    def values(self) -> dict[str, int]:
        return {state.name: state.value for state in self.states.values() if isinstance(state, Counter)}


def ticking(start: datetime = datetime(2026, 11, 21, tzinfo=UTC)) -> Callable[[], datetime]:
    """A clock that moves a millisecond at each look."""
    ticks = count()
    return lambda: start + timedelta(milliseconds=next(ticks))


def numbered() -> Callable[[], str]:
    ids = count(1)
    return lambda: f"id-{next(ids)}"
