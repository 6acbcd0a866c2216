"""The program nano-replay: ``nano-replay --node DIR VERB``.

Every outcome ends in one of the exit codes of ``exits``. ``-o json`` gives JSON lines on every verb, and one JSON line on
stderr for whatever is refused, wrong words included. It never writes to what it reads, takes no lock, and may run
beside the node.
"""

import os
import sys
import traceback
from collections.abc import Sequence
from contextlib import ExitStack
from importlib import import_module

from nano.domain.errors import Failure, Forbidden, NanoError
from nano.tools.display import plain
from nano.tools.display.terminal import Terminal, streams
from nano.tools.replay import exits
from nano.tools.replay.grammar import RUN, build, wants_json
from nano.tools.replay.sources import open_sources


def main(argv: Sequence[str] | None = None) -> int:
    words = list(sys.argv[1:] if argv is None else argv)
    try:
        return run(words, streams())
    except BrokenPipeError:
        nothing = os.open(os.devnull, os.O_WRONLY)
        os.dup2(nothing, sys.stdout.fileno())
        os.close(nothing)
        return exits.WHOLE
    except Exception:  # noqa: BLE001 (Python's own exit code for it would be that of damage)
        traceback.print_exc()
        return exits.REFUSED


def run(words: Sequence[str], terminal: Terminal) -> int:
    try:
        return _carried_out(words, terminal)
    except NanoError as error:
        refusal = error
    except PermissionError as error:
        text = f"{error.filename} can't be read: {error.strerror}."
        refusal = Forbidden(text, code="no_access", hint="Run as the user who owns it.")
    except BrokenPipeError:
        raise
    except OSError as error:
        text = f"{error.filename or 'A file'}: {error.strerror or error}."
        refusal = Failure(text, hint="Look whether it is what it should be, may be used by this user, and has room.")
    except KeyboardInterrupt:
        return exits.INTERRUPTED
    terminal.out.flush()
    if wants_json(words):
        terminal.err.write(plain.json_line(exits.as_document(refusal)) + "\n")
    else:
        hint = f"{refusal.hint} " if refusal.hint else ""
        terminal.err.write(f"{refusal.message}\n  {hint}[{refusal.code}]\n")
    return exits.exit_code(refusal)


def _carried_out(words: Sequence[str], terminal: Terminal) -> int:
    options = build().parse_args(words or ["--help"])
    with ExitStack() as stack:
        options.sources = open_sources(options, stack, terminal)
        verb = import_module(f"nano.tools.replay.{RUN[options.verb]}")
        code: int = verb.run(terminal, options.sources[0], options)
        terminal.out.flush()
    return code


if __name__ == "__main__":
    sys.exit(main())
