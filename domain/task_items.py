"""A task that does the same to many guests keeps an item for each: waiting, then running under a task of its own, then ended.

The items are listed once, when the task is opened. So at any time, and after any restart, the journal says of each guest how
far it is.
"""

from datetime import datetime
from typing import Final, Literal

import msgspec

from nano.domain.facts import Event, Rules
from nano.domain.task import Item, Problem, Task

Outcome = Literal["done", "failed", "cancelled"]


class ItemEnd(msgspec.Struct, frozen=True, gc=False, omit_defaults=True):
    number: int
    outcome: Outcome
    error: Problem | None = None


class TaskItemsListed(Event, frozen=True, tag="task.items_listed"):
    """``guests`` are ids; empty where the guests are still to be made."""

    names: tuple[str, ...]
    guests: tuple[str, ...] = ()


class TaskItemStarted(Event, frozen=True, kw_only=True, tag="task.item_started"):
    number: int
    guest: str
    task: str


class TaskItemsEnded(Event, frozen=True, tag="task.items_ended"):
    ended: tuple[ItemEnd, ...]


def evolve_listed(state: Task, event: TaskItemsListed, at: datetime) -> Task:
    guests = event.guests or ("",) * len(event.names)
    items = tuple([Item(name, guest) for name, guest in zip(event.names, guests, strict=True)])
    return msgspec.structs.replace(state, items=items)


def evolve_started(state: Task, event: TaskItemStarted, at: datetime) -> Task:
    items = list(state.items)
    items[event.number] = Item(items[event.number].name, event.guest, "running", event.task)
    return msgspec.structs.replace(state, items=tuple(items))


def evolve_ended(state: Task, event: TaskItemsEnded, at: datetime) -> Task:
    items = list(state.items)
    for end in event.ended:
        items[end.number] = msgspec.structs.replace(items[end.number], state=end.outcome, error=end.error)
    return msgspec.structs.replace(state, items=tuple(items))


RULES: Final = Rules(
    decide={},
    evolve={TaskItemsListed: evolve_listed, TaskItemStarted: evolve_started, TaskItemsEnded: evolve_ended},
)
