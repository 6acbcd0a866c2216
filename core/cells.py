"""CellDesk: Core's end of the links to its cells.

For each approved cell it follows the cell's journal and heartbeats over one long exchange, and carries orders over short
ones. A cell whose link is gone has ``Limits.cell_silence_s`` to come back before it counts as offline; a restarted Core
gives every cell that was online the same time, so its first answers are what was true.
"""

import itertools
import logging
from collections import defaultdict
from collections.abc import AsyncIterator, Callable, Coroutine

import anyio
import anyio.abc

from nano.core.alarms import AlarmDesk
from nano.core.following import ACTOR, Follower
from nano.core.image_sharing import ImageSharing
from nano.core.usage import UsageBoard
from nano.core.work import RECORD_AGAIN_S
from nano.domain.cell import Cell, CellAdded, CellRemoved, LoseCell, MeetCell, SettleDebt
from nano.domain.errors import Conflict, JournalError, NanoError, Unreachable
from nano.domain.facts import Change, id_of
from nano.domain.inside import Inside
from nano.domain.zone import Zone
from nano.journal.ledger import Ledger
from nano.transports.handshake import AcceptedLink
from nano.transports.link import Link, Pipe
from nano.transports.messages import (
    AskInside,
    AskScreen,
    FollowLog,
    GuestOrder,
    InsideIs,
    Message,
    Ok,
    OpenConsole,
    Port,
    RemoveDomain,
    ScreenIs,
)
from nano.transports.move_messages import DiscardDomain
from nano.transports.unwrap import plain_errors

log = logging.getLogger("nano.core")

CONSOLE_TIMEOUT_S = 10.0
SCREEN_TIMEOUT_S = 10.0
INSIDE_TIMEOUT_S = 30.0
DEBT_TIMEOUT_S = 60.0
DEBT_PAUSE_S = 30.0  # between attempts to settle what could not be settled
CELL_PAUSE_S = 2.0  # before an order is sent again over the same link


