"""``placement explain``: which cell would take a guest of this size, and why each other would not."""

import argparse
from typing import Final

from nano.tools.display.table import Column, print_table
from nano.tools.display.terminal import Terminal
from nano.tools.nanoctl.arguments import fields_in
from nano.tools.nanoctl.exits import OK
from nano.tools.nanoctl.grammar import Verb
from nano.tools.nanoctl.session import Row, Session


def run(session: Session, verb: Verb, namespace: argparse.Namespace) -> int:
    verdict = session.get("/placement", {"pool": "default", **fields_in(namespace, verb.arguments)})
    if session.for_people:
        print_verdict(session, verdict)
    else:
        session.print_data(verdict)
    return OK


def print_verdict(session: Session, verdict: Row) -> None:
    chosen = verdict.get("cell")
    session.terminal.write(f"{chosen} would take it." if chosen else str(verdict.get("message", "No cell takes it.")))
    scores = sorted(verdict.get("scores") or [], key=lambda score: (-score["score"], score["cell"]))
    if scores:
        print_table(session.terminal, COLUMNS, [{**score, "chosen": score["cell"] == chosen} for score in scores])


def _fits(row: Row, _terminal: Terminal) -> str:
    return "chosen" if row["chosen"] else "no" if row.get("code") else "would do"


COLUMNS: Final = (
    Column("CELL", lambda row, _: str(row["cell"])),
    Column("FITS", _fits),
    Column("SCORE", lambda row, _: f"{row['score']:.1f}" if not row.get("code") else "-", 1, justify="right"),
    Column("LACKS", lambda row, _: ", ".join(row.get("lacks") or ()), if_said=True),
    Column("WHY", lambda row, _: str(row.get("reason") or ""), if_said=True, fold=True),
)
