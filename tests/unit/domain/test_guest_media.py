"""Decisions about a guest's drive: refusals with their codes, and the spec of a yes."""

from typing import Any

import pytest

from nano.domain import guest_commands as gc
from nano.domain.guest_media import EjectMedia, InsertMedia
from nano.domain.image_commands import EndImage, UploadMedia
from nano.domain.machine import MEBI
from tests.unit.domain.test_guest_commands import Bench
from tests.unit.domain.test_guest_devices import code_of, wanted


@pytest.fixture
def bench() -> Bench:
    made = Bench()
    made.ready("web")
    return made


def upload(bench: Bench, name: str, *, ready: bool = True) -> str:
    bench.do(UploadMedia(name=name, size=MEBI))
    (task,) = bench.zone.open_tasks.values()
    if ready:
        bench.do(EndImage(task=task.id, format="iso", size=MEBI, virtual_size=MEBI, sha256="0" * 64))
    return task.resource.removeprefix("media/")


def test_insert_and_eject_are_changes_of_the_drive_alone(bench: Bench) -> None:
    media, before = upload(bench, "disc"), bench.zone.find_guest("web").spec
    assert wanted(bench, InsertMedia(guest="web", media="disc")).media == media
    assert wanted(bench, EjectMedia(guest="web")) == before


@pytest.mark.parametrize("media", ["", "nothing", "../disc", "disc\n", "x" * 10_000, "<b>", "a;b", "a\0b"])
@pytest.mark.parametrize("command", [InsertMedia, gc.StartGuest])
def test_media_that_is_not_there_is_refused(bench: Bench, command: Any, media: str) -> None:
    upload(bench, "disc")
    if command is gc.StartGuest and not media:
        return  # that is a start without
    assert code_of(bench, command(guest="web", media=media)) == "unknown_media"


def test_media_that_is_still_being_uploaded_is_refused(bench: Bench) -> None:
    upload(bench, "disc", ready=False)
    assert code_of(bench, InsertMedia(guest="web", media="disc")) == "image_not_ready"


def test_one_thing_at_a_time(bench: Bench) -> None:
    upload(bench, "disc")
    wanted(bench, InsertMedia(guest="web", media="disc"), done=False)
    assert code_of(bench, EjectMedia(guest="web")) == "guest_busy"
    assert code_of(bench, EjectMedia(guest="nobody")) == "unknown_guest"


def test_a_running_guest_is_not_started_with_media(bench: Bench) -> None:
    upload(bench, "disc")
    bench.ready("busy", running=True)
    assert code_of(bench, gc.StartGuest(guest="busy", media="disc")) == "guest_running"
