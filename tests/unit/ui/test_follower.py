"""The follower misses nothing, whenever it happens: not what is told live only, nor what moves along with another row."""

from collections import Counter
from collections.abc import AsyncIterator, Callable, Mapping
from contextlib import asynccontextmanager
from datetime import UTC, datetime
from typing import Any

import anyio
import anyio.lowlevel
import pytest

from nano.ui.follower import Follower
from nano.ui.hub import Hub
from nano.ui.mirror import Mirror
from nano.ui.usage_ring import UsageRing

pytestmark = pytest.mark.anyio

ALARM = {"id": "clock_behind:cell-1", "state": "raised"}


class Core:
    """Lists as they are now; ``on_list(kind)`` is called after a list was read and before it is answered."""

    address = "core"

    def __init__(self) -> None:
        self.alarms: list[dict[str, Any]] = [ALARM]
        self.lists: dict[str, list[dict[str, Any]]] = {}
        self.position = 1
        self.on_list: Callable[[str], None] = lambda _: None
        self.tell, self.told = anyio.create_memory_object_stream[tuple[str, Any]](10)
        self.read = 0

    async def reconnect(self) -> None: ...

    async def read_list(self, path: str, caller: object, params: Mapping[str, object]) -> tuple[Any, int]:
        kind, position = path.removeprefix("/"), self.position
        rows = list(self.alarms if kind == "alarms" else self.lists.get(kind, []))
        self.read += kind == "alarms"
        self.on_list(kind)
        await anyio.lowlevel.checkpoint()
        return {"items": rows}, position

    @asynccontextmanager
    async def events(self, after: int, opened: Callable[[], None]) -> AsyncIterator[Any]:
        opened()
        yield self.told


async def followed(core: Core, until: Callable[[Mirror], bool]) -> Mirror:
    mirror = Mirror(datetime.now(UTC))
    follower = Follower(
        core,  # type: ignore[arg-type]
        mirror,
        Hub(),
        UsageRing(),
        clock=lambda: datetime.now(UTC),
        sleep=lambda _: anyio.lowlevel.checkpoint(),
    )
    async with anyio.create_task_group() as tasks:
        tasks.start_soon(follower.run)
        with anyio.fail_after(5):
            while not until(mirror):
                await anyio.lowlevel.checkpoint()
        tasks.cancel_scope.cancel()
    core.tell.close()
    core.told.close()
    return mirror


async def test_an_alarm_that_goes_between_the_list_and_the_stream_goes_here_too() -> None:
    core = Core()

    def clear(kind: str) -> None:
        if kind == "backups":  # the last list of all
            core.alarms = []

    core.on_list = clear
    await followed(core, lambda mirror: mirror.loaded and not mirror.rows["alarm"])


async def test_an_alarm_that_comes_while_its_list_is_read_again_stays() -> None:
    core = Core()
    core.alarms = []

    def raise_it(kind: str) -> None:
        if kind == "alarms" and core.read == 2 and not core.alarms:
            core.alarms = [ALARM]
            core.tell.send_nowait(("change", {"resource": f"alarm/{ALARM['id']}", "row": ALARM, "position": None}))

    core.on_list = raise_it
    mirror = await followed(core, lambda mirror: core.read >= 3 and bool(mirror.rows["alarm"]))
    assert list(mirror.rows["alarm"]) == [ALARM["id"]]


@pytest.mark.parametrize("during", ["load", "leaning"])
async def test_a_cell_that_comes_after_its_guests_were_read_brings_them_along(during: str) -> None:
    """The cells' list tells of it before the stream does, which then tells nothing new."""
    core = Core()
    cell, guest = {"name": "one", "pool": "default"}, {"id": "g1", "name": "web"}
    core.lists = {"guests": [guest | {"state": "lost"}], "cells": [cell | {"state": "offline"}]}
    reads: Counter[str] = Counter()

    def come(kind: str) -> None:
        reads[kind] += 1
        if during == "leaning" and kind == "backups" and reads[kind] == 1:
            core.position = 2  # another guest, which makes the cells be read again
            other = {"id": "g2", "name": "db", "state": "stopped"}
            core.lists["guests"].append(other)
            core.tell.send_nowait(("change", {"resource": "guest/g2", "row": other, "position": 2}))
        if (kind, reads[kind]) == (("guests", 1) if during == "load" else ("alarms", 2)):
            core.position += 1
            core.lists["guests"][0] = guest | {"state": "stopped"}
            core.lists["cells"] = [cell | {"state": "online"}]
            told = {"resource": "cell/one", "row": cell | {"state": "online"}, "position": core.position}
            core.tell.send_nowait(("change", told))

    core.on_list = come
    await followed(core, lambda mirror: bool(row := mirror.guest("g1")) and row["state"] == "stopped")
