"""``task watch``: follow one task, or every task that runs, until they have ended."""

import argparse

from nano.domain.task import ENDED
from nano.tools.display import words
from nano.tools.display.card import print_card
from nano.tools.nanoctl.exits import FAILED, INTERRUPTED, OK
from nano.tools.nanoctl.grammar import Verb
from nano.tools.nanoctl.session import Row, Session
from nano.tools.nanoctl.waiting import say_end, shown, wait_for


def run(session: Session, verb: Verb, namespace: argparse.Namespace) -> int:  # noqa: ARG001
    if namespace.task:
        tasks = [session.get(f"/tasks/{session.task_id(namespace.task)}")]
    else:
        tasks = [row for row in session.rows("/tasks") if row["state"] not in ENDED]
        if not tasks:
            session.terminal.note("No task is running.")
            return OK
    try:
        with shown(session, tasks) as watcher:
            rows = wait_for(session, tasks, None, getattr(namespace, "timeout", None), watcher)
    except KeyboardInterrupt:
        session.terminal.note(f"\nThe {'task goes' if len(tasks) == 1 else 'tasks go'} on.", style="yellow")
        return INTERRUPTED
    return _tell(session, list(rows.values()), one=bool(namespace.task))


def _tell(session: Session, rows: list[Row], *, one: bool) -> int:
    if one:
        if session.for_people:
            print_card(session.terminal, "task", rows[0])
        else:
            session.print_data(rows[0])
    elif session.for_people:
        for row in rows:
            say_end(session, row)
    else:
        session.print_data(rows)
    failed = [row for row in rows if row["state"] != "done"]
    if not failed:
        return OK
    if one:
        return FAILED
    session.terminal.note(f"{words.plural(len(failed), 'task')} of {len(rows)} failed.")
    return FAILED
