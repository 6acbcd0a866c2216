"""The sagas of repair: a guest's domain made what the journal says, an orphan removed. One order to the cell each."""

import anyio

from nano.core.guest_steps import ONLY, GuestSteps, order_id
from nano.core.work import Cancelled, Run, Saga
from nano.domain.errors import JournalError, NanoError
from nano.domain.orphan import REMOVE, AbandonOrphan, EndOrphan, leaves_files, parse_orphan
from nano.domain.task import problem_of
from nano.transports.messages import GuestOrder, RemoveDomain, RemoveFile, RemoveFilter, RemoveSnapshot, RepairDomain


class RepairWork:
    def __init__(self, steps: GuestSteps) -> None:
        self._steps = steps

    def sagas(self) -> dict[str, Saga]:
        return {"guest.repair": self.repair, "orphans.remove": self.remove_orphan}

    async def repair(self, run: Run) -> None:
        await self._steps.plain(run, RepairDomain(order_id(run), self._steps.guest(run).id))

    async def remove_orphan(self, run: Run) -> None:
        orphan = parse_orphan(run.task.arguments["orphan"])
        files = not leaves_files(self._steps.zone, orphan)
        order: GuestOrder = RemoveDomain(order_id(run), orphan.guest_id, files)
        if orphan.file:
            order = RemoveFile(order_id(run), orphan.guest_id, orphan.file)
        elif orphan.kind == "filter":
            order = RemoveFilter(order_id(run), orphan.guest_id)
        elif orphan.kind == "snapshot":
            order = RemoveSnapshot(order_id(run), orphan.guest_id, orphan.snapshot)

        async def remove() -> None:
            await self._steps.do(run, orphan.cell, REMOVE, order)

        try:
            await run.within_deadline(remove)
            await run.record(EndOrphan(run.task.id), "end")
        except JournalError:
            raise
        except NanoError as error:
            with anyio.CancelScope(shield=True):
                await self._steps.cancel(run, orphan.cell, (ONLY,))
            abandoned = AbandonOrphan(task=run.task.id, error=problem_of(error), cancelled=isinstance(error, Cancelled))
            await run.record(abandoned, "abandon")
