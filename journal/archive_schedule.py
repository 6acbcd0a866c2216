"""When a running node archives segments of its journal: at its start, and whenever a good deal has happened since. Where
it is to keep only so much, what is due is prepared to be dropped (``retention``) then and once a day.

Invariant: trouble (a full disk, a segment that is not what its seal says) is logged, kept in ``trouble`` and tried again at the
next time; it never ends the node, and the log itself stays as it is.
"""

import logging
from collections.abc import Callable
from datetime import datetime
from typing import Annotated, Final

import anyio
import msgspec

from nano.domain.errors import NanoError
from nano.journal.archiving import archive_segments
from nano.journal.horizon import Limits, mend
from nano.journal.ledger import Ledger
from nano.journal.retention import Retention

log = logging.getLogger("nano.journal")

ARCHIVE_DEFAULTS: Final = """\
[archive]
# Of the finished segments of the journal (64 MiB each) so many stay plain text; older ones are compressed.
plain_segments = 2
"""
KEEP_DEFAULTS: Final = f"""\
{ARCHIVE_DEFAULTS}# Of the compressed ones those are dropped at the next start whose last fact is older than so many days, and the
# oldest while all take more than so much room; 0 = never. What they came to is kept, and signed.
keep_days = 0
keep_mebibytes = 0
"""
DAY_S: Final = 24 * 3600.0
EVERY_EVENTS: Final = 20_000
"""Less than a segment holds, so that a new one is soon seen; a look that finds nothing to do lists one folder."""


class ArchiveSettings(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """Of the sealed segments (64 MiB each) the newest ``plain_segments`` stay plain, older ones are compressed."""

    plain_segments: Annotated[int, msgspec.Meta(ge=0)] = 2


class KeepSettings(ArchiveSettings, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """With retention, for nodes whose journal no other node follows. Archived segments are dropped at the next start when
    their last fact is older than ``keep_days``, or all of them take more than ``keep_mebibytes``; 0 = never."""

    keep_days: Annotated[int, msgspec.Meta(ge=0)] = 0
    keep_mebibytes: Annotated[int, msgspec.Meta(ge=0)] = 0

    @property
    def limits(self) -> Limits:
        return Limits(self.keep_days, self.keep_mebibytes << 20)


class ArchiveSchedule:
    """``trouble`` tells why the last round did not work out."""

    def __init__(
        self,
        ledger: Ledger,
        settings: ArchiveSettings,
        clock: Callable[[], datetime],
        *,
        every_events: int = EVERY_EVENTS,
    ) -> None:
        self.trouble = ""
        self._ledger = ledger
        self._settings = settings
        self._clock = clock
        self._every_events = every_events

    async def run(self) -> None:
        """Archive when there is something to archive, until cancelled."""
        while True:
            position = self._ledger.position
            await self.once()
            with anyio.move_on_after(DAY_S):
                await self._ledger.feed.wait_for(position + self._every_events)

    async def once(self) -> None:
        try:
            await self._ledger.workers.run(self._do, self._clock())
        except (NanoError, OSError) as error:
            self.trouble = str(error)
            log.warning("journal.archive_failed reason=%s", error)
            return
        self.trouble = ""

    def _do(self, now: datetime) -> None:
        journal, settings = self._ledger.log, self._settings
        mend(journal.disk, journal.folder / "commits")
        archive_segments(journal.disk, journal.folder / "commits", settings.plain_segments)
        if isinstance(settings, KeepSettings):
            model = type(self._ledger.model)
            Retention(journal.disk, journal.folder, model, settings.limits, journal.signer).prepare(now)
