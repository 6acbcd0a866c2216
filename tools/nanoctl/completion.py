"""Completion for bash and zsh: the shells ask ``nanoctl __complete``, so it always fits the version that is installed.

Names of guests, pools, cells, images and tasks come from the API, asked briefly; whenever anything is in the way (no
Core, no rights, half a word that means nothing) it offers nothing and says nothing.
"""

import argparse
import contextlib
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Final, TextIO

from nano.domain.errors import NanoError
from nano.tools.nanoctl.arguments import Argument
from nano.tools.nanoctl.connection import Api
from nano.tools.nanoctl.exits import OK
from nano.tools.nanoctl.grammar import NOUNS, SINGLE, Verb, find, verbs
from nano.tools.nanoctl.session import BASE, Session

PATIENCE_S: Final = 1.0
NAMES_MAX: Final = 1000
FILES: Final = "__files__"  # tells the shell to complete file names itself
COMMON: Final = {
    "--state": FILES,
    "--api": "",
    "--key-id": "",
    "--key-file": FILES,
    "-o": "format",
    "--output": "format",
}
FORMATS: Final = ("table", "wide", "json", "yaml")
SIZES: Final = ("64MiB", "128MiB", "256MiB", "512MiB", "1GiB", "2GiB", "4GiB", "8GiB", "10GiB", "20GiB", "50GiB")
STATES: Final = {
    "guest": ("creating", "stopped", "running", "paused", "crashed", "lost", "missing", "recycled", "deleting"),
    "cell": ("discovered", "online", "offline"),
    "task": ("running", "cancelling", "undoing", "done", "failed", "cancelled"),
}

BASH: Final = """\
# bash completion for nanoctl.  Use it with:  source <(nanoctl completion bash)
_nanoctl() {
    local word=${COMP_WORDS[COMP_CWORD]} line
    COMPREPLY=()
    while IFS= read -r line; do
        if [ "$line" = __files__ ]; then
            while IFS= read -r line; do COMPREPLY+=("$line"); done < <(compgen -f -- "$word")
            compopt -o filenames 2>/dev/null
        else
            COMPREPLY+=("$line")
        fi
    done < <("${COMP_WORDS[0]}" __complete "${COMP_WORDS[@]:1:COMP_CWORD}" 2>/dev/null)
}
complete -F _nanoctl nanoctl
"""

ZSH: Final = """\
#compdef nanoctl
# zsh completion for nanoctl.  Use it with:  source <(nanoctl completion zsh)
_nanoctl() {
    local -a found
    found=("${(@f)$(${words[1]} __complete "${(@)words[2,CURRENT]}" 2>/dev/null)}")
    if (( ${found[(Ie)__files__]} )); then
        _files
    elif [[ -n "${found[1]}" ]]; then
        compadd -a found
    fi
}
(( $+functions[compdef] )) || { autoload -Uz compinit && compinit }
compdef _nanoctl nanoctl
"""


def run(session: Session, verb: Verb, namespace: argparse.Namespace) -> int:  # noqa: ARG001
    session.terminal.out.write(BASH if namespace.shell == "bash" else ZSH)
    return OK


def complete(words: Sequence[str], out: TextIO, open_api: "Callable[[dict[str, str]], Api] | None" = None) -> int:
    """Print what may stand at the last of ``words`` (which may be empty), one a line."""
    with contextlib.suppress(NanoError, OSError, ValueError, KeyError):
        out.write("".join(f"{word}\n" for word in candidates(words, open_api or _open)))
    return OK


def candidates(words: Sequence[str], open_api: "Callable[[dict[str, str]], Api]") -> list[str]:
    begun, before = (words[-1], list(words[:-1])) if words else ("", [])
    plain, given, waiting = _taken_apart(before)
    if waiting is not None:
        offered = _values_of(waiting, plain, given, open_api)
    elif begun.startswith("-"):
        offered = _options(plain)
    elif not plain:
        offered = [*NOUNS]
    elif plain[0] in NOUNS and plain[0] not in SINGLE and _verb(plain) is None:
        offered = _next_words(plain)
    else:
        offered = _words_of(plain, given, open_api)
    return [word for word in offered if word.startswith(begun) or word == FILES]


