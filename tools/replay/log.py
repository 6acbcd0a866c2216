"""``log``: every fact as a line, oldest first, as it is read; with ``-f`` also those still to come."""

from argparse import Namespace
from collections.abc import Callable, Iterator
from typing import Final

from nano.journal.folder_watch import watched
from nano.tools.display import plain, words
from nano.tools.display.sentences import sentence
from nano.tools.display.table import FOLD_MIN
from nano.tools.display.terminal import Terminal
from nano.tools.display.text import GAP, Text, lay_out
from nano.tools.replay.facts import Fact, Names, facts_in
from nano.tools.replay.moments import Moment, parse_moment
from nano.tools.replay.node import Node, tell_beginning

LOOK_S: Final = 0.25  # where nothing tells of a write, the journal is looked at so often
POSITION: Final = 7
WHO: Final = 12


def run(terminal: Terminal, node: Node, options: Namespace, *, pause: Callable[[float], object] | None = None) -> int:
    """``pause`` replaces the wait for the next write."""
    names = Names()
    wanted = Filter(options, names, terminal)
    tell_beginning(terminal, node)
    found = 0
    for fact in _facts(node, names, options.follow and not node.is_copy, pause):
        if wanted(fact):
            found += 1
            if options.output == "json":
                terminal.data(plain.json_line(fact))
            else:
                print_fact(terminal, fact, names.of)
            if options.follow:
                terminal.out.flush()
        elif wanted.over(fact):
            break
    if not found and options.output != "json":
        terminal.note("No fact fits.")
    return 0


def _facts(node: Node, names: Names, follow: bool, pause: Callable[[float], object] | None) -> Iterator[Fact]:
    reader = node.reader()
    if not follow:
        yield from facts_in(reader.lines(), names)
        return
    with watched(node.journal / "commits") as watch:
        while True:
            yield from facts_in(reader.lines(), names)
            (pause or watch.wait)(LOOK_S)


class Filter:
    """Which facts are asked for."""

    def __init__(self, options: Namespace, names: Names, terminal: Terminal) -> None:
        self._options = options
        self._names = names
        self._since = self._moment(options.since, terminal)
        self._until = self._moment(options.until, terminal)

    @staticmethod
    def _moment(text: str | None, terminal: Terminal) -> Moment | None:
        return parse_moment(text, terminal.now(), terminal.zone) if text else None

    def __call__(self, fact: Fact) -> bool:
        options = self._options
        return (
            (options.actor is None or fact["actor"] == options.actor)
            and (options.type is None or _is_type(fact["event"]["type"], options.type))
            and (options.resource is None or self._names.matches(fact["resource"], options.resource))
            and (self._since is None or _reached(fact, self._since))
            and not self.over(fact)
        )

    def over(self, fact: Fact) -> bool:
        """Nothing more can match."""
        if self._until is None:
            return False
        if self._until.position is not None:
            return bool(fact["position"] > self._until.position)
        return _reached(fact, self._until) and words.parse_time(fact["at"]) != self._until.time


def _reached(fact: Fact, moment: Moment) -> bool:
    if moment.position is not None:
        return bool(fact["position"] >= moment.position)
    assert moment.time is not None
    return words.parse_time(fact["at"]) >= moment.time


def _is_type(found: str, wanted: str) -> bool:
    return found == wanted or (wanted.endswith(".") and found.startswith(wanted))


def print_fact(terminal: Terminal, fact: Fact, names: dict[str, str]) -> None:
    """Position, time, who, what; the widths are fixed, because nothing is known of the lines to come. Where they would
    leave no room for what, it goes below."""
    when = words.moment(words.parse_time(fact["at"]), terminal.zone, narrow=terminal.narrow)
    who = words.fitted(words.who(str(fact["actor"])), WHO)
    said = Text(sentence(fact["event"], fact["resource"], names))
    head = Text(f"{fact['position']:>{POSITION}}", "dim"), Text(when, "dim"), Text(who, "cyan")
    if terminal.narrow:
        terminal.write(Text(f"{fact['position']:>{POSITION}}  {when}  ", "dim").append(who.rstrip(), "cyan"))
        for part in said.folded(terminal.width - POSITION - GAP):
            terminal.write(Text(" " * (POSITION + GAP)).append(part))
        return
    room = max(FOLD_MIN, terminal.width - POSITION - len(when) - WHO - 3 * GAP)
    cells, widths = [*head, said], [POSITION, len(when), WHO, room]
    for line in lay_out([cells], widths, ["left"] * 4, [False, False, False, True], terminal.colours):
        terminal.write(line)
