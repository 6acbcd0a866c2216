"""The small files by which a node tells of itself to programs that are given only its folder.

    data/node.json      whose journal this is: {"kind": "core", "name": "Core_0a1b2c3d4e5f"}
    run/endpoint.json   where it answers: {"api": "http://127.0.0.1:5850", "version": …, "pid": …}

Both are replaced as a whole, never half written. The endpoint is there while the node serves; after a kill it names a
node that is gone, so readers try it.
"""

import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import msgspec

import nano


class NodeCard(msgspec.Struct, frozen=True):
    """``kind`` is core, cell or frontend."""

    kind: str
    name: str


def write_node_card(folder: Path, kind: str, name: str) -> None:
    _write(folder / "data" / "node.json", NodeCard(kind, name))


@contextmanager
def endpoint(folder: Path, **addresses: str) -> Iterator[None]:
    """Tell the addresses, by name, while entered."""
    path = folder / "run" / "endpoint.json"
    _write(path, {**addresses, "version": nano.__version__, "pid": os.getpid()})
    try:
        yield
    finally:
        path.unlink(missing_ok=True)


def _write(path: Path, value: object) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    partial = path.with_suffix(".part")
    partial.write_bytes(msgspec.json.encode(value) + b"\n")
    partial.replace(path)
