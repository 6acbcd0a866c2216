"""What is told of a guest on demand: its password and the secret of its VNC access, once they are set or again, and what its
agent says of its system."""

import argparse
import sys
from pathlib import Path

from nano.domain.catalogue import BY_NAME, CommandEntry
from nano.domain.errors import Invalid
from nano.tools.display import words
from nano.tools.display.card import print_fields
from nano.tools.display.table import Column, print_table
from nano.tools.nanoctl.arguments import fields_in
from nano.tools.nanoctl.commands import after_work, done, say_it_goes_on, send
from nano.tools.nanoctl.commands import run as run_command
from nano.tools.nanoctl.exits import INTERRUPTED, OK
from nano.tools.nanoctl.grammar import Verb
from nano.tools.nanoctl.session import Row, Session, path_of


def set_password(session: Session, verb: Verb, namespace: argparse.Namespace) -> int:
    if given := getattr(namespace, "password", None):
        namespace.password = _read(given)
    return _done_and_told(session, verb, namespace, "guest.show_password")


def enable_vnc(session: Session, verb: Verb, namespace: argparse.Namespace) -> int:
    """Or its secret reset."""
    return _done_and_told(session, verb, namespace, "guest.vnc.show")


def _done_and_told(session: Session, verb: Verb, namespace: argparse.Namespace, told_by: str) -> int:
    assert isinstance(verb.entry, CommandEntry)
    if getattr(namespace, "dry_run", False):
        return run_command(session, verb, namespace)
    answer = send(session, verb.entry, fields_in(namespace, verb.arguments), namespace)
    if not getattr(namespace, "wait", True) or not answer.get("task"):
        return after_work(session, answer, namespace)
    try:
        done(session, answer, getattr(namespace, "timeout", None))
    except KeyboardInterrupt:
        say_it_goes_on(session, answer["task"])
        return INTERRUPTED
    namespace.idempotency_key = namespace.if_version = None
    return _tell(session, send(session, BY_NAME[told_by], {"guest": namespace.guest}, namespace))


def show(session: Session, verb: Verb, namespace: argparse.Namespace) -> int:
    if getattr(namespace, "dry_run", False):
        return run_command(session, verb, namespace)
    assert isinstance(verb.entry, CommandEntry)
    return _tell(session, send(session, verb.entry, fields_in(namespace, verb.arguments), namespace))


def _tell(session: Session, told: Row) -> int:
    if session.for_people:
        print_fields(session.terminal, [(name, str(value)) for name, value in told.items()])
    else:
        session.print_data(told)
    return OK


def _read(text: str) -> str:
    """The first line of a file or of standard input where the text names one."""
    if text != "-" and not text.startswith("@"):
        return text
    try:
        lines = (sys.stdin.read() if text == "-" else Path(text[1:]).read_text()).splitlines()
    except (OSError, UnicodeDecodeError) as error:
        raise Invalid("The password can't be read.", code="unreadable_file", hint="Name a file of text.") from error
    if not lines or not lines[0]:
        raise Invalid("There is no password to read.", code="unreadable_file", hint="Put it into the first line.")
    return lines[0]


def inside(session: Session, verb: Verb, namespace: argparse.Namespace) -> int:
    assert verb.entry is not None
    told: Row = session.get(path_of(verb.entry.path, fields_in(namespace, verb.arguments)))
    if not session.for_people:
        session.print_data(told)
        return OK
    memory = f"{words.size(told['memory_used'])} of {words.size(told['memory'])}" if told["memory"] else "not told"
    fields = [("host name", told["host_name"]), ("system", told["system"]), ("kernel", told["kernel"])]
    print_fields(session.terminal, [*((name, str(value)) for name, value in fields if value), ("memory used", memory)])
    for columns, rows in ((_INTERFACES, told["interfaces"]), (_FILE_SYSTEMS, told["file_systems"])):
        session.terminal.write("")
        print_table(session.terminal, columns, rows, wide=session.wide)
    return OK


_INTERFACES = (
    Column("INTERFACE", lambda row, _: str(row["name"])),
    Column("MAC", lambda row, _: str(row["mac"])),
    Column("ADDRESSES", lambda row, _: ", ".join(row["addresses"]), fold=True),
)
_FILE_SYSTEMS = (
    Column("MOUNTED ON", lambda row, _: str(row["mount"])),
    Column("DEVICE", lambda row, _: str(row["device"])),
    Column("TYPE", lambda row, _: str(row["type"])),
    Column("SIZE", lambda row, _: words.size(row["size"]) if row["size"] else "–"),
    Column("USED", lambda row, _: words.percent(100 * row["used"] / row["size"]) if row["size"] else "–"),
)
