"""The saga of moving a guest to another cell (decision 41).

Until the source is asked to let go of the guest, the task turns back on a failure, a cancel or its deadline. From there on it
goes by what the cells say alone: each order is sent until its cell has said what became of it, however long that cell is away.
"""

import logging
from typing import Final

import anyio

from nano.core.guest_steps import GuestSteps, order_id
from nano.core.vault import Vault
from nano.core.work import Cancelled, Run, Saga, resumed_undo
from nano.domain.cell import cell_named
from nano.domain.errors import JournalError, NanoError
from nano.domain.guest_migrate import (
    CLEAR,
    COPY,
    KIND,
    PREPARE,
    SWITCH,
    AbandonMigration,
    EndMigration,
    SwitchGuest,
    destination_of,
    is_live,
    source_of,
    spec_there,
    storage_of,
)
from nano.domain.task import problem_of
from nano.transports.messages import GuestOrder, Ok, RedefineDomain, RemoveDomain
from nano.transports.move_messages import AdoptDomain, DiscardDomain, ReceiveDomain, ReleaseDomain, SendDomain

log = logging.getLogger("nano.core")

REMOVE_PATIENCE_S: Final = 45.0  # how long a cell that is away is waited for, before its remains become a debt


class MigrateWork:
    def __init__(self, steps: GuestSteps, vault: Vault) -> None:
        self._steps = steps
        self._vault = vault
        self._zone = steps.zone

    def sagas(self) -> dict[str, Saga]:
        return {KIND: self.migrate}

    async def migrate(self, run: Run) -> None:
        try:
            if run.task.state == "undoing":
                raise resumed_undo(run)
            told = "" if _switching(run) else await self._bring_in_time(run)
            await self._switch_over(run, told)
        except JournalError:
            raise
        except NanoError as error:
            await self._turn_back(run, error)
        else:
            await self._clear(run)

    async def _bring_in_time(self, run: Run) -> str:
        """What is to be told of it."""
        told: list[str] = []

        async def bring() -> None:
            told.append(await self._bring(run))

        try:
            await run.within_deadline(bring)
        except JournalError:
            raise
        except NanoError:
            if not await self._has_gone(run):
                raise
        return "".join(told)

    async def _has_gone(self, run: Run) -> bool:
        """Whether a guest that was to move running is the destination's, whatever was asked for since. Its cell knows."""
        if not is_live(run.task) or all(step.name != COPY for step in run.task.steps):
            return False
        source = source_of(run.task)
        await self._steps.cancel(run, source, ("send",))
        try:
            await self._steps.cells.order(source, self._send(run, ""))
        except JournalError:
            raise
        except NanoError:
            return False
        return True

    def _send(self, run: Run, address: str) -> SendDomain:
        receiver = cell_named(self._zone, destination_of(run.task)).fingerprint
        announced = order_id(run, "receive") if storage_of(run.task) else ""
        guest_id = self._steps.guest(run).id
        return SendDomain(order_id(run, "send"), guest_id, address, receiver, is_live(run.task), announced)

    async def _bring(self, run: Run) -> str:
        """Everything of it to the destination, while nothing of it changes at the source."""
        address = (await self._receive(run, PREPARE)).detail
        await run.step(COPY)
        return (await self._steps.do(run, source_of(run.task), COPY, self._send(run, address))).detail

    async def _receive(self, run: Run, step: str) -> Ok:
        guest, source, destination = self._steps.guest(run), source_of(run.task), destination_of(run.task)
        patience_s = self._zone.limits.migrate_deadline.total_seconds()
        sender = cell_named(self._zone, source).fingerprint
        receive = ReceiveDomain(
            order_id(run, "receive"),
            guest.id,
            spec_there(guest.spec, run.task),
            sender,
            patience_s,
            is_live(run.task),
            storage_of(run.task),
            guest.pending if is_live(run.task) else (),  # one that is off is defined there anew, and waits for nothing
        )
        return await self._steps.do(run, destination, step, receive)

    async def _switch_over(self, run: Run, told: str) -> None:
        """Raises what a cell could not do; then it has nothing of it defined."""
        source, destination = source_of(run.task), destination_of(run.task)
        await run.step(SWITCH, told)
        live = is_live(run.task)
        if not live:  # one that ran has been let go of when it was handed over
            await self._steps.do(run, source, SWITCH, self._release(run))
        if self._steps.guest(run).cell == source:
            here = await self._receive(run, SWITCH)  # done long ago: answered with where its journal is now
            await run.record(SwitchGuest(run.task.id, since=here.position), f"switch@{here.position}")
        await self._steps.do(run, destination, SWITCH, self._adopt(run))

    def _adopt(self, run: Run) -> AdoptDomain:
        """With its VNC access, as long as its secret can be opened."""
        guest, secret = self._steps.guest(run), ""
        if guest.vnc is not None:
            try:
                secret = self._vault.open_vnc(guest.vnc.sealed)
            except NanoError as error:
                log.error("VNC access not taken along guest=%s code=%s", guest.id, error.code)
        sealed = guest.vnc.sealed if guest.vnc is not None else ""
        return AdoptDomain(order_id(run, "adopt"), guest.id, is_live(run.task), secret, sealed)

    def _release(self, run: Run) -> ReleaseDomain:
        return ReleaseDomain(order_id(run, "release"), self._steps.guest(run).id, bool(storage_of(run.task)))

    async def _give_back(self, run: Run) -> None:
        """The destination could not take it: it is the source's again, and defined there if the source can."""
        source = source_of(run.task)
        await run.record(SwitchGuest(run.task.id, back=True), "switch_back")
        guest = self._steps.guest(run)
        if guest.power == "missing" and _switching(run):
            try:
                await self._steps.do(run, source, SWITCH, RedefineDomain(order_id(run, "redefine"), guest.id))
            except JournalError:
                raise
            except NanoError as failure:  # people are shown that it is missing, and can have it defined again
                log.error("not defined again task=%s cell=%s code=%s", run.task.id, source, failure.code)

    async def _clear(self, run: Run) -> None:
        await run.step(CLEAR)
        files = not storage_of(run.task)
        removal = RemoveDomain(order_id(run, "clear"), self._steps.guest(run).id, files)
        removed = await self._remove(run, source_of(run.task), removal)
        await run.record(EndMigration(task=run.task.id, debt=removed is None), "end")

    async def _turn_back(self, run: Run, error: NanoError) -> None:
        await run.begin_undo(error)
        await self._give_back(run)
        with anyio.CancelScope(shield=True):
            destination = destination_of(run.task)
            with anyio.move_on_after(REMOVE_PATIENCE_S):
                await self._steps.cancel(run, source_of(run.task), ("send",))
                await self._steps.cancel(run, destination, ("receive",))
            removed = await self._remove(
                run, destination, DiscardDomain(order_id(run, "discard"), self._steps.guest(run).id)
            )
            owed = f"cell {destination} can't be asked now; it removes the rest before it takes new guests"
            abandoned = AbandonMigration(
                task=run.task.id,
                error=problem_of(error),
                undone=(owed,) if removed is None else tuple(removed),
                cancelled=isinstance(error, Cancelled),
                debt=removed is None,
            )
            await run.record(abandoned, "abandon")

    async def _remove(self, run: Run, cell: str, order: GuestOrder) -> list[str] | None:
        """What the cell removed; None when it can't be had to do so now."""
        with anyio.move_on_after(REMOVE_PATIENCE_S):
            try:
                answer = await self._steps.cells.order(cell, order)
            except JournalError:
                raise
            except NanoError as failure:
                log.warning("not removed task=%s cell=%s code=%s", run.task.id, cell, failure.code)
                return None
            return [text for text in answer.detail.split("\n") if text]
        return None


def _switching(run: Run) -> bool:
    """Whether the source may have been asked to let go of it."""
    return any(step.name == SWITCH for step in run.task.steps)
