"""``guest console``: a guest's serial console in this terminal. Every key goes to the guest but Ctrl-], which leaves.

The terminal is raw meanwhile and is put back whatever happens. Without a terminal (a pipe, a test) what comes in on standard
input is sent, and it goes on until the guest's side ends or Ctrl-] comes. For programs (``-o json``) it gives the token instead.
"""

import argparse
import contextlib
import os
import sys
import termios
import threading
import tty
from collections.abc import Iterator
from typing import Final

from websockets.exceptions import ConnectionClosed, InvalidHandshake
from websockets.sync.client import ClientConnection, connect

from nano.domain.catalogue import CommandEntry
from nano.domain.errors import Unreachable
from nano.tools.nanoctl.arguments import fields_in
from nano.tools.nanoctl.commands import run as run_command
from nano.tools.nanoctl.commands import send
from nano.tools.nanoctl.exits import OK
from nano.tools.nanoctl.grammar import Verb
from nano.tools.nanoctl.session import Session

LEAVE: Final = b"\x1d"  # Ctrl-]
PIECE: Final = 4096
OPEN_LIMIT_S: Final = 15.0


def run(session: Session, verb: Verb, namespace: argparse.Namespace) -> int:
    if getattr(namespace, "dry_run", False):
        return run_command(session, verb, namespace)
    assert isinstance(verb.entry, CommandEntry)
    answer = send(session, verb.entry, fields_in(namespace, verb.arguments), namespace)
    url = session.api.url.replace("http", "ws", 1) + str(answer["path"])
    if not session.for_people:
        session.print_data({**answer, "url": url})
        return OK
    try:
        link = connect(url, compression=None, proxy=None, open_timeout=OPEN_LIMIT_S)
    except (InvalidHandshake, OSError, TimeoutError) as error:
        raise Unreachable(
            f"The serial console could not be opened: {error}.", code="console_closed", hint="Is the guest running?"
        ) from error
    with link:
        session.terminal.note(f"Serial console of {namespace.guest}. Ctrl-] leaves it; press Enter if it is quiet.")
        session.terminal.out.flush()
        with _raw(sys.stdin.fileno()):
            reason = relay(link, sys.stdin.fileno(), sys.stdout.fileno())
    session.terminal.note(f"\nLeft. {reason}".rstrip())
    return OK


def relay(link: ClientConnection, source: int, target: int) -> str:
    """Bytes both ways until either end is over; why, when it was the guest's."""
    reader = threading.Thread(target=_send_keys, args=(link, source), daemon=True)
    reader.start()
    with contextlib.suppress(ConnectionClosed):
        for data in link:
            _write(target, data if isinstance(data, bytes) else data.encode())
    return link.close_reason or ""


def _send_keys(link: ClientConnection, source: int) -> None:
    with contextlib.suppress(ConnectionClosed, OSError):
        while data := os.read(source, PIECE):
            keys, leave, _ = data.partition(LEAVE)
            if keys:
                link.send(keys)
            if leave:
                link.close()
                return


def _write(target: int, data: bytes) -> None:
    while data:
        data = data[os.write(target, data) :]


@contextlib.contextmanager
def _raw(source: int) -> Iterator[None]:
    if not os.isatty(source):
        yield
        return
    before = termios.tcgetattr(source)
    try:
        tty.setraw(source)
        yield
    finally:
        termios.tcsetattr(source, termios.TCSADRAIN, before)
