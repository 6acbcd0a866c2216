"""The sagas of guests: create, power, define again, delete (features M20, M23, M55).

Each step is an order to the guest's cell, known by an id made from the task's, so a step may be sent any number of times.
A failed creation leaves nothing: the cell is asked to remove what it may have, and when it can't be reached it owes that
(``CellDebtRecorded``) and settles it before it gets new guests. Other work that fails leaves the guest as the cell has it.
"""

import logging
from collections.abc import Callable

import anyio

from nano.core.cells import CellDesk
from nano.core.work import Cancelled, Run, Saga, problem_of
from nano.domain.errors import JournalError, NanoError
from nano.domain.guest import Guest
from nano.domain.guest_commands import MADE, STARTED, AbandonCreate, AbandonWork, EndCreate, EndWork
from nano.domain.image import Image
from nano.domain.zone import Zone
from nano.transports.messages import (
    AskProgress,
    CancelCommand,
    CreateDomain,
    ImageSource,
    Message,
    PowerDomain,
    ProgressIs,
    RedefineDomain,
    RemoveDomain,
)
from nano.transports.unwrap import plain_errors

log = logging.getLogger("nano.core")

UNDO_PATIENCE_S = 45.0  # how long undoing waits for a cell that is away, before it becomes a debt
CANCEL_TIMEOUT_S = 30.0  # the cell answers when what it had begun is undone

Tell = Callable[[str, int, str], None]  # task id, percent of the open step, step in words
Serve = Callable[[Image], ImageSource]


class GuestWork:
    def __init__(self, zone: Zone, cells: CellDesk, source: Serve, tell: Tell) -> None:
        self._zone = zone
        self._cells = cells
        self._source = source
        self._tell = tell

    def sagas(self) -> dict[str, Saga]:
        power = ("start", "stop", "force_stop", "reboot", "force_reboot")
        return {
            "guest.create": self.create,
            "guest.delete": self.delete,
            "guest.redefine": self.redefine,
            **{f"guest.{action}": self.power for action in power},
        }

    async def create(self, run: Run) -> None:
        guest = self._guest(run)
        try:
            if run.task.state == "undoing":
                raise _resumed_undo(run)
            await run.within_deadline(lambda: self._make(run, guest))
            await run.record(EndCreate(run.task.id), "end")
        except JournalError:
            raise
        except NanoError as error:
            await self._undo_create(run, guest, error)

    async def _make(self, run: Run, guest: Guest) -> None:
        image = self._zone.get(f"image/{guest.spec.image}") if guest.spec.image else None
        source = self._source(image) if isinstance(image, Image) else None
        await self._do(run, guest, MADE, CreateDomain(f"{run.task.id}.make", guest.id, guest.spec, source))
        if STARTED in run.task.plan:
            await run.step(STARTED)
            await self._do(run, guest, STARTED, PowerDomain(f"{run.task.id}.start", guest.id, "start"))

    async def _undo_create(self, run: Run, guest: Guest, error: NanoError) -> None:
        with anyio.CancelScope(shield=True):
            await run.begin_undo(error)
            undone = [text for text in error.context.get("undone", ()) if isinstance(text, str)]
            debt = True
            with anyio.move_on_after(UNDO_PATIENCE_S):
                await self._cancel(guest.cell, run)
                try:
                    answer = await self._cells.order(guest.cell, RemoveDomain(f"{run.task.id}.undo", guest.id))
                    undone += [text for text in answer.detail.split("\n") if text]
                    debt = False
                except JournalError:
                    raise
                except NanoError as failure:
                    log.warning("undo failed task=%s cell=%s code=%s", run.task.id, guest.cell, failure.code)
            if debt:
                undone.append(f"cell {guest.cell} can't be asked now; it removes the rest before it takes new guests")
            undone.append(f"name {guest.name} and its room on cell {guest.cell} given back")
            abandoned = AbandonCreate(
                task=run.task.id,
                error=problem_of(error),
                undone=tuple(undone),
                cancelled=isinstance(error, Cancelled),
                debt=debt,
            )
            await run.record(abandoned, "abandon")

    async def power(self, run: Run) -> None:
        action = run.task.kind.removeprefix("guest.")
        patience = self._zone.limits.stop_patience_s
        guest = self._guest(run)
        await self._plain(run, guest, PowerDomain(f"{run.task.id}.do", guest.id, action, patience))

    async def redefine(self, run: Run) -> None:
        guest = self._guest(run)
        await self._plain(run, guest, RedefineDomain(f"{run.task.id}.do", guest.id))

    async def delete(self, run: Run) -> None:
        if self._zone.get(run.task.resource) is None:  # its cell has said that it is gone
            await run.record(EndWork(run.task.id), "end")
            return
        guest = self._guest(run)
        await self._plain(run, guest, RemoveDomain(f"{run.task.id}.do", guest.id))

    async def _plain(self, run: Run, guest: Guest, message: Message) -> None:
        try:
            await run.within_deadline(lambda: self._do(run, guest, run.task.plan[0], message))
            await run.record(EndWork(run.task.id), "end")
        except JournalError:
            raise
        except NanoError as error:
            with anyio.CancelScope(shield=True):
                await self._cancel(guest.cell, run)
                abandoned = AbandonWork(
                    task=run.task.id, error=problem_of(error), cancelled=isinstance(error, Cancelled)
                )
                await run.record(abandoned, "abandon")

    async def _do(self, run: Run, guest: Guest, step: str, order: Message) -> None:
        """One order, with its progress told while it lasts."""
        command_id: str = order.command_id  # type: ignore[attr-defined]
        with plain_errors():
            async with anyio.create_task_group() as tasks:
                tasks.start_soon(self._tell_progress, run, guest.cell, step, command_id)
                await self._cells.order(guest.cell, order)
                tasks.cancel_scope.cancel()

    async def _tell_progress(self, run: Run, cell: str, step: str, command_id: str) -> None:
        try:
            async for message in self._cells.watch(cell, AskProgress(command_id)):
                if isinstance(message, ProgressIs):
                    self._tell(run.task.id, message.percent, message.step or step)
        except NanoError as error:
            log.info("no progress of task=%s code=%s", run.task.id, error.code)

    async def _cancel(self, cell: str, run: Run) -> None:
        """Stop what the cell may still be doing for this task; it undoes that itself."""
        for name in ("make", "start", "do"):
            try:
                await self._cells.tell(cell, CancelCommand(f"{run.task.id}.{name}"), timeout_s=CANCEL_TIMEOUT_S)
            except NanoError as error:
                log.info("nothing cancelled task=%s step=%s code=%s", run.task.id, name, error.code)

    def _guest(self, run: Run) -> Guest:
        return self._zone.find_guest(run.task.resource.removeprefix("guest/"))


def _resumed_undo(run: Run) -> NanoError:
    """The error for which a task was already undoing when Core stopped."""
    problem = run.task.error
    assert problem is not None
    kind = Cancelled if problem.code == Cancelled.default_code else NanoError
    return kind(problem.message, code=problem.code, hint=problem.hint)
