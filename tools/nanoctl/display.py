"""``guest display``: a one-time token for a guest's display, for a viewer of one's own. The portal has the display itself."""

import argparse

from nano.domain.catalogue import CommandEntry
from nano.tools.display import words
from nano.tools.display.card import print_fields
from nano.tools.nanoctl.arguments import fields_in
from nano.tools.nanoctl.commands import run as run_command
from nano.tools.nanoctl.commands import send
from nano.tools.nanoctl.exits import OK
from nano.tools.nanoctl.grammar import Verb
from nano.tools.nanoctl.session import Session


def run(session: Session, verb: Verb, namespace: argparse.Namespace) -> int:
    if getattr(namespace, "dry_run", False):
        return run_command(session, verb, namespace)
    assert isinstance(verb.entry, CommandEntry)
    answer = send(session, verb.entry, fields_in(namespace, verb.arguments), namespace)
    url = session.api.url.replace("http", "ws", 1) + str(answer["path"])
    if not session.for_people:
        session.print_data({**answer, "url": url})
        return OK
    until = words.parse_time(answer["expires_at"])
    expires = f"{words.ago(until, session.terminal.now())} ({words.exact(until, session.terminal.zone)})"
    print_fields(session.terminal, [("websocket", url), ("token", str(answer["token"])), ("expires", expires)])
    session.terminal.note("RFB over a websocket, good for one connection. The portal shows it in the browser.")
    return OK
