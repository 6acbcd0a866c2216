"""``rebuild`` and ``import``: a new folder with the same log, line by line verified, and resource journals derived anew."""

from argparse import Namespace
from pathlib import Path

from nano.domain.errors import Invalid
from nano.tools.display import plain, words
from nano.tools.display.card import print_fields
from nano.tools.display.progress import bar
from nano.tools.display.terminal import Terminal
from nano.tools.display.text import Text
from nano.tools.replay.making import make_node, new_folder
from nano.tools.replay.node import Node


def run(terminal: Terminal, node: Node, options: Namespace) -> int:
    into: Path = options.into.absolute()
    if node.start is not None:
        raise Invalid(
            "A slice of a journal has no beginning, so no node's folder can be made of it.",
            code="slice_without_beginning",
            hint="Read it as it is: nano-replay --bundle FILE state.",
        )
    with new_folder(into, node.folder) as folder, bar(terminal) as moved:
        report = make_node(node, folder, terminal.now, moved)
    if options.output == "json":
        found = {
            "done": True,
            "into": str(into),
            "node": node.name,
            "kind": node.kind,
            "position": report.position,
            "lines": report.lines,
            "segments": report.segments,
            "resources": report.resources,
            "resource_rows": report.resource_rows,
            "hash": report.hash,
        }
        terminal.data(plain.json_line(found))
        return 0
    terminal.write(Text(f"journal of {node.name}", "bold").append("  ").append(terminal.state("done", "made anew")))
    print_fields(
        terminal,
        [
            ("into", str(into)),
            ("events", f"{report.position} in {words.plural(report.lines, 'transaction')}"),
            ("resources", f"{report.resources}, {report.resource_rows} rows in their journals"),
            ("chain head", report.hash),
        ],
    )
    return 0
