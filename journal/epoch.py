"""The epoch of a journal: how often it was opened for writing, kept in ``epoch`` beside the log and on every line.

It only grows, so that what a former writer still says is known to be old. An absent file counts as 0: the log's last line
says more then, and opening goes on from there.
"""

from pathlib import Path
from typing import Final

from nano.journal.disk import Disk, replace_file
from nano.journal.segments import damaged
from nano.journal.small_files import checked, with_check

NAME: Final = "epoch"


def epoch_text(epoch: int) -> bytes:
    return with_check(b"%d" % epoch)


def read_epoch(disk: Disk, folder: Path) -> int:
    """That of the journal in ``folder``. Raises JournalDamaged, OSError."""
    path = folder / NAME
    try:
        data = disk.read(path)
    except FileNotFoundError:
        return 0
    try:
        text = checked(data)
    except ValueError as error:
        raise damaged(path, 0, str(error)) from error
    if not text.isdigit():
        raise damaged(path, 0, "it does not hold a number")
    return int(text)


def write_epoch(disk: Disk, folder: Path, epoch: int) -> None:
    replace_file(disk, folder / NAME, epoch_text(epoch))
