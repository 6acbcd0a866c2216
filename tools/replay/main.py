"""The program nano-replay: ``nano-replay --node DIR VERB``.

Exit codes: 0 done or whole, 1 the journal is damaged (file and byte are named), 2 words are wrong, 4 no such resource or
journal, 5 not allowed to read. ``-o json`` gives JSON lines on every verb. It never writes to what it reads, takes no
lock, and may run beside the node.
"""

import os
import sys
from collections.abc import Sequence
from contextlib import ExitStack
from importlib import import_module

from nano.domain.errors import Failure, NanoError
from nano.tools.display import plain
from nano.tools.display.terminal import Terminal, streams
from nano.tools.nanoctl import exits
from nano.tools.replay.grammar import RUN, build
from nano.tools.replay.sources import open_sources


def main(argv: Sequence[str] | None = None) -> int:
    try:
        return run(list(sys.argv[1:] if argv is None else argv), streams())
    except BrokenPipeError:
        nothing = os.open(os.devnull, os.O_WRONLY)
        os.dup2(nothing, sys.stdout.fileno())
        os.close(nothing)
        return exits.OK


def run(words: Sequence[str], terminal: Terminal) -> int:
    options = build().parse_args(words or ["--help"])
    try:
        with ExitStack() as stack:
            options.sources = open_sources(options, stack)
            verb = import_module(f"nano.tools.replay.{RUN[options.verb]}")
            code: int = verb.run(terminal, options.sources[0], options)
            terminal.out.flush()
    except NanoError as error:
        terminal.out.flush()
        _tell(terminal, error, options.output)
        code = exits.exit_code(error)
        return exits.USAGE if code == exits.REFUSED else code
    except PermissionError as error:
        terminal.err.write(
            f"{error.filename} can't be read: {error.strerror}.\n  Run as the user who owns it. [no_access]\n"
        )
        return exits.RIGHTS
    except BrokenPipeError:
        raise
    except OSError as error:
        _tell(terminal, Failure(f"{error.filename or 'A file'}: {error.strerror or error}."), options.output)
        return exits.FAILED
    except KeyboardInterrupt:
        return exits.INTERRUPTED
    return code


def _tell(terminal: Terminal, error: NanoError, output: str | None) -> None:
    if output == "json":
        terminal.err.write(plain.json_line(exits.as_document(error)) + "\n")
    else:
        hint = f"{error.hint} " if error.hint else ""
        terminal.err.write(f"{error.message}\n  {hint}[{error.code}]\n")


if __name__ == "__main__":
    sys.exit(main())
