"""GuestSteps: how a saga has a guest's cell do something, whatever it is.

Each step is an order to the guest's cell, known by an id made from the task's (``order_id``), so a step may be sent any
number of times, through lost links and restarts of either side. ``plain`` is the whole saga of a work that is one order:
what the cell could not do, it has undone itself, and the guest is as its cell says.
"""

import logging
from collections.abc import Callable, Sequence

import anyio

from nano.core.cells import CellDesk
from nano.core.work import Cancelled, Run
from nano.domain.errors import JournalError, NanoError
from nano.domain.guest import Guest
from nano.domain.guest_hold import AbandonWork, EndWork
from nano.domain.task import problem_of
from nano.domain.zone import Zone
from nano.transports.messages import AskProgress, CancelCommand, GuestOrder, Ok, ProgressIs
from nano.transports.unwrap import plain_errors

log = logging.getLogger("nano.core")

CANCEL_TIMEOUT_S = 30.0  # the cell answers when what it had begun is undone
ONLY = "do"  # name of the order of a work that has one

Tell = Callable[[str, int, str], None]  # task id, percent of the open step, step in words


def order_id(run: Run, name: str = ONLY) -> str:
    """The command id under which the cell knows this order of the task."""
    return f"{run.task.id}.{name}"


class GuestSteps:
    def __init__(self, zone: Zone, cells: CellDesk, tell: Tell) -> None:
        self.zone = zone
        self.cells = cells
        self.tell = tell

    def guest(self, run: Run) -> Guest:
        return self.zone.find_guest(run.task.resource.removeprefix("guest/"))

    async def do(self, run: Run, cell: str, step: str, order: GuestOrder) -> Ok:
        """One order, with its progress told while it lasts. Raises what the cell raised."""
        with plain_errors():
            async with anyio.create_task_group() as tasks:
                tasks.start_soon(self._tell_progress, run, cell, step, order.command_id)
                answer = await self.cells.order(cell, order)
                tasks.cancel_scope.cancel()
        return answer

    async def plain(self, run: Run, order: GuestOrder) -> None:
        """Have the guest's cell carry out the one order of the task, and end the task with what became of it."""
        cell = self.guest(run).cell
        try:
            await run.within_deadline(lambda: self._only(run, cell, order))
            await run.record(EndWork(run.task.id), "end")
        except JournalError:
            raise
        except NanoError as error:
            await self.abandon(run, cell, error)

    async def abandon(self, run: Run, cell: str, error: NanoError, *, names: Sequence[str] = (ONLY,)) -> None:
        """Stop these orders where they still run, and end the task with the error and what the cell undid."""
        with anyio.CancelScope(shield=True):
            await self.cancel(run, cell, names)
            undone = tuple(text for text in error.context.get("undone", ()) if isinstance(text, str))
            cancelled = isinstance(error, Cancelled)
            await run.record(
                AbandonWork(task=run.task.id, error=problem_of(error), undone=undone, cancelled=cancelled), "abandon"
            )

    async def cancel(self, run: Run, cell: str, names: Sequence[str]) -> None:
        """Stop what the cell may still be doing for this task; it undoes that itself."""
        for name in names:
            try:
                await self.cells.tell(cell, CancelCommand(order_id(run, name)), timeout_s=CANCEL_TIMEOUT_S)
            except NanoError as error:
                log.info("nothing cancelled task=%s step=%s code=%s", run.task.id, name, error.code)

    async def _only(self, run: Run, cell: str, order: GuestOrder) -> None:
        await self.do(run, cell, run.task.plan[0], order)

    async def _tell_progress(self, run: Run, cell: str, step: str, command_id: str) -> None:
        try:
            async for message in self.cells.watch(cell, AskProgress(command_id)):
                if isinstance(message, ProgressIs):
                    self.tell(run.task.id, message.percent, message.step or step)
        except NanoError as error:
            log.info("no progress of task=%s code=%s", run.task.id, error.code)
