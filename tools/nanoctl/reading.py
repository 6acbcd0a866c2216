"""The verbs that list and show rows."""

import argparse
from typing import Any, Final

from nano.domain.catalogue import AT, COLLECTIONS
from nano.domain.naming import format_size
from nano.tools.display import words
from nano.tools.display.columns import COLUMNS
from nano.tools.display.table import Column, print_table
from nano.tools.nanoctl.arguments import fields_in
from nano.tools.nanoctl.exits import OK
from nano.tools.nanoctl.grammar import Verb
from nano.tools.nanoctl.session import Row, Session, path_of

TASKS_SHOWN: Final = 100
EMPTY: Final = {
    "guest": "No guests. Make one: nanoctl guest create NAME --memory 512MiB --disk 10GiB --start",
    "cell": "No cells. A cell that starts on this network shows up here by itself.",
    "compute_pool": "No compute pools. Make one: nanoctl pool create NAME",
    "template": "No templates. Make one: nanoctl template create NAME",
    "image": "No disk images. Bring one: nanoctl image upload NAME FILE",
    "media": "No media images. Bring one: nanoctl media upload NAME FILE",
    "task": "No tasks.",
    "alarm": "No alarms.",
    "backup": "No node has told of its backups yet.",
}


def list(session: Session, verb: Verb, namespace: argparse.Namespace) -> int:
    kind = verb.kind
    filters = fields_in(namespace, verb.arguments)
    limit = namespace.limit if hasattr(namespace, "limit") else TASKS_SHOWN if kind == "task" else 0
    rows = [*session.rows(f"/{COLLECTIONS[kind]}", filters, limit)]
    if not session.for_people:
        session.print_data(rows)
        return OK
    if kind == "task":
        rows.reverse()  # the newest is what one looks for, and the prompt is below
    if not rows:
        session.terminal.note(EMPTY[kind] if not filters else f"No {verb.noun} matches.")
        return OK
    print_table(session.terminal, COLUMNS[kind], rows, wide=session.wide)
    if kind == "task" and limit and len(rows) == limit:
        session.terminal.note(f"The newest {limit}; --limit 0 lists all.")
    return OK


def show(session: Session, verb: Verb, namespace: argparse.Namespace) -> int:
    from nano.tools.display.card import print_card

    fields = fields_in(namespace, verb.arguments)
    if verb.kind == "task":
        fields["task"] = session.task_id(fields["task"])
    assert verb.entry is not None
    at = {AT: fields.pop(AT)} if AT in fields else {}
    row = session.get(path_of(verb.entry.path, fields), at)
    if session.for_people:
        print_card(session.terminal, verb.kind, row)
    else:
        session.print_data(row)
    return OK


def usage(session: Session, verb: Verb, namespace: argparse.Namespace) -> int:  # noqa: ARG001
    measured = session.get("/usage")
    if not session.for_people:
        session.print_data(measured)
        return OK
    names = {row["id"]: row["name"] for row in session.rows("/guests")}
    print_usage(session, measured, names)
    return OK


def print_usage(session: Session, measured: Row, names: dict[str, str]) -> None:
    cells = [{"name": name, **load} for name, load in sorted(measured["cells"].items())]
    guests = [{"name": names.get(key, words.short(key)), **load} for key, load in measured["guests"].items()]
    if not cells:
        session.terminal.note("No cell has reported its load yet.")
        return
    print_table(session.terminal, CELL_LOAD, cells)
    if guests:
        session.terminal.write("")
        print_table(session.terminal, GUEST_LOAD, sorted(guests, key=lambda row: str(row["name"])))


def _used(row: Row, what: str) -> str:
    total, free = row.get(f"{what}_total", 0), row.get(f"{what}_available", 0)
    return f"{100 * (total - free) / total:.0f} % of {format_size(total)}" if total else words.NOTHING


def _rate(name: str) -> Any:
    return lambda row, _terminal: words.rate(row.get(name))


CELL_LOAD: Final = (
    Column("CELL", lambda row, _: str(row["name"])),
    Column("CPU", lambda row, _: words.percent(row.get("cpu_percent", 0)), justify="right"),
    Column("MEMORY", lambda row, _: _used(row, "memory"), 1, justify="right"),
    Column("DISK", lambda row, _: _used(row, "disk"), 2, justify="right"),
    Column("READ", _rate("read_rate"), 4, justify="right"),
    Column("WRITE", _rate("write_rate"), 4, justify="right"),
    Column("RECEIVE", _rate("receive_rate"), 3, justify="right"),
    Column("SEND", _rate("send_rate"), 3, justify="right"),
    Column("UP", lambda row, _: words.about(row.get("uptime_s", 0)), 5, justify="right"),
)
GUEST_LOAD: Final = (
    Column("GUEST", lambda row, _: str(row["name"])),
    Column("CPU", lambda row, _: words.percent(row.get("cpu_percent", 0)), justify="right"),
    Column("MEMORY", lambda row, _: words.size(row.get("memory_used")), 1, justify="right"),
    Column("READ", _rate("read_rate"), 4, justify="right"),
    Column("WRITE", _rate("write_rate"), 4, justify="right"),
    Column("RECEIVE", _rate("receive_rate"), 3, justify="right"),
    Column("SEND", _rate("send_rate"), 3, justify="right"),
)
