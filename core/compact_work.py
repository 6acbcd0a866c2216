"""The saga of compacting a disk: one order to the guest's cell, which answers how many bytes it gave back."""

from nano.core.guest_steps import GuestSteps, order_id
from nano.core.work import Run, Saga
from nano.domain.errors import JournalError, NanoError
from nano.domain.guest_compact import COMPACT, NUMBER, EndCompact
from nano.transports.messages import CompactVolume


class CompactWork:
    def __init__(self, steps: GuestSteps) -> None:
        self._steps = steps

    def sagas(self) -> dict[str, Saga]:
        return {"guest.disk.compact": self.compact}

    async def compact(self, run: Run) -> None:
        guest = self._steps.guest(run)
        volume = guest.spec.volume_numbers[int(run.task.arguments[NUMBER])]
        freed: list[int] = []

        async def have_it_done() -> None:
            answer = await self._steps.do(run, guest.cell, COMPACT, CompactVolume(order_id(run), guest.id, volume))
            freed.append(int(answer.detail) if answer.detail.isdecimal() else 0)

        try:
            await run.within_deadline(have_it_done)
            await run.record(EndCompact(task=run.task.id, freed=freed[0]), "end")
        except JournalError:
            raise
        except NanoError as error:
            await self._steps.abandon(run, guest.cell, error)
