"""Where a journal is read from: a node's folder, or a bundle that is opened for as long as the program runs.

The first source is what a verb is about (a bundle before a node's folder); ``why`` takes further ones, for the rest
of the chain.
"""

from argparse import Namespace
from contextlib import ExitStack
from pathlib import Path
from typing import Final

from nano.domain.errors import Invalid
from nano.tools.replay.node import Node
from nano.tools.state import default_state

SEVERAL: Final = frozenset({"why"})


def open_sources(options: Namespace, stack: ExitStack) -> list[Node]:
    """Raises Invalid(too_many_sources, no_bundle_named), and what a source raises that can't be opened."""
    bundles, folders = _named(options, "bundle"), _named(options, "node")
    if options.verb == "import" and not bundles:
        raise Invalid("There is nothing to import.", code="no_bundle_named", hint="Name it: --bundle FILE.")
    if not bundles and not folders:
        folders = [default_state() / "core"]
    if options.verb not in SEVERAL and len(bundles) + len(folders) > 1:
        raise Invalid(
            f"{options.verb} reads one journal.",
            code="too_many_sources",
            hint="Name one of them; only why takes several.",
        )
    nodes = [_bundle(path.absolute(), stack) for path in bundles]
    return nodes + [Node(folder.absolute()) for folder in folders]


def _bundle(path: Path, stack: ExitStack) -> Node:
    from nano.tools.replay.bundle import opened

    return stack.enter_context(opened(path))


def _named(options: Namespace, source: str) -> list[Path]:
    """Before the verb and after it."""
    return [*(getattr(options, f"{source}_before") or ()), *getattr(options, f"{source}_after", ())]
