"""Inspector: asks every cell of the zone what on it is not as the journals say, now. Nothing is kept or recorded.

Cells are asked together and each within ``PATIENCE_S``; one that does not answer is named with the reason, since nothing is
known of it then. What a task is at work on is left out: it is on its way to be as the journal says.
"""

from collections.abc import Callable, Iterable, Iterator, Mapping
from typing import Final, NamedTuple

import anyio

from nano.core.cells import CellDesk
from nano.domain.cell import Cell, share_storage
from nano.domain.errors import NanoError
from nano.domain.guest import Guest
from nano.domain.inspection import (
    DriftRow,
    Inspection,
    OrphanRow,
    Unasked,
    told_debts,
    told_drift,
    told_orphans,
)
from nano.domain.zone import Zone
from nano.transports.messages import AskInspection, InspectionIs

PATIENCE_S: Final = 20.0
AT_ONCE: Final = 32  # cells


class Findings(NamedTuple):
    drift: tuple[DriftRow, ...]
    orphans: tuple[OrphanRow, ...]
    unasked: tuple[Unasked, ...]


class Inspector:
    def __init__(self, zone: Zone, cells: CellDesk) -> None:
        self._zone = zone
        self._cells = cells
        self._limiter = anyio.CapacityLimiter(AT_ONCE)
        self.looked: Callable[[Findings], None] = lambda _: None
        """Called with what each look has found."""

    async def look(self) -> Findings:
        drift: list[DriftRow] = []
        orphans: list[OrphanRow] = []
        unasked: list[Unasked] = []

        async def ask(name: str) -> None:
            before = self._guests()
            async with self._limiter:
                try:
                    asking = AskInspection(tuple(sorted(self._elsewhere(name, before))))
                    answer = await self._cells.tell(name, asking, timeout_s=PATIENCE_S)
                except NanoError as error:
                    unasked.append(Unasked(name, error.message))
                    return
            assert isinstance(answer, InspectionIs)
            self._take_in(name, answer.found, before, drift, orphans)

        async with anyio.create_task_group() as tasks:
            for cell in self._zone.of_kind("cell"):
                if isinstance(cell, Cell) and cell.pool:
                    orphans += told_debts(cell.name, cell.debts)
                    tasks.start_soon(ask, cell.name)
        found = Findings(
            tuple(sorted(drift, key=lambda row: (row.cell, row.guest, row.where, row.attribute))),
            tuple(self._each_once(sorted(orphans, key=lambda row: row.id))),
            tuple(sorted(unasked, key=lambda one: one.cell)),
        )
        self.looked(found)
        return found

    def _take_in(
        self,
        name: str,
        found: Inspection,
        before: dict[str, Guest],
        drift: list[DriftRow],
        orphans: list[OrphanRow],
    ) -> None:
        after = self._guests()
        steady = {
            guest_id: guest
            for guest_id, guest in after.items()
            if guest.cell == name and not guest.task and before.get(guest_id) == guest
        }
        cell = self._zone.get(f"cell/{name}")
        owned = {
            guest_id
            for guests in (before, after)
            for guest_id, guest in guests.items()
            if guest.cell == name or guest.task
        }
        owned.update(cell.debts if isinstance(cell, Cell) else ())
        drift += told_drift(name, found, steady)
        elsewhere = self._elsewhere(name, before) | self._elsewhere(name, after)
        orphans += told_orphans(name, found, owned, elsewhere)

    def _elsewhere(self, name: str, guests: Mapping[str, Guest]) -> set[str]:
        """Those of other cells that have the storage of this one."""
        sharing = {cell.name for cell in self._zone.cells() if share_storage(self._zone, cell.name, name)} - {name}
        return {guest_id for guest_id, guest in guests.items() if guest.cell in sharing}

    def _each_once(self, rows: Iterable[OrphanRow]) -> Iterator[OrphanRow]:
        """A file that several cells see on one storage is told of by the first of them."""
        seen = set[tuple[str, str]]()
        for row in rows:
            cell = self._zone.get(f"cell/{row.cell}")
            if row.kind in ("volume", "seed", "media") and isinstance(cell, Cell) and cell.storage:
                if (cell.storage, row.name) in seen:
                    continue
                seen.add((cell.storage, row.name))
            yield row

    def _guests(self) -> dict[str, Guest]:
        return {guest.id: guest for guest in self._zone.guests()}
