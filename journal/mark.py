"""The mark of the resource journals, ``resources/.mark``: how far they are written. It never says more than the log holds.

So it also shows, to a start, that a log has lost lines at its end which were durable once.
"""

from pathlib import Path

import msgspec

from nano.journal.disk import Disk
from nano.journal.small_files import UNREADABLE, checked, with_check


class Mark(msgspec.Struct, frozen=True):
    """Positions up to which all rows are written, and also synced; ``boot`` is the boot id they were written in;
    ``begins``: rows up to this position, of which the log has nothing any more, are gone (``horizon``)."""

    written: int = 0
    synced: int = 0
    boot: str = ""
    begins: int = 0


def mark_text(mark: Mark) -> bytes:
    return with_check(msgspec.json.encode(mark))


def read_mark(disk: Disk, resources: Path) -> Mark | None:
    """The mark, one that claims nothing where there is none, None where it is not what was written.

    Its file is not synced: loss of power may leave only its beginning, or zeros instead of its end or of all of it. That is as
    good as none, and no damage: a mark says again what the files and the log say, and the next start writes a new one.
    """
    try:
        data = disk.read(resources / ".mark")
        return Mark() if _is_torn(data) else msgspec.json.decode(checked(data), type=Mark)
    except FileNotFoundError:
        return Mark()
    except (*UNREADABLE, ValueError):
        return None


def _is_torn(data: bytes) -> bool:
    """Whether it is the beginning of a mark, with nothing or zeros after it. No change of a byte looks like that."""
    text, newline, check = data.rstrip(b"\0").partition(b"\n")
    if not newline:
        return True
    whole = with_check(text).removeprefix(text + newline)
    return len(check) < len(whole) and whole.startswith(check) and (bool(check) or data.endswith(b"\0"))
