"""What happened: the history of one resource, the journal of all, and the stream of what happens now.

Told oldest first, like a story: the newest line is the last, next to the prompt. Times are local.
"""

import argparse
import time
from typing import Final

from nano.domain.catalogue import AT, COLLECTIONS
from nano.domain.errors import Unreachable
from nano.domain.facts import kind_of
from nano.tools.display import words
from nano.tools.display.columns import state_of
from nano.tools.display.sentences import name_in, phrase, sentence, subject
from nano.tools.display.table import Column, print_table
from nano.tools.display.terminal import Terminal
from nano.tools.display.text import Text
from nano.tools.nanoctl.arguments import fields_in
from nano.tools.nanoctl.exits import OK, SILENT_RETRIES
from nano.tools.nanoctl.grammar import KIND_OF_NOUN, Verb
from nano.tools.nanoctl.session import BASE, Row, Session, path_of

FACTS_SHOWN: Final = 100
EVENTS_SHOWN: Final = 20
RETRY_S: Final = 1.0
WHO: Final = 12


def run(session: Session, verb: Verb, namespace: argparse.Namespace) -> int:
    fields = fields_in(namespace, verb.arguments)
    if "task" in fields:
        fields["task"] = session.task_id(fields["task"])
    assert verb.entry is not None
    then = {AT: fields.pop(AT)} if AT in fields else {}
    _tell(session, path_of(verb.entry.path, fields), then, getattr(namespace, "limit", FACTS_SHOWN), one=True)
    return OK


def journal(session: Session, verb: Verb, namespace: argparse.Namespace) -> int:
    filters = fields_in(namespace, verb.arguments)
    _tell(session, "/journal", filters, getattr(namespace, "limit", FACTS_SHOWN))
    return OK


def events(session: Session, verb: Verb, namespace: argparse.Namespace) -> int:  # noqa: ARG001
    if getattr(namespace, "follow", False):
        return _follow(session, namespace)
    kinds = _kinds(namespace)
    limit = getattr(namespace, "limit", EVENTS_SHOWN)
    if len(kinds) == 1:
        _tell(session, "/journal", {"resource": kinds[0]}, limit, getattr(namespace, "after", 0))
    else:
        _tell(session, "/journal", {}, limit, getattr(namespace, "after", 0), kinds=frozenset(kinds))
    return OK


def _kinds(namespace: argparse.Namespace) -> list[str]:
    """In the API's spelling: people say pool."""
    return [KIND_OF_NOUN.get(kind, kind) for kind in getattr(namespace, "kinds", "").split(",") if kind]


def _tell(
    session: Session,
    path: str,
    filters: Row,
    limit: int,
    after: int = 0,
    *,
    one: bool = False,
    kinds: frozenset[str] = frozenset(),
) -> None:
    facts: list[Row] = []
    for fact in session.rows(path, filters, 0 if after or kinds else limit):
        if fact["position"] <= after or (limit and len(facts) >= limit):
            break  # newest first
        if not kinds or kind_of(fact["resource"]) in kinds:
            facts.append(fact)
    facts.reverse()
    if not session.for_people:
        session.print_data(facts)
        return
    if not facts:
        session.terminal.note("Nothing has happened that matches.")
        return
    names = _names(session, facts, {AT: filters[AT]} if AT in filters else {})
    short = session.terminal.narrow and not session.wide
    columns = [
        Column("WHEN", lambda fact, terminal: _when(fact, terminal, short=short), shorten=False),
        Column("POSITION", lambda fact, _: str(fact["position"]), 9, wide=True, justify="right"),
        Column("WHO", lambda fact, _: _who(fact, short=short), 3),
        Column("WHAT", lambda fact, _: _sentence(fact, names, one=one), fold=True),
        Column("CAUSE", lambda fact, _: str(fact.get("cause") or words.NOTHING), 8, wide=True),
        Column("TYPE", lambda fact, _: str(fact["event"]["type"]), 8, wide=True),
    ]
    print_table(session.terminal, columns, facts, wide=session.wide)


def _when(fact: Row, terminal: Terminal, *, short: bool) -> str:
    return words.moment(words.parse_time(fact["at"]), terminal.zone, narrow=short)


def _who(fact: Row, *, short: bool) -> str:
    who = words.who(str(fact["actor"]))
    return words.fitted(who, WHO).rstrip() if short else who


def _sentence(fact: Row, names: dict[str, str], *, one: bool) -> str:
    return phrase(fact["event"]) if one else sentence(fact["event"], fact["resource"], names)


def _names(session: Session, facts: list[Row], then: Row) -> dict[str, str]:
    """Names of what the facts are about: from the facts themselves, the rest from the lists as they are, or were then."""
    names = {fact["resource"]: name for fact in facts if (name := name_in(fact["event"]))}
    missing = {kind_of(fact["resource"]) for fact in facts if fact["resource"] not in names}
    for kind in missing & {"guest", "image", "media", "template"}:
        for row in session.rows(f"/{COLLECTIONS[kind]}", then):
            names.setdefault(f"{kind}/{row['id']}", row["name"])
    if "task" in missing:
        for row in session.rows("/tasks", then, 1000):
            names.setdefault(f"task/{row['id']}", f"{row['kind']} of {row['resource_name']}")
    return names


# ---------------------------------------------------------------------- following


def _follow(session: Session, namespace: argparse.Namespace) -> int:
    """Until Ctrl-C. A stream that ends is opened again after the last position, so nothing is missed."""
    kinds = ",".join(_kinds(namespace))
    after: int | None = getattr(namespace, "after", None)
    names: dict[str, str] = {}
    lost = 0
    while True:
        try:
            query = {"kinds": kinds} if kinds else None
            with session.api.events(f"{BASE}/events", query=query, after=after) as stream:
                for event in stream:
                    if event.event == "change":
                        change = event.json()
                        if change.get("position") is None:
                            continue  # a task's progress: told live, and no fact
                        lost, after = 0, change["position"]
                        _print_change(session, change, names)
        except Unreachable as error:
            lost += 1
            if lost > SILENT_RETRIES:
                raise
            if lost == 1:
                session.terminal.note(f"{error.message} Trying again.", style="yellow")
        time.sleep(RETRY_S)


def _print_change(session: Session, change: Row, names: dict[str, str]) -> None:
    if not session.for_people:
        session.print_record(change)
        return
    terminal = session.terminal
    at = words.clock_time(words.parse_time(change["at"]), terminal.zone)
    row: Row | None = change.get("row")
    resource = str(change["resource"])
    if row is not None:
        names[resource] = _row_name(row)
    line = Text(f"{at}  ", "dim").append(f"{words.fitted(words.who(str(change['actor'])), WHO)}  ", "cyan")
    line.append(subject(resource, names), "bold").append(f" {_said(str(change['type']))}")
    if row is not None and "state" in row and row.get("version") == change["version"]:  # else it has gone on since
        line.append("  ").append(terminal.state(state_of(kind_of(resource), row)))
    terminal.write(line.cut(terminal.width))
    terminal.out.flush()


def _said(kind: str) -> str:
    """ "guest.work_started" -> "work started"."""
    return kind.partition(".")[2].replace("_", " ")


def _row_name(row: Row) -> str:
    if "resource_name" in row:
        return f"{row.get('kind')} of {row['resource_name']}"
    return str(row.get("name") or "")
