"""The sagas of snapshots: one order each to the guest's cell, which does it whole or leaves things as they were."""

from typing import Final

from nano.core.guest_steps import GuestSteps, order_id
from nano.core.work import Run, Saga
from nano.domain.guest_snapshot import snapshot_in
from nano.transports.messages import DropSnapshot, MakeSnapshot, RestoreSnapshot

ORDERS: Final[dict[str, type[MakeSnapshot] | type[RestoreSnapshot] | type[DropSnapshot]]] = {
    "guest.snapshot.create": MakeSnapshot,
    "guest.snapshot.restore": RestoreSnapshot,
    "guest.snapshot.delete": DropSnapshot,
}


class SnapshotWork:
    def __init__(self, steps: GuestSteps) -> None:
        self._steps = steps

    def sagas(self) -> dict[str, Saga]:
        return dict.fromkeys(ORDERS, self.work)

    async def work(self, run: Run) -> None:
        guest = self._steps.guest(run)
        await self._steps.plain(run, ORDERS[run.task.kind](order_id(run), guest.id, snapshot_in(run.task)))
