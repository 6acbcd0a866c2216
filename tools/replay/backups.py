"""``backup`` and ``restore``, and ``--backup DIR`` as a source: the words around ``journal.backup``.

A backup is laid out like a node's folder, so it is read in place, after every file was compared with its manifest. DIR is one
backup, or the folder that holds several: then the newest is meant.
"""

from argparse import Namespace
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

import msgspec

from nano.domain.errors import Invalid, Unknown
from nano.domain.naming import format_size
from nano.journal.backup import JOURNAL, backup, check_backup, newest_backup, read_manifest, restore
from nano.journal.engines.moving import move_in, read_engine_settings
from nano.journal.engines.settings import EngineSettings
from nano.tools.display import plain, words
from nano.tools.display.card import print_fields
from nano.tools.display.progress import bar
from nano.tools.display.terminal import Terminal
from nano.tools.display.text import Text
from nano.tools.replay.moments import Moment, parse_moment
from nano.tools.replay.node import Node


def open_backup(folder: Path, terminal: Terminal) -> Node:
    """Raises Unknown(no_backup), JournalDamaged."""
    found = folder if (folder / "manifest.json").exists() else newest_backup(folder) if folder.is_dir() else None
    if found is None:
        raise Unknown(
            f"There is no backup in {folder}.",
            code="no_backup",
            hint="Name a backup's folder, or the folder that holds several.",
        )
    with bar(terminal) as moved:
        check_backup(found, progress=moved)
    node = Node(found)
    node.is_copy = True
    return node


def run(terminal: Terminal, node: Node, options: Namespace) -> int:
    return _restore(terminal, node, options) if options.verb == "restore" else _backup(terminal, node, options)


def _backup(terminal: Terminal, node: Node, options: Namespace) -> int:
    target: Path = options.target.absolute()
    if node.is_copy or node.journal == node.folder:
        raise Invalid(
            "Only a node's own folder is backed up.",
            code="no_node_folder",
            hint="Name it: --node STATE/core, STATE/cell or STATE/frontend.",
        )
    if target.resolve().is_relative_to(node.folder.resolve()):
        raise Invalid(
            f"{target} lies inside {node.folder}, which is only read.",
            code="folder_inside_source",
            hint="Name a folder somewhere else, best on another disk.",
        )
    with _leaving_nothing(target), bar(terminal) as moved:
        made = backup(node.folder, target, now=terminal.now(), progress=moved)
    manifest = read_manifest(made)
    size = sum(file.size for file in manifest.files)
    if options.output == "json":
        told = {"done": True, "backup": str(made), "node": node.name, "kind": node.kind, "bytes": size}
        terminal.data(plain.json_line({**msgspec.to_builtins(manifest), **told}))
        return 0
    terminal.write(Text(f"backup of {node.name}", "bold").append("  ").append(terminal.state("done", "made")))
    fields: list[tuple[str, str | Text]] = [
        ("in", str(made)),
        ("position", str(manifest.position)),
        ("size", f"{format_size(size)} in {words.plural(len(manifest.files), 'file')}"),
        ("chain head", manifest.hash),
    ]
    print_fields(terminal, fields)
    return 0


def _restore(terminal: Terminal, node: Node, options: Namespace) -> int:
    into: Path = options.into.absolute()
    at = parse_moment(options.at, terminal.now(), terminal.zone) if options.at else None
    settings = read_engine_settings(options.settings) if options.settings else EngineSettings()
    until = None if at is None else _position(node, at)
    with _leaving_nothing(into / "data"), bar(terminal) as moved:
        position = restore(node.folder, into, at=until, progress=moved)
    if settings.engine != "json":
        move_in(into / JOURNAL, settings, owner=node.name)
    if options.output == "json":
        told = {"done": True, "into": str(into), "backup": str(node.folder), "node": node.name, "kind": node.kind}
        terminal.data(plain.json_line({**told, "engine": settings.engine, "position": position}))
        return 0
    terminal.write(Text(f"journal of {node.name}", "bold").append("  ").append(terminal.state("done", "restored")))
    fields: list[tuple[str, str | Text]] = [
        ("into", str(into)),
        ("kept by", settings.engine),
        ("from", str(node.folder)),
    ]
    print_fields(terminal, [*fields, ("position", str(position))])
    return 0


@contextmanager
def _leaving_nothing(folder: Path) -> Iterator[None]:
    """Folders that were made for what did not come about go again."""
    missing = [one for one in (folder, *folder.parents) if not one.exists()]
    try:
        yield
    except BaseException:
        for one in missing:
            with suppress(OSError):
                one.rmdir()
        raise


def _position(node: Node, moment: Moment) -> int:
    """The last position at or before the moment."""
    if moment.position is not None:
        return moment.position
    last = 0
    for line in node.reader().lines():
        if not moment.covers(line):
            break
        last = line.last
    return last
