"""``stats``: what a journal is made of: events by type, growth, who commits, which resources weigh most.

One pass; what is held is a pair of numbers for each resource, type, actor and hour. Bytes are those of the commit log's
lines; a resource's are those of its events.
"""

from argparse import Namespace
from collections import defaultdict
from collections.abc import Iterator
from datetime import datetime
from pathlib import Path
from typing import Any, Final, NamedTuple

import msgspec

from nano.domain.naming import format_size
from nano.journal.archive import text_size
from nano.journal.disk import Disk
from nano.journal.line import Line, format_time
from nano.journal.reader import JournalReader
from nano.journal.segments import list_segments
from nano.tools.display import plain, words
from nano.tools.display.card import print_fields
from nano.tools.display.sentences import subject
from nano.tools.display.table import Column, Row, print_table
from nano.tools.display.terminal import Terminal
from nano.tools.display.text import Text
from nano.tools.replay.facts import Names
from nano.tools.replay.node import Node

HOURS_MAX: Final = 48  # a longer span is told in days
BAR: Final = 20
_tag = msgspec.json.Decoder(dict[str, Any])


class Sum:
    """How much of something."""

    __slots__ = ("bytes", "events", "transactions")

    def __init__(self) -> None:
        self.events = self.transactions = self.bytes = 0

    def add(self, events: int, transactions: int, size: int) -> None:
        self.events += events
        self.transactions += transactions
        self.bytes += size

    def row(self, name: str, key: str) -> Row:
        return {name: key, "events": self.events, "transactions": self.transactions, "bytes": self.bytes}


class Sized(NamedTuple):
    line: "Line[msgspec.Raw]"
    size: int  # bytes, newline included


def sized(reader: JournalReader, disk: Disk) -> Iterator[Sized]:
    """Every line with its length. One line behind the reader, because a line ends where the next begins."""
    before: tuple[Line[msgspec.Raw], Path, int] | None = None
    for line in reader.lines():
        if before is not None:
            yield Sized(before[0], _end(before[1], reader, disk) - before[2])
        before = (line, reader.path, reader.offset)
    if before is not None:
        yield Sized(before[0], text_size(disk, before[1]) - before[2])


def _end(path: Path, reader: JournalReader, disk: Disk) -> int:
    return reader.offset if reader.path == path else text_size(disk, path)


class Stats:
    def __init__(self) -> None:
        self.total = Sum()
        self.first: datetime | None = None
        self.last: datetime | None = None
        self.types: defaultdict[str, Sum] = defaultdict(Sum)
        self.actors: defaultdict[str, Sum] = defaultdict(Sum)
        self.hours: defaultdict[str, Sum] = defaultdict(Sum)
        self.resources: defaultdict[str, Sum] = defaultdict(Sum)
        self.names = Names()

    def take(self, line: "Line[msgspec.Raw]", size: int) -> None:
        count = len(line.events)
        self.total.add(count, 1, size)
        self.actors[line.actor].add(count, 1, size)
        self.hours[format_time(line.time)[:13]].add(count, 1, size)
        self.first = self.first or line.time
        self.last = line.time
        for entry in line.events:
            event, weight = _tag.decode(entry.event), len(memoryview(entry.event))
            self.types[str(event.get("type"))].add(1, 0, weight)
            self.resources[entry.resource].add(1, 0, weight)
            self.names.learn(entry.resource, event)

    def growth(self, by: str | None) -> tuple[str, list[Row]]:
        """Per hour or day in UTC, oldest first; spans without a fact have no row."""
        if self.first is None or self.last is None:
            return by or "day", []
        by = by or ("hour" if (self.last - self.first).total_seconds() <= HOURS_MAX * 3600 else "day")
        spans: defaultdict[str, Sum] = defaultdict(Sum)
        for hour, found in self.hours.items():
            spans[f"{hour}:00:00Z" if by == "hour" else hour[:10]].add(found.events, found.transactions, found.bytes)
        return by, [found.row("from", span) for span, found in sorted(spans.items())]


def run(terminal: Terminal, node: Node, options: Namespace) -> int:
    reader = node.reader()
    stats = Stats()
    for line, size in sized(reader, node.disk):
        stats.take(line, size)
    if options.output == "json":
        terminal.data(plain.json_line(_record(node, reader, stats, options)))
    else:
        _print(terminal, node, stats, options)
    return 0


