"""``show``: the life of one resource as a story: who, what, when and why, in sentences.

Facts of the tasks that worked on it are told along, because they are the why. Only facts of this resource and of its
tasks are held in memory.
"""

from argparse import Namespace
from typing import Any, Final

from nano.domain.errors import Unknown
from nano.tools.display import plain, words
from nano.tools.display.sentences import phrase, subject
from nano.tools.display.terminal import Terminal
from nano.tools.replay.facts import Fact, Names, facts_in
from nano.tools.replay.node import Node

TOLD_MAX: Final = 100_000
_QUIET: Final = frozenset({"guest.work_started", "guest.work_ended"})  # said by the task's own facts


def run(terminal: Terminal, node: Node, options: Namespace) -> int:
    names = Names()
    resource, facts, tasks = _collect(node, options.resource, names)
    if options.output == "json":
        for fact in facts:
            terminal.write(plain.json_line(fact))
    else:
        _tell(terminal, resource, facts, names, tasks)
    return 0


def _collect(node: Node, wanted: str, names: Names) -> tuple[str, list[Fact], dict[str, Fact]]:
    """The resource, its facts with those of its tasks, and those tasks' first events. Raises Unknown(no_such_history)."""
    resource = ""
    facts: list[Fact] = []
    tasks: dict[str, Fact] = {}
    early: list[Fact] = []  # of the transaction that made the resource: its task may have been written first
    for fact in facts_in(node.reader().lines(), names):
        event = fact["event"]
        if not resource and "/" not in wanted and fact["resource"].partition("/")[0] == wanted:
            continue  # a kind alone is no resource
        if not resource and names.matches(fact["resource"], wanted):
            resource = str(fact["resource"])
            facts += [other for other in early if other["event"].get("target") == resource]
        if event["type"] == "task.started" and (not resource or event.get("target") == resource):
            tasks[fact["resource"]] = event
        if fact["resource"] == resource or (resource and tasks.get(fact["resource"], {}).get("target") == resource):
            facts.append(fact)
        early = [*early, fact] if early and early[0]["at"] == fact["at"] else [fact]
        if len(facts) > TOLD_MAX:
            break
    if not resource:
        raise Unknown(
            f"Nothing in this journal is about {wanted!r}.",
            code="no_such_history",
            hint="Write kind/id or kind/name (guest/web); nano-replay log shows what there is.",
        )
    return resource, facts, {key: event for key, event in tasks.items() if event.get("target") == resource}


def _tell(terminal: Terminal, resource: str, facts: list[Fact], names: Names, tasks: dict[str, Fact]) -> None:
    from rich.table import Table
    from rich.text import Text

    first, last = (words.parse_time(facts[index]["at"]) for index in (0, -1))
    head = Text(subject(resource, names.of), style="bold")
    head.append(f"  {resource}", style="dim")
    terminal.show(head)
    spans = f"{words.plural(len(facts), 'event')} from {words.exact(first, terminal.zone)} to {words.exact(last, terminal.zone)}"
    terminal.show(Text(spans, style="dim"))
    narrow = terminal.width < 80
    day = ""
    grid: Table | None = None
    for fact in facts:
        if fact["event"]["type"] in _QUIET and not fact["event"].get("error"):
            continue
        date, _, clock = words.exact(words.parse_time(fact["at"]), terminal.zone).partition(" ")
        if date != day or grid is None:
            if grid is not None:
                terminal.show(grid)
            day = date
            terminal.show(Text(f"\n{date}", style="dim"))
            grid = Table.grid(padding=(0, 2, 0, 0))
            grid.add_column(style="dim", no_wrap=True)
            grid.add_column(style="cyan", no_wrap=True, max_width=12 if narrow else 24, overflow="ellipsis")
            grid.add_column(overflow="fold")
        grid.add_row(clock, _who(fact, tasks), _what(fact, resource, tasks))
    if grid is not None:
        terminal.show(grid)


def _who(fact: Fact, tasks: dict[str, Fact]) -> str:
    """Whoever stands behind it: for a task's steps the one who asked for the task, for a report the cell."""
    cause = str(fact["cause"])
    if (task := tasks.get(cause)) is not None:
        return str(task["actor"])
    return cause.partition("/")[2].partition("@")[0] if cause.startswith("cell/") else str(fact["actor"])


def _what(fact: Fact, resource: str, tasks: dict[str, Fact]) -> Any:
    from rich.text import Text

    said = phrase(fact["event"])
    if fact["resource"] == resource:
        line = Text(said)
        cause = str(fact["cause"])
        if cause in tasks:
            line.append(f"  (for {tasks[cause]['kind']})", style="dim")
        elif cause.startswith("order/"):
            line.append("  (on order of Core)", style="dim")
        elif cause.startswith("cell/"):
            line.append("  (as its cell reports)", style="dim")
        return line
    task = tasks[fact["resource"]]
    return Text(f"{task['kind']} {said}", style="dim")
