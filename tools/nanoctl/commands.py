"""The verbs that change something: one command of the catalogue each, sent with a key of its own, waited for if it is work."""

import argparse
import secrets
from pathlib import Path
from typing import Any

from nano.domain.catalogue import COLLECTIONS, CommandEntry
from nano.domain.errors import Unknown
from nano.domain.facts import id_of, kind_of
from nano.tools.display import words
from nano.tools.display.columns import COLUMNS
from nano.tools.display.sentences import name_in, phrase, subject
from nano.tools.display.table import Column, print_table
from nano.tools.nanoctl.arguments import fields_in
from nano.tools.nanoctl.exits import INTERRUPTED, OK, ApiProblem, TaskFailed
from nano.tools.nanoctl.grammar import Verb
from nano.tools.nanoctl.session import BASE, Row, Session, path_of
from nano.tools.nanoctl.waiting import say_end, shown, wait_for


def run(session: Session, verb: Verb, namespace: argparse.Namespace) -> int:
    entry = verb.entry
    assert isinstance(entry, CommandEntry)
    fields = fields_in(namespace, verb.arguments)
    if entry.name == "image.register":
        fields["path"] = str(Path(fields["path"]).absolute())
    if "task" in fields:
        fields["task"] = session.task_id(fields["task"])
    answer = send(session, entry, fields, namespace)
    if getattr(namespace, "dry_run", False):
        print_dry_run(session, answer)
    elif answer.get("task"):
        return after_work(session, answer, namespace)
    elif entry.work:  # repeated, and so long ago that Core has let go of its task
        _print_resource(session, answer["resource"], answer)
    else:
        _print_outcome(session, entry, answer)
    return OK


def send(session: Session, entry: CommandEntry, fields: Row, namespace: argparse.Namespace) -> Any:
    """The API's answer to one command. Raises ApiProblem, Unreachable."""
    body = {name: value for name, value in fields.items() if f"{{{name}}}" not in entry.path}
    headers = {"idempotency-key": getattr(namespace, "idempotency_key", None) or secrets.token_hex(16)}
    if (version := getattr(namespace, "if_version", None)) is not None:
        headers["if-match"] = f'"v{version}"'
    query = {"dry_run": "true"} if getattr(namespace, "dry_run", False) else None
    path = BASE + path_of(entry.path, fields)
    return session.api.call(entry.method, path, query=query, body=body or None, headers=headers).value


def done(session: Session, answer: Row, timeout_s: float | None) -> Row:
    """The row of the task that an answer began, when it is done. Raises TaskFailed, DeadlineExceeded, KeyboardInterrupt."""
    task: Row = answer["task"]
    with shown(session, [task]) as watcher:
        row = wait_for(session, [task], answer["position"], timeout_s, watcher)[task["id"]]
    if row.get("items"):  # an older Core knows none
        _print_batch(session, row)
    if row["state"] != "done":
        raise TaskFailed(row)
    say_end(session, row)
    return row


def after_work(session: Session, answer: Row, namespace: argparse.Namespace) -> int:
    task: Row = answer["task"]
    if not getattr(namespace, "wait", True):
        if session.for_people:
            session.terminal.write(f"{task['kind']} of {task['resource_name']} has begun: task {task['id']}")
            session.terminal.note(f"Follow it: nanoctl task watch {words.short(task['id'])}")
        else:
            session.print_data(answer)
        return OK
    try:
        row = done(session, answer, getattr(namespace, "timeout", None))
    except KeyboardInterrupt:
        say_it_goes_on(session, task)
        return INTERRUPTED
    if not row.get("items"):
        _print_resource(session, answer["resource"], row)
    return OK


def _print_batch(session: Session, row: Row) -> None:
    """What became of each, also when some failed."""
    from nano.tools.display.card import print_items

    if session.for_people:
        print_items(session.terminal, row)
    else:
        session.print_data(row)


def say_it_goes_on(session: Session, task: Row) -> None:
    short = words.short(task["id"])
    session.terminal.note(
        f"\nInterrupted; the task goes on. Follow it: nanoctl task watch {short}\nStop it: nanoctl task cancel {short}",
        style="yellow",
    )


def _print_resource(session: Session, resource: str, task: Row) -> None:
    """What the work was about, as it is now; the task itself when nothing is left of it."""
    kind = kind_of(resource)
    try:
        row = session.get(f"/{COLLECTIONS[kind]}/{id_of(resource)}")
    except ApiProblem as problem:
        if problem.answered != Unknown.status:
            raise
        if not session.for_people:
            session.print_data(task)
        return
    if session.for_people:
        print_table(session.terminal, COLUMNS[kind], [row], wide=session.wide)
    else:
        session.print_data(row)


def _print_outcome(session: Session, entry: CommandEntry, answer: Row) -> None:
    row = answer.get("row")
    if not session.for_people:
        session.print_data(row if row is not None else answer)
    elif row is not None and entry.target in COLUMNS:
        print_table(session.terminal, COLUMNS[entry.target], [row], wide=session.wide)
    else:
        named = subject(str(answer.get("resource", entry.target)), {})
        session.terminal.write(
            f"{named[:1].upper()}{named[1:]}: {entry.name.partition('.')[2].replace('_', ' ')} done."
        )


def print_dry_run(session: Session, answer: Row) -> None:
    if not session.for_people:
        session.print_data(answer)
        return
    events: list[Row] = answer.get("events") or []
    names = {item["resource"]: name for item in events if (name := name_in(item["event"]))}
    columns = (
        Column("RESOURCE", lambda item, _: subject(item["resource"], names)),
        Column("WOULD RECORD", lambda item, _: phrase(item["event"]), fold=True),
    )
    session.terminal.note("Nothing was done. This would be recorded:")
    print_table(session.terminal, columns, events)
    _print_explanation(session, answer.get("explanation"))


def _print_explanation(session: Session, explanation: Any) -> None:
    if isinstance(explanation, dict) and "scores" in explanation:
        from nano.tools.nanoctl.placement import print_verdict

        session.terminal.write("")
        print_verdict(session, explanation)
    elif isinstance(explanation, str) and explanation:
        session.terminal.note(explanation)
