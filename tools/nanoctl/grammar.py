"""Which nouns and verbs there are: the command catalogue in the words of the command line, and a few of nanoctl's own.

Every command and query of the catalogue becomes a verb by rule (``guest.force_stop`` -> ``guest force-stop``), so a new
one needs nothing here. ``run`` names the function that carries a verb out; it is imported when it is chosen.
"""

from collections.abc import Sequence
from functools import lru_cache
from typing import Final, NamedTuple

from nano.domain.catalogue import AT, COMMANDS, QUERIES, CommandEntry, QueryEntry
from nano.domain.image import WORDS
from nano.tools.nanoctl.arguments import Argument, arguments_of, query_argument

NOUNS: Final[dict[str, str]] = {
    "guest": "virtual machines",
    "batch": "many guests at once",
    "cell": "hypervisor hosts",
    "pool": "compute pools: sets of cells",
    "image": "disk images that guests are cloned from",
    "template": "virtual hardware that suits a kind of system",
    "media": "media images for the guests' drives",
    "task": "work that takes longer than a request",
    "placement": "where a guest would go",
    "alarm": "what is wrong right now",
    "drift": "where hosts are not as the journals say",
    "orphans": "what Nano made on hosts and nobody owns",
    "backup": "backups of the nodes' journals",
    "journal": "everything that happened",
    "events": "what happens now, line by line",
    "top": "cells and guests and their load, live",
    "status": "the zone at a glance",
    "usage": "the last measured load",
    "api": "one raw signed request",
    "completion": "completion for a shell",
}
NOUN_OF_KIND: Final = {"compute_pool": "pool", "zone": "status", "event": "events"}
KIND_OF_NOUN: Final = {"pool": "compute_pool"}
DEFAULT_VERB: Final = {"drift": "list", "orphans": "list"}  # of a noun that stands alone
SINGLE: Final = frozenset({"events", "top", "status", "usage", "api", "completion"})  # nouns that are their own verb

_RUN: Final = "nano.tools.nanoctl"
_FOLLOW: Final = Argument("follow", ("-f", "--follow"), "stay and print what happens from now on", "", "switch")
_TIMEOUT: Final = Argument("timeout", ("--timeout",), "give up waiting after so many seconds", "SECONDS", "int")
_WAIT: Final = Argument("wait", ("--wait",), "wait until the work is done (the default)", "", "flag")
_FILE: Final = Argument("file", (), "file on this machine", "FILE", completes="file", required=True)
_RUNS: Final = {  # what carries a command out that is more than one request
    "guest.open_console": "display:run",
    "guest.open_serial": "console:run",
    "guest.password": "inside:set_password",
    "guest.show_password": "inside:show",
    "guest.vnc.enable": "inside:enable_vnc",
    "guest.vnc.reset": "inside:enable_vnc",
    "guest.vnc.show": "inside:show",
    "image.upload": "uploads:upload",
    "media.upload": "uploads:upload",
}
_DRY: Final = Argument("dry_run", ("--dry-run",), "only say what would be recorded", "", "switch")
_VERSION: Final = Argument(
    "if_version", ("--if-version",), "only if the resource still has this version", "VERSION", "int"
)
_KEY: Final = Argument(
    "idempotency_key", ("--idempotency-key",), "name of this request: sent again, it is not done again", "KEY"
)


class Verb(NamedTuple):
    """``arguments`` are the fields of the command or query, ``extras`` what nanoctl itself takes."""

    noun: str
    name: str
    summary: str
    run: str
    arguments: tuple[Argument, ...] = ()
    extras: tuple[Argument, ...] = ()
    entry: CommandEntry | QueryEntry | None = None

    @property
    def words(self) -> str:
        return self.noun if self.noun in SINGLE else f"{self.noun} {self.name}"

    @property
    def kind(self) -> str:
        return KIND_OF_NOUN.get(self.noun, self.noun)


def _command(entry: CommandEntry) -> Verb:
    noun, name = _spelled(entry.name)
    extras: tuple[Argument, ...] = (_WAIT, _TIMEOUT) if entry.work else ()
    extras += (_DRY, _KEY) if "{" not in entry.path else (_DRY, _VERSION, _KEY)
    run = f"{_RUN}.{_RUNS.get(entry.name, 'commands:run')}"
    summary = entry.summary.partition(". ")[0].rstrip(".").replace("``", "") + "."
    arguments = tuple(argument for argument in arguments_of(entry.command, entry.path) if argument.field != "sealed")
    if name == "upload":
        arguments = tuple(argument for argument in arguments if argument.field != "size")
        extras = (_FILE, *extras)
    return Verb(noun, name, summary, run, arguments, extras, entry)


_PICTURE: Final = Argument(
    "file", (), "file for the picture, - for standard output", "FILE", completes="file", required=True
)
_READERS: Final = {
    "history": "history:run",
    "explain": "placement:run",
    "screenshot": "screenshot:run",
    "inside": "inside:inside",
    "snapshot list": "snapshots:run",
}


