"""``status``: the zone at a glance, and what in it needs a person."""

import argparse

from nano.domain.naming import format_size
from nano.tools.display import words
from nano.tools.display.card import print_fields
from nano.tools.display.columns import CELL
from nano.tools.display.table import print_table
from nano.tools.display.terminal import Terminal
from nano.tools.nanoctl.arguments import fields_in
from nano.tools.nanoctl.exits import OK
from nano.tools.nanoctl.grammar import Verb
from nano.tools.nanoctl.session import Row, Session

TROUBLED = frozenset({"lost", "missing", "crashed"})


def run(session: Session, verb: Verb, namespace: argparse.Namespace) -> int:
    then = fields_in(namespace, verb.arguments)
    zone = session.get("/zone", then)
    if not session.for_people:
        session.print_data(zone)
        return OK
    cells = [*session.rows("/cells", then)]
    alarms, backups = ([] if then else [*session.rows(path)] for path in ("/alarms", "/backups"))
    terminal = session.terminal
    print_fields(
        terminal,
        [
            ("zone", f"{zone['name']} at {session.api.url}"),
            _then(session, zone) if then else _core(session, zone),
            ("guests", _counts(zone["guests"])),
            ("cells", _counts(zone["cells"])),
            ("capacity", _capacity(zone)),
            ("pools, images", f"{zone['compute_pools']}, {zone['images']}"),
            ("open tasks", str(zone["tasks_open"])),
            *([] if then else [("backups", _backups(backups, terminal)), ("alarms", _counts(zone["alarms"]))]),
        ],
    )
    if cells:
        terminal.write("")
        print_table(terminal, CELL, cells, wide=session.wide)
    for number, line in enumerate([] if then else troubles(zone, cells, alarms)):
        terminal.write(f"{'' if number else chr(10)}! {line}")
    return OK


def _core(session: Session, zone: Row) -> tuple[str, str]:
    since = words.ago(words.parse_time(zone["started_at"]), session.terminal.now())
    return "core", f"nano {zone['version']}, started {since}, position {zone['position']}"


def _then(session: Session, zone: Row) -> tuple[str, str]:
    at = words.moment(words.parse_time(zone["at"]), session.terminal.zone, narrow=session.terminal.narrow)
    return "as it was", f"{at}, position {zone['position']}"


def troubles(zone: Row, cells: list[Row], alarms: list[Row]) -> list[str]:
    """What needs attention, each with what helps."""
    found = [f"{alarm['severity']}: {alarm['message']} {alarm['hint']}" for alarm in alarms]
    for cell in cells:
        if cell["state"] == "discovered":
            found.append(f"{cell['name']} waits to be added: nanoctl cell add {cell['name']}")
    for state, count in zone["guests"].items():
        if state in TROUBLED and count:
            verb = "is" if count == 1 else "are"
            found.append(f"{words.plural(count, 'guest')} {verb} {state}: nanoctl guest list --in-state {state}")
    return found


def _backups(backups: list[Row], terminal: Terminal) -> str:
    """The oldest of the nodes' last backups, and who has none."""
    made = [words.parse_time(row["last_at"]) for row in backups if row["last_at"]]
    without = [str(row["node"]) for row in backups if not row["last_at"]]
    parts = [f"the oldest is of {words.ago(min(made), terminal.now())}"] if made else []
    return "; ".join(parts + ([f"none of {', '.join(without)}"] if without else []))


def _counts(counts: dict[str, int]) -> str:
    parts = ", ".join(f"{count} {state}" for state, count in counts.items() if count)
    total = sum(counts.values())
    return f"{total} ({parts})" if parts else str(total)


def _capacity(zone: Row) -> str:
    if not zone["cores"]:
        return "none: no cell is online"
    memory, disk = format_size(zone["memory"]), format_size(zone["disk"])
    return f"{words.plural(zone['cores'], 'core')}, {memory} of memory, {disk} of disk"
