"""The saga of a sync: looks what lies in the intake folder, has one file after the other uploaded, and says what became of each.

A file is copied into Core's own folder under the digest that an upload has, by the task of its image. It leaves the intake
folder when that task is done; a Core that stops in between finds the file and the ended task, and goes on from there.
"""

import os
from collections.abc import Callable
from contextlib import ExitStack, suppress
from pathlib import Path
from typing import Final, TypeVar

import anyio

from nano.core.image_store import ImageStore
from nano.core.image_tools import Tell
from nano.core.intake import Found, Intake
from nano.core.work import Cancelled, Run, Saga
from nano.domain.batch import AbandonBatch, EndItems
from nano.domain.errors import Conflict, Failure, JournalError, NanoError
from nano.domain.facts import State
from nano.domain.image import WORDS, Image
from nano.domain.image_sync import FILE, MARK, EndSync, ListFiles, TakeFile
from nano.domain.task import CancelTask, Item, Problem, Task, problem_of
from nano.domain.task_items import ItemEnd
from nano.domain.zone import Zone
from nano.journal.feed import Feed
from nano.transports.files import Files
from nano.transports.part_file import PartFile

T = TypeVar("T")

NO_INTAKE: Final = Intake(Path("/nonexistent"))


class ImageSync:
    def __init__(self, zone: Zone, feed: Feed, store: ImageStore, intake: Intake, files: Files) -> None:
        self._zone = zone
        self._feed = feed
        self._store = store
        self._intake = intake
        self._files = files
        self._run = files.workers.run

    def sagas(self) -> dict[str, Saga]:
        return {"image.sync": self.carry_out}

    async def carry_out(self, run: Run) -> None:
        try:
            await run.within_deadline(lambda: self._until_ended(run))
            await run.record(EndSync(run.task.id), "end")
        except JournalError:
            raise
        except NanoError as error:
            with anyio.CancelScope(shield=True):
                await self._call_off(run, error)

    async def copy(self, task: Task, target: Path, size: int, tell: Tell) -> str:
        """Copy the file of an upload's task to where uploads arrive; its digest. Raises Conflict, DiskFull, Failure, Invalid."""
        name, mark = task.arguments[FILE], task.arguments[MARK]
        with ExitStack() as stack:
            handle = await self._whole(stack.enter_context, self._intake.reading(name, mark))
            part = await self._whole(PartFile, self._files, target, size)
            stack.callback(part.close, keep=False)
            if part.resumed:
                await self._whole(part.restart)
            while await self._whole(self._copy_some, part, handle, name):
                tell(part.done * 100 // max(1, size))
            digest = part.sha256
            await self._whole(part.complete, digest)
        return digest

    async def _whole(self, work: Callable[..., T], *arguments: object) -> T:
        """Blocking work with what must not be closed meanwhile."""
        with anyio.CancelScope(shield=True):
            made = await self._run(work, *arguments)
        return made  # noqa: RET504 - for the type checker a scope may swallow errors

    def _copy_some(self, part: PartFile, handle: int, name: str) -> bool:
        try:
            data = os.read(handle, self._files.chunk_bytes)
        except OSError as error:
            raise Failure(f"{name} can't be read: {error.strerror}.", code="image_unreadable") from error
        part.write(data)
        return bool(data)

    async def _until_ended(self, run: Run) -> None:
        if not self._task(run).items:
            await self._list(run)
        for number in range(len(self._task(run).items)):
            end = await self._take(run, number)
            if end is not None:
                await run.record(EndItems(run.task.id, (end,)), f"ended/{number}")

    async def _list(self, run: Run) -> None:
        found = await self._run(self._intake.look)
        gone = await self._run(self._gone, [image for kind in WORDS for image in self._zone.of_kind(kind)])
        ended = [ItemEnd(at, "failed", problem_of(one.error)) for at, one in enumerate(found) if one.error is not None]
        ended += [ItemEnd(len(found) + at, "failed", problem) for at, (_, problem) in enumerate(gone)]
        names = (*(one.name for one in found), *(name for name, _ in gone))
        await run.record(ListFiles(task=run.task.id, names=names, ended=tuple(ended)), "list")

    def _gone(self, images: list[State]) -> list[tuple[str, Problem]]:
        """Those whose files are not where they were, by name."""
        lost = []
        for image in images:
            if isinstance(image, Image) and image.ready and not self._store.exists(self._store.path(image)):
                said = f"The file of image {image.name} is gone: {self._store.path(image)}."
                hint = "Put it back, or delete the image."
                lost.append((image.name, Problem("image_file_missing", said, hint)))
        return sorted(lost, key=lambda one: one[0])

    async def _take(self, run: Run, number: int) -> ItemEnd | None:
        """None when it has ended already."""
        if self._item(run, number).state == "waiting":
            refused = await self._begin(run, number)
            if refused is not None:
                return ItemEnd(number, "failed", problem_of(refused))
        item = self._item(run, number)
        if item.state != "running":
            return None
        task = await self._ended(item.task)
        if task is None:
            gone = Problem("unknown_task", f"Nano no longer holds what became of task {item.task}.", "See its history.")
            return ItemEnd(number, "failed", gone)
        if task.state == "done":
            await self._run(self._intake.remove, task.arguments[FILE], task.arguments[MARK])
        return ItemEnd(number, task.state if task.state in ("done", "cancelled") else "failed", task.error)

    async def _begin(self, run: Run, number: int) -> NanoError | None:
        """Why it can't be taken."""
        name = self._item(run, number).name
        found: Found | None = await self._run(self._intake.look_for, name)
        if found is None:
            return Conflict(f"{name} is in the folder no more.", code="file_changed", hint="Put it there again.")
        if found.error is not None:
            return found.error
        take = TakeFile(task=run.task.id, number=number, size=found.size, format=found.format, mark=found.mark)
        try:
            await run.record(take, f"item/{number}")
        except JournalError:
            raise
        except NanoError as error:
            return error
        return None

    async def _ended(self, task_id: str) -> Task | None:
        """The task of an upload, when it has ended; None when it is no longer held."""
        while True:
            position = self._feed.position
            task = self._zone.get(f"task/{task_id}")
            if not isinstance(task, Task) or task.ended:
                return task if isinstance(task, Task) else None
            await self._feed.wait_for(position + 1)

    async def _call_off(self, run: Run, error: NanoError) -> None:
        """The upload that is under way is cancelled; what has become an image stays one."""
        for number, item in enumerate(self._task(run).items):
            task = self._zone.get(f"task/{item.task}") if item.state == "running" else None
            if not isinstance(task, Task):
                continue
            if task.state == "running":
                with suppress(Conflict):  # it has ended, or is being cancelled, meanwhile
                    await run.record(CancelTask(task.id), f"cancel/{task.id}")
            end = await self._take(run, number)
            if end is not None:
                await run.record(EndItems(run.task.id, (end,)), f"ended/{number}")
        cancelled = isinstance(error, Cancelled)
        await run.record(AbandonBatch(task=run.task.id, error=problem_of(error), cancelled=cancelled), "abandon")

    def _item(self, run: Run, number: int) -> Item:
        return self._task(run).items[number]

    def _task(self, run: Run) -> Task:
        task = self._zone.get(f"task/{run.task.id}")
        assert isinstance(task, Task)
        return task
