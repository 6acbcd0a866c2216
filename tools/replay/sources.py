"""Where a journal is read from: a node's folder, a backup, or a bundle that is opened for as long as the program runs.

The first source is what a verb is about (a bundle before a backup before a node's folder); ``why`` takes further
ones, for the rest of the chain.
"""

from argparse import Namespace
from contextlib import ExitStack
from pathlib import Path
from typing import Final

from nano.domain.errors import Invalid
from nano.tools.display.terminal import Terminal
from nano.tools.replay.node import Node
from nano.tools.state import default_state

SEVERAL: Final = frozenset({"why"})


def open_sources(options: Namespace, stack: ExitStack, terminal: Terminal) -> list[Node]:
    """Raises Invalid(too_many_sources, no_bundle_named, no_backup_named), and what a source raises that can't be opened."""
    bundles, backups, folders = (_named(options, source) for source in ("bundle", "backup", "node"))
    if options.verb == "restore" and not backups:
        raise Invalid("There is nothing to restore.", code="no_backup_named", hint="Name it: --backup DIR.")
    if options.verb == "import" and not bundles:
        raise Invalid("There is nothing to import.", code="no_bundle_named", hint="Name it: --bundle FILE.")
    if not bundles and not backups and not folders:
        folders = [default_state() / "core"]
    if options.verb not in SEVERAL and len(bundles) + len(backups) + len(folders) > 1:
        raise Invalid(
            f"{options.verb} reads one journal.",
            code="too_many_sources",
            hint="Name one of them; only why takes several.",
        )
    nodes = [_bundle(path.absolute(), stack) for path in bundles]
    nodes += [_backup(folder.absolute(), terminal) for folder in backups]
    nodes += [Node(folder.absolute()) for folder in folders]
    for node in nodes:
        stack.callback(node.close)
    return nodes


def _bundle(path: Path, stack: ExitStack) -> Node:
    from nano.tools.replay.bundle import opened

    return stack.enter_context(opened(path))


def _backup(folder: Path, terminal: Terminal) -> Node:
    from nano.tools.replay.backups import open_backup

    return open_backup(folder, terminal)


def _named(options: Namespace, source: str) -> list[Path]:
    """Before the verb and after it."""
    return [*(getattr(options, f"{source}_before") or ()), *getattr(options, f"{source}_after", ())]
