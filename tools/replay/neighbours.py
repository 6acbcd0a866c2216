"""The other nodes of a zone, as far as their journals are found: beside the node's own folder, or named further.

A state folder holds ``core``, ``cell`` and ``frontend`` next to each other; of a zone over several machines the
folders are brought together, or each is named with ``--node``. Only folders that hold a journal count, and of two with
the same name the first.
"""

from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Final

from nano.domain.errors import NanoError
from nano.tools.replay.node import Node

BESIDE_MAX: Final = 256  # folders that are looked at


def gather(first: Node, named: Iterable[Path]) -> list[Node]:
    """``first``, then the named ones, then those beside ``first``. Raises what a named folder that is no node raises."""
    nodes = [first, *(Node(folder.absolute()) for folder in named)]
    nodes += _beside(first.folder)
    known: dict[tuple[str, str], Node] = {}
    for node in nodes:
        known.setdefault((node.kind, node.name), node)
    return list(known.values())


def _beside(folder: Path) -> Iterator[Node]:
    try:
        others = sorted(path for path in folder.parent.iterdir() if (path / "data" / "journal" / "commits").is_dir())
    except PermissionError:
        return
    for other in others[:BESIDE_MAX]:
        if other == folder:
            continue
        try:
            yield Node(other)
        except NanoError:  # not asked for, so what can't be read there is passed by
            continue
