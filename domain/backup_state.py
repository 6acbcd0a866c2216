"""BackupState: how a node stands with its backups, as it tells it to others."""

from datetime import datetime

import msgspec


class BackupState(msgspec.Struct, frozen=True, kw_only=True):
    """``folder`` empty = none are made. ``position`` is how far the last one reaches; ``trouble`` why the last try failed."""

    folder: str = ""
    last_at: datetime | None = None
    position: int = 0
    next_at: datetime | None = None
    trouble: str = ""
