"""The past of the fake Core: its facts in the order of their times, and rows as they were. Bounded by what a test records."""

from collections.abc import Mapping
from datetime import datetime
from typing import Any

Row = dict[str, Any]


def settle(facts: list[Row]) -> None:
    """Put facts that were recorded in any order into that of a real journal, with new positions."""
    facts.sort(key=lambda fact: datetime.fromisoformat(fact["at"]))
    for position, fact in enumerate(facts, 1):
        fact["position"] = position


def list_at(kind: str, at: str, facts: list[Row], rows_of: Mapping[str, Row | None]) -> Row | None:
    """A list as it was at a position or a time; None for a moment outside of the journal. ``rows_of`` is by command."""
    if at.isdigit():
        if int(at) > len(facts):
            return None
        known = facts[: int(at)]
    else:
        try:
            moment = datetime.fromisoformat(at)
        except ValueError:
            return None
        known = [fact for fact in facts if datetime.fromisoformat(fact["at"]) <= moment]
    rows = {fact["resource"]: rows_of[fact["command_id"]] for fact in known}
    items = [row for resource, row in rows.items() if row and resource.startswith(kind + "/")]
    return {"items": items, "total": len(items), "next": None, "position": len(known)}
