"""ImageWork: the sagas by which images come: registered where they are, uploaded, built from a guest's disk.

Whatever the way, a file becomes an image only when it has been inspected (``image_check``), and what is raw has been
converted. A saga that fails, is cancelled or whose sender goes away leaves no file; one that Core's stop interrupts goes on
with what had arrived.
"""

import logging
from collections.abc import Awaitable, Callable
from pathlib import Path

import anyio

from nano.core.guest_steps import GuestSteps, order_id
from nano.core.image_check import Inspection
from nano.core.image_store import ImageStore, kept_ids
from nano.core.image_sync import ImageSync
from nano.core.image_tools import ImageTools
from nano.core.uploads import Upload, UploadDesk
from nano.core.work import Cancelled, Run, Saga
from nano.domain.errors import JournalError, NanoError
from nano.domain.facts import Change
from nano.domain.guest import Guest
from nano.domain.image import Image
from nano.domain.image_commands import (
    INSPECT,
    RECEIVE,
    SEND,
    AbandonImage,
    EndImage,
    FinishImageUpload,
    FinishMediaUpload,
)
from nano.domain.image_sync import FILE
from nano.domain.task import problem_of
from nano.journal.feed import Feed
from nano.journal.workers import Workers
from nano.transports.messages import SendDisk
from nano.transports.unwrap import plain_errors

log = logging.getLogger("nano.core")

UploadUrl = Callable[[Image], str]
"""Where a cell sends the bytes of an image that is being built."""


