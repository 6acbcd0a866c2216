"""``why``: the causal chain from a state, or one field of it, back to the request: command, actor and time.

The chain goes over the journals of Core, Cell and FrontEnd where they are found (``neighbours``). A link whose journal is
not at hand is told as missing; it is no error, and the rest of the chain is told all the same.
"""

from argparse import Namespace
from typing import Final

from nano.tools.display import plain, words
from nano.tools.display.sentences import sentence, subject
from nano.tools.display.table import print_grid
from nano.tools.display.terminal import Terminal
from nano.tools.display.text import Text
from nano.tools.replay.causes import Link, chain
from nano.tools.replay.difference import shown
from nano.tools.replay.facts import HIDDEN, hide
from nano.tools.replay.neighbours import gather
from nano.tools.replay.node import Node
from nano.tools.replay.tracing import Change, last_change

RELATIONS: Final = {
    "report": "as its cell reported",
    "failure": "because its cell failed",
    "order": "on order of Core",
    "task": "as a step of a task",
    "debt": "to settle a debt",
    "session": "through the portal",
}


def run(terminal: Terminal, node: Node, options: Namespace) -> int:
    nodes = gather(options.sources)
    change = last_change(node, options.resource)
    links = list(chain(nodes, node, change.place))
    if options.output == "json":
        for number, link in enumerate(links, start=1):
            terminal.data(plain.json_line({"link": number, **hide(link.record())}))
    else:
        _print(terminal, change, links)
    return 0


def _print(terminal: Terminal, change: Change, links: list[Link]) -> None:
    names = {change.resource: change.name}
    for link in links:
        event = (link.fact or {}).get("event", {})
        if isinstance(event.get("target"), str):
            names[str((link.fact or {})["resource"])] = f"{event.get('kind')} of {event.get('target_name')}"
    if change.resource.startswith("guest/"):
        names[f"domain/{change.resource.partition('/')[2]}"] = change.name
    terminal.write(Text(subject(change.resource, names), "bold").append(f"  {change.resource}", "dim"))
    terminal.write(_headline(terminal, change))
    rows: list[list[Text]] = []
    for link in links:
        if link.relation in RELATIONS:
            sure = "" if link.certain else ", it seems" if link.relation == "task" else ", one of these sessions"
            rows.append([Text(), Text(), Text(f"  ↑ {RELATIONS[link.relation]}{sure}" if terminal.symbols else
                                              f"  ^ {RELATIONS[link.relation]}{sure}", "dim")])  # fmt: skip
        rows.append(_row(terminal, link, names))
    print_grid(terminal, rows)


def _headline(terminal: Terminal, change: Change) -> Text:
    if change.state is None:
        return Text("does not exist any more, because", "dim")
    if not change.field:
        return Text("is as it is, because", "dim")
    secret = change.field.rpartition(".")[2] in HIDDEN
    value = "(hidden)" if secret else shown(terminal, change.field, change.value)
    return Text(f"{change.field} is ", "dim").append(value).append(", because", "dim")


def _row(terminal: Terminal, link: Link, names: dict[str, str]) -> list[Text]:
    who = Text(link.node, "cyan").cut(12 if terminal.narrow else 24)
    if link.fact is not None:
        fact = link.fact
        said = Text(sentence(fact["event"], fact["resource"], names))
        return [_when(terminal, str(fact["at"])), who, said.append(f"  ({link.kind} {fact['position']})", "dim")]
    if link.relation == "missing":
        return [Text(), who, Text(f"{link.said['what']} is missing: {link.said['hint']}", "yellow")]
    actor, command = words.who(link.said["actor"]), link.said["command_id"]
    if link.relation == "origin":
        said = Text(f"{actor} itself", "bold").append(" saw or did it; no request led there", "dim")
    else:
        said = Text(actor, "bold").append(" asked for it")
        said.append(f", command {command}" if command else "", "dim")
    return [_when(terminal, link.said["at"]), who, said]


def _when(terminal: Terminal, at: str) -> Text:
    return Text(words.moment(words.parse_time(at), terminal.zone, narrow=terminal.narrow), "dim")
