"""OrderDesk: takes Core's orders, journals each before acting on it, and journals what came of it.

An order runs in the desk's own task group, so it goes on when the link that brought it is lost; the same order coming
again joins the running one or gets the journaled outcome. What was open when the cell stopped is completed or undone by
``recover`` before new orders are taken; what the host does not let us undo at once stays open, and is tried again.
"""

import logging
from collections.abc import AsyncIterator, Awaitable, Callable
from functools import partial
from typing import Final

import anyio
import anyio.abc
import msgspec

from nano.cell.handlers import Family, Handler
from nano.cell.work import REACHED
from nano.domain.errors import Conflict, DiskFull, JournalError, NanoError, Refusal, Unknown
from nano.domain.guest import Power
from nano.domain.host_domain import CloseOrder, FailOrder
from nano.domain.order import Order
from nano.domain.site import Site
from nano.domain.task import problem_of
from nano.hypervisor.host import DOMAIN_FOREIGN, DOMAIN_MISSING
from nano.journal.ledger import Ledger
from nano.transports.messages import GuestOrder, Message, Ok, ProgressIs

log = logging.getLogger("nano.cell")

ACTOR = "core"
RECORD_AGAIN_S = 2.0
UNDO_AGAIN_S: tuple[float, ...] = (1, 2, 4, 8, 16, 32, 60)
"""Pauses after which what could not be undone is tried again; after the last it is said, and is drift."""
_NOTHING_LEFT: Final = (DOMAIN_MISSING, DOMAIN_FOREIGN, "unknown_domain")

Outcome = CloseOrder | FailOrder


class Running:
    """One order being carried out."""

    def __init__(self) -> None:
        self.scope = anyio.CancelScope()
        self.ended = anyio.Event()
        self.progress = ProgressIs(0)
        self.moved = anyio.Event()

    def tell(self, percent: int, step: str) -> None:
        if (percent, step) == (self.progress.percent, self.progress.step):
            return
        self.progress = ProgressIs(percent, step)
        moved, self.moved = self.moved, anyio.Event()
        moved.set()


