"""The mirror: Core's rows as last heard, kept in memory so that pages come at once and stay readable while Core is away.

It is never an authority. What a person does goes to Core; what Core says comes back here over the event stream. Rows
lean on each other (a guest is lost when its cell is), and Core tells only of the one that changed, so ``apply`` says
which other kinds to read again. ``away_since`` is set while nothing is heard.
"""

from collections.abc import Iterable
from datetime import datetime
from typing import Any, Final

Row = dict[str, Any]

COLLECTIONS: Final = {
    "guest": "guests",
    "cell": "cells",
    "compute_pool": "compute-pools",
    "image": "images",
    "media": "media",
    "template": "templates",
    "task": "tasks",
    "alarm": "alarms",
    "backup": "backups",
}
LIVE_KINDS: Final = frozenset({"alarm", "backup"})  # told as they are now, and not recorded
KEY_OF: Final = {
    "guest": "id",
    "cell": "name",
    "compute_pool": "name",
    "image": "id",
    "media": "id",
    "template": "id",
    "task": "id",
    "alarm": "id",
    "backup": "node",
}
OPEN_TASKS: Final = frozenset({"running", "cancelling", "undoing"})
ROWS_MAX: Final = 50_000  # of one kind; older tasks are dropped beyond it


class Mirror:
    def __init__(self, now: datetime) -> None:
        self.rows: dict[str, dict[str, Row]] = {kind: {} for kind in COLLECTIONS}
        self.position = 0
        self.away_since: datetime | None = now
        self.loaded = False

    def get(self, kind: str, key: str) -> Row | None:
        return self.rows[kind].get(key)

    def guest(self, reference: str) -> Row | None:
        """A guest by id or by name."""
        found = self.rows["guest"].get(reference)
        return found or next((row for row in self.rows["guest"].values() if row["name"] == reference), None)

    def all(self, kind: str) -> list[Row]:
        return list(self.rows[kind].values())

    def tasks(self) -> list[Row]:
        """Newest first."""
        return sorted(self.rows["task"].values(), key=lambda row: str(row["started_at"]), reverse=True)

    def open_tasks(self) -> list[Row]:
        return [row for row in self.tasks() if row["state"] in OPEN_TASKS]

    def replace(self, kind: str, rows: Iterable[Row]) -> tuple[set[str], set[str]]:
        """Take a whole list: topics of what differs, and kinds whose rows may have changed along with it."""
        fresh = {str(row[KEY_OF[kind]]): row for row in rows}
        topics: set[str] = set()
        leaning: set[str] = set()
        for key in self.rows[kind].keys() | fresh.keys():
            before, after = self.rows[kind].get(key), fresh.get(key)
            topics |= topics_of(kind, key, before, after)
            leaning |= leaning_on(kind, before, after)
        self.rows[kind] = fresh
        return topics, leaning

    def apply(self, resource: str, row: Row | None, position: int) -> tuple[set[str], set[str]]:
        """Take one change: topics for browsers, and kinds whose rows may have changed along with it."""
        self.position = max(self.position, position)
        kind, _, key = resource.partition("/")
        if kind not in self.rows:
            return set(), set()
        before = self.rows[kind].get(key)
        if row is None:
            self.rows[kind].pop(key, None)
        else:
            self.rows[kind][key] = row
            if len(self.rows[kind]) > ROWS_MAX:
                self.rows[kind].pop(next(iter(self.rows[kind])))
        return topics_of(kind, key, before, row), leaning_on(kind, before, row)


def leaning_on(kind: str, before: Row | None, after: Row | None) -> set[str]:
    """Kinds whose rows may be others now that this one is."""
    moved = before is None or after is None or before.get("state") != after.get("state")
    if kind == "guest" and (moved or (before and after and before.get("cell") != after.get("cell"))):
        return {"cell", "compute_pool"}
    if kind == "cell" and (moved or (before and after and before.get("pool") != after.get("pool"))):
        return {"guest", "compute_pool"}
    return set()


def topics_of(kind: str, key: str, before: Row | None, after: Row | None) -> set[str]:
    """``kind.key`` changed; ``kind`` (something of it did); ``kind.list`` when a row came, went or changed state."""
    if before == after:
        return set()
    topics = {f"{kind}.{key}", kind}
    if before is None or after is None or before.get("state") != after.get("state"):
        topics.add(f"{kind}.list")
    return topics