class CellDesk:
    """``on_link`` is given every link the acceptor makes; ``run`` supervises them all."""

    def __init__(self, ledger: Ledger, zone: Zone, usage: UsageBoard, alarms: AlarmDesk, images: ImageSharing) -> None:
        self._images = images
        self._ledger = ledger
        self._zone = zone
        self._usage = usage
        self._alarms = alarms
        self._links: dict[str, AcceptedLink] = {}
        self._standing: defaultdict[str, anyio.Lock] = defaultdict(
            anyio.Lock
        )  # held to record that a cell came, or is lost
        self._following: dict[str, Follower] = {}
        self._moved = anyio.Event()
        self._attempts = itertools.count(1)
        self._tasks: anyio.abc.TaskGroup | None = None

    async def run(self, *, task_status: anyio.abc.TaskStatus[None] = anyio.TASK_STATUS_IGNORED) -> None:
        self._ledger.feed.add_listener(self._on_changes)
        try:
            async with anyio.create_task_group() as tasks:
                self._tasks = tasks
                for state in list(self._zone.of_kind("cell")):
                    if isinstance(state, Cell) and state.online:
                        tasks.start_soon(self._lose_if_silent, state.name, "it did not come back after Core started")
                task_status.started()
                await anyio.sleep_forever()
        finally:
            self._ledger.feed.remove_listener(self._on_changes)

    # ------------------------------------------------------------------ links

    async def on_link(self, link: AcceptedLink) -> None:
        """Returns when the link is gone."""
        name = link.remote.name
        async with self._standing[name]:
            try:
                met = MeetCell(name=name, fingerprint=link.remote.fingerprint, address=link.remote.address)
                await self._ledger.execute(met, actor=f"cell/{name}", command_id="")
            except NanoError as error:
                log.warning("cell refused name=%s code=%s reason=%s", name, error.code, error.message)
                await link.aclose(error.code)
                return
            former = self._links.get(name)
            self._links[name] = link
        if former is not None:
            await former.aclose("replaced by a newer link of the same cell")
        log.info("cell connected name=%s address=%s approved=%s", name, link.remote.address, link.approved)
        try:
            await self._attend(name, link)
        finally:
            if self._links.get(name) is link:
                del self._links[name]
                self._start(self._lose_if_silent, name, link.close_reason or "its link was lost")

    async def _attend(self, name: str, link: AcceptedLink) -> None:
        try:
            await link.wait_approved()
            self._wake()
            cell = self._zone.get(f"cell/{name}")
            assert isinstance(cell, Cell)
            await self._follow(cell, link)
        except NanoError as error:
            if not link.closed.is_set():
                log.warning("cell link ended name=%s code=%s reason=%s", name, error.code, error.message)
        await link.aclose("done")

    async def _follow(self, cell: Cell, link: Link) -> None:
        follower = self._following[cell.name] = Follower(cell.name, self._ledger, self._usage, self._alarms)
        asked = FollowLog(after=follower.reached, health=True, mark=follower.mark)
        try:
            with plain_errors():
                async with anyio.create_task_group() as tasks:
                    tasks.start_soon(self._settle_debts, cell, link)
                    tasks.start_soon(self._images.keep_told, cell.name, link)
                    async with link.follow(asked) as messages:
                        await follower.read(messages, self._wake)
                    tasks.cancel_scope.cancel()
        except Conflict as error:
            if error.code != "journal_diverged":
                raise
            log.error("cell diverged name=%s reason=%s", cell.name, error.message)
            await follower.refused(error)
            await link.closed.wait()  # asked again it would say the same

    async def _settle_debts(self, cell: Cell, link: Link) -> None:
        """As long as the link is there: a debt may be made while it is, and an attempt may fail."""
        while True:
            owing = self._zone.get(f"cell/{cell.name}")
            for guest_id in owing.debts if isinstance(owing, Cell) else ():
                # Each attempt is an order of its own: the cell answers a repeated one with its first outcome.
                order_id = f"debt.{guest_id}.{self._ledger.log.epoch}.{next(self._attempts)}"
                try:
                    await link.request(self._settling(order_id, guest_id), timeout_s=DEBT_TIMEOUT_S)
                except NanoError as error:
                    log.warning("debt not settled cell=%s guest=%s code=%s", cell.name, guest_id, error.code)
                    continue
                await self._ledger.execute(SettleDebt(cell.name, guest_id), actor=ACTOR, command_id="")
            await anyio.sleep(DEBT_PAUSE_S)

    def _settling(self, order_id: str, guest_id: str) -> GuestOrder:
        """What is left of a guest that is elsewhere now is only what the cell's journal says."""
        elsewhere = self._zone.get(f"guest/{guest_id}") is not None
        return DiscardDomain(order_id, guest_id) if elsewhere else RemoveDomain(order_id, guest_id)

    async def _lose_if_silent(self, name: str, reason: str) -> None:
        with anyio.move_on_after(self._zone.limits.cell_silence_s):
            while name not in self._links:
                await self._moved_on()
            return
        self._usage.forget(name)
        self._alarms.forget(name)
        while True:
            if await self._record_loss(name, reason):
                return
            await anyio.sleep(RECORD_AGAIN_S)

    async def _record_loss(self, name: str, reason: str) -> bool:
        """Whether that is settled: recorded, or the cell came meanwhile."""
        async with self._standing[name]:
            if name in self._links:
                return True
            try:
                await self._ledger.execute(LoseCell(name=name, reason=reason), actor=ACTOR, command_id="")
            except NanoError as error:
                log.warning("cell loss not recorded name=%s code=%s", name, error.code)
                return False
            log.warning("cell offline name=%s reason=%s", name, reason)
            return True

    def _on_changes(self, changes: list[Change]) -> None:
        for change in changes:
            event, name = change.fact.event, id_of(change.fact.resource)
            if isinstance(event, CellAdded):
                self._start(self._approve, name)
            elif isinstance(event, CellRemoved) and name in self._links:
                self._usage.forget(name)
                self._alarms.forget(name)
                self._start(self._links[name].aclose, "removed from its pool")

    async def _approve(self, name: str) -> None:
        link = self._links.get(name)
        cell = self._zone.get(f"cell/{name}")
        if link is None or not isinstance(cell, Cell) or link.remote.fingerprint != cell.fingerprint:
            return
        try:
            await link.approve()
        except NanoError as error:
            log.warning("approval not delivered cell=%s code=%s", name, error.code)

    # ------------------------------------------------------------------ orders

    async def order(self, cell: str, message: Message) -> Ok:
        """Have the cell carry out an order, through lost links and restarts of either side, until the caller's scope ends.

        The message's command id makes repeating it safe. Returns when the outcome is also recorded here. Raises what
        the cell raised.
        """
        while True:
            link = await self._link_of(cell)
            try:
                answer = await link.request(message, timeout_s=3600.0)
            except Unreachable:  # the link is lost, or this one exchange of it
                with anyio.move_on_after(CELL_PAUSE_S):
                    await self._until(lambda gone=link: self._links.get(cell) is not gone)  # type: ignore[misc]
                continue
            except JournalError as error:  # the cell's journal, not ours
                log.warning("order not recorded by its cell name=%s code=%s", cell, error.code)
                await anyio.sleep(CELL_PAUSE_S)
                continue
            assert isinstance(answer, Ok)
            await self._until(lambda position=answer.position: self._following[cell].has(position))  # type: ignore[misc]
            return answer

    async def tell(self, cell: str, message: Message, *, timeout_s: float) -> Message:
        """One attempt over the present link. Raises Unreachable when there is none."""
        link = self._links.get(cell)
        if link is None or not link.approved:
            raise Unreachable(f"Cell {cell} is not connected.", code="cell_offline", hint="Bring the cell back first.")
        return await link.request(message, timeout_s=timeout_s)

    async def watch(self, cell: str, message: Message) -> AsyncIterator[Message]:
        """What the cell says to a follow; ends quietly with the link."""
        link = await self._link_of(cell)
        try:
            async with link.follow(message) as messages:
                async for item in messages:
                    yield item
        except Unreachable:
            return

    async def console(self, cell: str, guest_id: str, port: Port) -> Pipe:
        """A pipe of bytes to the guest's display or serial port. Raises Unreachable, HostError."""
        link = self._links.get(cell)
        if link is None or not link.approved:
            raise Unreachable(f"Cell {cell} is not connected.", code="cell_offline", hint="Bring the cell back first.")
        _, pipe = await link.pipe(OpenConsole(guest_id, port), timeout_s=CONSOLE_TIMEOUT_S)
        return pipe

    async def screenshot(self, cell: str, guest_id: str) -> bytes:
        """PNG. Raises Unreachable, HostError, DeadlineExceeded."""
        answer = await self.tell(cell, AskScreen(guest_id), timeout_s=SCREEN_TIMEOUT_S)
        assert isinstance(answer, ScreenIs)
        return answer.png

    async def inside(self, cell: str, guest_id: str) -> Inside:
        """Raises Unreachable, HostError, DeadlineExceeded."""
        answer = await self.tell(cell, AskInside(guest_id), timeout_s=INSIDE_TIMEOUT_S)
        assert isinstance(answer, InsideIs)
        return answer.inside

    # ------------------------------------------------------------------ waiting

    async def _link_of(self, cell: str) -> AcceptedLink:
        await self._until(lambda: cell in self._links and self._links[cell].approved and not self._is_diverged(cell))
        return self._links[cell]

    def _is_diverged(self, cell: str) -> bool:
        return cell in self._following and self._following[cell].diverged

    async def _until(self, holds: Callable[[], bool]) -> None:
        while not holds():
            await self._moved_on()

    async def _moved_on(self) -> None:
        """Something about links, approvals or positions changed."""
        await self._moved.wait()

    def _wake(self) -> None:
        moved, self._moved = self._moved, anyio.Event()
        moved.set()

    def _start(self, work: Callable[..., Coroutine[object, object, None]], *arguments: object) -> None:
        self._wake()
        if self._tasks is not None and not self._tasks.cancel_scope.cancel_called:
            self._tasks.start_soon(work, *arguments)
