"""The saga of probing a cell: it is asked what its host can do, and what it answers is recorded."""

from nano.core.cells import CellDesk
from nano.core.work import Cancelled, Run, Saga
from nano.domain.cell_probe import AbandonProbe, EndProbe
from nano.domain.errors import JournalError, NanoError
from nano.domain.facts import id_of
from nano.domain.task import problem_of
from nano.transports.messages import AbilitiesAre, ProbeHost

PATIENCE_S = 90.0


class ProbeWork:
    def __init__(self, cells: CellDesk) -> None:
        self._cells = cells

    def sagas(self) -> dict[str, Saga]:
        return {"cell.probe": self.probe}

    async def probe(self, run: Run) -> None:
        found: list[AbilitiesAre] = []

        async def ask() -> None:
            answer = await self._cells.tell(id_of(run.task.resource), ProbeHost(), timeout_s=PATIENCE_S)
            assert isinstance(answer, AbilitiesAre)
            found.append(answer)

        try:
            await run.within_deadline(ask)
            await run.record(EndProbe(task=run.task.id, abilities=found[0].abilities), "end")
        except JournalError:
            raise
        except NanoError as error:
            abandoned = AbandonProbe(task=run.task.id, error=problem_of(error), cancelled=isinstance(error, Cancelled))
            await run.record(abandoned, "abandon")