def _verb(plain: list[str]) -> Verb | None:
    if plain and plain[0] in SINGLE:
        return find(plain[0], plain[0])
    found = (find(plain[0], " ".join(plain[1:end])) for end in range(2, len(plain) + 1))
    return next((verb for verb in found if verb is not None), None)


def _next_words(plain: list[str]) -> list[str]:
    """Words of verbs that begin with what is there."""
    begun = " ".join([*plain, ""])
    rests = (verb.words.removeprefix(begun).split()[0] for verb in verbs() if verb.words.startswith(begun))
    return [*dict.fromkeys(rests)]


def _taken_apart(words: list[str]) -> tuple[list[str], dict[str, str], str | None]:
    """Bare words, options with their values, and the option whose value stands next."""
    plain: list[str] = []
    given: dict[str, str] = {}
    waiting: str | None = None
    for word in words:
        if waiting is not None:
            given[waiting] = word
            waiting = None
        elif word.startswith("-"):
            waiting = word if _takes_value(word, plain) else None
        else:
            plain.append(word)
    return plain, given, waiting


def _takes_value(option: str, plain: list[str]) -> bool:
    argument = _option(option, plain)
    return option in COMMON or (argument is not None and argument.kind not in ("flag", "switch"))


def _option(option: str, plain: list[str]) -> Argument | None:
    verb = _verb(plain)
    every = (*verb.arguments, *verb.extras) if verb else ()
    return next((argument for argument in every if option in argument.options), None)


def _options(plain: list[str]) -> list[str]:
    verb = _verb(plain)
    found = ["--help"]
    for argument in (*verb.arguments, *verb.extras) if verb else ():
        found += [option for option in argument.options if option.startswith("--")]
        if argument.kind == "flag":
            found += [f"--no-{option[2:]}" for option in argument.options if option.startswith("--")]
    return sorted([*found, *(option for option in COMMON if option.startswith("--"))])


def _values_of(
    option: str, plain: list[str], given: dict[str, str], open_api: "Callable[[dict[str, str]], Api]"
) -> list[str]:
    if option in COMMON:
        return [*FORMATS] if COMMON[option] == "format" else [COMMON[option]] if COMMON[option] else []
    argument = _option(option, plain)
    return _of(argument, plain, given, open_api) if argument else []


def _words_of(plain: list[str], given: dict[str, str], open_api: "Callable[[dict[str, str]], Api]") -> list[str]:
    verb = _verb(plain)
    if verb is None:
        return []
    bare = [argument for argument in (*verb.arguments, *verb.extras) if not argument.options]
    place = len(plain) - len(verb.words.split())
    return _of(bare[place], plain, given, open_api) if place < len(bare) else []


def _of(
    argument: Argument, plain: list[str], given: dict[str, str], open_api: "Callable[[dict[str, str]], Api]"
) -> list[str]:
    if argument.kind == "choice":
        return [*argument.values]
    if argument.field == "state":
        return [*STATES.get(plain[0], ())]
    if argument.field == "kinds":
        return ["guest", "cell", "compute_pool", "image", "media", "template", "task"]
    if argument.completes == "size":
        return [*SIZES]
    if argument.completes == "file":
        return [FILES]
    return _names(argument.completes, given, open_api) if argument.completes else []


def _names(kind: str, given: dict[str, str], open_api: "Callable[[dict[str, str]], Api]") -> list[str]:
    from nano.domain.catalogue import COLLECTIONS

    api = open_api(given)
    try:
        page = api.call("GET", f"{BASE}/{COLLECTIONS[kind]}", query={"limit": NAMES_MAX}).value
    finally:
        api.close()
    return [str(row.get("name") or row["id"]) for row in page["items"]]


def _open(given: dict[str, str]) -> Api:
    from nano.tools.nanoctl.place import connect

    state, key_file = given.get("--state"), given.get("--key-file")
    return connect(
        state=Path(state).expanduser() if state else None,
        api=given.get("--api", ""),
        key_id=given.get("--key-id", ""),
        key_file=Path(key_file).expanduser() if key_file else None,
        timeout_s=PATIENCE_S,
    )
