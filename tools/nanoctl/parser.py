"""The argument parser, made from the grammar.

Options that every verb takes (``--state``, ``-o`` …) may stand before the noun or after the verb. Mistakes end with exit
code 2 and say which words would be right.
"""

import argparse
import difflib
from collections.abc import Sequence
from itertools import groupby
from pathlib import Path
from typing import Any, Final, NoReturn

import nano
from nano.tools.nanoctl import exits
from nano.tools.nanoctl.arguments import Argument, add_argument
from nano.tools.nanoctl.examples import EXAMPLES
from nano.tools.nanoctl.grammar import NOUNS, SINGLE, Verb, verbs

VALUED: Final = frozenset({"--state", "--api", "--key-id", "--key-file", "-o", "--output"})
FORMATS: Final = ("table", "wide", "json", "yaml")


class Parser(argparse.ArgumentParser):
    """Errors as everywhere in nanoctl: what, why, what to do."""

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        kwargs.setdefault("formatter_class", argparse.RawDescriptionHelpFormatter)
        kwargs.setdefault("allow_abbrev", False)
        super().__init__(*args, **kwargs)

    def error(self, message: str) -> NoReturn:
        self.exit(exits.USAGE, f"{clearer(message)}\n  See {self.prog} --help. [usage]\n")


def clearer(message: str) -> str:
    """A sentence of it; argparse names what may be chosen; the nearest one is more use."""
    wrong, found, choices = message.partition("invalid choice: ")
    if found:
        word, _, rest = choices.partition(" (choose from ")
        known = [choice.strip().strip("'") for choice in rest.rstrip(")").split(",")]
        what = wrong.removeprefix("argument ").partition(":")[0].strip()
        if what.startswith("-"):
            return f"{word} is no value of {what}. Use one of: {', '.join(known)}."
        near = difflib.get_close_matches(word.strip("'"), known, 1, 0.5)
        hint = f"Did you mean {near[0]!r}?" if near else f"Use one of: {', '.join(known)}."
        return f"{word} is not a {what.lower()}. {hint}"
    return message[:1].upper() + message[1:].rstrip(".") + "."


def build(only: str | None = None) -> Parser:
    """The whole parser; with ``only`` = a noun, the verbs of the others are left out (help and starts get quicker)."""
    parser = Parser(
        prog="nanoctl",
        description="Look at a zone and give it work. Every command becomes an event in its journal.",
        usage="nanoctl [--state DIR] [-o FORMAT] NOUN [VERB] …",
        epilog=_overview_epilog(),
    )
    parser.add_argument("--version", action="version", version=f"nanoctl {nano.__version__}")
    _add_common(parser, None)
    nouns = parser.add_subparsers(
        dest="noun", metavar="NOUN", required=True, title="nouns", parser_class=Parser, prog="nanoctl"
    )
    for noun, about in NOUNS.items():
        if only is not None and noun != only:
            continue
        if noun in SINGLE:
            single = next(verb for verb in verbs() if verb.noun == noun)
            _add_verb(nouns.add_parser(noun, help=about, **_texts(single)), single)
            continue
        described = nouns.add_parser(noun, help=about, description=f"{noun}: {about}.")
        _add_verbs(described, [verb for verb in verbs() if verb.noun == noun], 0)
    return parser


def _add_verbs(parser: Parser, some: list[Verb], depth: int) -> None:
    """Verbs by their word at ``depth``; one that several share stands for all of them, as ``disk`` in ``disk add``."""
    under = parser.add_subparsers(
        dest=f"verb{depth}", metavar="VERB", required=True, title="verbs", parser_class=Parser
    )
    for word, group in groupby(some, key=lambda verb: verb.name.split()[depth]):
        sharing = list(group)
        first = sharing[0]
        if len(first.name.split()) == depth + 1:
            _add_verb(under.add_parser(word, help=first.summary, **_texts(first)), first)
            continue
        about = ", ".join(verb.name.split()[depth + 1] for verb in sharing)
        _add_verbs(under.add_parser(word, help=f"{word}: {about}"), sharing, depth + 1)


def noun_in(words: Sequence[str]) -> str | None:
    """The noun of a command line, None when it has none or asks for help before it."""
    waiting = False
    for word in words:
        if waiting:
            waiting = False
        elif word in ("-h", "--help"):
            return None
        elif word.startswith("-"):
            waiting = word in VALUED
        else:
            return word if word in NOUNS else None
    return None


def _texts(verb: Verb) -> dict[str, Any]:
    examples = "\n".join(f"  nanoctl {example}" for example in EXAMPLES.get(verb.words, ()))
    return {"usage": _usage(verb), "description": verb.summary, "epilog": f"examples:\n{examples}"}


def _usage(verb: Verb) -> str:
    """What must be given; the options are listed below it."""
    words = ["nanoctl", verb.words]
    for argument in (*verb.arguments, *verb.extras):
        if argument.required:
            words += [argument.options[0]] if argument.options else []
            words.append(argument.metavar or argument.field.upper())
        elif not argument.options:
            words.append(f"[{argument.metavar}]")
    return " ".join([*words, "[options]"])


def _add_verb(parser: argparse.ArgumentParser, verb: Verb) -> None:
    parser.set_defaults(chosen=verb)
    own = parser.add_argument_group("how it is done") if any(a.options for a in verb.extras) else None
    for argument in (*verb.arguments, *verb.extras):
        target: Any = own if own is not None and argument in verb.extras and argument.options else parser
        if argument.options or argument.required:
            add_argument(target, argument)
        else:
            _add_optional_word(parser, argument)
    _add_common(parser, argparse.SUPPRESS)


def _add_optional_word(parser: argparse.ArgumentParser, argument: Argument) -> None:
    parser.add_argument(argument.field, nargs="?", metavar=argument.metavar, help=argument.help, default=None)


def _add_common(parser: argparse.ArgumentParser, default: Any) -> None:
    """``default`` SUPPRESS keeps a verb's parser from wiping out what stood before the noun."""
    group = parser.add_argument_group("where and how")
    group.add_argument(
        "--state", type=Path, metavar="DIR", default=default, help="state folder ($NANO_STATE, else the user's own)"
    )
    group.add_argument("--api", metavar="URL", default=default, help="a remote API ($NANO_API)")
    group.add_argument("--key-id", metavar="ID", default=default, help="key to sign with ($NANO_KEY_ID, nanoctl)")
    group.add_argument(
        "--key-file", type=Path, metavar="FILE", default=default, help="file with that key ($NANO_KEY_FILE)"
    )
    group.add_argument(
        "-o", "--output", choices=FORMATS, metavar="FORMAT", default=default, help="table, wide, json or yaml"
    )


def _overview_epilog() -> str:
    codes = "\n".join(f"  {code:>3}  {meaning}" for code, meaning in exits.TABLE)
    return (
        f"exit codes:\n{codes}\n\n"
        "examples:\n"
        "  nanoctl guest create web --cores 2 --memory 2GiB --disk 10GiB --image debian12 --start\n"
        "  nanoctl events -f\n\n"
        "nanoctl NOUN --help lists a noun's verbs, nanoctl NOUN VERB --help explains one."
    )
