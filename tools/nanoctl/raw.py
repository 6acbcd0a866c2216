"""``api``: one raw signed request. The body of the answer goes to stdout as it came, whatever the status; the exit code
tells the status."""

import argparse
import sys
from pathlib import Path

from nano.domain.errors import Invalid
from nano.tools.nanoctl.connection import Reply
from nano.tools.nanoctl.exits import OK, ApiProblem, exit_code
from nano.tools.nanoctl.grammar import Verb
from nano.tools.nanoctl.session import Session

METHODS = ("GET", "POST", "PUT", "PATCH", "DELETE", "HEAD", "OPTIONS")


def run(session: Session, verb: Verb, namespace: argparse.Namespace) -> int:  # noqa: ARG001
    method = namespace.method.upper()
    if method not in METHODS:
        raise Invalid(f"{namespace.method!r} is no method.", code="invalid_method", hint=f"Use {', '.join(METHODS)}.")
    if not namespace.path.startswith("/"):
        raise Invalid(f"{namespace.path!r} is no path.", code="invalid_path", hint="Begin it with '/'.")
    path, _, query = namespace.path.partition("?")
    reply = session.api.raw(
        method, path, query=query, body=_body(getattr(namespace, "data", "")), headers=_headers(namespace)
    )
    if getattr(namespace, "include", False):
        _print_head(session, reply)
    text = reply.body.decode(errors="replace")
    session.terminal.out.write(text if text.endswith("\n") or not text else text + "\n")
    return OK if reply.status < 400 else exit_code(ApiProblem(reply.status, {}))


def _body(data: str) -> bytes:
    try:
        if data == "-":
            return sys.stdin.buffer.read()
        return Path(data[1:]).read_bytes() if data.startswith("@") else data.encode()
    except OSError as error:
        raise Invalid(
            f"{data[1:]} can't be read: {error.strerror}.", code="invalid_data", hint="Name a file."
        ) from error


def _headers(namespace: argparse.Namespace) -> dict[str, str]:
    headers = {}
    for text in getattr(namespace, "header", ()):
        name, colon, value = text.partition(":")
        if not colon:
            raise Invalid(f"{text!r} is no header.", code="invalid_header", hint="Write Name: value.")
        headers[name.strip().lower()] = value.strip()
    return headers


def _print_head(session: Session, reply: Reply) -> None:
    session.terminal.write(f"{reply.status}")
    for name, value in reply.headers.items():
        session.terminal.write(f"{name}: {value}")
    session.terminal.write("")