def _query(entry: QueryEntry) -> Verb:
    noun, name = _spelled(entry.name)
    asked = tuple(query_argument(parameter) for parameter in entry.parameters if parameter not in ("limit", "cursor"))
    if "{" in entry.path:
        field = entry.path.partition("{")[2].partition("}")[0]
        asked = (_subject(field), *asked)
    if name == "explain":
        asked = tuple(argument._replace(required=argument.field not in ("pool", "needs", AT)) for argument in asked)
    limit = (
        (query_argument("limit")._replace(help="at most so many, 0 for all"),) if "limit" in entry.parameters else ()
    )
    if name == "screenshot":
        asked = (*asked, _PICTURE)
    reader = _READERS.get(name, f"reading:{name}")
    reader = "drift:run" if noun in DEFAULT_VERB else reader
    reader = "history:journal" if noun == "journal" else reader
    return Verb(noun, name, entry.summary, f"{_RUN}.{reader}", asked, limit, entry)


def _subject(field: str) -> Argument:
    described = query_argument(field)
    return described._replace(options=(), metavar=field.upper(), required=True)


def _spelled(name: str) -> tuple[str, str]:
    """``guest.disk.add`` is ``guest disk add``: a verb of two words, the first of which groups some."""
    kind, _, verb = name.partition(".")
    verb = {"open_console": "display", "open_serial": "console"}.get(verb, verb)
    return NOUN_OF_KIND.get(kind, kind), verb.replace("_", "-").replace(".", " ")


_OWN: Final = (
    Verb(
        "task",
        "watch",
        "Follow a task until it ends, or every task that runs.",
        f"{_RUN}.watch:run",
        (),
        (Argument("task", (), "id of the task; without it all that run", "TASK", completes="task"), _TIMEOUT),
    ),
    *(
        Verb(
            kind,
            "download",
            f"Fetch the file of a {about}, and check its digest.",
            f"{_RUN}.uploads:download",
            (_subject(kind),),
            (_FILE,),
        )
        for kind, about in WORDS.items()
    ),
    Verb(
        "guest",
        "rule list",
        "List a guest's security rules in the order in which they are asked.",
        f"{_RUN}.rules:run",
        (_subject("guest"), query_argument(AT)),
    ),
    Verb(
        "drift",
        "repair",
        "Make a guest's domain again what the journal says, or those of all that drifted.",
        f"{_RUN}.drift:repair",
        (),
        (
            Argument("guest", (), "name or id of the guest; without it all that drifted", "GUEST", completes="guest"),
            _TIMEOUT,
        ),
    ),
    Verb(
        "status",
        "status",
        "Show the zone: its counts, its cells, what needs attention.",
        f"{_RUN}.status:run",
        (query_argument(AT),),
    ),
    Verb("usage", "usage", "Show the last measured load of every cell and running guest.", f"{_RUN}.reading:usage"),
    Verb(
        "top",
        "top",
        "Watch cells and guests and their load, live.",
        f"{_RUN}.top:run",
        (),
        (Argument("once", ("--once",), "print it once and end", "", "switch"),),
    ),
    Verb(
        "events",
        "events",
        "Print what happened last, or follow what happens.",
        f"{_RUN}.history:events",
        (),
        (
            _FOLLOW,
            query_argument("kinds"),
            Argument("after", ("--after",), "begin after this position", "POSITION", "int"),
            Argument("limit", ("--limit",), "without -f: so many of the last ones (20)", "N", "int"),
        ),
    ),
    Verb(
        "api",
        "api",
        "Send one raw signed request and print the body of the answer.",
        f"{_RUN}.raw:run",
        (),
        (
            Argument("method", (), "GET, POST, PATCH or DELETE", "METHOD", required=True),
            Argument("path", (), "path with query, such as /api/v2/guests?limit=1", "PATH", required=True),
            Argument("data", ("-d", "--data"), "JSON body, @FILE for a file, - for stdin", "JSON", completes="file"),
            Argument("header", ("-H", "--header"), "a further header: Name: value", "HEADER", "texts"),
            Argument("include", ("-i", "--include"), "print status and headers before the body", "", "switch"),
        ),
    ),
    Verb(
        "completion",
        "completion",
        "Print the completion script of a shell.",
        f"{_RUN}.completion:run",
        (),
        (Argument("shell", (), "bash or zsh", "SHELL", "choice", required=True, values=("bash", "zsh")),),
    ),
)


@lru_cache(maxsize=1)
def verbs() -> tuple[Verb, ...]:
    """Every verb, in the order of help."""
    made = [_query(entry) for entry in QUERIES if entry.name not in ("zone.show", "usage.show", "event.follow")]
    every = [*(_command(entry) for entry in COMMANDS), *made, *_OWN]
    nouns = list(NOUNS)
    return tuple(sorted(every, key=lambda verb: (nouns.index(verb.noun), _rank(verb.name))))


def filled_in(words: Sequence[str]) -> list[str]:
    """The words with the verb of a noun that stands alone: ``drift`` is ``drift list``."""
    for place, word in enumerate(words):
        following = words[place + 1] if place + 1 < len(words) else ""
        if word in DEFAULT_VERB and (not following or (following[0] == "-" and following not in ("-h", "--help"))):
            return [*words[: place + 1], DEFAULT_VERB[word], *words[place + 1 :]]
        if word in NOUNS:
            break
    return list(words)


def find(noun: str, name: str) -> Verb | None:
    return next((verb for verb in verbs() if verb.noun == noun and verb.name == name), None)


_ORDER: Final = (
    *("list", "show", "create", "upload", "build", "register", "modify", "edit"),
    *("set", "add", "start", "stop", "force-stop", "reboot"),
)


def _rank(name: str) -> tuple[int, str]:
    """Verbs that share their first word stand together."""
    group = name.split(maxsplit=1)[0] if " " in name else ""
    return (_ORDER.index(name) if name in _ORDER else len(_ORDER)), group
