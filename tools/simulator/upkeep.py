"""What the nodes of a simulated zone do to their journals beside writing them, in small, so that a seed meets all of it.

Snapshots, archives, retention and backups are those of the daemons, on the disk of the machine and under its faults; only the
numbers differ. The journal of a cell is followed by Core, so nothing is dropped of it, as on real nodes.
"""

from pathlib import Path
from random import Random
from typing import TYPE_CHECKING, Final

import msgspec

from nano.domain.errors import NanoError
from nano.journal.archive_schedule import ArchiveSchedule, ArchiveSettings, KeepSettings
from nano.journal.backup import JOURNAL, check_backup, list_backups, newest_backup, restore
from nano.journal.backup_schedule import BackupSchedule, BackupSettings
from nano.journal.health import Upkeep
from nano.journal.horizon import NEVER, Limits, beginning
from nano.journal.ledger import Ledger
from nano.journal.snapshots import SnapshotSettings

if TYPE_CHECKING:
    from nano.tools.simulator.machine import Machine

SEGMENT_BYTES: Final = 48 << 10
SNAPSHOTS: Final = SnapshotSettings(every_events=120, at_stop_events=40, retry_events=30, keep=2)
ARCHIVE_EVENTS: Final = 60
ARCHIVE: Final = ArchiveSettings(plain_segments=1)
KEPT: Final = Limits(days=0, size=20 << 10)
BACKUP: Final = BackupSettings(every_minutes=6, every_events=250, hourly=2, daily=1, weekly=1)


class _Keep(KeepSettings, frozen=True, kw_only=True):
    @property
    def limits(self) -> Limits:
        return KEPT


def keeps_all(name: str) -> bool:
    return name not in ("core", "frontend")


def limits_of(name: str) -> Limits:
    return NEVER if keeps_all(name) else KEPT


def upkeep_of(machine: "Machine", ledger: Ledger) -> Upkeep:
    settings = ARCHIVE if keeps_all(machine.name) else _Keep(plain_segments=1)
    to_folder = msgspec.structs.replace(BACKUP, folder=str(_backups(machine)))
    return Upkeep(
        backups=BackupSchedule(ledger, machine.folder, to_folder, machine.clock),
        archive=ArchiveSchedule(ledger, settings, machine.clock, every_events=ARCHIVE_EVENTS),
    )


def drill(machine: "Machine", random: Random) -> None:
    """With all at rest: every backup is one, and the newest comes back as it was at any position. Reports what is not so."""
    disk = machine.audit.disk
    try:
        for backup in list_backups(_backups(machine), disk):
            check_backup(backup, disk)
        newest = newest_backup(_backups(machine), disk)
        if newest is None:
            return
        manifest = check_backup(newest, disk)
        first = beginning(disk, newest / JOURNAL / "commits").position
        at = random.randint(first, manifest.position)
        into = machine.folder / "restored"
        restore(newest, into, at=at, disk=disk)
    except (NanoError, OSError) as error:
        machine.report(f"{machine.name}: at rest, a backup does not come back: {error}")
        return
    machine.audit.restored(into / JOURNAL, at)


def _backups(machine: "Machine") -> Path:
    return machine.folder / "backups"