def _record(node: Node, reader: JournalReader, stats: Stats, options: Namespace) -> Row:
    by, growth = stats.growth(options.by)
    resources = _largest(stats.resources, "resource", options.top, "bytes")
    return {
        "node": node.name,
        "kind": node.kind,
        "position": reader.position,
        "events": stats.total.events,
        "transactions": stats.total.transactions,
        "bytes": stats.total.bytes,
        "segments": segments(node),
        "resources": len(stats.resources),
        "first_at": format_time(stats.first) if stats.first else None,
        "last_at": format_time(stats.last) if stats.last else None,
        "head": reader.hash.decode(),
        "types": [_no_transactions(row) for row in _largest(stats.types, "type", None, "events")],
        "actors": _largest(stats.actors, "actor", None, "transactions"),
        "growth": {"by": by, "spans": growth},
        "largest": [{**_no_transactions(row), "name": stats.names.of.get(row["resource"], "")} for row in resources],
    }


def _no_transactions(row: Row) -> Row:
    return {name: value for name, value in row.items() if name != "transactions"}


def segments(node: Node) -> int:
    return len(list_segments(node.disk, node.journal / "commits"))


def _largest(found: "dict[str, Sum]", name: str, top: int | None, by: str) -> list[Row]:
    rows = [summed.row(name, key) for key, summed in found.items()]
    return sorted(rows, key=lambda row: (-row[by], row[name]))[:top]


def _print(terminal: Terminal, node: Node, stats: Stats, options: Namespace) -> None:
    total = stats.total
    terminal.write(Text(f"journal of {node.name}", "bold"))
    if stats.first is None or stats.last is None:
        terminal.note("Nothing was recorded yet.")
        return
    seconds = (stats.last - stats.first).total_seconds()
    each = f", {total.bytes // max(1, total.events)} bytes an event" if total.events else ""
    fields: list[tuple[str, str | Text]] = [
        ("events", f"{total.events} in {words.plural(total.transactions, 'transaction')}"),
        ("size", f"{format_size(total.bytes)} in {words.plural(segments(node), 'segment')}{each}"),
        ("resources", str(len(stats.resources))),
        ("from", words.exact(stats.first, terminal.zone)),
        ("to", f"{words.exact(stats.last, terminal.zone)}, {words.lasted(seconds)} later"),
    ]
    print_fields(terminal, fields)
    top = options.top
    _table(terminal, "events by type", _largest(stats.types, "type", None, "events"), top, _types(total.events))
    _table(terminal, "commits per actor", _largest(stats.actors, "actor", None, "transactions"), top, _ACTORS)
    by, growth = stats.growth(options.by)
    most = max(row["events"] for row in growth)
    _table(terminal, f"growth per {by} (UTC)", growth, top, _growth(most), last=True)
    _table(
        terminal,
        "largest resources",
        _largest(stats.resources, "resource", None, "bytes"),
        top,
        _largest_of(stats.names),
    )


def _table(
    terminal: Terminal, title: str, rows: list[Row], top: int, columns: tuple[Column, ...], *, last: bool = False
) -> None:
    """``last`` = when not all fit, the newest are shown."""
    terminal.write("")
    shown = rows[-top:] if last else rows[:top]
    left = len(rows) - len(shown)
    terminal.write(Text(title, "bold").append(f"  {left} more: --top {len(rows)}" if left else "", "dim"))
    print_table(terminal, columns, shown)


def _number(name: str) -> Column:
    return Column(name.upper(), lambda row, _: str(row[name]), justify="right")


_BYTES: Final = Column("BYTES", lambda row, _: format_size(row["bytes"]), 1, justify="right")
_ACTORS: Final = (
    Column("ACTOR", lambda row, _: words.who(row["actor"])),
    Column("COMMITS", lambda row, _: str(row["transactions"]), justify="right"),
    _number("events"),
    _BYTES,
)


def _types(total: int) -> tuple[Column, ...]:
    share = Column("SHARE", lambda row, _: words.percent(100 * row["events"] / total), 1, justify="right")
    return Column("TYPE", lambda row, _: row["type"]), _number("events"), share, _BYTES


def _growth(most: int) -> tuple[Column, ...]:
    def bar(row: Row, terminal: Terminal) -> Text:
        return Text(("▇" if terminal.symbols else "#") * max(1, round(BAR * row["events"] / max(1, most))), "cyan")

    return (
        Column("FROM", lambda row, _: row["from"].replace("T", " ").removesuffix(":00Z")),
        _number("events"),
        Column("COMMITS", lambda row, _: str(row["transactions"]), 2, justify="right"),
        _BYTES,
        Column("", bar, 3),
    )


def _largest_of(names: Names) -> tuple[Column, ...]:
    return (
        Column("RESOURCE", lambda row, _: subject(row["resource"], names.of), fold=True),
        _number("events"),
        _BYTES,
        Column("ID", lambda row, _: row["resource"], 2),
    )
