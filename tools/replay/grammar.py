"""The words of nano-replay: sources, verbs, their options and examples. What a verb does is in the module ``RUN`` names."""

import argparse
import re
from collections.abc import Sequence
from pathlib import Path
from typing import Final, NoReturn

import nano
from nano.domain.errors import Invalid
from nano.tools.nanoctl.parser import Parser, clearer
from nano.tools.replay import exits

RUN: Final = {
    "log": "log",
    "show": "story",
    "state": "folding",
    "verify": "checking",
    "stats": "stats",
    "diff": "difference",
    "why": "why",
    "browse": "browse",
    "rebuild": "rebuild",
    "export": "export",
    "import": "rebuild",
    "backup": "backups",
    "restore": "backups",
}
EPILOG: Final = """\
moments:
  1200                    a position       2026-11-21T03:10:53Z    a time
  10m, 2h, 3d             that long ago    "2026-11-21 03:10"      the same, local

exit codes:
{exit_codes}

examples:
  nano-replay --node ~/.local/share/nano/up/core verify
  nano-replay --node ~/.local/share/nano/up/core show guest/web
  nano-replay --bundle incident.zip state
"""
_DIGITS: Final = re.compile(r"[0-9]{1,18}")
EXAMPLES: Final = {
    "log": ("log --since 10m", "log --resource guest/web --type guest. -o json"),
    "show": ("show guest/web", "show cell/Cell_0a1b2c3d4e5f"),
    "state": ("state --at 10m", "state guest/web --at 1200"),
    "verify": ("verify", "verify -o json"),
    "stats": ("stats", "stats --by hour --top 5 -o json"),
    "export": ("export --redact incident.zip", "export --from 1200 --to 1300 --redact slice.zip"),
    "import": ("--bundle incident.zip import /var/tmp/core", "--bundle incident.zip import /var/tmp/core -o json"),
    "backup": ("backup /mnt/backups/core", "backup /mnt/backups/core -o json"),
    "restore": (
        "--backup /mnt/backups/core restore /var/tmp/core",
        "--backup /mnt/backups/core restore /var/tmp/core --at 10m",
        "--backup /mnt/backups/core restore /srv/nano/core --settings core.toml",
    ),
    "rebuild": ("rebuild /var/tmp/core", "rebuild /var/tmp/core -o json"),
    "browse": ("browse", "browse --at 10m"),
    "why": ("why guest/web", "why guest/web.power --node /mnt/cell7 -o json"),
    "diff": ("diff --at 1h", "diff --at 1200 --at 1300 guest/web -o json"),
}


class Words(Parser):
    def error(self, message: str) -> NoReturn:
        """Wrong words are refused like everything else. Raises Invalid(usage)."""
        raise Invalid(clearer(message), code="usage", hint=f"See {self.prog} --help.")


def wants_json(words: Sequence[str]) -> bool:
    """Whether the words say -o json, however wrong the others are."""
    said = " ".join(words)
    return re.search(r"(?:^| )(?:-o|-o[= ]|--output[= ])json(?: |$)", said) is not None


def build() -> Words:
    parser = Words(
        prog="nano-replay",
        usage="nano-replay (--node DIR | --backup DIR | --bundle FILE) VERB [options]",
        description="Read a node's journal: what happened, to what, what was true when, and whether it is whole.",
        epilog=EPILOG.format(exit_codes="\n".join(f"  {code}  {meaning}" for code, meaning in exits.TABLE)),
    )
    parser.add_argument("--version", action="version", version=f"nano-replay {nano.__version__}")
    _add_common(parser, "before", None)
    verbs = parser.add_subparsers(
        dest="verb", metavar="VERB", required=True, title="verbs", parser_class=Words, prog="nano-replay"
    )
    _add_reading(verbs)
    _add_making(verbs)
    return parser


def _add_reading(verbs: "argparse._SubParsersAction[Words]") -> None:
    log = _verb(verbs, "log", "Print every fact as a line, oldest first.", "")
    log.add_argument("--resource", type=_some, metavar="RESOURCE", help="kind/id, kind/name, a name, or a kind alone")
    log.add_argument("--actor", type=_some, metavar="WHO", help="only what this user or node did")
    log.add_argument("--type", type=_some, metavar="TYPE", help="only this type of event; guest. for all of guests")
    log.add_argument("--since", type=_some, metavar="MOMENT", help="from this position or time on")
    log.add_argument("--until", type=_some, metavar="MOMENT", help="up to this position or time")
    log.add_argument("-f", "--follow", action="store_true", help="stay, and print what is recorded from now on too")
    show = _verb(verbs, "show", "Tell the life of one resource as a story.", "RESOURCE")
    show.add_argument(
        "resource", metavar="RESOURCE", help="kind/id or kind/name, such as guest/web; also of deleted ones"
    )
    state = _verb(verbs, "state", "Show what was true at a moment.", "[RESOURCE]")
    state.add_argument("resource", type=_some, metavar="RESOURCE", nargs="?", help="only this one, in full")
    state.add_argument("--at", type=_some, metavar="MOMENT", help="position or time (default: the end of the journal)")
    diff = _verb(verbs, "diff", "Show what differs between two moments.", "--at A [--at B] [RESOURCE]")
    diff.add_argument("resource", type=_some, metavar="RESOURCE", nargs="?", help="only this one, or those of a kind")
    diff.add_argument(
        "--at", type=_some, metavar="MOMENT", action="append", help="twice; the second may be left out: now"
    )
    why = _verb(verbs, "why", "Tell what led to a state, back to the request.", "RESOURCE[.FIELD]")
    why.add_argument(
        "resource",
        metavar="RESOURCE[.FIELD]",
        help="kind/id or kind/name, and a field: guest/web.power; also deleted ones",
    )
    browse = _verb(verbs, "browse", "Walk about in it with the keys of a terminal.", "")
    browse.add_argument(
        "--at", type=_some, metavar="MOMENT", help="up to this position or time (default: the end, and on)"
    )
    _verb(verbs, "verify", "Check that the journal is whole.", "")
    stats = _verb(verbs, "stats", "Count what is in the journal: by type, actor, time and resource.", "")
    stats.add_argument(
        "--by", choices=("hour", "day"), metavar="SPAN", help="growth per hour or day (default: by span)"
    )
    stats.add_argument("--top", type=_count, metavar="N", default=10, help="how many rows of each list (default: 10)")


