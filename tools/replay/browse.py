"""``browse``: walk about in a journal with the keys of a terminal: what happened, to what, and what each fact changed.

Where there is no terminal the last facts are printed with what they changed, or, as JSON lines, all that are held.
A live node's journal goes on growing on the screen.
"""

import os
import sys
from argparse import Namespace
from typing import Any, Final, TextIO

from nano.tools.display import plain
from nano.tools.display.terminal import Terminal
from nano.tools.replay.browser import Browser
from nano.tools.replay.difference import changed_fields, print_fields
from nano.tools.replay.log import print_fact
from nano.tools.replay.moments import parse_moment
from nano.tools.replay.node import Node
from nano.tools.replay.walk import Step, Walk

LOOK_S: Final = 0.5
PRINTED: Final = 20


def run(terminal: Terminal, node: Node, options: Namespace, *, keyboard: TextIO = sys.stdin) -> int:
    until = parse_moment(options.at, terminal.now(), terminal.zone) if options.at else None
    walk = Walk(node, until)
    if options.output == "json":
        for step in walk.steps:
            terminal.data(plain.json_line({**step.fact, "changes": _changes(step)}))
    elif terminal.out.isatty() and keyboard.isatty():
        _browse(terminal, Browser(terminal, walk), keyboard)
    else:
        _print(terminal, walk)
    return 0


def _changes(step: Step) -> list[dict[str, Any]]:
    if step.before is None or step.after is None:
        return []
    return changed_fields(step.before, step.after)


def _print(terminal: Terminal, walk: Walk) -> None:
    for step in list(walk.steps)[-PRINTED:]:
        print_fact(terminal, step.fact, {step.resource: step.name})
        print_fields(terminal, _changes(step))
    terminal.note(f"The last {PRINTED}, for this is no terminal; nano-replay log prints all.")


def _browse(terminal: Terminal, browser: Browser, keyboard: TextIO) -> None:
    from rich.live import Live
    from rich.text import Text as LiveText

    from nano.tools.display.keys import keys

    def drawn() -> LiveText:
        columns, lines = os.get_terminal_size(terminal.out.fileno())
        console.size = (columns or 80, lines or 24)
        page = browser.draw(console.width, console.height)
        return LiveText("\n").join(LiveText.from_ansi(line.ansi(terminal.colours)) for line in page)

    console = terminal.console(terminal.out)
    with keys(keyboard) as wait, Live(console=console, screen=True, auto_refresh=False) as live:
        live.update(drawn(), refresh=True)
        while True:
            key = wait(LOOK_S)
            if key and not browser.key(key):
                return
            if not key and browser.walk.go_on():
                browser.grown()
            live.update(drawn(), refresh=True)
