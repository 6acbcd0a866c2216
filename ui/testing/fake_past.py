"""What the fake Core recorded: its facts in the order of their times, and rows as they were. Bounded by what a test records."""

from collections import Counter
from collections.abc import Mapping
from datetime import datetime
from typing import Any

from starlette.responses import JSONResponse, Response

Row = dict[str, Any]
Facts = list[Row]


def settle(facts: list[Row]) -> None:
    """Put facts that were recorded in any order into that of a real journal, with new positions."""
    facts.sort(key=lambda fact: datetime.fromisoformat(fact["at"]))
    for position, fact in enumerate(facts, 1):
        fact["position"] = position


class FakePast:
    """Answers to ``?at=`` of a journal's facts; ``rows_of`` says by ``id(fact)`` which row came of it."""

    def __init__(self, facts: list[Row], rows_of: Mapping[int, Row | None]) -> None:
        self._facts = facts
        self._rows_of = rows_of

    def list(self, kind: str, wanted: Mapping[str, str]) -> Response:
        known = self._known(wanted["at"])
        if known is None:
            return _no_moment(wanted["at"])
        items = [row for row in self._rows(kind, known) if wanted.get("state") in (None, row.get("state"))]
        page = {
            "items": items[: int(wanted.get("limit", "100"))],
            "total": len(items),
            "next": None,
            "position": len(known),
        }
        return _answer(page, known)

    def show(self, kind: str, key: str, at: str) -> Response:
        rows = self._rows(kind, self._known(at) or [])
        row = next((row for row in rows if key in (row.get("id"), row["name"])), None)
        return _answer(row, []) if row else problem(404, f"unknown_{kind}", "There was no such thing.")

    def journal(self, wanted: Mapping[str, str]) -> Response:
        cursor, limit = wanted.get("cursor", ""), int(wanted.get("limit", "100"))
        below = int(cursor) if cursor.isdigit() else len(self._facts) + 1
        facts = [
            fact
            for fact in self._facts[::-1]
            if fact["position"] < below
            and fact["event"]["type"].startswith(wanted.get("type", ""))
            and fact["resource"].startswith(wanted.get("resource", ""))
            and all(
                fact[field] == wanted.get(name, fact[field])
                for name, field in (("actor", "actor"), ("command", "command_id"), ("cause", "cause"))
            )
        ]
        following = str(facts[limit - 1]["position"]) if len(facts) > limit else None
        return JSONResponse({"items": facts[:limit], "next": following})

    def zone(self, at: str) -> Response:
        known = self._known(at)
        if known is None:
            return _no_moment(at)
        guests, cells = self._rows("guest", known), self._rows("cell", known)
        online = [cell for cell in cells if cell["state"] == "online"]
        body: Row = {"position": len(known), "at": known[-1]["at"] if known else "1970-01-01T00:00:00Z"}
        body |= {"guests": dict(Counter(guest["state"] for guest in guests))}
        body |= {"cells": dict(Counter(cell["state"] for cell in cells))}
        body |= {size: sum(cell[size] for cell in online) for size in ("cores", "memory", "disk")}
        body["recycle_hours"] = 168
        body |= {f"{size}_promised": sum(guest[size] for guest in guests) for size in ("cores", "memory")}
        return _answer(body | {"disk_promised": sum(sum(guest["disks"]) for guest in guests)}, known)

    def _known(self, at: str) -> Facts | None:
        """The facts up to a position or a time; None for a moment outside of the journal."""
        if at.isdigit():
            return self._facts[: int(at)] if int(at) <= len(self._facts) else None
        try:
            moment = datetime.fromisoformat(at)
        except ValueError:
            return None
        return [fact for fact in self._facts if datetime.fromisoformat(fact["at"]) <= moment]

    def _rows(self, kind: str, known: Facts) -> Facts:
        rows = {fact["resource"]: self._rows_of[id(fact)] for fact in known}
        found = [row for resource, row in rows.items() if row and resource.startswith(kind + "/")]
        if kind == "cell":
            cells = Counter(guest["cell"] for guest in self._rows("guest", known))
            found = [cell | {"guests": cells[cell["name"]]} for cell in found]
        return found


def problem(status: int, code: str, detail: str, hint: str = "") -> Response:
    return JSONResponse(
        {"type": "about:blank", "title": "", "status": status, "detail": detail, "code": code, "hint": hint}, status
    )


def _no_moment(at: str) -> Response:
    return problem(422, "invalid_at", f"There is no moment {at} in the journal.", "Choose another.")


def _answer(body: Row, known: Facts) -> Response:
    return JSONResponse(body, headers={"x-nano-position": str(len(known))})