class ImageWork:
    def __init__(
        self,
        steps: GuestSteps,
        feed: Feed,
        store: ImageStore,
        desk: UploadDesk,
        url: UploadUrl,
        tools: ImageTools,
        workers: Workers,
        sync: ImageSync,
    ) -> None:
        self._sync = sync
        self._tools = tools
        self._run = workers.run
        self._steps = steps
        self._zone = steps.zone
        self._tell = steps.tell
        self._feed = feed
        self._store = store
        self._desk = desk
        self._url = url

    def sagas(self) -> dict[str, Saga]:
        return {
            "image.register": lambda run: self._make(run, self._register),
            "image.upload": lambda run: self._make(run, self._receive),
            "media.upload": lambda run: self._make(run, self._receive),
            "image.build": lambda run: self._make(run, self._build),
        }

    async def run(self) -> None:
        """Keep Core's folder as the journal has it until cancelled: what has no image goes."""
        gone, waiting = anyio.create_memory_object_stream[str](1000)

        def on_changes(changes: list[Change]) -> None:
            for change in changes:
                before = change.before
                if isinstance(before, Image) and before.kept and change.after is None:
                    try:
                        gone.send_nowait(before.id)
                    except anyio.WouldBlock:
                        log.warning("file of a deleted image stays until the next start id=%s", before.id)

        self._feed.add_listener(on_changes)
        try:
            with gone, waiting:
                await self._run(self._store.sweep, kept_ids(self._zone))
                async for image_id in waiting:
                    await self._run(self._store.remove, image_id)
        finally:
            self._feed.remove_listener(on_changes)

    async def _make(self, run: Run, work: Callable[[Run, Image], Awaitable[EndImage]]) -> None:
        """Carry the work out and end the task with what became of it."""
        image = self._image(run)
        made: list[EndImage] = []

        async def attempt() -> None:
            with plain_errors():
                made.append(await work(run, image))

        try:
            await run.within_deadline(attempt)
            await run.record(made[0], "end")
        except JournalError:
            raise
        except NanoError as error:
            with anyio.CancelScope(shield=True):
                undone = ["image name given back"]
                if "guest" in run.task.arguments:
                    await self._steps.cancel(run, self._guest(run).cell, ("do",))
                    undone += [text for text in error.context.get("undone", ()) if isinstance(text, str)]
                cancelled = isinstance(error, Cancelled)
                abandoned = AbandonImage(
                    task=run.task.id, error=problem_of(error), undone=tuple(undone), cancelled=cancelled
                )
                await run.record(abandoned, "abandon")

    async def _register(self, run: Run, image: Image) -> EndImage:
        path = self._store.path(image)
        found = await self._tools.inspect(path)
        return _end(run, found, await self._digest(run, path, found.size))

    async def _receive(self, run: Run, image: Image) -> EndImage:
        incoming = self._store.incoming(image)
        if not image.claimed or not (self._store.exists(incoming) or self._store.exists(self._store.path(image))):
            await self._bring(run, image, incoming)
        await run.step(INSPECT)
        return await self._settle(run, self._image(run))

    async def _bring(self, run: Run, image: Image, incoming: Path) -> None:
        """All bytes of it, from whoever sends them or from the intake folder."""

        def told(done: int) -> None:
            self._tell(run.task.id, done, RECEIVE)

        if FILE in run.task.arguments:
            sha256 = await self._sync.copy(run.task, incoming, image.wanted, told)
            await run.record(_received(image, sha256), "received")
            return
        async with self._desk.receiving(image.id, incoming, told) as one:
            await one.announce(image.wanted)
            claimed = await self._until_claimed(run, one)
            await one.complete(claimed)

    async def _until_claimed(self, run: Run, upload: Upload) -> str:
        """The digest that its sender gives when all is sent."""
        claimed: list[str] = []

        async def look() -> None:
            while not (image := self._image(run)).claimed:
                await self._feed.wait_for(self._feed.position + 1)
            claimed.append(image.claimed)
            tasks.cancel_scope.cancel()

        async with anyio.create_task_group() as tasks:
            tasks.start_soon(look)
            tasks.start_soon(upload.until_broken)
        return claimed[0]

    async def _build(self, run: Run, image: Image) -> EndImage:
        guest, path = self._guest(run), self._store.path(image)
        order = SendDisk(order_id(run), guest.id, self._url(image))

        def told(done: int) -> None:
            self._tell(run.task.id, 50 + done // 2, SEND)

        async with self._desk.receiving(image.id, path, told, guest.cell) as one:
            answer = await self._steps.do(run, guest.cell, SEND, order)
            await one.complete(answer.detail)
        await run.step(INSPECT)
        found = await self._tools.inspect(path)
        return _end(run, found, answer.detail)

    async def _settle(self, run: Run, image: Image) -> EndImage:
        """Inspect what was uploaded; convert what is raw."""
        incoming, path = self._store.incoming(image), self._store.path(image)
        if image.stated == "iso":
            return _end(run, await self._tools.check_media(path), image.claimed)
        if image.stated == "qcow2":
            return _end(run, await self._tools.inspect(path), image.claimed)
        if self._store.exists(incoming):
            await self._tools.convert(incoming, path, lambda done: self._tell(run.task.id, done // 2, INSPECT))
            await self._run(self._store.drop, incoming)
        found = await self._tools.inspect(path)
        return _end(run, found, await self._digest(run, path, found.size))

    async def _digest(self, run: Run, path: Path, size: int) -> str:
        def tell(percent: int) -> None:
            self._tell(run.task.id, percent, INSPECT)

        return await self._tools.digest(path, size, tell, lambda: run.cancelled)

    def _image(self, run: Run) -> Image:
        image = self._zone.get(run.task.resource)
        assert isinstance(image, Image)
        return image

    def _guest(self, run: Run) -> Guest:
        return self._zone.find_guest(run.task.arguments["guest"])


def _received(image: Image, sha256: str) -> FinishImageUpload | FinishMediaUpload:
    if image.stated == "iso":
        return FinishMediaUpload(media=image.id, sha256=sha256)
    return FinishImageUpload(image=image.id, sha256=sha256)


def _end(run: Run, found: Inspection, sha256: str) -> EndImage:
    return EndImage(
        task=run.task.id, format=found.format, size=found.size, virtual_size=found.virtual_size, sha256=sha256
    )
