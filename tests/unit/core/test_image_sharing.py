"""Every cell is told which images there are as long as it is linked, whatever becomes of a single message."""

from types import SimpleNamespace
from typing import Any, cast

import anyio
import pytest

from nano.core import image_sharing
from nano.core.image_sharing import ImageSharing
from nano.domain.errors import Unreachable
from nano.domain.zone import Zone
from nano.journal.feed import Feed
from nano.transports.link import Link
from nano.transports.messages import KeepImages, Message, Ok

pytestmark = pytest.mark.anyio


class Lossy:
    """A link that loses what is asked of it so many times, and whose end is then seen."""

    def __init__(self, lost: int, *, closes: bool) -> None:
        self.closed = anyio.Event()
        self.told: list[Message] = []
        self.heard = anyio.Event()
        self._lost = lost
        self._closes = closes

    async def request(self, message: Message, *, timeout_s: float) -> Ok:
        self.told.append(message)
        if len(self.told) <= self._lost:
            if self._closes:
                self.closed.set()
            raise Unreachable("The other node gave up this exchange.", code="exchange_reset")
        self.heard.set()
        return Ok()


@pytest.fixture
def sharing(monkeypatch: pytest.MonkeyPatch) -> ImageSharing:
    monkeypatch.setattr(image_sharing, "AGAIN_S", 0)
    feed = SimpleNamespace(add_listener=lambda _: None, remove_listener=lambda _: None)
    return ImageSharing(Zone(), cast(Feed, feed), cast(Any, None), cast(Any, None))


async def test_what_was_lost_is_told_again_while_the_link_is_there(sharing: ImageSharing) -> None:
    link = Lossy(2, closes=False)
    async with anyio.create_task_group() as tasks:
        tasks.start_soon(sharing.keep_told, "one", cast(Link, link))
        with anyio.fail_after(5):
            await link.heard.wait()
        tasks.cancel_scope.cancel()
    assert link.told == [KeepImages(())] * 3


async def test_nothing_is_told_over_a_link_that_is_gone(sharing: ImageSharing) -> None:
    link = Lossy(1, closes=True)
    with anyio.fail_after(5):
        await sharing.keep_told("one", cast(Link, link))
    assert len(link.told) == 1
