"""``top``: cells and guests and their load, redrawn whenever Core says something new. Ctrl-C ends it.

One event stream feeds it: rows as they change, the load every two seconds. Guests are ordered by what they use.
"""

import argparse
import time
from typing import Final

from nano.domain.errors import Unreachable
from nano.tools.display import words
from nano.tools.display.columns import Shower, cell_state, state, text
from nano.tools.display.table import Column, table_lines
from nano.tools.display.terminal import Terminal
from nano.tools.display.text import Text
from nano.tools.nanoctl.exits import OK, SILENT_RETRIES
from nano.tools.nanoctl.grammar import Verb
from nano.tools.nanoctl.session import BASE, Row, Session

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
        for line in draw(session, board):
            session.terminal.out.write(line + "\n")
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
    from rich.text import Text as LiveText

    def drawn(note: str = "") -> LiveText:
        return LiveText.from_ansi("\n".join(draw(session, board, note)))

    lost = 0
    console = session.terminal.console(session.terminal.out)
    with Live(drawn(), console=console, screen=True, auto_refresh=False) as live:
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
                        live.update(drawn(), refresh=True)
            except Unreachable as error:
                lost += 1
                if lost > SILENT_RETRIES:
                    raise
                live.update(drawn(error.message), refresh=True)
            time.sleep(RETRY_S)


def draw(session: Session, board: Board, note: str = "") -> list[str]:
    """The board as lines for the terminal."""
    terminal = session.terminal
    running = sum(row["state"] == "running" for row in board.guests.values())
    online = sum(row["state"] == "online" for row in board.cells.values())
    head = Text("nano", "bold").append(
        f"  {words.moment(terminal.now(), terminal.zone, narrow=terminal.narrow)}", "dim"
    )
    head.append(f"  cells {online}/{len(board.cells)}  guests {running}/{len(board.guests)} running")
    lines = [head.ansi(terminal.colours)]
    if note:
        lines.append(Text(note, "yellow").cut(terminal.width).ansi(terminal.colours))
    loads: Row = board.usage.get("cells", {})
    cells = [{**row, "load": loads.get(name, {})} for name, row in sorted(board.cells.items())]
    lines += ["", *table_lines(terminal, CELLS, cells)]
    if board.guests:
        loads = board.usage.get("guests", {})
        guests = sorted(({**row, "load": loads.get(key, {})} for key, row in board.guests.items()), key=_busiest)
        lines += ["", *table_lines(terminal, GUESTS, guests)]
    return lines


def _busiest(row: Row) -> tuple[float, str]:
    return -float(row["load"].get("cpu_percent", -1)), str(row["name"])


def _used(what: str) -> Shower:
    def show(row: Row, terminal: Terminal) -> Text:
        total = row["load"].get(f"{what}_total")
        free = row["load"].get(f"{what}_available", 0)
        return _bar(terminal, 100 * (total - free) / total if total else None)

    return show


def _used_memory(row: Row, terminal: Terminal) -> Text:
    used = row["load"].get("memory_used")
    return _bar(terminal, 100 * used / row["memory"] if used else None)


def _cpu(row: Row, terminal: Terminal) -> Text:
    return _bar(terminal, row["load"].get("cpu_percent"))


def _rate(what: str) -> Shower:
    return lambda row, _: words.rate(row["load"].get(f"{what}_rate")) if row["load"] else words.NOTHING


def _bar(terminal: Terminal, percent: float | None) -> Text:
    """Percent as a bar and a number; nothing while it is not measured."""
    if percent is None:
        return Text(words.NOTHING)
    number = f"{percent:3.0f} %"
    if terminal.narrow:
        return Text(number)
    full = round(min(percent, 100) / 100 * BAR)
    filled, empty = ("━", "─") if terminal.symbols else ("#", ".")
    style = "red" if percent >= 90 else "yellow" if percent >= 75 else "green"
    return Text(filled * full, style).append(empty * (BAR - full), "dim").append(f" {number}")


CELLS: Final = (
    Column("CELL", text("name")),
    Column("STATE", lambda row, terminal: terminal.state(cell_state(row)), shorten=False),
    Column("CPU", _cpu),
    Column("MEMORY", _used("memory")),
    Column("DISK", _used("disk"), 1),
    Column("RECEIVE", _rate("receive"), 2, justify="right"),
    Column("SEND", _rate("send"), 2, justify="right"),
)
GUESTS: Final = (
    Column("GUEST", text("name")),
    Column("STATE", state, shorten=False),
    Column("CPU", _cpu),
    Column("MEMORY", _used_memory),
    Column("READ", _rate("read"), 3, justify="right"),
    Column("WRITE", _rate("write"), 3, justify="right"),
    Column("RECEIVE", _rate("receive"), 2, justify="right"),
    Column("SEND", _rate("send"), 2, justify="right"),
)
