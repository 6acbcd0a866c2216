"""``engine.json`` in a journal's folder: that its log is not files beside it but in a database, in which, and which journal.

Invariant: a folder has either this mark or a folder ``commits``, never both in use. So a changed setting can't make a node
begin anew, with nothing, beside its journal; and tools that are given only the folder find the log.
"""

from pathlib import Path
from typing import Final

import msgspec

from nano.journal.disk import Disk, replace_file
from nano.journal.engines.settings import EngineSettings
from nano.journal.segments import damaged
from nano.journal.small_files import UNREADABLE, checked, with_check

MARK_FILE: Final = "engine.json"


class Mark(msgspec.Struct, frozen=True):
    """``journal`` is written in the database too."""

    journal: str
    settings: EngineSettings


def read_mark(disk: Disk, folder: Path) -> Mark | None:
    """None where the journal is files. Raises JournalDamaged."""
    path = folder / MARK_FILE
    try:
        return msgspec.json.decode(checked(disk.read(path)), type=Mark)
    except FileNotFoundError:
        return None
    except (*UNREADABLE, ValueError) as error:
        raise damaged(path, 0, f"it does not say where the journal is ({error})") from error


def write_mark(disk: Disk, folder: Path, mark: Mark) -> None:
    if read_mark(disk, folder) != mark:
        replace_file(disk, folder / MARK_FILE, with_check(msgspec.json.encode(mark)))
