"""``top``: cells and guests and their load, redrawn whenever Core says something new. Ctrl-C ends it.

One event stream feeds it: rows as they change, the load every two seconds. Guests are ordered by what they use.
"""

import argparse
import time
from typing import TYPE_CHECKING, Any, Final

from nano.domain.errors import Unreachable
from nano.tools.display import words
from nano.tools.display.columns import cell_state
from nano.tools.nanoctl.exits import OK, SILENT_RETRIES
from nano.tools.nanoctl.grammar import Verb
from nano.tools.nanoctl.session import BASE, Row, Session

if TYPE_CHECKING:
    from rich.console import Group, RenderableType
    from rich.table import Table

RETRY_S: Final = 1.0
BAR: Final = 8
KINDS: Final = "cell,guest,usage"


class Board:
    """What is known now: rows by id and the last load."""

    def __init__(self, cells: list[Row], guests: list[Row], usage: Row) -> None:
        self.cells = {row["name"]: row for row in cells}
        self.guests = {row["id"]: row for row in guests}
        self.usage = usage

    def take(self, change: Row) -> None:
        kind, _, key = str(change["resource"]).partition("/")
        rows = {"cell": self.cells, "guest": self.guests}.get(kind)
        if rows is None:
            return
        if change.get("row") is None:
            rows.pop(key, None)
        else:
            rows[key] = change["row"]


def run(session: Session, verb: Verb, namespace: argparse.Namespace) -> int:  # noqa: ARG001
    board, position = _load(session)
    if not session.for_people:
        session.print_data({"cells": [*board.cells.values()], "guests": [*board.guests.values()], "usage": board.usage})
        return OK
    if getattr(namespace, "once", False) or not session.terminal.out.isatty():
        session.terminal.show(draw(session, board))
        return OK
    try:
        _watch(session, board, position)
    except KeyboardInterrupt:
        return OK
    return OK


def _load(session: Session) -> tuple[Board, int]:
    position = int(session.get("/zone")["position"])
    return Board([*session.rows("/cells")], [*session.rows("/guests")], session.get("/usage")), position


def _watch(session: Session, board: Board, position: int | None) -> None:
    from rich.live import Live

    lost = 0
    with Live(draw(session, board), console=session.terminal.console, screen=True, auto_refresh=False) as live:
        while True:
            try:
                with session.api.events(f"{BASE}/events", query={"kinds": KINDS}, after=position) as stream:
                    for event in stream:
                        lost = 0
                        if event.event == "usage":
                            board.usage = event.json()
                        elif event.event == "change":
                            board.take(event.json())
                        position = stream.last_id or position
                        live.update(draw(session, board), refresh=True)
            except Unreachable as error:
                lost += 1
                if lost > SILENT_RETRIES:
                    raise
                live.update(draw(session, board, note=error.message), refresh=True)
            time.sleep(RETRY_S)


def draw(session: Session, board: Board, note: str = "") -> "Group":
    from rich.console import Group
    from rich.text import Text

    terminal = session.terminal
    running = sum(row["state"] == "running" for row in board.guests.values())
    online = sum(row["state"] == "online" for row in board.cells.values())
    head = Text.assemble(
        ("nano", "bold"),
        (f"  {words.moment(terminal.now(), terminal.zone, narrow=terminal.narrow)}", "dim"),
        f"  cells {online}/{len(board.cells)}  guests {running}/{len(board.guests)} running",
    )
    parts: list[RenderableType] = [head]
    if note:
        parts.append(Text(note, style="yellow"))
    parts += [Text(""), _cells(session, board)]
    if board.guests:
        parts += [Text(""), _guests(session, board)]
    return Group(*parts)


def _table(titles: tuple[str, ...], narrow: bool) -> "Table":
    from rich.table import Table

    table = Table(box=None, pad_edge=False, padding=(0, 2, 0, 0), header_style="dim")
    for number, title in enumerate(titles):
        left = number < 2 or (title in ("CPU", "MEMORY", "DISK") and not narrow)
        table.add_column(title, justify="left" if left else "right", no_wrap=True, overflow="ellipsis")
    return table


def _cells(session: Session, board: Board) -> "Table":
    narrow = session.terminal.width < 100
    titles = ("CELL", "STATE", "CPU", "MEMORY", "DISK") + (() if narrow else ("RECEIVE", "SEND"))
    table = _table(titles, narrow)
    for name, row in sorted(board.cells.items()):
        load: Row = board.usage.get("cells", {}).get(name, {})
        cells: list[Any] = [name, session.terminal.state(cell_state(row))]
        cells.append(_bar(session, load.get("cpu_percent"), narrow))
        cells.append(_bar(session, _used(load, "memory"), narrow))
        cells.append(_bar(session, _used(load, "disk"), narrow))
        if not narrow:
            cells += [_rate(load, "receive"), _rate(load, "send")]
        table.add_row(*cells)
    return table


def _guests(session: Session, board: Board) -> "Table":
    narrow = session.terminal.width < 100
    titles = ("GUEST", "STATE", "CPU", "MEMORY") + (() if narrow else ("READ", "WRITE", "RECEIVE", "SEND"))
    table = _table(titles, narrow)
    loads: Row = board.usage.get("guests", {})

    def busiest(row: Row) -> tuple[float, str]:
        return -float(loads.get(row["id"], {}).get("cpu_percent", -1)), str(row["name"])

    for row in sorted(board.guests.values(), key=busiest):
        load: Row = loads.get(row["id"], {})
        used = 100 * load["memory_used"] / row["memory"] if load.get("memory_used") else None
        cells: list[Any] = [row["name"], session.terminal.state(row["state"])]
        cells += [_bar(session, load.get("cpu_percent"), narrow), _bar(session, used, narrow)]
        if not narrow:
            cells += [_rate(load, what) for what in ("read", "write", "receive", "send")]
        table.add_row(*cells)
    return table


def _used(load: Row, what: str) -> float | None:
    total = load.get(f"{what}_total")
    return 100 * (total - load.get(f"{what}_available", 0)) / total if total else None


def _rate(load: Row, what: str) -> str:
    return words.rate(load.get(f"{what}_rate")) if load else words.NOTHING


def _bar(session: Session, percent: float | None, narrow: bool) -> Any:
    """Percent as a bar and a number; nothing while it is not measured."""
    from rich.text import Text

    if percent is None:
        return words.NOTHING
    number = f"{percent:3.0f} %"
    if narrow:
        return number
    full = round(min(percent, 100) / 100 * BAR)
    filled, empty = ("━", "─") if session.terminal.symbols else ("#", ".")
    style = "red" if percent >= 90 else "yellow" if percent >= 75 else "green"
    return Text.assemble((filled * full, style), (empty * (BAR - full), "dim"), f" {number}")
