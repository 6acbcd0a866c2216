"""Where a zone's files are: one state folder S, and below it one folder per node.

    S/core, S/cell, S/frontend      each with config/ (TOML), data/, run/ (pid, endpoint.json), log/
    S/host                          the private libvirtd and its folders, when Nano starts its own
    S/up.json                       what ``scripts/up`` started, for ``scripts/down``

Every program takes ``--state S``; without it the folder is the user's own ($NANO_STATE, else below
$XDG_DATA_HOME). It reads no file: it only names them.
"""

import os
from pathlib import Path
from typing import Final

NODES: Final = ("core", "cell", "frontend")


def default_state() -> Path:
    """The state folder of a user who named none."""
    if named := os.environ.get("NANO_STATE"):
        return Path(named).absolute()
    data = os.environ.get("XDG_DATA_HOME") or str(Path.home() / ".local/share")
    return Path(data) / "nano" / "up"


def node_folder(state: Path, node: str) -> Path:
    """``node`` is one of NODES, or a program's name (``nano-core``)."""
    return state / node.removeprefix("nano-")


def make_node_folders(folder: Path) -> None:
    """config/, data/, run/ and log/ of one node; only its owner may look into config/ and data/."""
    for name, mode in (("config", 0o700), ("data", 0o700), ("run", 0o755), ("log", 0o755)):
        (folder / name).mkdir(mode=mode, parents=True, exist_ok=True)
