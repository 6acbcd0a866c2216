"""``ChangeParts`` as a cell process of the simulator meets them: every act through its connection, which may fail or die."""

from collections.abc import Awaitable, Callable, Collection
from pathlib import Path
from typing import Any

from nano.domain.machine import MachineSpec
from nano.hypervisor.host import Progress
from nano.hypervisor.shape import Difference, Shape
from nano.hypervisor.simulated_changes import SimulatedChanges

Call = Callable[[Callable[[], Awaitable[Any]]], Awaitable[Any]]


class ConnectedChanges:
    def __init__(self, parts: SimulatedChanges, call: Call) -> None:
        self._parts = parts
        self._call = call

    def wanted(self, guest_id: str, spec: MachineSpec) -> Shape:
        return self._parts.wanted(guest_id, spec)

    async def defined(self, guest_id: str) -> Shape:
        shape: Shape = await self._call(lambda: self._parts.defined(guest_id))
        return shape

    async def autostart(self, guest_id: str) -> bool:
        starts: bool = await self._call(lambda: self._parts.autostart(guest_id))
        return starts

    async def running(self, guest_id: str) -> Shape | None:
        shape: Shape | None = await self._call(lambda: self._parts.running(guest_id))
        return shape

    async def define(self, guest_id: str, spec: MachineSpec) -> None:
        await self._call(lambda: self._parts.define(guest_id, spec))

    async def drop_filter(self, guest_id: str) -> None:
        await self._call(lambda: self._parts.drop_filter(guest_id))

    async def guard(self, guest_id: str, spec: MachineSpec) -> None:
        await self._call(lambda: self._parts.guard(guest_id, spec))

    async def follow(self, guest_id: str, difference: Difference) -> None:
        await self._call(lambda: self._parts.follow(guest_id, difference))

    async def volume_sizes(self, guest_id: str) -> dict[int, int]:
        sizes: dict[int, int] = await self._call(lambda: self._parts.volume_sizes(guest_id))
        return sizes

    async def make_volumes(
        self, guest_id: str, spec: MachineSpec, numbers: Collection[int], image: Path | None, progress: Progress
    ) -> None:
        await self._call(lambda: self._parts.make_volumes(guest_id, spec, numbers, image, progress))

    async def resize_volume(self, guest_id: str, number: int, size: int) -> None:
        await self._call(lambda: self._parts.resize_volume(guest_id, number, size))

    async def drop_files(self, guest_id: str, wanted: Collection[str]) -> list[str]:
        names: list[str] = await self._call(lambda: self._parts.drop_files(guest_id, wanted))
        return names

    async def drop_volumes(self, guest_id: str, numbers: Collection[int]) -> list[str]:
        names: list[str] = await self._call(lambda: self._parts.drop_volumes(guest_id, numbers))
        return names

    async def media(self, guest_id: str) -> set[str]:
        there: set[str] = await self._call(lambda: self._parts.media(guest_id))
        return there

    async def put_media(self, guest_id: str, media: str, file: Path) -> None:
        await self._call(lambda: self._parts.put_media(guest_id, media, file))

    async def drop_media(self, guest_id: str, keep: str) -> list[str]:
        names: list[str] = await self._call(lambda: self._parts.drop_media(guest_id, keep))
        return names
