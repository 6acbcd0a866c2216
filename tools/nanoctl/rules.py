"""``guest rule list``: a guest's security rules by number, and what becomes of packets that none of them is about.

For programs it is the rules alone, as lists are; ``guest show`` has the whole policy.
"""

import argparse
from typing import Final

from nano.tools.display import words
from nano.tools.display.columns import text
from nano.tools.display.table import Column, print_table
from nano.tools.nanoctl.arguments import fields_in
from nano.tools.nanoctl.exits import OK
from nano.tools.nanoctl.grammar import Verb
from nano.tools.nanoctl.session import Row, Session, path_of

RULES: Final = (
    Column("RULE", lambda row, _: str(row["rule"]), justify="right"),
    Column("ACTION", text("action")),
    Column("PROTOCOL", text("protocol")),
    Column("PORT", lambda row, _: words.ports(row)),
    Column("SOURCE", lambda row, _: row["source"] or "anybody"),
)


def run(session: Session, verb: Verb, namespace: argparse.Namespace) -> int:
    fields = fields_in(namespace, verb.arguments)
    row = session.get(path_of("/guests/{guest}", {"guest": fields.pop("guest")}), fields)
    policy: Row = row["security"] or {"default": "accept", "rules": [], "addresses": []}
    rules = [{"rule": number, **rule} for number, rule in enumerate(policy["rules"], 1)]
    if not session.for_people:
        session.print_data(rules)
        return OK
    if rules:
        print_table(session.terminal, RULES, rules, wide=session.wide)
    if row["security"] is None:
        session.terminal.note("No security policy: everything comes through to it.")
    else:
        session.terminal.note(f"What no rule is about: {policy['default']}.")
    if row["unguarded"]:
        session.terminal.note("It may send as other machines.")
        return OK
    addresses = policy["addresses"] or row["own_addresses"]
    session.terminal.note(f"It may use {', '.join(addresses) or 'any address'}, with its own MAC.")
    return OK
