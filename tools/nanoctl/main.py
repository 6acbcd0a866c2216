"""The program nanoctl: parse, connect, carry one verb out, turn every outcome into words and an exit code.

No verb prints a traceback for something that can happen: errors say what, why, what to do, and their code. A reader that
goes away (``nanoctl guest list | head -1``) ends it quietly.
"""

import os
import sys
from collections.abc import Callable, Sequence
from importlib import import_module
from typing import Any

from nano.domain.errors import NanoError
from nano.tools.display import plain
from nano.tools.display.terminal import Terminal, streams
from nano.tools.display.text import Text
from nano.tools.nanoctl import exits
from nano.tools.nanoctl.connection import Api
from nano.tools.nanoctl.session import Session

COMPLETE = "__complete"


def main(argv: Sequence[str] | None = None) -> int:
    words = list(sys.argv[1:] if argv is None else argv)
    if words[:1] == [COMPLETE]:
        from nano.tools.nanoctl.completion import complete

        return complete(words[1:], sys.stdout)
    try:
        return run(words, streams())
    except BrokenPipeError:
        _forget_output()
        return exits.OK


def run(words: Sequence[str], terminal: Terminal, open_api: Callable[[Any], Api] | None = None) -> int:
    """Carry out one command line; ``open_api(namespace)`` makes the connection (tests bring their own)."""
    from nano.tools.nanoctl.grammar import filled_in
    from nano.tools.nanoctl.parser import build, noun_in

    words = [*words[1:], "--help"] if words[:1] == ["help"] else filled_in(words) or ["--help"]
    namespace = build(noun_in(words)).parse_args(words)
    session = Session(terminal, namespace.output or "table", lambda: (open_api or _open)(namespace))
    verb = namespace.chosen
    module, _, name = verb.run.partition(":")
    try:
        code: int = getattr(import_module(module), name)(session, verb, namespace)
        terminal.out.flush()
    except NanoError as error:
        tell(session, error)
        return exits.exit_code(error)
    except KeyboardInterrupt:
        return exits.INTERRUPTED
    finally:
        if "api" in session.__dict__:
            session.api.close()
    return code


def tell(session: Session, error: NanoError) -> None:
    """The error on stderr: two lines for people, one JSON object for programs."""
    terminal = session.terminal
    terminal.out.flush()
    if not session.for_people:
        terminal.err.write(plain.json_line(exits.as_document(error)) + "\n")
        return
    at_terminal = terminal.err.isatty()
    mark = ("✗ " if terminal.symbols else "x ") if at_terminal else ""
    first = Text(mark, "bold red").append(error.message)
    last = Text(f"{error.hint} " if error.hint else "").append(f"[{error.code}]", "dim")
    for text, indent in ((first, ""), (last, "  ")):
        for line in text.folded(terminal.width - 2) if at_terminal else [text]:
            terminal.note(Text(indent).append(line))
    _tell_more(session, error)


def _tell_more(session: Session, error: NanoError) -> None:
    """What the API added to a refusal: a reason per cell, the task in the way, what a failed task undid."""
    document = error.document if isinstance(error, exits.ApiProblem) else {}
    lines = (
        [f"{cell}: {reason}" for cell, reason in cells.items()]
        if isinstance(cells := document.get("cells"), dict)
        else []
    )
    if isinstance(task := document.get("task"), str) and task:
        lines.append(f"That task: nanoctl task show {task[:8]}")
    if isinstance(error, exits.TaskFailed):
        lines += [f"Undone: {what}" for what in error.row.get("undone") or ()]
        lines.append(f"Its steps: nanoctl task show {error.row['id'][:8]}")
    for line in lines:
        session.terminal.note(f"  {line}")


def _open(namespace: Any) -> Api:
    from nano.tools.nanoctl.place import connect

    return connect(
        state=namespace.state, api=namespace.api or "", key_id=namespace.key_id or "", key_file=namespace.key_file
    )


def _forget_output() -> None:
    """Nobody reads any more: keep the interpreter from complaining when it flushes at the end."""
    nothing = os.open(os.devnull, os.O_WRONLY)
    os.dup2(nothing, sys.stdout.fileno())
    os.close(nothing)


if __name__ == "__main__":
    sys.exit(main())
