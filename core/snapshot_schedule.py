"""SnapshotClock: takes the snapshots that are due by guests' schedules, and deletes those past their time.

It decides nothing: it looks when something may be due and gives the commands, which the journal answers (``domain``). So it
keeps nothing that a restart could lose. It wakes at the next due time, when a schedule or a guest that has one changes, and
at least every ``LOOK_S``, since clocks are put right. On one cell only few are worked on at once.
"""

import logging
from collections import Counter
from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from typing import Final

import anyio

from nano.domain.errors import NanoError
from nano.domain.facts import Change, Command
from nano.domain.guest import Guest
from nano.domain.snapshot import due_at, expired, next_at
from nano.domain.snapshot_schedule import ExpireScheduled, TakeScheduled
from nano.domain.zone import Zone
from nano.journal.ledger import Ledger

log = logging.getLogger("nano.core")

ACTOR: Final = "schedule"
LOOK_S: Final = 600.0
AGAIN_S: Final = 60.0  # after one was refused, or ended: a host in trouble is not asked at once
AT_ONCE: Final = 2  # on one cell


class SnapshotClock:
    def __init__(self, ledger: Ledger, zone: Zone, clock: Callable[[], datetime]) -> None:
        self._ledger = ledger
        self._zone = zone
        self._clock = clock
        self._scheduled: dict[str, None] = {}  # guest ids in a fixed order
        self._given: dict[str, datetime] = {}  # when a command for that guest was last given
        self._woken = anyio.Event()

    async def run(self) -> None:
        for guest in self._zone.guests():
            if guest.snapshot_schedule is not None:
                self._scheduled[guest.id] = None
        self._ledger.feed.add_listener(self._on_changes)
        try:
            while True:
                self._woken = anyio.Event()
                wait_s = await self._work()
                with anyio.move_on_after(wait_s):
                    await self._woken.wait()
        finally:
            self._ledger.feed.remove_listener(self._on_changes)

    def _on_changes(self, changes: list[Change]) -> None:
        for change in changes:
            before, after = change.before, change.after
            if not isinstance(before, Guest) and not isinstance(after, Guest):
                continue
            guest_id = change.fact.resource.removeprefix("guest/")
            if isinstance(after, Guest) and after.snapshot_schedule is not None:
                self._scheduled[guest_id] = None
                if not after.task:
                    self._woken.set()
            else:
                self._scheduled.pop(guest_id, None)
                self._given.pop(guest_id, None)

    async def _work(self) -> float:
        """Begin what is due; seconds until the next look."""
        now, wait_s = self._clock(), LOOK_S
        busy = Counter(guest.cell for guest in self._guests() if guest.task)
        for guest in self._guests():
            schedule = guest.snapshot_schedule
            assert schedule is not None
            due = due_at(schedule, now) is not None
            beyond = bool(expired(schedule, guest.snapshots, now))
            if not due and not beyond:
                wait_s = min(wait_s, max(1.0, (next_at(schedule) - now).total_seconds()))
                continue
            wait_s = min(wait_s, AGAIN_S)
            since = now - self._given.get(guest.id, datetime.min.replace(tzinfo=UTC))
            if guest.task or timedelta() <= since < timedelta(seconds=AGAIN_S) or busy[guest.cell] >= AT_ONCE:
                continue
            busy[guest.cell] += 1
            self._given[guest.id] = now
            await self._give(guest, TakeScheduled(guest.id) if due else ExpireScheduled(guest.id))
        return wait_s

    def _guests(self) -> list[Guest]:
        """Not those that are being made or deleted, or rest in the recycle bin."""
        found = (self._zone.get(f"guest/{guest_id}") for guest_id in self._scheduled)
        ready = (guest for guest in found if isinstance(guest, Guest) and guest.phase == "ready")
        return [guest for guest in ready if guest.snapshot_schedule is not None]

    async def _give(self, guest: Guest, command: Command) -> None:
        try:
            await self._ledger.execute(command, actor=ACTOR, command_id="")
        except NanoError as error:
            log.info("not now guest=%s code=%s reason=%s", guest.name, error.code, error.message)
