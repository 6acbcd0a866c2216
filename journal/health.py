"""NodeHealth: watches over one node's journal, its disks, its clock and its backups, and raises and clears its alarms.

A refused write is heard of at once; what tells nothing by itself (free space, the clock, derived files) is looked at every
CHECK_S. While writes are refused it tries one each time, so that an alarm clears by itself when the disk recovers, also
where nobody commands anything. Invariant: ``alarms`` is what held when last looked; it changes nothing in the journal.

What a kind of node knows besides (Core of its cells, a cell of its hypervisor) comes in as ``more``.
"""

import logging
import os
from collections.abc import Callable, Iterable, Iterator, Mapping
from datetime import datetime
from pathlib import Path
from typing import Annotated, Final, NamedTuple

import anyio
import anyio.to_thread
import msgspec

from nano.domain.alarm import KINDS, Alarm, Finding, alarms_of, moment
from nano.domain.backup_state import BackupState
from nano.domain.naming import format_size
from nano.journal.archive_schedule import ArchiveSchedule, ArchiveSettings
from nano.journal.backup_schedule import BackupSchedule, BackupSettings
from nano.journal.ledger import Ledger

log = logging.getLogger("nano.health")

CHECK_S: Final = 2.0
ROOM_S: Final = 10.0  # between two looks at free space
BEHIND_S: Final = 60.0  # so long resource journals may lag before it is told
CLOCK_S: Final = 1.0  # what NTP's small corrections stay below

ALARM_DEFAULTS: Final = """\
[alarms]
# Less free space than this on a file system that the node uses is a warning, or critical; in percent.
disk_low_percent = 10.0
disk_nearly_full_percent = 3.0
"""


