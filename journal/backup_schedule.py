"""When a running node backs itself up, and which backups it keeps.

A backup is due an hour after the last, and after so many events; never when nothing happened since. Invariant: what the
schedule removes are backups in its own folder that the retention does not keep, and only after another one was made, which stays
whatever the clock says.
Trouble is logged, kept in ``state`` and tried again at the next time; it never ends the node.
"""

import logging
from collections.abc import Callable, Sequence
from datetime import datetime, timedelta
from pathlib import Path
from typing import Annotated, Any, Final

import anyio
import msgspec

from nano.domain.backup_state import BackupState
from nano.domain.errors import NanoError
from nano.journal.backup import Manifest, backup, list_backups, newest_backup, read_manifest
from nano.journal.ledger import Ledger

log = logging.getLogger("nano.journal")

BACKUP_DEFAULTS: Final = """\
[backup]
# Where backups of the journal go, best on another disk; "" = none are made. Every node has a folder of its own.
folder = ""
# One is made after so many minutes, or events, whichever comes first.
every_minutes = 60
every_events = 100000
# Of the last so many hours, days and weeks that have backups, the newest of each is kept.
hourly = 24
daily = 7
weekly = 4
"""


class BackupSettings(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """``folder`` "" = none are made. Of the last hours, days and weeks that have backups, the newest of each is kept."""

    folder: str = ""
    every_minutes: Annotated[int, msgspec.Meta(ge=1)] = 60
    every_events: Annotated[int, msgspec.Meta(ge=1)] = 100_000
    hourly: Annotated[int, msgspec.Meta(ge=0)] = 24
    daily: Annotated[int, msgspec.Meta(ge=0)] = 7
    weekly: Annotated[int, msgspec.Meta(ge=0)] = 4


def kept(times: Sequence[datetime], settings: BackupSettings) -> set[datetime]:
    """Which of the backups taken at these (aware) times are kept: the newest of each of the last hours, days and weeks."""
    found: set[datetime] = set()
    newest_first = sorted(times, reverse=True)
    for count, span in (
        (settings.hourly, lambda at: (at.date(), at.hour)),
        (settings.daily, lambda at: at.date()),
        (settings.weekly, lambda at: at.isocalendar()[:2]),
    ):
        seen: dict[object, datetime] = {}
        for at in newest_first:
            seen.setdefault(span(at), at)
        found.update(list(seen.values())[:count])
    return found | set(newest_first[:1])


class BackupSchedule:
    """``node`` is the node's folder. ``state`` tells of the last backup and the next; ``changed()`` is called when it did."""

    def __init__(self, ledger: Ledger, node: Path, settings: BackupSettings, clock: Callable[[], datetime]) -> None:
        self.state = BackupState(folder=settings.folder)
        self.changed: Callable[[], None] = lambda: None
        self._ledger = ledger
        self._node = node
        self._settings = settings
        self._target = Path(settings.folder)
        self._every = timedelta(minutes=settings.every_minutes)
        self._clock = clock

    @property
    def position(self) -> int:
        return self.state.position

    def overdue(self) -> bool:
        """Whether one was due a whole interval ago and something happened since the last: it is neither made nor refused."""
        due = self.state.next_at
        return due is not None and self._clock() > due + self._every and self._ledger.position > self.position

    async def run(self) -> None:
        """Back up when it is due, until cancelled. Without a folder there is nothing to do."""
        if not self.state.folder:
            return
        last = await self._ledger.workers.run(self._last)
        wait = self._every
        if last is not None and last.position <= self._ledger.position:  # else the node has been put back before it
            self._tell(last_at=last.taken_at, position=last.position)
            wait = min(wait, last.taken_at + wait - self._clock())  # the clock may have gone back
        while True:
            self._tell(next_at=self._clock() + max(wait, timedelta()))
            with anyio.move_on_after(max(0.0, wait.total_seconds())):
                await self._ledger.feed.wait_for(self.position + self._settings.every_events)
            if self._ledger.position > self.position:
                await self.once()
            if self.state.trouble:  # the number of events is reached already: only time counts now
                self._tell(next_at=self._clock() + self._every)
                await anyio.sleep(self._every.total_seconds())
                wait = timedelta()
            else:
                wait = self._every

    async def once(self) -> None:
        """Back up now, and forget what is not kept. Does not raise for trouble with folders and disks."""
        position, now = self._ledger.position, self._clock()
        try:
            done = await self._ledger.workers.run(self._do, position, now)
        except (NanoError, OSError) as error:
            self._tell(trouble=str(error))
            log.warning("journal.backup_failed position=%d reason=%s", position, error)
            return
        self._tell(position=position, last_at=now, trouble="")
        log.info("journal.backup_made position=%d folder=%s", position, done)

    def _tell(self, **news: Any) -> None:
        self.state = msgspec.structs.replace(self.state, **news)
        self.changed()

    def _do(self, position: int, now: datetime) -> Path:
        disk = self._ledger.log.disk
        for name in disk.list(self._target):
            if name.endswith(".part"):  # of a try that a crash cut short; the folder is this node's own
                disk.remove_folder(self._target / name)
        done = backup(self._node, self._target, now=now, position=position, disk=disk)
        backups = {read_manifest(path, disk).taken_at: path for path in list_backups(self._target, disk)}
        for at in sorted(backups.keys() - kept(list(backups), self._settings) - {now}):
            self._remove(backups[at])
        return done

    def _remove(self, backup: Path) -> None:
        """First its name, durably: cut short, this leaves nothing that seems to be a backup."""
        disk, going = self._ledger.log.disk, backup.with_name(f".{backup.name}.part")
        disk.rename(backup, going)
        disk.sync_folder(self._target)
        disk.remove_folder(going)

    def _last(self) -> Manifest | None:
        try:
            disk = self._ledger.log.disk
            newest = newest_backup(self._target, disk)
            return read_manifest(newest, disk) if newest is not None else None
        except (NanoError, OSError) as error:
            log.warning("journal.backups_unreadable folder=%s reason=%s", self._target, error)
            return None
