"""The program nano-replay: ``nano-replay --node DIR log | show | state | verify``.

Exit codes: 0 done or whole, 1 the journal is damaged (file and byte are named), 2 words are wrong, 4 no such resource or
journal, 5 not allowed to read. ``-o json`` gives JSON lines on every verb. It never writes, takes no lock, and may run beside the node.
"""

import argparse
import os
import sys
from collections.abc import Sequence
from importlib import import_module
from pathlib import Path
from typing import Final

import nano
from nano.domain.errors import NanoError
from nano.tools.display import plain
from nano.tools.display.terminal import Terminal, streams
from nano.tools.nanoctl import exits
from nano.tools.nanoctl.parser import Parser
from nano.tools.replay.node import Node
from nano.tools.state import default_state

RUN: Final = {"log": "log", "show": "story", "state": "folding", "verify": "checking"}
EPILOG: Final = """\
moments:
  1200                    a position       2026-11-21T03:10:53Z    a time
  10m, 2h, 3d             that long ago    "2026-11-21 03:10"      the same, local

exit codes:
  0  done; the journal is whole
  1  the journal is damaged: file and byte are named
  2  a word or value is wrong
  4  there is no such resource or journal
  5  the files may not be read by this user

examples:
  nano-replay --node ~/.local/share/nano/up/core verify
  nano-replay --node ~/.local/share/nano/up/core show guest/web
"""
EXAMPLES: Final = {
    "log": ("log --since 10m", "log --resource guest/web --type guest. -o json"),
    "show": ("show guest/web", "show cell/Cell_0a1b2c3d4e5f"),
    "state": ("state --at 10m", "state guest/web --at 1200"),
    "verify": ("verify", "verify -o json"),
}


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
        node = Node((options.node or default_state() / "core").absolute())
        code: int = import_module(f"nano.tools.replay.{RUN[options.verb]}").run(terminal, node, options)
        terminal.out.flush()
    except NanoError as error:
        terminal.out.flush()
        _tell(terminal, error, options.output)
        return exits.exit_code(error)
    except PermissionError as error:
        terminal.err.write(
            f"{error.filename} can't be read: {error.strerror}.\n  Run as the user who owns it. [no_access]\n"
        )
        return exits.RIGHTS
    except KeyboardInterrupt:
        return exits.INTERRUPTED
    return code


def _tell(terminal: Terminal, error: NanoError, output: str | None) -> None:
    if output == "json":
        terminal.err.write(plain.json_line(exits.as_document(error)) + "\n")
    else:
        hint = f"{error.hint} " if error.hint else ""
        terminal.err.write(f"{error.message}\n  {hint}[{error.code}]\n")


def build() -> Parser:
    parser = Parser(
        prog="nano-replay",
        usage="nano-replay --node DIR VERB [options]",
        description="Read a node's journal: what happened, to what, what was true when, and whether it is whole.",
        epilog=EPILOG,
    )
    parser.add_argument("--version", action="version", version=f"nano-replay {nano.__version__}")
    _add_common(parser, None)
    verbs = parser.add_subparsers(
        dest="verb", metavar="VERB", required=True, title="verbs", parser_class=Parser, prog="nano-replay"
    )
    log = _verb(verbs, "log", "Print every fact as a line, oldest first.", "")
    log.add_argument("--resource", metavar="RESOURCE", help="kind/id, kind/name, a name, or a kind alone")
    log.add_argument("--actor", metavar="WHO", help="only what this user or node did")
    log.add_argument("--type", metavar="TYPE", help="only this type of event; guest. for all of guests")
    log.add_argument("--since", metavar="MOMENT", help="from this position or time on")
    log.add_argument("--until", metavar="MOMENT", help="up to this position or time")
    log.add_argument("-f", "--follow", action="store_true", help="stay, and print what is recorded from now on too")
    show = _verb(verbs, "show", "Tell the life of one resource as a story.", "RESOURCE")
    show.add_argument(
        "resource", metavar="RESOURCE", help="kind/id or kind/name, such as guest/web; also of deleted ones"
    )
    state = _verb(verbs, "state", "Show what was true at a moment.", "[RESOURCE]")
    state.add_argument("resource", metavar="RESOURCE", nargs="?", help="only this one, in full")
    state.add_argument("--at", metavar="MOMENT", help="position or time (default: the end of the journal)")
    _verb(verbs, "verify", "Check that the journal is whole.", "")
    return parser


def _verb(verbs: "argparse._SubParsersAction[Parser]", name: str, about: str, words: str) -> Parser:
    examples = "\n".join(f"  nano-replay --node S/core {example}" for example in EXAMPLES[name])
    usage = " ".join(part for part in ("nano-replay --node DIR", name, words, "[options]") if part)
    parser = verbs.add_parser(name, help=about, description=about, usage=usage, epilog=f"examples:\n{examples}")
    _add_common(parser, argparse.SUPPRESS)
    return parser


def _add_common(parser: argparse.ArgumentParser, default: object) -> None:
    parser.add_argument("--node", type=Path, metavar="DIR", default=default, help="a node's folder, such as STATE/core")
    parser.add_argument(
        "-o", "--output", choices=("table", "json"), metavar="FORMAT", default=default, help="table, or json lines"
    )


if __name__ == "__main__":
    sys.exit(main())