class OrderDesk:
    def __init__(self, ledger: Ledger, site: Site, *families: Family) -> None:
        self._ledger = ledger
        self._site = site
        self._by_message = {message: one for family in families for message, one in family.handlers().items()}
        self._by_kind = {handler.kind: handler for handler in self._by_message.values()}
        self._running: dict[str, Running] = {}
        self._tasks: anyio.abc.TaskGroup | None = None

    async def run(self, *, task_status: anyio.abc.TaskStatus[None] = anyio.TASK_STATUS_IGNORED) -> None:
        async with anyio.create_task_group() as tasks:
            await self._recover(tasks)
            self._tasks = tasks
            task_status.started()
            await anyio.sleep_forever()

    async def take(self, message: Message) -> Ok:
        """Carry out an order, or join or repeat its outcome. Raises what it failed with; ``undone`` is in the context."""
        handler = self._handler(message)
        assert isinstance(message, GuestOrder)
        order_id = message.command_id
        if self._order(order_id) is None:
            with anyio.CancelScope(shield=True):  # whoever asked may give up meanwhile; what is taken must be begun
                take = handler.taken(message)
                await self._ledger.execute(take, actor=ACTOR, command_id=f"{order_id}/take", cause=f"order/{order_id}")
                self._begin(order_id, handler, message)
        running = self._running.get(order_id)
        if running is not None:
            await running.ended.wait()
        order = self._order(order_id)
        if order is None or order.state == "open":
            raise JournalError("The cell could not record the outcome of this order.", hint="Look at the cell's log.")
        if order.error is not None:
            undone = list(order.undone)
            raise Refusal(order.error.message, code=order.error.code, hint=order.error.hint, undone=undone)
        return Ok(self._ledger.position, order.detail)

    async def cancel(self, order_id: str) -> None:
        """Stop an order that is being carried out and wait until it has undone what it did. Nothing when none runs."""
        running = self._running.get(order_id)
        if running is not None:
            running.scope.cancel()
            await running.ended.wait()

    async def progress(self, order_id: str) -> AsyncIterator[ProgressIs]:
        """How far a running order is, at each change, until it ends."""
        while (running := self._running.get(order_id)) is not None and not running.ended.is_set():
            moved = running.moved
            yield running.progress
            await moved.wait()

    def is_removing(self, guest_id: str) -> bool:
        """Or to be undefined, to move to another cell."""
        kinds = ("remove", "discard", "release", "send")
        return any(order.guest_id == guest_id and order.kind in kinds for order in self._site.open_orders.values())

    def ordered(self, guest_id: str, power: Power) -> Order | None:
        """The order being carried out that explains why the guest has this power now."""
        for order in self._site.open_orders.values():
            if order.guest_id == guest_id and REACHED.get(order.action) == power:
                return order
        return None

    def _order(self, order_id: str) -> Order | None:
        order = self._site.get(f"order/{order_id}")
        return order if isinstance(order, Order) else None

    def _handler(self, message: Message) -> Handler:
        handler = self._by_message.get(type(message))  # type: ignore[arg-type]
        if handler is None:
            raise Unknown(f"A cell knows no order {type(message).__name__}.", code="unknown_order")
        return handler

    def _begin(self, order_id: str, handler: Handler, message: GuestOrder) -> None:
        if order_id in self._running:
            return
        if self._tasks is None:
            raise Conflict("The cell is still starting.", code="cell_starting", hint="Try again in a moment.")
        running = self._running[order_id] = Running()
        work = partial(self._attempt, order_id, running, handler, message)
        self._tasks.start_soon(self._carry_out, order_id, running, work)

    async def _carry_out(self, order_id: str, running: Running, work: Callable[[], Awaitable[Outcome]]) -> None:
        outcome: Outcome | None = None
        try:
            with running.scope:
                outcome = await work()
            if outcome is None:
                cancelled = NanoError("The order was cancelled.", code="task_cancelled")
                outcome = await self._give_up(order_id, cancelled)
            await self._close(order_id, outcome)
        except JournalError as error:
            log.error("order halted id=%s code=%s reason=%s", order_id, error.code, error.message)
        finally:
            del self._running[order_id]
            running.ended.set()
            running.moved.set()

    async def _attempt(self, order_id: str, running: Running, handler: Handler, message: GuestOrder) -> Outcome:
        try:
            return await handler.act(message, running.tell)
        except JournalError:
            raise
        except NanoError as error:
            return await self._give_up(order_id, error)
        except Exception as defect:
            log.exception("order broke id=%s", order_id)
            broken = NanoError(
                f"The order broke on a defect of Nano: {type(defect).__name__}.", hint="See the cell's log."
            )
            return await self._give_up(order_id, broken)

    async def _give_up(self, order_id: str, error: NanoError) -> Outcome:
        """Undo it, as soon as the host lets us. Pauses end when the order is cancelled, or the cell stops."""
        order = self._order(order_id)
        assert order is not None
        pauses = iter(UNDO_AGAIN_S)
        while True:
            try:
                return await self._undone(order, error)
            except JournalError:
                raise
            except NanoError as trouble:
                reason, pause = trouble, None if trouble.code in _NOTHING_LEFT else next(pauses, None)
            text = "undo incomplete id=%s guest=%s code=%s reason=%s again=%s"
            log.error(text, order_id, order.guest_id, reason.code, reason.message, pause)
            if pause is not None:
                await anyio.sleep(pause)
            if pause is None or self._has_another(order):
                undone = (f"not everything could be taken back: {reason.message}",)
                return msgspec.structs.replace(_failed(order, error), undone=undone)

    async def _undone(self, order: Order, error: NanoError) -> Outcome:
        """Tried once. Raises what the host did not let us."""
        handler = self._by_kind[order.kind]
        with anyio.CancelScope(shield=True):
            done = await handler.too_late(order)
            if done is not None:
                return done
            failed = await handler.undo(order, _failed(order, error))
        log.warning("order failed id=%s kind=%s code=%s reason=%s", order.id, order.kind, error.code, error.message)
        return failed

    def _has_another(self, order: Order) -> bool:
        """Core has given the guest to another order, because it waited for this one's end no longer."""
        return any(one.guest_id == order.guest_id and one.id != order.id for one in self._site.open_orders.values())

    async def _close(self, order_id: str, outcome: Outcome) -> None:
        """Record what became of it, as soon as the disk takes it: the host has changed already. Raises JournalError when
        only a restart can mend the journal."""
        while True:
            try:
                with anyio.CancelScope(shield=True):
                    await self._ledger.execute(
                        outcome, actor=ACTOR, command_id=f"{order_id}/close", cause=f"order/{order_id}"
                    )
                return
            except (DiskFull, JournalError) as error:
                log.error("outcome not recorded order=%s code=%s reason=%s", order_id, error.code, error.message)
                if self._ledger.log.poisoned is not None:
                    raise
            await anyio.sleep(RECORD_AGAIN_S)

    async def _recover(self, tasks: anyio.abc.TaskGroup) -> None:
        for order in list(self._site.open_orders.values()):
            error = NanoError(
                "The cell was restarted in the middle of it.",
                code="cell_restarted",
                hint="Start it again if it is still wanted.",
            )
            outcome: Outcome | None = None
            try:
                outcome = await self._by_kind[order.kind].resume(order)
            except JournalError:
                raise
            except NanoError as failed:
                error = failed
            try:
                outcome = outcome or await self._undone(order, error)
            except JournalError:
                raise
            except NanoError as trouble:
                log.warning("order not undone yet id=%s kind=%s code=%s", order.id, order.kind, trouble.code)
                running = self._running[order.id] = Running()
                tasks.start_soon(self._carry_out, order.id, running, partial(self._give_up, order.id, error))
                continue
            log.info("order recovered id=%s kind=%s outcome=%s", order.id, order.kind, type(outcome).__name__)
            await self._close(order.id, outcome)


def _failed(order: Order, error: NanoError) -> FailOrder:
    return FailOrder(id=order.id, error=problem_of(error))
