"""CellTrust: what the proven key of a connecting node may do, answered from the zone's cells (architecture.md, "Trust")."""

from nano.domain.cell import Cell
from nano.domain.zone import Zone
from nano.transports.messages import Hello, Welcome
from nano.transports.trust import APPROVED, WAITING, Judgement, refused


class CellTrust:
    """The approved cells are those in a pool, each with the fingerprint an administrator saw when adding it."""

    def __init__(self, zone: Zone) -> None:
        self._zone = zone

    def check(self, remote_fingerprint: str, claimed: Hello | Welcome | None) -> Judgement:
        if not isinstance(claimed, Hello):
            return WAITING
        cell = self._zone.get(f"cell/{claimed.name}")
        if not isinstance(cell, Cell) or not cell.pool:
            return WAITING
        if cell.fingerprint != remote_fingerprint:
            return refused(
                "cell_fingerprint_mismatch",
                f"A node calls itself {claimed.name}, but its certificate is not the one that was approved.",
                "If the host was rebuilt, remove the cell from its pool and add it again.",
            )
        return APPROVED

    def admitted(self, remote_fingerprint: str, welcome: Welcome) -> None:
        """A Core connects to nobody, so nobody admits it."""
