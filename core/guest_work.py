"""The sagas of guests: create, power, define again, delete (features M20, M23, M55).

A failed creation leaves nothing: the cell is asked to remove what it may have, and when it can't be reached it owes that
(``CellDebtRecorded``) and settles it before it gets new guests. Other work that fails leaves the guest as the cell has it.
"""

import logging

import anyio

from nano.core.change_work import Serve, change_order
from nano.core.guest_steps import GuestSteps, order_id
from nano.core.vault import Vault
from nano.core.work import Cancelled, Run, Saga, resumed_undo
from nano.domain.cloud_init import seed_files
from nano.domain.errors import JournalError, NanoError
from nano.domain.guest import Guest
from nano.domain.guest_commands import MADE, STARTED, AbandonCreate, EndCreate
from nano.domain.guest_hold import EndWork
from nano.domain.guest_media import INSERT
from nano.domain.image import Image
from nano.domain.task import problem_of
from nano.transports.messages import CreateDomain, PowerDomain, RedefineDomain, RemoveDomain

log = logging.getLogger("nano.core")

UNDO_PATIENCE_S = 45.0  # how long undoing waits for a cell that is away, before it becomes a debt


class GuestWork:
    def __init__(self, steps: GuestSteps, source: Serve, vault: Vault) -> None:
        self._steps = steps
        self._zone = steps.zone
        self._source = source
        self._vault = vault

    def sagas(self) -> dict[str, Saga]:
        power = ("stop", "force_stop", "reboot", "force_reboot")
        return {
            "guest.create": self.create,
            "guest.delete": self.delete,
            "guest.redefine": self.redefine,
            "guest.start": self.start,
            **{f"guest.{action}": self.power for action in power},
        }

    async def create(self, run: Run) -> None:
        guest = self._steps.guest(run)
        try:
            if run.task.state == "undoing":
                raise resumed_undo(run)
            await run.within_deadline(lambda: self._make(run, guest))
            await run.record(EndCreate(run.task.id), "end")
        except JournalError:
            raise
        except NanoError as error:
            await self._undo_create(run, guest, error)

    async def _make(self, run: Run, guest: Guest) -> None:
        image = self._zone.get(f"image/{guest.spec.image}") if guest.spec.image else None
        source = self._source(image) if isinstance(image, Image) else None
        make = CreateDomain(order_id(run, "make"), guest.id, guest.spec, source, self._seed(guest))
        await self._steps.do(run, guest.cell, MADE, make)
        if STARTED in run.task.plan:
            await run.step(STARTED)
            started = PowerDomain(order_id(run, "start"), guest.id, "start")
            await self._steps.do(run, guest.cell, STARTED, started)

    def _seed(self, guest: Guest) -> dict[str, str]:
        told = guest.cloud_init
        return seed_files(guest.id, guest.spec, told, self._vault.open(told)) if told is not None else {}

    async def _undo_create(self, run: Run, guest: Guest, error: NanoError) -> None:
        with anyio.CancelScope(shield=True):
            await run.begin_undo(error)
            undone = [text for text in error.context.get("undone", ()) if isinstance(text, str)]
            debt = True
            with anyio.move_on_after(UNDO_PATIENCE_S):
                await self._steps.cancel(run, guest.cell, ("make", "start"))
                try:
                    answer = await self._steps.cells.order(guest.cell, RemoveDomain(order_id(run, "undo"), guest.id))
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

    async def start(self, run: Run) -> None:
        if INSERT not in run.task.plan:
            await self.power(run)
            return
        cell = self._steps.guest(run).cell
        try:
            await run.within_deadline(lambda: self._insert_and_start(run, cell))
            await run.record(EndWork(run.task.id), "end")
        except JournalError:
            raise
        except NanoError as error:
            await self._steps.abandon(run, cell, error, names=("insert", "start"))

    async def _insert_and_start(self, run: Run, cell: str) -> None:
        inserted = change_order(run, order_id(run, "insert"), self._zone, self._source)
        await self._steps.do(run, cell, INSERT, inserted)
        await run.step(STARTED)
        await self._steps.do(run, cell, STARTED, PowerDomain(order_id(run, "start"), inserted.guest_id, "start"))

    async def power(self, run: Run) -> None:
        action = run.task.kind.removeprefix("guest.")
        patience = self._zone.limits.stop_patience_s
        await self._steps.plain(run, PowerDomain(order_id(run), self._steps.guest(run).id, action, patience))

    async def redefine(self, run: Run) -> None:
        await self._steps.plain(run, RedefineDomain(order_id(run), self._steps.guest(run).id))

    async def delete(self, run: Run) -> None:
        if self._zone.get(run.task.resource) is None:  # its cell has said that it is gone
            await run.record(EndWork(run.task.id), "end")
            return
        await self._steps.plain(run, RemoveDomain(order_id(run), self._steps.guest(run).id))
