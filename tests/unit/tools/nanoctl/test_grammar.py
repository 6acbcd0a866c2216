"""Every command and query of the catalogue is a verb, explained by two examples that can be typed."""

import argparse
import shlex

import msgspec
import pytest

from nano.domain.catalogue import COMMANDS, QUERIES
from nano.tools.nanoctl import exits
from nano.tools.nanoctl.arguments import HELP, fields_in, read_size
from nano.tools.nanoctl.examples import EXAMPLES
from nano.tools.nanoctl.grammar import NOUNS, find, verbs
from nano.tools.nanoctl.parser import build, noun_in

PARSER = build()
NOT_VERBS = {"zone.show", "usage.show", "event.follow"}  # nanoctl status, usage, events


def parse(text: str) -> argparse.Namespace:
    return PARSER.parse_args(shlex.split(text))


@pytest.mark.parametrize("entry", [*COMMANDS, *QUERIES], ids=lambda entry: entry.name)
def test_every_entry_of_the_catalogue_is_a_verb(entry: object) -> None:
    found = [verb for verb in verbs() if verb.entry is entry]
    assert len(found) == (0 if getattr(entry, "name", "") in NOT_VERBS else 1)


@pytest.mark.parametrize("entry", COMMANDS, ids=lambda entry: entry.name)
def test_every_field_of_a_command_can_be_given(entry: object) -> None:
    verb = next(verb for verb in verbs() if verb.entry is entry)
    fields = {field.name for field in msgspec.structs.fields(entry.command)}  # type: ignore[attr-defined]
    told = {"size"} if verb.name == "upload" else set()  # by the file
    made = {"sealed"}  # by Core
    assert {argument.field for argument in verb.arguments} == fields - told - made


@pytest.mark.parametrize("verb", verbs(), ids=lambda verb: verb.words)
def test_help_has_two_examples_that_can_be_typed(verb: object, capsys: pytest.CaptureFixture[str]) -> None:
    words = verb.words  # type: ignore[attr-defined]
    assert len(set(EXAMPLES[words])) == 2
    for example in EXAMPLES[words]:
        assert parse(example).chosen == verb
    with pytest.raises(SystemExit) as ended:
        parse(f"{words} --help")
    assert ended.value.code == exits.OK
    told = capsys.readouterr().out
    assert all(f"nanoctl {example}" in told for example in EXAMPLES[words])


def test_no_example_is_left_over() -> None:
    assert set(EXAMPLES) == {verb.words for verb in verbs()}
    assert {verb.noun for verb in verbs()} == set(NOUNS)


def test_every_argument_is_explained() -> None:
    unsaid = {a.field for verb in verbs() for a in verb.arguments if a.field not in HELP}
    assert not unsaid


def test_help_lists_the_exit_codes() -> None:
    assert all(f"{code:>3}  {meaning}" in PARSER.format_help() for code, meaning in exits.TABLE)


def test_common_options_stand_before_or_after() -> None:
    assert parse("--state /s guest list -o json").state.name == "s"
    after = parse("guest list --state /s --in-state running -o json")
    verb = find("guest", "list")
    assert verb is not None
    assert (after.state.name, after.output) == ("s", "json")
    assert fields_in(after, verb.arguments) == {"state": "running"}


@pytest.mark.parametrize(
    ("line", "said"),
    [
        ("guest crate web", "'crate' is not a verb. Did you mean 'create'?"),
        ("gest list", "Did you mean 'guest'?"),
        ("guest create web", "The following arguments are required: --memory, --disk."),
        ("guest create web --memory 1XiB --disk 1GiB", "'1XiB' is not a size."),
        ("guest create web --memory 1GiB --disk 1GiB --cores two", "'two' is not a whole number"),
        ("guest list --frobnicate", "Unrecognized arguments: --frobnicate."),
        ("guest create web --memory 1GiB --disk 1GiB --hardware disk", "'disk' is not KEY=VALUE"),
        ("guest list -o xml", "Use one of: table, wide, json, yaml."),
    ],
)
def test_mistakes_are_explained(line: str, said: str, capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as ended:
        parse(line)
    assert ended.value.code == exits.USAGE
    told = capsys.readouterr().err
    assert said in told
    assert ".." not in told
    assert "--help. [usage]" in told


def test_sizes() -> None:
    assert read_size("128MiB") == 134_217_728
    assert read_size("512") == 512
    with pytest.raises(argparse.ArgumentTypeError, match="KiB, MiB, GiB"):
        read_size("lots")


@pytest.mark.parametrize(
    ("words", "noun"),
    [("guest list", "guest"), ("--state top guest list", "guest"), ("-o json cell list", "cell"), ("--help guest", None),
     ("gest list", None), ("", None)],
)  # fmt: skip
def test_the_noun_is_found(words: str, noun: str | None) -> None:
    assert noun_in(words.split()) == noun
