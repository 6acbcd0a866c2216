"""The saga of a batch: begins its items, so many at a time on each cell, and writes down what came of each.

An item is carried out by the guest's own task, which has its own saga, deadline and undoing; here is only who begins next.
All of it is in the journal, so a restarted Core goes on with what it finds: items that wait, and items that run.
"""

from collections import Counter

import anyio
import anyio.abc
import anyio.lowlevel

from nano.core.work import Cancelled, Run, Saga
from nano.domain.batch import ACTIONS, AbandonBatch, BeginItem, EndBatch, EndItems, makeup_of
from nano.domain.errors import JournalError, NanoError
from nano.domain.guest import Guest
from nano.domain.guest_makeup import settle
from nano.domain.task import CancelTask, Item, Problem, Task, problem_of
from nano.domain.task_items import ItemEnd
from nano.domain.zone import Zone
from nano.journal.feed import Feed
from nano.transports.unwrap import plain_errors


class BatchWork:
    def __init__(self, zone: Zone, feed: Feed) -> None:
        self._zone = zone
        self._feed = feed

    def sagas(self) -> dict[str, Saga]:
        return {f"batch.{action}": self.carry_out for action in ACTIONS}

    async def carry_out(self, run: Run) -> None:
        try:
            await run.within_deadline(lambda: self._until_ended(run))
            await run.record(EndBatch(run.task.id), "end")
        except JournalError:
            raise
        except NanoError as error:
            await self._call_off(run, error)

    async def _until_ended(self, run: Run, *, begin: bool = True) -> None:
        """Until every item has ended; without ``begin``, every one that has begun."""
        while True:
            position = self._feed.position
            ended = self._ended(run)
            if begin:
                ended += await self._begin(run)
            if ended:
                first = min(end.number for end in ended)
                await run.record(EndItems(run.task.id, tuple(ended)), f"ended/{first}")
                continue
            states = Counter(item.state for item in self._items(run))
            if not states["running"] and not (begin and states["waiting"]):
                return
            await self._feed.wait_for(position + 1)

    def _items(self, run: Run) -> tuple[Item, ...]:
        task = self._zone.get(f"task/{run.task.id}")
        assert isinstance(task, Task)
        return task.items

    def _ended(self, run: Run) -> list[ItemEnd]:
        """Running items whose own task has ended."""
        found = []
        for number, item in enumerate(self._items(run)):
            if item.state != "running":
                continue
            task = self._zone.get(f"task/{item.task}")
            if not isinstance(task, Task):
                found.append(self._forgotten(run, number, item))
            elif task.ended:
                outcome = task.state if task.state in ("done", "cancelled") else "failed"
                found.append(ItemEnd(number, outcome, task.error))
        return found

    def _forgotten(self, run: Run, number: int, item: Item) -> ItemEnd:
        """Its task ended so long ago that it is no longer held; the guest says whether it did what it was for."""
        guest = self._zone.get(f"guest/{item.guest}")
        wanted = {"create": True, "delete": False}.get(run.task.kind.removeprefix("batch."))
        there = isinstance(guest, Guest)
        power = {"batch.start": "running", "batch.stop": "stopped"}.get(run.task.kind)
        if there == wanted or (isinstance(guest, Guest) and guest.power == power):
            return ItemEnd(number, "done")
        gone = Problem("unknown_task", f"Nano no longer holds what became of task {item.task}.", "See its history.")
        return ItemEnd(number, "failed", gone)

    async def _begin(self, run: Run) -> list[ItemEnd]:
        """Begin as many as their cells may work on; the ends of those that were refused."""
        refused: list[ItemEnd] = []
        with plain_errors():
            async with anyio.create_task_group() as tasks:
                await self._begin_in(tasks, run, refused)
        return refused

    async def _begin_in(self, tasks: anyio.abc.TaskGroup, run: Run, refused: list[ItemEnd]) -> None:
        busy = self._busy()
        for number, item in enumerate(self._items(run)):
            if item.state != "waiting":
                continue
            cell = self._cell_for(run, item)
            if busy[cell] >= self._zone.limits.batch_at_once:
                if not item.guest:
                    return  # the next one would go there too
                continue
            busy[cell] += 1
            tasks.start_soon(self._begin_item, run, BeginItem(task=run.task.id, number=number, cell=cell), refused)
            await anyio.lowlevel.checkpoint()  # it is decided now, so the next one's cell is chosen knowing of it

    async def _begin_item(self, run: Run, begin: BeginItem, refused: list[ItemEnd]) -> None:
        try:
            await run.record(begin, f"item/{begin.number}")
        except JournalError:
            raise
        except NanoError as error:
            refused.append(ItemEnd(begin.number, "failed", problem_of(error)))

    def _cell_for(self, run: Run, item: Item) -> str:
        """Empty when there is none, which beginning it will say in words."""
        if item.guest:
            guest = self._zone.get(f"guest/{item.guest}")
            return guest.cell if isinstance(guest, Guest) else ""
        makeup = makeup_of(run.task)
        try:
            return self._zone.explain_placement(makeup.pool, settle(self._zone, makeup).need, only=makeup.cell).cell
        except NanoError:  # what it names is gone by now
            return ""

    def _busy(self) -> Counter[str]:
        """Running items of all batches, by cell."""
        found: Counter[str] = Counter()
        for task in self._zone.open_tasks.values():
            for item in task.items:
                guest = self._zone.get(f"guest/{item.guest}") if item.state == "running" else None
                if isinstance(guest, Guest):
                    found[guest.cell] += 1
        return found

    async def _call_off(self, run: Run, error: NanoError) -> None:
        """Have the tasks of running items cancelled, wait for what becomes of them, and end the batch."""
        for item in self._items(run):
            task = self._zone.get(f"task/{item.task}") if item.state == "running" else None
            if isinstance(task, Task) and task.state == "running":
                try:
                    await run.record(CancelTask(task.id), f"cancel/{task.id}")
                except JournalError:
                    raise
                except NanoError:  # it has ended, or is being cancelled, meanwhile
                    continue
        await self._until_ended(run, begin=False)
        cancelled = isinstance(error, Cancelled)
        await run.record(AbandonBatch(task=run.task.id, error=problem_of(error), cancelled=cancelled), "abandon")
