"""``show``: the life of one resource as a story: who, what, when and why, in sentences.

Facts of the tasks that worked on it are told along, because they are the why. Only facts of this resource and of its
tasks are held in memory.
"""

from argparse import Namespace
from typing import Final

from nano.domain.errors import Unknown
from nano.tools.display import plain, words
from nano.tools.display.sentences import phrase, subject
from nano.tools.display.table import print_grid
from nano.tools.display.terminal import Terminal
from nano.tools.display.text import Text
from nano.tools.replay.facts import Fact, Names, facts_in
from nano.tools.replay.moments import SHOWN
from nano.tools.replay.node import Node, tell_beginning

TOLD_MAX: Final = 100_000
_QUIET: Final = frozenset(
    {"guest.work_started", "guest.work_ended", "task.step_started"}
)  # said by the task's start and end


def run(terminal: Terminal, node: Node, options: Namespace) -> int:
    names = Names()
    story = _collect(node, options.resource, names)
    tell_beginning(terminal, node)
    if options.output == "json":
        for fact in story.facts:
            terminal.data(plain.json_line(fact))
    else:
        _tell(terminal, story, names)
    return 0


def _collect(node: Node, wanted: str, names: Names) -> "Story":
    """Raises Unknown(no_such_history)."""
    story = Story(wanted, names)
    for fact in facts_in(node.reader().lines(), names):
        story.take(fact)
        if len(story.facts) > TOLD_MAX:
            break
    if not story.resource:
        raise Unknown(
            f"Nothing in this journal is about {wanted[:SHOWN]!r}.",
            code="no_such_history",
            hint="Write kind/id or kind/name (guest/web); nano-replay log shows what there is.",
        )
    return story


class Story:
    """The facts of one resource and of its tasks. A name may have been used again: the last to bear it is meant."""

    def __init__(self, wanted: str, names: Names) -> None:
        self.resource = ""
        self.facts: list[Fact] = []
        self.tasks: dict[str, Fact] = {}  # the first event of each
        self.earlier: list[str] = []
        self._wanted = wanted
        self._names = names
        self._beside: list[Fact] = []  # of the same transaction: a task may be written before what it is about

    def take(self, fact: Fact) -> None:
        resource, event = str(fact["resource"]), fact["event"]
        self._beside = [*self._beside, fact] if self._beside and self._beside[0]["at"] == fact["at"] else [fact]
        if resource != self.resource and self._is_meant(resource):
            if self.resource:
                self.earlier.append(self.resource)
            self.resource, self.facts, self.tasks = resource, [], {}
            for other in self._beside[:-1]:
                self._take_task(other)
        if resource == self.resource:
            self.facts.append(fact)
        elif self.resource and (event["type"] == "task.started" or resource in self.tasks):
            self._take_task(fact)

    def _is_meant(self, resource: str) -> bool:
        if "/" not in self._wanted and self._wanted == resource.partition("/")[0]:
            return False  # a kind alone is no resource
        return self._names.matches(resource, self._wanted)

    def _take_task(self, fact: Fact) -> None:
        event = fact["event"]
        if event["type"] == "task.started" and event.get("target") == self.resource:
            self.tasks[fact["resource"]] = event
        if fact["resource"] in self.tasks:
            self.facts.append(fact)


def _tell(terminal: Terminal, story: Story, names: Names) -> None:
    resource, facts, tasks = story.resource, story.facts, story.tasks
    first, last = (words.parse_time(facts[index]["at"]) for index in (0, -1))
    terminal.write(Text(subject(resource, names.of), "bold").append(f"  {resource}", "dim"))
    span = f"from {words.exact(first, terminal.zone)} to {words.exact(last, terminal.zone)}"
    terminal.write(Text(f"{words.plural(len(facts), 'event')} {span}", "dim"))
    if story.earlier:
        for line in Text(f"Others had this name before: {', '.join(story.earlier[-3:])}", "dim").folded(terminal.width):
            terminal.write(line)
    days: dict[str, list[list[Text]]] = {}
    for fact in facts:
        if not _is_quiet(fact["event"]):
            date, _, clock = words.exact(words.parse_time(fact["at"]), terminal.zone).partition(" ")
            who = Text(_who(fact, tasks), "cyan").cut(12 if terminal.narrow else 24)
            days.setdefault(date, []).append([Text(clock, "dim"), who, _what(fact, resource, tasks)])
    for date, rows in days.items():
        terminal.write("")
        terminal.write(Text(date, "dim"))
        print_grid(terminal, rows)


def _is_quiet(event: Fact) -> bool:
    """What the other facts say already."""
    if event["type"] == "task.step_ended":
        return event["outcome"] == "done" and not event.get("detail")
    return event["type"] in _QUIET and not event.get("error")


def _who(fact: Fact, tasks: dict[str, Fact]) -> str:
    """Whoever stands behind it: for a task's steps the one who asked for the task, for a report the cell."""
    cause = str(fact["cause"])
    if (task := tasks.get(cause)) is not None:
        return str(task["actor"])
    return cause.partition("/")[2].partition("@")[0] if cause.startswith("cell/") else words.who(str(fact["actor"]))


def _what(fact: Fact, resource: str, tasks: dict[str, Fact]) -> Text:
    said = phrase(fact["event"])
    if fact["resource"] == resource:
        line = Text(said)
        cause = str(fact["cause"])
        if cause in tasks:
            line.append(f"  (for {tasks[cause]['kind']})", "dim")
        elif cause.startswith("order/"):
            line.append("  (on order of Core)", "dim")
        elif cause.startswith("cell/"):
            line.append("  (as its cell reports)", "dim")
        return line
    task = tasks[fact["resource"]]
    return Text(f"{task['kind']} {said}", "dim")
