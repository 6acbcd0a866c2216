"""Pictures of screens are taken once for many viewers, kept for a moment, and forgotten when they can't be had."""

import anyio
import pytest

from nano.core.screens import FRESH_S, KEPT_MAX, ScreenDesk
from nano.domain.errors import HostError

pytestmark = pytest.mark.anyio


class Cameras:
    def __init__(self) -> None:
        self.now = 0.0
        self.taken: list[str] = []
        self.broken = False

    async def take(self, guest_id: str) -> bytes:
        await anyio.lowlevel.checkpoint()
        if self.broken:
            raise HostError("No display.", code="screen_unreadable")
        self.taken.append(guest_id)
        return f"{guest_id} {len(self.taken)}".encode()

    def desk(self) -> ScreenDesk:
        return ScreenDesk(self.take, lambda: self.now)


async def test_many_viewers_cost_one_picture_until_it_is_old() -> None:
    cameras = Cameras()
    desk = cameras.desk()
    async with anyio.create_task_group() as tasks:
        for _ in range(10):
            tasks.start_soon(desk.look, "a")
    assert cameras.taken == ["a"]
    first = await desk.look("a")
    cameras.now = FRESH_S
    second = await desk.look("a")
    assert (cameras.taken, first.tag == second.tag) == (["a", "a"], False)
    assert desk._locks == {}


async def test_a_picture_that_fails_is_told_and_nothing_old_is_shown() -> None:
    cameras = Cameras()
    desk = cameras.desk()
    await desk.look("a")
    cameras.now, cameras.broken = FRESH_S, True
    for _ in range(2):
        with pytest.raises(HostError):
            await desk.look("a")
    cameras.broken = False
    assert (await desk.look("a")).png == b"a 2"


async def test_only_so_many_are_kept() -> None:
    cameras = Cameras()
    desk = cameras.desk()
    for number in range(KEPT_MAX + 3):
        await desk.look(str(number))
    assert len(desk._kept) == KEPT_MAX
    assert "0" not in desk._kept
