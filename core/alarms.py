"""AlarmDesk: the alarms and backups of the whole zone, put together from Core's own health and what its cells report.

A cell tells its alarms over its link; Core adds what only it can see: a cell that is silent, at fault, or in debt, and guests
whose scheduled snapshots keep failing. What a
cell told is dropped when it counts as offline: then that is the alarm. Nothing here is journaled (see ``domain.alarm``).
"""

from collections import Counter
from collections.abc import Callable, Iterable, Iterator
from datetime import datetime
from itertools import islice
from typing import Final

import msgspec

from nano.domain.alarm import Alarm, Finding, alarm_id, moment
from nano.domain.backup_state import BackupState
from nano.domain.cell import Cell
from nano.domain.facts import Change
from nano.domain.guest import Guest
from nano.domain.inspection import DriftRow, OrphanRow
from nano.domain.zone import Zone
from nano.journal.health import NodeHealth, Upkeep
from nano.journal.ledger import Ledger
from nano.projections.rows import BackupRow
from nano.projections.zone_views import ZoneViews
from nano.transports.messages import HealthIs

ALARMS_OF_CELL_MAX: Final = 50
NAME_MAX: Final = 64
TEXT_MAX: Final = 1_000
DETAILS_MAX: Final = 10
FAILED_IN_A_ROW: Final = 3


class AlarmDesk:
    """``health`` is Core's own; run it."""

    def __init__(
        self, name: str, ledger: Ledger, zone: Zone, views: ZoneViews, clock: Callable[[], datetime], upkeep: Upkeep
    ) -> None:
        self.health = NodeHealth("core", name, ledger, clock=clock, upkeep=upkeep, more=self._in_trouble)
        self._name = name
        self._zone = zone
        self._views = views
        self._told: dict[str, HealthIs] = {}
        self._drifted: Counter[str] = Counter()  # by cell: guests that differ, at the last look
        self._orphans: Counter[str] = Counter()
        self._failing = {f"guest/{guest.id}": None for guest in zone.guests() if _failing(guest)}
        self.health.listen(self._show)

    def current(self) -> list[Alarm]:
        """Every alarm of the zone."""
        return [row for row in self._views.shown["alarm"].values() if isinstance(row, Alarm)]

    def heard(self, cell: str, message: HealthIs) -> None:
        """What a cell says of itself; its words are bounded, and it speaks of nobody else."""
        self._told[cell] = message
        self._show()

    def forget(self, cell: str) -> None:
        if self._told.pop(cell, None) is not None:
            self._show()

    def on_changes(self, changes: list[Change]) -> None:
        look = False
        for change in changes:
            before, after = _failing(change.before), _failing(change.after)
            if after:
                self._failing[change.fact.resource] = None
            elif before:
                self._failing.pop(change.fact.resource, None)
            look |= before != after or isinstance(change.before, Cell) or isinstance(change.after, Cell)
        if look:
            self.health.look()

    def inspected(self, drift: Iterable[DriftRow], orphans: Iterable[OrphanRow]) -> None:
        """What every cell's host was found to be like. Debts are told as such."""
        self._drifted = Counter(cell for cell, _ in {(row.cell, row.guest_id) for row in drift})
        self._orphans = Counter(row.cell for row in orphans if row.kind != "allocation")
        self.health.look()

    def _show(self) -> None:
        alarms: dict[str, Alarm] = {}
        backups = {self._name: _backup_row(self._name, "core", self.health.backup)}
        for cell, told in self._told.items():
            found = [_of_cell(cell, alarm) for alarm in told.alarms[:ALARMS_OF_CELL_MAX]]
            alarms.update((alarm.id, alarm) for alarm in found)
            backups[cell] = _backup_row(cell, "cell", told.backup)
        self._views.show("alarm", alarms | self.health.alarms)
        self._views.show("backup", backups)

    def _in_trouble(self) -> Iterator[Finding]:
        yield from self._cells_in_trouble()
        for resource in self._failing:
            guest = self._zone.get(resource)
            if isinstance(guest, Guest):
                details = {"guest": guest.name, "count": str(guest.snapshots_failed), "reason": guest.snapshot_error}
                yield Finding("snapshots_failing", details, resource)

    def _cells_in_trouble(self) -> Iterator[Finding]:
        for cell in self._zone.of_kind("cell"):
            if not isinstance(cell, Cell) or not cell.pool:
                continue
            resource, named = f"cell/{cell.name}", {"cell": cell.name}
            if not cell.online:
                yield Finding("cell_offline", named | {"since": moment(cell.seen_at)}, resource)
            if cell.error:
                yield Finding("cell_fault", named | {"reason": cell.error}, resource)
            for code, found in (("drift", self._drifted), ("orphans", self._orphans)):
                if found[cell.name]:
                    yield Finding(code, named | {"count": str(found[cell.name])}, resource)
            if cell.debts:
                yield Finding("cell_debts", named | {"count": str(len(cell.debts))}, resource)


def _failing(state: object) -> tuple[int, str] | None:
    """How many snapshots of its schedule have failed in a row, when that is to be told."""
    if not isinstance(state, Guest) or state.snapshots_failed < FAILED_IN_A_ROW or state.phase != "ready":
        return None
    return state.snapshots_failed, state.name


def _of_cell(cell: str, alarm: Alarm) -> Alarm:
    code, resource, place = alarm.code[:NAME_MAX], f"cell/{cell}", alarm.place[:NAME_MAX]
    return msgspec.structs.replace(
        alarm,
        id=alarm_id(code, resource, place),
        code=code,
        node=cell,
        resource=resource,
        place=place,
        message=alarm.message[:TEXT_MAX],
        hint=alarm.hint[:TEXT_MAX],
        details={name[:NAME_MAX]: value[:TEXT_MAX] for name, value in islice(alarm.details.items(), DETAILS_MAX)},
    )


def _backup_row(node: str, kind: str, state: BackupState) -> BackupRow:
    return BackupRow(node=node, kind=kind, **msgspec.structs.asdict(state))
