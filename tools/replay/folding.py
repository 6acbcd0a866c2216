"""``state``: what was true at a moment: the journal folded by the node's own model up to it.

For a Core the same rows and tables are shown that its API shows. Ages are told as of that moment.
"""

from argparse import Namespace
from collections.abc import Iterator
from typing import Any

import msgspec

from nano.domain.errors import Unknown
from nano.domain.facts import Model, State, kind_of
from nano.tools.display import plain, words
from nano.tools.display.sentences import subject
from nano.tools.display.terminal import Terminal
from nano.tools.display.text import Text
from nano.tools.replay.facts import hide
from nano.tools.replay.fold import Fold, fold
from nano.tools.replay.moments import SHOWN, parse_moment, tell_end
from nano.tools.replay.node import Node


def run(terminal: Terminal, node: Node, options: Namespace) -> int:
    until = parse_moment(options.at, terminal.now(), terminal.zone) if options.at else None
    folded = fold(node, until)
    tell_end(terminal, [until], folded.position)
    if options.resource:
        _show_one(terminal, folded, options)
    elif options.output == "json":
        for resource in sorted(folded.model.states):
            terminal.data(plain.json_line(_record(folded, resource)))
    else:
        _show_all(terminal, node, folded)
    return 0


def _record(folded: Fold, resource: str) -> dict[str, Any]:
    state = hide(msgspec.to_builtins(folded.model.states[resource]))
    return {"resource": resource, "version": folded.version(resource), "position": folded.position, "state": state}


def _show_one(terminal: Terminal, folded: Fold, options: Namespace) -> None:
    resource = _find(folded.model, options.resource)
    if not resource:
        at = f"at position {folded.position}" if options.at else "now"
        raise Unknown(
            f"{options.resource[:SHOWN]} does not exist {at}.",
            code="not_there",
            hint=f"See its whole life: nano-replay show {options.resource[:SHOWN]}",
        )
    if options.output == "json":
        terminal.data(plain.json_line(_record(folded, resource)))
        return
    from nano.tools.display.card import print_card

    then = _at(terminal, folded)
    _headline(then, folded)
    state = _flat(hide(msgspec.to_builtins(folded.model.states[resource])))
    print_card(then, kind_of(resource), {"name": subject(resource, {}), **state, "version": folded.version(resource)})


def _flat(state: dict[str, Any]) -> dict[str, Any]:
    """A guest's spec among its other fields: one card, no nesting."""
    spec = state.pop("spec", None)
    return {**spec, **state} if isinstance(spec, dict) else state


def _find(model: Model, wanted: str) -> str:
    """A resource by kind/id, kind/name, id or name; "" when there is none."""
    if wanted in model.states:
        return wanted
    return next((resource for resource, state in model.states.items() if is_meant(resource, state, wanted)), "")


def is_meant(resource: str, state: State, wanted: str) -> bool:
    kind, _, reference = wanted.rpartition("/")
    of_kind, _, identifier = resource.partition("/")
    return (not kind or kind == of_kind) and reference in (identifier, name_of(state))


def name_of(state: State) -> str:
    """The name a state bears; "" when things of its kind have none."""
    if of := getattr(state, "resource_name", ""):
        return f"{getattr(state, 'kind', '')} of {of}"
    return str(getattr(state, "name", "") or getattr(getattr(state, "spec", None), "name", ""))


# ---------------------------------------------------------------------- everything


def _at(terminal: Terminal, folded: Fold) -> Terminal:
    """The same terminal, with the moment as its clock."""
    return Terminal(terminal.out, terminal.err, now=lambda: folded.time, zone=terminal.zone, width=terminal.width)


def _headline(terminal: Terminal, folded: Fold) -> None:
    terminal.write(Text(f"at position {folded.position}, {words.exact(folded.time, terminal.zone)}", "dim"))


def _show_all(terminal: Terminal, node: Node, folded: Fold) -> None:
    from nano.tools.display.columns import COLUMNS
    from nano.tools.display.table import print_table
    from nano.tools.replay.columns import columns_of

    then = _at(terminal, folded)
    _headline(then, folded)
    shown = False
    for kind, rows in _zone_rows(folded) if node.kind == "core" else _other_rows(folded):
        if rows:
            then.write("")
            then.write(Text(f"{words.plural(len(rows), kind.replace('_', ' '))}", "bold"))
            print_table(then, COLUMNS.get(kind) or columns_of(kind), rows)
            shown = True
    if not shown:
        terminal.note("Nothing exists yet.")


def _zone_rows(folded: Fold) -> Iterator[tuple[str, list[dict[str, Any]]]]:
    """As Core's API would have shown them; of the tasks those that were open."""
    from nano.domain.task import ENDED
    from nano.domain.zone import Zone
    from nano.projections.zone_views import KINDS, ZoneViews

    assert isinstance(folded.model, Zone)
    views = ZoneViews("replay")
    views.load(folded.model, folded.version, folded.position)
    for kind in KINDS:
        table = views.tables[kind]
        rows = [msgspec.to_builtins(table.row(key)) for key in table.ids()]
        yield kind, [row for row in rows if kind != "task" or row["state"] not in ENDED]


def _other_rows(folded: Fold) -> Iterator[tuple[str, list[dict[str, Any]]]]:
    by_kind: dict[str, list[dict[str, Any]]] = {}
    for resource, state in folded.model.states.items():
        row = _flat(hide(msgspec.to_builtins(state)))
        kind = kind_of(resource)
        if kind == "order" and row.get("state") != "open":
            continue
        by_kind.setdefault(kind, []).append({"resource": resource, **row})
    yield from sorted(by_kind.items())
