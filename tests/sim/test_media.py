"""Media over a whole zone on simulated hosts: in the drive, or everything as it was; nothing left of what is ejected."""

import hashlib
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import anyio
import pytest

from nano.core.core import Core
from nano.domain import guest_commands as gc
from nano.domain.errors import Conflict, HostError
from nano.domain.guest import Guest
from nano.domain.guest_media import EjectMedia, InsertMedia
from nano.domain.image_commands import DeleteMedia, FinishMediaUpload, UploadMedia
from nano.domain.task import Task
from nano.hypervisor.metadata import spec_digest
from nano.tools.simulator.bed import Bed, ended, task_of
from tests.sim.test_change import created, do

pytestmark = pytest.mark.anyio

PHASES = ("defined", "running", "put_media", "define", "follow")
DISC = bytes(16 * 2048) + b"\x01CD001\x01\x00" + bytes(2040)


@pytest.fixture
def bed(tmp_path: Path) -> Bed:
    return Bed(tmp_path)


async def upload(core: Core, name: str, content: bytes = DISC) -> str:
    """A media image as a person uploads it; its id."""

    async def pieces() -> AsyncIterator[bytes]:
        yield content

    receipt = await core.execute(UploadMedia(name=name, size=len(content)), actor="admin", command_id="")
    task = core.zone.get(f"task/{task_of(receipt.facts)}")
    assert isinstance(task, Task)
    media = task.resource.removeprefix("media/")
    taking = await core.uploads.find_soon(media)
    await taking.announce(len(content))
    await taking.write(0, pieces())
    digest = hashlib.sha256(content).hexdigest()
    await core.execute(FinishMediaUpload(media=media, sha256=digest), actor="admin", command_id="")
    assert (await ended(core, task.id)).error is None
    return media


def media_files(bed: Bed) -> list[str]:
    return [name for name in bed.host("one").files if name.endswith(".iso")]


def in_drive(bed: Bed, core: Core, media: str) -> None:
    """Journal, definition, running machine and files agree on what is in the drive."""
    (guest,) = core.zone.guests()
    domain = bed.host("one").machine[guest.id]
    assert (guest.task, guest.spec.media, guest.pending) == ("", media, ())
    assert spec_digest(domain.spec) == spec_digest(guest.spec)
    assert domain.live is None or domain.live.media == media
    assert media_files(bed) == ([f"{guest.id}_{media}.iso"] if media else [])


@pytest.mark.parametrize("start", [False, True])
async def test_media_comes_is_exchanged_and_goes(bed: Bed, start: bool) -> None:
    async with bed.zone("one") as (core, _):
        await created(core, start=start)
        first, second = await upload(core, "first"), await upload(core, "second", DISC + b"more")
        for command, media in (
            (InsertMedia(guest="web", media="first"), first),
            (InsertMedia(guest="web", media=first), first),
            (InsertMedia(guest="web", media="second"), second),
            (EjectMedia(guest="web"), ""),
            (EjectMedia(guest="web"), ""),
        ):
            task = await do(core, command)
            assert task.error is None
            in_drive(bed, core, media)


async def test_what_is_in_a_drive_is_not_deleted_and_goes_with_its_guest(bed: Bed) -> None:
    async with bed.zone("one") as (core, _):
        await created(core)
        await upload(core, "disc")
        await do(core, InsertMedia(guest="web", media="disc"))
        with pytest.raises(Conflict) as refused:
            await core.execute(DeleteMedia(media="disc"), actor="admin", command_id="")
        assert (refused.value.code, refused.value.context["guests"]) == ("media_in_use", ["web"])
        await do(core, gc.DeleteGuest(guest="web"))
        assert bed.host("one").files == {}
        await core.execute(DeleteMedia(media="disc"), actor="admin", command_id="")


async def test_a_guest_starts_with_media(bed: Bed) -> None:
    async with bed.zone("one") as (core, _):
        await created(core)
        media = await upload(core, "disc")
        task = await do(core, gc.StartGuest(guest="web", media="disc"))
        assert (task.state, task.plan) == ("done", ("insert media", "start"))
        assert core.zone.find_guest("web").power == "running"
        in_drive(bed, core, media)


async def test_a_start_that_fails_behind_its_media_says_so(bed: Bed) -> None:
    async with bed.zone("one") as (core, _):
        await created(core)
        media = await upload(core, "disc")
        bed.host("one").fail_next("start", HostError("It failed.", code="hypervisor_error"))
        task = await do(core, gc.StartGuest(guest="web", media="disc"))
        assert task.state == "failed"
        assert core.zone.find_guest("web").power == "stopped"
        in_drive(bed, core, media)


@pytest.mark.parametrize("phase", PHASES)
async def test_a_failure_in_any_phase_takes_everything_back(bed: Bed, phase: str) -> None:
    async with bed.zone("one") as (core, _):
        await created(core, start=True)
        await upload(core, "disc")
        bed.host("one").fail_next(phase, HostError("It failed.", code="hypervisor_unreachable"))
        task = await do(core, InsertMedia(guest="web", media="disc"))
        assert task.error is not None
        in_drive(bed, core, "")


@pytest.mark.parametrize("phase", [*PHASES, "drop_media"])
async def test_a_cell_killed_in_any_phase_has_it_whole_or_not_at_all(bed: Bed, phase: str) -> None:
    async with bed.core() as core:
        async with bed.cell("one") as cell, bed.link(cell, core):
            await created(core, start=True)
            first, second = await upload(core, "first"), await upload(core, "second", DISC + b"more")
            await do(core, InsertMedia(guest="web", media="first"))
            reached = bed.host("one").hang_next(phase)
            command: Any = InsertMedia(guest="web", media="second")
            receipt = await core.execute(command, actor="admin", command_id="")
            with anyio.fail_after(5):
                await reached.wait()
        async with bed.cell("one") as cell, bed.link(cell, core):
            task = await ended(core, task_of(receipt.facts))
        in_drive(bed, core, second if task.state == "done" else first)


async def test_no_room_for_media_leaves_nothing(bed: Bed) -> None:
    async with bed.zone("one") as (core, _):
        guest: Guest = await created(core)
        await upload(core, "disc")
        bed.host("one").disk_capacity = bed.host("one").disk_used
        task = await do(core, InsertMedia(guest="web", media="disc"))
        assert task.error is not None
        assert task.error.code == "disk_full"
        assert core.zone.find_guest("web").spec == guest.spec
        in_drive(bed, core, "")
