"""``diff``: what differs between two moments, per resource and field, from states folded in one reading.

Only resources that were written of in between are compared, so a difference is never one of forgetting: a model keeps
a bounded number of ended tasks and closed orders, and one that left it for that is not told as removed. A field inside
another is named by its path (``spec.cores``); lists are compared whole.
"""

from argparse import Namespace
from collections.abc import Iterator
from typing import Any, Final

import msgspec

from nano.domain.errors import Invalid, Unknown
from nano.domain.facts import State, kind_of
from nano.domain.naming import format_size
from nano.tools.display import plain, words
from nano.tools.display.card import SIZES
from nano.tools.display.sentences import subject
from nano.tools.display.table import print_grid
from nano.tools.display.terminal import Terminal
from nano.tools.display.text import Text
from nano.tools.replay.facts import HIDDEN, hide
from nano.tools.replay.fold import Fold, fold_to
from nano.tools.replay.folding import is_meant, name_of
from nano.tools.replay.moments import SHOWN, parse_moment, tell_end
from nano.tools.replay.node import Node

FORGOTTEN: Final = frozenset({"task", "order"})
MARKS: Final = {"added": ("+", "green"), "removed": ("-", "red"), "changed": ("~", "yellow")}
Record = dict[str, Any]


def run(terminal: Terminal, node: Node, options: Namespace) -> int:
    texts = options.at or ()
    if not 1 <= len(texts) <= 2:
        raise Invalid(
            f"A difference is between two moments, and {words.plural(len(texts), 'was', 'were')} given.",
            code="invalid_moments",
            hint="Write --at A --at B; with one --at the other is the end of the journal.",
        )
    moments = [parse_moment(text, terminal.now(), terminal.zone) for text in texts]
    folds, touched = fold_to(node, [*moments, None] if len(moments) == 1 else moments)
    before, after = folds
    tell_end(terminal, moments, max(before.position, after.position))
    if options.resource:
        touched = _only(touched, before, after, options.resource)
    found = differences(before, after, touched)
    if options.output == "json":
        for record in found:
            terminal.data(plain.json_line(record))
    else:
        _print(terminal, before, after, found)
    return 0


def _only(touched: set[str], before: Fold, after: Fold, wanted: str) -> set[str]:
    """Those of them that are meant: by kind/id, kind/name, id, name, or a kind. Raises Unknown(not_there)."""
    there = [
        resource
        for folded in (before, after)
        for resource, state in folded.model.states.items()
        if wanted in (resource, kind_of(resource)) or is_meant(resource, state, wanted)
    ]
    if not there:
        raise Unknown(
            f"{wanted[:SHOWN]} exists neither at position {before.position} nor at {after.position}.",
            code="not_there",
            hint=f"See its whole life: nano-replay show {wanted[:SHOWN]}",
        )
    return touched.intersection(there)


def differences(before: Fold, after: Fold, touched: set[str]) -> Iterator[Record]:
    """One record for each resource that differs, in the order of their names."""
    for resource in sorted(touched):
        old, new = before.model.states.get(resource), after.model.states.get(resource)
        if old is new or (new is None and kind_of(resource) in FORGOTTEN):
            continue
        versions = {"from": before.version(resource), "to": after.version(resource)}
        record: Record = {"resource": resource, "name": name_of(new or old), "version": versions}  # type: ignore[arg-type]
        if old is None or new is None:
            change = "added" if old is None else "removed"
            yield {**record, "change": change, "state": hide(_plain(new if old is None else old))}
        elif fields := changed_fields(old, new):
            yield {**record, "change": "changed", "fields": fields}


def changed_fields(old: State, new: State) -> list[Record]:
    """``{"field", "change", "from", "to"}`` for each that differs."""
    left, right = flat(old), flat(new)
    found = []
    for field in [*left, *(field for field in right if field not in left)]:
        one, other = left.get(field), right.get(field)
        if one == other:
            continue
        change = "added" if field not in left else "removed" if field not in right else "changed"
        if field.rpartition(".")[2] in HIDDEN:
            one, other = (value and "(hidden)" for value in (one, other))
        found.append({"field": field, "change": change, "from": one, "to": other})
    return found


def flat(state: State | None) -> dict[str, Any]:
    """Fields by their path; nothing for what does not exist."""
    return dict(_paths(_plain(state), "")) if state is not None else {}


def _plain(state: State | None) -> Any:
    return msgspec.json.decode(msgspec.json.encode(state))


def _paths(value: dict[str, Any], prefix: str) -> Iterator[tuple[str, Any]]:
    for name, inner in value.items():
        if isinstance(inner, dict):
            yield from _paths(inner, f"{prefix}{name}.")
        else:
            yield f"{prefix}{name}", inner


# ---------------------------------------------------------------------- for people


def _print(terminal: Terminal, before: Fold, after: Fold, found: Iterator[Record]) -> None:
    for title, folded in (("from", before), ("to", after)):
        at = words.exact(folded.time, terminal.zone) if folded.position else "the beginning"
        terminal.write(Text(f"{title:<4} position {folded.position}, {at}", "dim"))
    differs = False
    for record in found:
        differs = True
        _print_one(terminal, record)
    if not differs:
        terminal.note("Nothing differs.")


def _print_one(terminal: Terminal, record: Record) -> None:
    mark, style = MARKS[record["change"]]
    resource = record["resource"]
    terminal.write("")
    headline = Text(f"{mark} {subject(resource, {resource: record['name']})}", style)
    if not terminal.narrow:
        headline.append(f"  {resource}", "dim")
    terminal.write(headline)
    if record["change"] == "changed":
        print_fields(terminal, record["fields"])
        return
    if record["change"] == "added":
        fields = dict(_paths(record["state"], ""))
        rows = [
            [Text(f"    {field}", "dim"), Text(shown(terminal, field, value))]
            for field, value in fields.items()
            if value not in ("", None, [], False, 0)
        ]
    else:
        rows = []
    print_grid(terminal, rows)


def print_fields(terminal: Terminal, fields: list[Record]) -> None:
    """Those that differ, one a line."""
    rows = [
        [Text(f"    {field['field']}", "dim"), arrow(terminal, field["field"], field["from"], field["to"])]
        for field in fields
    ]
    print_grid(terminal, rows)


def arrow(terminal: Terminal, field: str, old: Any, new: Any) -> Text:
    arrow = " → " if terminal.symbols else " -> "
    one, other = shown(terminal, field, old), shown(terminal, field, new)
    if one == other:  # within one second, or cut to the same words
        one, other = str(old), str(new)
    return Text(one, "red").append(arrow, "dim").append(other, "green")


def shown(terminal: Terminal, field: str, value: Any) -> str:
    """A value of a state as people read it."""
    name = field.rpartition(".")[2]
    if value in ("", None, []):
        return words.NOTHING
    if isinstance(value, bool):
        return words.yes(value)
    if name.endswith("_at") and isinstance(value, str):
        return words.exact(words.parse_time(value), terminal.zone)
    if name in SIZES and isinstance(value, int):
        return format_size(value)
    if name == "disks":
        return words.sizes(value)
    if isinstance(value, list):
        return ", ".join(_brief(inner) for inner in value)
    return str(value)


def _brief(value: Any) -> str:
    """A part of a list: a task's step as "make domain done"."""
    if isinstance(value, dict) and {"name", "state"} <= value.keys():
        return f"{value['name']} {value['state']}"
    return plain.json_line(value) if isinstance(value, dict) else str(value)
