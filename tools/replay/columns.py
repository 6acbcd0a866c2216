"""Columns for what a Cell and a FrontEnd keep; a Core's rows have those of nanoctl."""

from typing import Any, Final

from nano.tools.display import words
from nano.tools.display.columns import at, number, since, text
from nano.tools.display.table import Column

ANY: Final = (
    Column("RESOURCE", text("resource")),
    Column("STATE", lambda row, _: ", ".join(f"{name} {value}" for name, value in row.items() if name != "resource")),
)

_OTHER: Final[dict[str, tuple[Column, ...]]] = {
    "domain": (
        Column("GUEST", text("name")),
        Column("STATE", lambda row, terminal: terminal.state(_power(row)), shorten=False),
        Column("CORES", number("cores"), 4, justify="right"),
        Column("MEMORY", lambda row, _: words.size(row.get("memory")), 3, justify="right"),
        Column("DISK", lambda row, _: words.sizes(row.get("disks")), 3, justify="right"),
        Column("ADDRESS", lambda row, _: ", ".join(row.get("addresses") or ()) or words.NOTHING, 2),
        Column("CHANGED", since("changed_at"), 5),
        Column("ID", lambda row, _: words.short(str(row.get("guest_id", ""))), 1),
    ),
    "order": (
        Column("ORDER", lambda row, _: words.short(str(row.get("id", "")))),
        Column("STATE", lambda row, terminal: terminal.state(str(row.get("state")))),
        Column("KIND", lambda row, _: str(row.get("action") or row.get("kind")).replace("_", " ")),
        Column("GUEST", lambda row, _: words.short(str(row.get("guest_id", "")))),
        Column("TAKEN", since("taken_at"), 1),
    ),
    "account": (
        Column("ACCOUNT", text("name")),
        Column("ROLE", text("role")),
        Column("CREATED", since("created_at"), 1),
        Column("CREATED AT", at("created_at"), 2),
    ),
    "session": (
        Column("SESSION", lambda row, _: words.short(str(row.get("id", "")))),
        Column("ACCOUNT", text("account")),
        Column("FROM", text("address"), 2),
        Column("OPENED", since("opened_at"), 1),
        Column("LAST USED", since("continued_at"), 3),
    ),
    "login": (
        Column("LOGIN", text("resource")),
        Column("FAILED", number("count"), justify="right"),
        Column("LAST", since("last_at"), 1),
    ),
}


def columns_of(kind: str) -> tuple[Column, ...]:
    """For a kind that only a Cell or a FrontEnd has; a general pair for kinds this version does not know."""
    return _OTHER.get(kind, ANY)


def _power(row: dict[str, Any]) -> str:
    return str(row.get("power")) if row.get("ready") else "creating"
