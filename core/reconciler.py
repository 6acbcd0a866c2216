"""Reconciler: mends by itself what drifted and is safe to put back, now and then; everything else is left to a person.

Safe is what a running guest follows at once and does not notice: name, priority, limits, autostart. A guest that differs in
anything else too is left alone as a whole. What a repair did not mend is not tried again until it differs in another way.
"""

import logging
from typing import Final

import anyio

from nano.core.inspector import Inspector
from nano.core.work import ACTOR
from nano.domain.errors import NanoError
from nano.domain.guest_repair import RepairGuest
from nano.domain.inspection import DriftRow
from nano.journal.ledger import Ledger

log = logging.getLogger("nano.core")

SAFE: Final = frozenset({"name", "priority", "disk_limits", "network_limits", "autostart"})
AT_ONCE: Final = 16  # guests in one round


class Reconciler:
    """``every_s`` between rounds; 0 = never."""

    def __init__(self, ledger: Ledger, inspector: Inspector, every_s: float) -> None:
        self._ledger = ledger
        self._inspector = inspector
        self._every_s = every_s
        self._tried: dict[str, tuple[DriftRow, ...]] = {}

    async def run(self) -> None:
        while self._every_s > 0:
            await anyio.sleep(self._every_s)
            await self.mend()

    async def mend(self) -> list[str]:
        """One round; the guests for which a repair was begun, by id."""
        drifted: dict[str, tuple[DriftRow, ...]] = {}
        for row in (await self._inspector.look()).drift:
            drifted[row.guest_id] = (*drifted.get(row.guest_id, ()), row)
        self._tried = {guest: rows for guest, rows in self._tried.items() if drifted.get(guest) == rows}
        begun: list[str] = []
        for guest, rows in drifted.items():
            if guest in self._tried or not all(_is_safe(row) for row in rows) or len(begun) == AT_ONCE:
                continue
            self._tried[guest] = rows
            try:
                await self._ledger.execute(RepairGuest(guest=guest), actor=ACTOR, command_id="")
            except NanoError as error:
                log.info("drift not mended guest=%s code=%s reason=%s", guest, error.code, error.message)
                continue
            log.warning("drift is being mended guest=%s fields=%s", guest, ",".join(row.attribute for row in rows))
            begun.append(guest)
        return begun


def _is_safe(row: DriftRow) -> bool:
    return row.repair == "at_once" and row.attribute in SAFE
