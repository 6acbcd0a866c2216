"""The sagas of the recycle bin, and its keeper: what has rested there long enough is deleted, as anyone would delete it.

A Core that was away when a guest became due deletes it when it is back. A deletion that is refused (protected, cell offline,
busy) or fails is tried again later; the guest stays meanwhile.
"""

import logging
from collections.abc import Callable
from datetime import datetime
from typing import Final

import anyio

from nano.core.change_work import Serve, change_order
from nano.core.guest_steps import GuestSteps, order_id
from nano.core.work import ACTOR, Run, Saga
from nano.domain.errors import JournalError, NanoError
from nano.domain.facts import Change
from nano.domain.guest import Guest
from nano.domain.guest_bin import EndBinWork, GuestRecycled, GuestRestored
from nano.domain.guest_change import CHANGE
from nano.domain.guest_commands import DeleteGuest
from nano.journal.ledger import Ledger

log = logging.getLogger("nano.core")

AGAIN_S: Final = 600.0
LOOK_S = 60.0  # at least this often, whatever happened to the clock


class BinWork:
    def __init__(self, steps: GuestSteps, source: Serve, ledger: Ledger, clock: Callable[[], datetime]) -> None:
        self._steps = steps
        self._zone = steps.zone
        self._source = source
        self._ledger = ledger
        self._clock = clock
        self._again: dict[str, datetime] = {}  # when its last attempt was

    def sagas(self) -> dict[str, Saga]:
        return {"guest.recycle": self.move, "guest.restore": self.move}

    async def move(self, run: Run) -> None:
        guest = self._steps.guest(run)

        async def change() -> None:
            if guest.power != "missing":  # then it comes out as it is, and can be defined again
                order = change_order(run, order_id(run), self._zone, self._source)
                await self._steps.do(run, guest.cell, CHANGE, order)

        try:
            await run.within_deadline(change)
            await run.record(EndBinWork(run.task.id), "end")
        except JournalError:
            raise
        except NanoError as error:
            await self._steps.abandon(run, guest.cell, error)

    async def run(self) -> None:
        """Empty the bin of what is due until cancelled."""
        moved = anyio.Event()

        def on_changes(changes: list[Change]) -> None:
            if any(isinstance(change.fact.event, (GuestRecycled, GuestRestored)) for change in changes):
                moved.set()

        self._ledger.feed.add_listener(on_changes)
        try:
            while True:
                moved = anyio.Event()
                with anyio.move_on_after(await self._purge()):
                    await moved.wait()
        finally:
            self._ledger.feed.remove_listener(on_changes)

    async def _purge(self) -> float:
        """Begin the deletion of what is due. Returns the seconds until it is worth looking again."""
        now = self._clock()
        resting = {guest.id: guest for guest in self._zone.guests() if guest.phase == "recycled"}
        self._again = {guest_id: at for guest_id, at in self._again.items() if guest_id in resting}
        wait_s = LOOK_S
        for guest in resting.values():
            due_s = self._due_s(guest, now)
            if due_s <= 0 and not guest.task:
                await self._delete(guest, now)
                due_s = AGAIN_S
            wait_s = min(wait_s, max(due_s, 1.0))
        return wait_s

    def _due_s(self, guest: Guest, now: datetime) -> float:
        assert guest.recycled_until is not None
        due_s = (guest.recycled_until - now).total_seconds()
        last = self._again.get(guest.id)
        return due_s if last is None else max(due_s, AGAIN_S - (now - last).total_seconds())

    async def _delete(self, guest: Guest, now: datetime) -> None:
        self._again[guest.id] = now
        try:
            await self._ledger.execute(
                DeleteGuest(guest=guest.id), actor=ACTOR, command_id=f"{guest.id}/due/{int(now.timestamp())}"
            )
        except NanoError as error:  # also when our journal can't take it now
            log.warning("guest stays in the bin guest=%s code=%s", guest.id, error.code)
