"""ImageWork: the sagas by which images come: registered where they are, uploaded, built from a guest's disk.

Whatever the way, a file becomes an image only when it has been inspected (``image_check``), and what is raw has been
converted. A saga that fails, is cancelled or whose sender goes away leaves no file; one that Core's stop interrupts goes on
with what had arrived.
"""

import hashlib
import logging
import os
from collections.abc import Awaitable, Callable
from pathlib import Path
from typing import Final

import anyio
import anyio.from_thread
import anyio.to_thread

from nano.core.guest_steps import GuestSteps, order_id
from nano.core.image_check import Inspection, check_media, check_raw, inspect
from nano.core.image_store import MADE, ImageStore, kept_ids
from nano.core.uploads import Upload, UploadDesk
from nano.core.work import Cancelled, Run, Saga, problem_of
from nano.domain.errors import JournalError, NanoError
from nano.domain.facts import Change
from nano.domain.guest import Guest
from nano.domain.image import Image
from nano.domain.image_commands import INSPECT, RECEIVE, SEND, AbandonImage, EndImage
from nano.hypervisor.qemu_img import QemuImg
from nano.journal.feed import Feed
from nano.transports.messages import SendDisk
from nano.transports.part_file import sync_folder
from nano.transports.unwrap import plain_errors

log = logging.getLogger("nano.core")

_CHUNK: Final = 1 << 20

UploadUrl = Callable[[Image], str]
"""Where a cell sends the bytes of an image that is being built."""


class ImageWork:
    def __init__(self, steps: GuestSteps, feed: Feed, store: ImageStore, desk: UploadDesk, url: UploadUrl) -> None:
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
            await anyio.to_thread.run_sync(self._store.sweep, kept_ids(self._zone))
            with gone, waiting:
                async for image_id in waiting:
                    await anyio.to_thread.run_sync(self._store.remove, image_id)
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
        found = await inspect(path)
        return _end(run, found, await self._digest(run, path, found.size))

    async def _receive(self, run: Run, image: Image) -> EndImage:
        incoming = self._store.incoming(image)
        if not image.claimed or not (incoming.exists() or self._store.path(image).exists()):
            async with self._desk.receiving(
                image.id, incoming, lambda done: self._tell(run.task.id, done, RECEIVE)
            ) as one:
                await one.announce(image.wanted)
                claimed = await self._until_claimed(run, one)
                await one.complete(claimed)
        await run.step(INSPECT)
        return await self._settle(run, self._image(run))

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
        found = await inspect(path)
        return _end(run, found, answer.detail)

    async def _settle(self, run: Run, image: Image) -> EndImage:
        """Inspect what was uploaded; convert what is raw."""
        incoming, path = self._store.incoming(image), self._store.path(image)
        if image.stated == "iso":
            return _end(run, await check_media(path), image.claimed)
        if image.stated == "qcow2":
            return _end(run, await inspect(path), image.claimed)
        if incoming.exists():
            await check_raw(incoming)
            made = path.with_name(path.name + MADE)
            await QemuImg().copy(incoming, made, lambda done: self._tell(run.task.id, done // 2, INSPECT), format="raw")
            await anyio.to_thread.run_sync(_settle_file, made, path)
            incoming.unlink()
        found = await inspect(path)
        return _end(run, found, await self._digest(run, path, found.size))

    async def _digest(self, run: Run, path: Path, size: int) -> str:
        def tell(percent: int) -> None:
            anyio.from_thread.run_sync(self._tell, run.task.id, percent, INSPECT)

        return await anyio.to_thread.run_sync(_digest, path, size, tell, lambda: run.cancelled)

    def _image(self, run: Run) -> Image:
        image = self._zone.get(run.task.resource)
        assert isinstance(image, Image)
        return image

    def _guest(self, run: Run) -> Guest:
        return self._zone.find_guest(run.task.arguments["guest"])


def _end(run: Run, found: Inspection, sha256: str) -> EndImage:
    return EndImage(
        task=run.task.id, format=found.format, size=found.size, virtual_size=found.virtual_size, sha256=sha256
    )


def _digest(path: Path, size: int, progress: Callable[[int], None], stop: Callable[[], bool]) -> str:
    digest, done = hashlib.sha256(), 0
    with path.open("rb") as file:
        while chunk := file.read(_CHUNK):
            if stop():
                raise Cancelled("The task was cancelled.")
            digest.update(chunk)
            done += len(chunk)
            progress(min(99, done * 100 // max(1, size)))
    return digest.hexdigest()


def _settle_file(made: Path, path: Path) -> None:
    with made.open("rb+") as file:
        os.fsync(file.fileno())
    made.replace(path)
    sync_folder(path.parent)
