"""The other nodes of a zone, as far as their journals are found: beside the node's own folder, or named further.

A state folder holds ``core``, ``cell`` and ``frontend`` next to each other; of a zone over several machines the
folders are brought together, or each is named with ``--node``. Only folders that hold a journal count, and of two with
the same name the first.
"""

from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Final

from nano.domain.errors import NanoError
from nano.tools.replay.node import Node, has_log

BESIDE_MAX: Final = 256  # folders that are looked at


def gather(named: Sequence[Node]) -> list[Node]:
    """The named ones, then those beside the first."""
    nodes = [*named, *_beside(named[0].folder)]
    known: dict[tuple[str, str], Node] = {}
    for node in nodes:
        known.setdefault((node.kind, node.name), node)
    return list(known.values())


def _beside(folder: Path) -> Iterator[Node]:
    try:
        others = sorted(path for path in folder.parent.iterdir() if has_log(path / "data" / "journal"))
    except PermissionError:
        return
    for other in others[:BESIDE_MAX]:
        if other == folder:
            continue
        try:
            yield Node(other)
        except NanoError:  # not asked for, so what can't be read there is passed by
            continue
