"""``drift`` and ``orphans``: where hosts are not as the journals say, and what on them nobody owns; and repairing it all.

Both ask the cells now. A cell that could not be asked is told on stderr, and in JSON by ``unasked``; the exit code says
only whether the question was answered.
"""

import argparse
from typing import Final

from nano.domain.catalogue import BY_NAME
from nano.domain.errors import NanoError, Unreachable
from nano.tools.display.columns import text
from nano.tools.display.table import Column, print_table
from nano.tools.nanoctl.commands import done, say_it_goes_on, send
from nano.tools.nanoctl.exits import FAILED, INTERRUPTED, OK, TaskFailed
from nano.tools.nanoctl.grammar import Verb
from nano.tools.nanoctl.session import Row, Session

DRIFT: Final = (
    Column("GUEST", text("guest")),
    Column("CELL", text("cell"), 4),
    Column("WHAT", text("attribute")),
    Column("WHERE", text("where"), 3),
    Column("EXPECTED", text("expected"), fold=True),
    Column("FOUND", text("found"), fold=True),
    Column("REPAIR", text("plan"), 2, fold=True),
    Column("ID", text("guest_id"), 9, wide=True),
)
ORPHANS: Final = (
    Column("ID", text("id"), shorten=False),
    Column("WHY", text("why"), 1, fold=True),
)
NONE: Final = {"drift": "Every host is as the journals say.", "orphans": "No orphans."}


def run(session: Session, verb: Verb, namespace: argparse.Namespace) -> int:  # noqa: ARG001
    answer = session.get(f"/{verb.noun}")
    rows: list[Row] = answer["items"]
    for cell in answer["unasked"]:
        session.terminal.note(f"Cell {cell['cell']} could not be asked: {cell['reason']}", style="yellow")
    if not session.for_people:
        session.print_data(rows)
    elif rows:
        print_table(session.terminal, DRIFT if verb.noun == "drift" else ORPHANS, rows, wide=session.wide)
    elif not answer["unasked"]:
        session.terminal.note(NONE[verb.noun])
    return OK


def repair(session: Session, verb: Verb, namespace: argparse.Namespace) -> int:  # noqa: ARG001
    """One guest after the other; one that can't be repaired is told and does not keep the rest from it."""
    named = getattr(namespace, "guest", None)
    guests = [named] if named else [*dict.fromkeys(row["guest_id"] for row in session.get("/drift")["items"])]
    if not guests:
        session.terminal.note(NONE["drift"])
    rows: list[Row] = []
    failed = False
    for guest in guests:
        answer: Row = {}
        try:
            answer = send(session, BY_NAME["guest.repair"], {"guest": guest}, namespace)
            rows.append(done(session, answer, getattr(namespace, "timeout", None)))
        except KeyboardInterrupt:
            if answer:
                say_it_goes_on(session, answer["task"])
            return INTERRUPTED
        except Unreachable:
            raise
        except NanoError as error:
            if named:
                raise
            failed = True
            rows += [error.row] if isinstance(error, TaskFailed) else []
            session.terminal.note(f"{error.message} {error.hint} [{error.code}]", style="yellow")
    if not session.for_people:
        session.print_data(rows)
    return FAILED if failed else OK
