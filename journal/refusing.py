"""What a disk error means for a journal: no room, read-only, or not usable. One answer for everything that lies in its folder."""

import errno
from pathlib import Path

from nano.domain.errors import DiskFull, JournalError


def disk_refusal(folder: Path, error: OSError, action: str) -> DiskFull | JournalError:
    """``action`` is open, read, repair or write."""
    if error.errno in (errno.ENOSPC, errno.EDQUOT):
        return DiskFull(
            f"No room to {action} the journal {folder}.",
            hint="Free space on this file system; the node goes on by itself.",
            file=str(folder),
        )
    if error.errno == errno.EROFS:
        return JournalError(
            f"The journal {folder} is on a file system that is mounted read-only: no {action} is possible.",
            code="journal_read_only",
            hint="A damaged file system is often made read-only by the kernel: look at its messages, repair it, and "
            "mount it for writing; the node goes on by itself.",
            file=str(folder),
        )
    return JournalError(
        f"The journal {folder} could not be used to {action}: {error}.",
        code="journal_write_failed" if action == "write" else "journal_unavailable",
        hint="Check the disk and the permissions of the folder.",
        file=str(folder),
    )