def _add_making(verbs: "argparse._SubParsersAction[Words]") -> None:
    rebuild = _verb(verbs, "rebuild", "Make a new folder with the same log and resource journals derived anew.", "INTO")
    rebuild.add_argument("into", metavar="INTO", type=Path, help="a folder that is not there yet, or empty")
    export = _verb(verbs, "export", "Write a bundle: one file that replays elsewhere.", "FILE")
    export.add_argument("file", metavar="FILE", type=Path, help="the file to make; a ZIP file")
    export.add_argument(
        "--redact", action="store_true", help="replace names, people, addresses and paths by pseudonyms"
    )
    export.add_argument("--key", metavar="KEYFILE", type=Path, help="key of the pseudonyms, made if it is not there")
    export.add_argument("--from", dest="first", metavar="POSITION", type=_position, help="from this transaction on")
    export.add_argument("--to", dest="last", metavar="POSITION", type=_position, help="up to this transaction")
    imported = _verb(verbs, "import", "Make a node's folder of a bundle.", "INTO")
    imported.add_argument("into", metavar="INTO", type=Path, help="a folder that is not there yet, or empty")
    backup = _verb(verbs, "backup", "Back up the journal of a node, live or stopped.", "TARGET")
    backup.add_argument("target", metavar="TARGET", type=Path, help="the folder that holds this node's backups")
    restore = _verb(verbs, "restore", "Make a backup the journal of a node's folder.", "INTO")
    restore.add_argument("into", metavar="INTO", type=Path, help="a node's folder that has no data")
    restore.add_argument(
        "--settings", metavar="FILE", type=Path, help="a node's settings: [journal] says what keeps it (default: files)"
    )
    restore.add_argument(
        "--at", type=_some, metavar="MOMENT", help="not beyond this position or time (default: all of it)"
    )


def _position(text: str) -> int:
    if not _DIGITS.fullmatch(text) or int(text) < 1:
        raise argparse.ArgumentTypeError(f"{text[:80]!r} is no position")
    return int(text)


def _some(text: str) -> str:
    """An empty word is an empty variable of a script, and would mean everything."""
    if not text.strip():
        raise argparse.ArgumentTypeError("it is empty")
    return text


def _count(text: str) -> int:
    if not _DIGITS.fullmatch(text) or not 1 <= int(text) <= 100_000:
        raise argparse.ArgumentTypeError(f"{text[:80]!r} is no number from 1 to 100000")
    return int(text)


def _verb(verbs: "argparse._SubParsersAction[Words]", name: str, about: str, words: str) -> Words:
    source = {"import": "--bundle FILE", "restore": "--backup DIR"}.get(name, "--node DIR")
    examples = "\n".join(
        f"  nano-replay {example}" if example.startswith("--") else f"  nano-replay --node S/core {example}"
        for example in EXAMPLES[name]
    )
    usage = " ".join(part for part in (f"nano-replay {source}", name, words, "[options]") if part)
    parser = verbs.add_parser(name, help=about, description=about, usage=usage, epilog=f"examples:\n{examples}")
    _add_common(parser, "after", argparse.SUPPRESS)
    return parser


def _add_common(parser: argparse.ArgumentParser, place: str, default: object) -> None:
    """Sources may stand before the verb or after it; each place has a name of its own, so that neither wipes the other."""
    parser.add_argument(
        "--node", type=Path, metavar="DIR", dest=f"node_{place}", action="append", default=default,
        help="a node's folder, such as STATE/core; why takes further ones",
    )  # fmt: skip
    parser.add_argument(
        "--bundle", type=Path, metavar="FILE", dest=f"bundle_{place}", action="append", default=default,
        help="a bundle made by export, instead of a node's folder",
    )  # fmt: skip
    parser.add_argument(
        "--backup", type=Path, metavar="DIR", dest=f"backup_{place}", action="append", default=default,
        help="a backup, or the newest of a folder of them, instead of a node's folder",
    )  # fmt: skip
    parser.add_argument(
        "-o", "--output", choices=("table", "json"), metavar="FORMAT", default=default, help="table, or json lines"
    )
