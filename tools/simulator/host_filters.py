"""``PacketFilters`` as a cell process of the simulator meets them: every call through its connection, which may fail or die."""

from collections.abc import Awaitable, Callable, Mapping
from typing import Any

from nano.domain.machine import MachineSpec
from nano.hypervisor.simulated_filters import SimulatedFilters

Call = Callable[[Callable[[], Awaitable[Any]]], Awaitable[Any]]


class ConnectedFilters:
    def __init__(self, filters: SimulatedFilters, call: Call) -> None:
        self._filters = filters
        self._call = call

    def wanted(self, guest_id: str, spec: MachineSpec) -> str:
        return self._filters.wanted(guest_id, spec)

    async def found(self, guest_id: str) -> str:
        text: str = await self._call(lambda: self._filters.found(guest_id))
        return text

    async def put(self, guest_id: str, spec: MachineSpec) -> None:
        await self._call(lambda: self._filters.put(guest_id, spec))

    async def drop(self, guest_id: str) -> bool:
        dropped: bool = await self._call(lambda: self._filters.drop(guest_id))
        return dropped

    async def release(self, guest_id: str) -> None:
        await self._call(lambda: self._filters.release(guest_id))

    async def guard(self, specs: Mapping[str, MachineSpec], *, only: bool = False) -> None:
        await self._call(lambda: self._filters.guard(specs, only=only))

    async def guests(self) -> list[str]:
        found: list[str] = await self._call(self._filters.guests)
        return found
