"""Facts as this program passes them on: plain JSON objects, one per event, with the names their resources were given.

Streams: one line of the journal is held at a time, and the names. Secrets that a journal keeps only as digests are left
out all the same: who reads the output need not be who may read the journal.
"""

from collections.abc import Iterable, Iterator
from typing import Any, Final

import msgspec

from nano.journal.line import Line, format_time
from nano.tools.display.sentences import name_in

HIDDEN: Final = frozenset({"password_hash", "digest", "key", "secret"})
Fact = dict[str, Any]


class Names:
    """Learned from the events as they go by; a resource's name comes with its first one."""

    def __init__(self) -> None:
        self.of: dict[str, str] = {}

    def learn(self, resource: str, event: Fact) -> None:
        if resource not in self.of and (name := name_in(event)):
            self.of[resource] = name

    def matches(self, resource: str, wanted: str) -> bool:
        """``wanted`` is kind/id, kind/name, a kind alone, an id or a name."""
        if resource == wanted:
            return True
        kind, _, identifier = resource.partition("/")
        name = self.of.get(resource)
        if "/" in wanted:
            return name is not None and wanted == f"{kind}/{name}"
        return wanted in (kind, identifier) or (name is not None and kind != "task" and wanted == name)


def facts_in(lines: Iterable["Line[msgspec.Raw]"], names: Names) -> Iterator[Fact]:
    for line in lines:
        for number, entry in enumerate(line.events):
            event = hide(msgspec.json.decode(entry.event))
            names.learn(entry.resource, event)
            yield {
                "position": line.position + number,
                "at": format_time(line.time),
                "epoch": line.epoch,
                "actor": line.actor,
                "command_id": line.command,
                "cause": line.cause,
                "resource": entry.resource,
                "version": entry.version,
                "event": event,
            }


def hide(value: Any) -> Any:
    """The same without what nobody needs to see."""
    if isinstance(value, dict):
        return {name: "(hidden)" if name in HIDDEN and inner else hide(inner) for name, inner in value.items()}
    return [hide(inner) for inner in value] if isinstance(value, list) else value
