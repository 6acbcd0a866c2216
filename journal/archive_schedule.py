"""When a running node archives segments of its journal: at its start, and whenever a good deal has happened since.

Invariant: trouble (a full disk, a segment that is not what its seal says) is logged, kept in ``trouble`` and tried again at the
next time; it never ends the node, and the log itself stays as it is.
"""

import logging
from typing import Annotated, Final

import anyio.to_thread
import msgspec

from nano.domain.errors import NanoError
from nano.journal.archiving import archive_segments
from nano.journal.ledger import Ledger

log = logging.getLogger("nano.journal")

ARCHIVE_DEFAULTS: Final = """\
[archive]
# Of the finished segments of the journal (64 MiB each) so many stay plain text; older ones are compressed.
plain_segments = 2
"""
EVERY_EVENTS: Final = 20_000
"""Less than a segment holds, so that a new one is soon seen; a look that finds nothing to do lists one folder."""


class ArchiveSettings(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """Of the sealed segments (64 MiB each) the newest ``plain_segments`` stay plain, older ones are compressed."""

    plain_segments: Annotated[int, msgspec.Meta(ge=0)] = 2


class ArchiveSchedule:
    """``trouble`` tells why the last round did not work out."""

    def __init__(self, ledger: Ledger, settings: ArchiveSettings, *, every_events: int = EVERY_EVENTS) -> None:
        self.trouble = ""
        self._ledger = ledger
        self._settings = settings
        self._every_events = every_events

    async def run(self) -> None:
        """Archive when there is something to archive, until cancelled."""
        while True:
            position = self._ledger.position
            await self.once()
            await self._ledger.feed.wait_for(position + self._every_events)

    async def once(self) -> None:
        journal = self._ledger.log
        try:
            await anyio.to_thread.run_sync(
                archive_segments, journal.disk, journal.folder / "commits", self._settings.plain_segments
            )
        except (NanoError, OSError) as error:
            self.trouble = str(error)
            log.warning("journal.archive_failed reason=%s", error)
            return
        self.trouble = ""
