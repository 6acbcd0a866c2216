"""The snapshots of a guest: for people as the tree that they form, each below the one it came after."""

import argparse

from nano.domain.catalogue import AT
from nano.domain.snapshot import tree_order
from nano.tools.display.columns import SNAPSHOT
from nano.tools.display.table import print_table
from nano.tools.nanoctl.arguments import fields_in
from nano.tools.nanoctl.exits import OK
from nano.tools.nanoctl.grammar import Verb
from nano.tools.nanoctl.session import Session, path_of


def run(session: Session, verb: Verb, namespace: argparse.Namespace) -> int:
    assert verb.entry is not None
    fields = fields_in(namespace, verb.arguments)
    at = {AT: fields.pop(AT)} if AT in fields else {}
    rows = session.get(path_of(verb.entry.path, fields), at)["items"]
    if not session.for_people:
        session.print_data(rows)
        return OK
    if not rows:
        session.terminal.note(f"No snapshots. Take one: nanoctl guest snapshot create {fields['guest']} NAME")
        return OK
    by_name = {row["name"]: row for row in rows}
    order = tree_order({row["name"]: row["parent"] for row in rows})
    shown = [{**by_name[name], "shown": f"{'  ' * depth}{name}"} for name, depth in order]
    print_table(session.terminal, SNAPSHOT, shown, wide=session.wide)
    return OK
