"""Finding facts in one journal: those of a resource, the one that last changed a field, the sessions open at a time.

Each function is one checked reading of the log in which only the events that are looked for are decoded. A resource is folded
on its own, because ``evolve`` needs nothing but the state before: so a life among a million events costs little.
"""

from collections.abc import Iterator
from datetime import datetime
from typing import Any, NamedTuple

import msgspec

from nano.domain.errors import Invalid, JournalDamaged, Unknown
from nano.domain.facts import State, kind_of
from nano.journal.line import Line, format_time
from nano.tools.display import words
from nano.tools.replay.difference import flat
from nano.tools.replay.facts import Fact, Names
from nano.tools.replay.moments import SHOWN
from nano.tools.replay.node import Node

SEVERAL = {  # what people call the state of such a thing is made of these fields
    "guest": ("phase", "power"),
    "cell": ("online", "pool"),
    "image": ("task",),
    "domain": ("power",),
}


class Place(NamedTuple):
    """A fact, and what else must be known to go back from it.

    ``read_before`` = how far the upstream its line tracks had been read before; ``nth`` = how many facts of the same resource
    and type its line has before it; ``task`` = the task that held the resource before or after it.
    """

    fact: Fact
    read_before: int = 0
    nth: int = 0
    task: str = ""


class Change(NamedTuple):
    """The fact that gave a resource's field (all of it when ``field`` is empty) what it has now."""

    resource: str
    name: str
    field: str
    value: Any
    state: State | None
    place: Place


def facts_of(node: Node, resource: str = "", *, prefix: str = "") -> Iterator[Place]:
    """Facts of one resource, or of all whose names begin so, oldest first."""
    for line in node.reader().lines():
        for number, entry in enumerate(line.events):
            if entry.resource == resource or (prefix and entry.resource.startswith(prefix)):
                yield Place(_fact(line, number, msgspec.json.decode(entry.event)))


def sessions_of(node: Node, account: str, at: str) -> Iterator[Fact]:
    """The first facts of the account's sessions that were open at a time (RFC 3339 text)."""
    moment = words.parse_time(at)
    open_: dict[str, Fact] = {}
    for place in facts_of(node, prefix="session/"):
        fact = place.fact
        if words.parse_time(fact["at"]) > moment:
            break
        kind = fact["event"]["type"]
        if kind == "session.opened" and fact["event"].get("account") == account:
            open_[fact["resource"]] = fact
        elif kind == "session.closed":
            open_.pop(fact["resource"], None)
    yield from open_.values()


def last_change(node: Node, wanted: str) -> Change:
    """``wanted`` is RESOURCE or RESOURCE.field. Raises Unknown(no_such_history), Invalid(unknown_field), JournalDamaged."""
    resource, name, field = _resolve(node, wanted)
    life = _Life(node, resource)
    for line in node.reader().lines():
        life.take(line)
    fields = life.meant(field)
    latest = max(fields or life.changed, key=lambda path: life.changed[path].fact["position"], default="")
    place = life.changed.get(latest, life.last)
    assert place is not None
    told = latest if field else ""
    return Change(resource, name, told, flat(life.state).get(told), life.state, place)


def _resolve(node: Node, wanted: str) -> tuple[str, str, str]:
    """Resource, its name, and the field. Names may hold dots: the longest that was ever borne is meant, and of several
    bearers the last."""
    parts = wanted.split(".")
    splits = [(".".join(parts[:cut]), ".".join(parts[cut:])) for cut in range(len(parts), 0, -1)]
    names, seen, found = Names(), set[str](), dict[str, str]()
    for line in node.reader().lines():
        for entry in line.events:
            if entry.resource in seen:
                continue
            seen.add(entry.resource)
            names.learn(entry.resource, msgspec.json.decode(entry.event))
            for reference, _ in splits:
                if reference != kind_of(entry.resource) and names.matches(entry.resource, reference):
                    found[reference] = entry.resource
    for reference, field in splits:
        if reference in found:
            return found[reference], names.of.get(found[reference], ""), field
    raise Unknown(
        f"Nothing in this journal is about {wanted[:SHOWN]!r}.",
        code="no_such_history",
        hint="Write kind/id or kind/name (guest/web), and a field after a dot (guest/web.power).",
    )


class _Life:
    """One resource folded on its own."""

    def __init__(self, node: Node, resource: str) -> None:
        self.state: State | None = node.begin().model.states.get(resource)
        self.changed: dict[str, Place] = {}  # by field: the fact that changed it last
        self.last: Place | None = None
        self._resource = resource
        self._evolve = node.model().rules.evolve
        self._decoder: msgspec.json.Decoder[Any] = node.event_decoder()
        self._read: dict[str, int] = {}  # by upstream: how far it had been read before this line
        self._fields: dict[str, Any] = flat(self.state)
        self._known = set(self._fields)

    def take(self, line: "Line[msgspec.Raw]") -> None:
        types: list[str] = []
        for number, entry in enumerate(line.events):
            if entry.resource == self._resource:
                fact = _fact(line, number, msgspec.json.decode(entry.event))
                self._apply(line, fact, entry.event, types.count(fact["event"]["type"]))
                types.append(fact["event"]["type"])
        if line.tracking is not None:
            self._read[line.tracking.upstream] = line.tracking.position

    def _apply(self, line: "Line[msgspec.Raw]", fact: Fact, event: msgspec.Raw, nth: int) -> None:
        before, fields = self.state, self._fields
        try:
            known = self._decoder.decode(event)
            self.state = self._evolve[type(known)](before, known, line.time)
        except (msgspec.DecodeError, AttributeError, TypeError, ValueError, KeyError) as error:
            raise JournalDamaged(
                f"The event at position {fact['position']} does not follow from those before it: {error}.",
                code="journal_unreadable",
                hint="Run nano-replay verify; if the journal is whole, use the version of Nano that wrote it.",
            ) from error
        self._fields = flat(self.state)
        self._known |= self._fields.keys()
        read = self._read.get(line.tracking.upstream, 0) if line.tracking is not None else 0
        task = str(fields.get("task") or self._fields.get("task") or "")
        place = self.last = Place(fact, read, nth, task)
        for path in fields.keys() | self._fields.keys():
            if fields.get(path) != self._fields.get(path) or (path in fields) != (path in self._fields):
                self.changed[path] = place

    def meant(self, field: str) -> list[str]:
        """The paths that a word of the person means; none for the whole. Raises Invalid(unknown_field)."""
        if not field:
            return []
        paths = [field] if field in self._known else []
        paths = paths or [path for path in self._known if path.rpartition(".")[2] == field]
        paths = paths or [path for path in SEVERAL.get(kind_of(self._resource), ()) if field == "state"]
        if not paths:
            raise Invalid(
                f"{self._resource} has no field {field!r}.",
                code="unknown_field",
                hint=f"It has: {', '.join(sorted(self._known))}.",
            )
        return [path for path in paths if path in self.changed]


def _fact(line: "Line[Any]", number: int, event: Any) -> Fact:
    entry = line.events[number]
    at: datetime = line.time
    return {
        "position": line.position + number,
        "at": format_time(at),
        "actor": line.actor,
        "command_id": line.command,
        "cause": line.cause,
        "resource": entry.resource,
        "version": entry.version,
        "event": event,
    }
