"""``guest screenshot``: the picture of a guest's screen into a file, or to standard output for ``-``."""

import argparse
import os
from pathlib import Path
from urllib.parse import quote

from nano.domain.errors import Invalid
from nano.http.routing import PREFIX
from nano.tools.nanoctl.exits import OK
from nano.tools.nanoctl.grammar import Verb
from nano.tools.nanoctl.session import Session


def run(session: Session, verb: Verb, namespace: argparse.Namespace) -> int:  # noqa: ARG001
    reply = session.api.call("GET", f"{PREFIX}/guests/{quote(namespace.guest, safe='')}/screenshot")
    if namespace.file == "-":
        session.terminal.out.flush()
        os.write(1, reply.body)
        return OK
    try:
        Path(namespace.file).write_bytes(reply.body)
    except OSError as error:
        raise Invalid(
            f"{namespace.file} can't be written: {error.strerror}.", code="invalid_file", hint="Name another file."
        ) from error
    if session.for_people:
        session.terminal.note(f"{namespace.file}: {len(reply.body)} bytes of PNG.")
    else:
        session.print_data({"file": namespace.file, "size": len(reply.body)})
    return OK