class AlarmSettings(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """Less free space than this, in percent of a file system, is an alarm."""

    disk_low_percent: Annotated[float, msgspec.Meta(ge=0, le=100)] = 10.0
    disk_nearly_full_percent: Annotated[float, msgspec.Meta(ge=0, le=100)] = 3.0


class Room(NamedTuple):
    """Bytes of a file system; ``free`` is what we may use."""

    total: int
    free: int


Measure = Callable[[Path], Room]


class Upkeep(NamedTuple):
    """What of the real world a node has to look after: folders whose file systems should not fill up, and its backups."""

    places: Mapping[str, Path] = {}
    settings: AlarmSettings = AlarmSettings()
    backups: BackupSchedule | None = None
    archive: ArchiveSchedule | None = None


NO_UPKEEP: Final = Upkeep()


def upkeep_of(
    folder: Path,
    ledger: Ledger,
    backup: BackupSettings,
    settings: AlarmSettings,
    archive: ArchiveSettings,
    clock: Callable[[], datetime],
    **places: Path,
) -> Upkeep:
    """That of the node whose folder this is."""
    watched = {"journal": folder / "data", **places}
    if backup.folder:
        watched["backups"] = Path(backup.folder)
    backups = BackupSchedule(ledger, folder, backup, clock)
    return Upkeep(watched, settings, backups, ArchiveSchedule(ledger, archive, clock))


def measure_room(path: Path) -> Room:
    """Of the file system that holds the path, or will. Raises OSError."""
    while not path.exists():
        path = path.parent
    found = os.statvfs(path)
    return Room(found.f_blocks * found.f_frsize, found.f_bavail * found.f_frsize)


class NodeHealth:
    """``node`` is its name, ``kind`` core, cell or frontend. ``run`` also makes backups and archives."""

    def __init__(
        self,
        kind: str,
        node: str,
        ledger: Ledger,
        *,
        clock: Callable[[], datetime],
        upkeep: Upkeep,
        more: Callable[[], Iterable[Finding]] = tuple,
        measure: Measure = measure_room,
    ) -> None:
        self.node = node
        self.alarms: dict[str, Alarm] = {}
        self.rooms: dict[str, Room] = {}
        self.backup = BackupState()
        self.ledger = ledger
        self.backups = upkeep.backups
        self._archive = upkeep.archive
        self._more = more
        self._resource = f"{kind}/{node}"
        self._clock = clock
        self._places = upkeep.places
        self._settings = upkeep.settings
        self._measure = measure
        self._listeners: list[Callable[[], None]] = []
        self._looked = anyio.Event()
        self._behind_s = 0.0
        self._goal = (
            0,
            anyio.current_time(),
        )  # the log's position when the resource journals were last up to date, and when that was
        ledger.disturbed = self.look
        if self.backups is not None:
            self.backups.changed = self.look

    def listen(self, listener: Callable[[], None]) -> None:
        """Call ``listener()`` after ``alarms`` or the state of backups changed."""
        self._listeners.append(listener)

    def unlisten(self, listener: Callable[[], None]) -> None:
        self._listeners.remove(listener)

    def look(self) -> None:
        """Something may have changed: look now, from the event loop."""
        self._looked.set()

    async def run(self) -> None:
        """Until cancelled. The first look has been taken when others get their turn."""
        async with anyio.create_task_group() as tasks:
            if self._places:
                tasks.start_soon(self._watch_rooms)
            if self.backups is not None:
                tasks.start_soon(self.backups.run)
            if self._archive is not None:
                tasks.start_soon(self._archive.run)
            while True:
                self._looked = anyio.Event()
                self.check()
                with anyio.move_on_after(CHECK_S) as pause:
                    await self._looked.wait()
                if pause.cancelled_caught and self.ledger.trouble is not None:
                    await self.ledger.retry()

    def check(self) -> None:
        """Look at everything that is known in memory; raise and clear."""
        before, backup = self.alarms, self.backup
        if self.backups is not None:
            self.backup = self.backups.state
        self.alarms = alarms_of(self.node, self._resource, self._findings(), before, self._clock())
        for key, alarm in self.alarms.items():
            if key not in before:
                log.warning("alarm raised id=%s severity=%s message=%s", key, alarm.severity, alarm.message)
        for key in before.keys() - self.alarms.keys():
            log.info("alarm cleared id=%s", key)
        if (self.alarms, self.backup) != (before, backup):
            for listener in self._listeners:
                listener()

    # ------------------------------------------------------------------ what is looked at

    def _findings(self) -> Iterator[Finding]:
        yield from self._journal()
        yield from self._backup()
        for place, room in self.rooms.items():
            yield from self._room(place, room)
        yield from self._clock_behind()
        yield from self._more()

    def _journal(self) -> Iterator[Finding]:
        ledger, folder = self.ledger, {"folder": str(self.ledger.log.folder)}
        if (trouble := ledger.trouble) is not None:
            code = trouble.code if trouble.code in KINDS else "journal_write_failed"
            yield Finding(
                "journal_poisoned" if trouble is ledger.log.poisoned else code, folder | _why(trouble.message)
            )
        if ledger.snapshots.trouble:
            yield Finding("snapshot_failed", _why(ledger.snapshots.trouble))
        if self._archive is not None and self._archive.trouble:
            yield Finding("archive_failed", _why(self._archive.trouble))
        journals, now = ledger.journals, anyio.current_time()
        if journals.written >= self._goal[0]:
            self._goal = (ledger.position, now)
        if journals.trouble or now - self._goal[1] > BEHIND_S:
            yield Finding("resource_journals_behind", _why(journals.trouble or f"more than {BEHIND_S:.0f} s late"))

    def _clock_behind(self) -> Iterator[Finding]:
        """The amount is how far it was behind when it was found to be (it catches up with every second)."""
        last = self.ledger.time
        behind_s = (last - self._clock()).total_seconds()
        if behind_s <= CLOCK_S:
            self._behind_s = 0.0
            return
        self._behind_s = max(self._behind_s, behind_s)
        yield Finding("clock_behind", {"behind": _lasting(self._behind_s), "last": moment(last)})

    def _backup(self) -> Iterator[Finding]:
        state = self.backup
        if state.trouble:
            yield Finding("backup_failed", {"folder": state.folder} | _why(state.trouble))
        elif self.backups is not None and self.backups.overdue():
            last = moment(state.last_at) if state.last_at else "-"
            yield Finding("backup_overdue", {"folder": state.folder, "last": last})

    def _room(self, place: str, room: Room) -> Iterator[Finding]:
        percent = 100 * room.free / max(1, room.total)
        nearly = percent < self._settings.disk_nearly_full_percent
        if nearly or percent < self._settings.disk_low_percent:
            free = {"free": format_size(room.free), "percent": f"{percent:.1f}"}
            told = {"folder": str(self._places[place])} | free
            yield Finding("disk_nearly_full" if nearly else "disk_low", told, place=place)

    async def _watch_rooms(self) -> None:
        """Apart from the rest: a file system that hangs must not hold up what is known of others."""
        while True:
            try:
                self.rooms = await anyio.to_thread.run_sync(self._measure_all, abandon_on_cancel=True)
            except OSError as error:
                log.warning("free space not known reason=%s", error)
            self.look()
            await anyio.sleep(ROOM_S)

    def _measure_all(self) -> dict[str, Room]:
        return {place: self._measure(path) for place, path in self._places.items()}


def _why(reason: str) -> dict[str, str]:
    """As the end of a sentence."""
    return {"reason": reason if reason.endswith((".", "!", "?")) else f"{reason}."}


def _lasting(seconds: float) -> str:
    whole = round(seconds)
    return f"{whole} s" if whole < 120 else f"{whole} s ({whole // 3600} h {whole % 3600 // 60} min)"
