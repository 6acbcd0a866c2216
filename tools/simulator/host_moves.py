"""``Moves`` as a cell process of the simulator meets them: every act through its connection, which may fail or die."""

from collections.abc import Collection

from nano.domain.machine import MachineSpec
from nano.hypervisor.host import Progress
from nano.hypervisor.simulated_moves import SimulatedMoves
from nano.hypervisor.simulated_storage import SimulatedStorage
from nano.tools.simulator.host_changes import Call


class ConnectedMoves:
    def __init__(self, parts: SimulatedMoves, call: Call) -> None:
        self._parts = parts
        self._call = call

    async def lengths(self, guest_id: str, numbers: Collection[int], progress: Progress) -> dict[int, int]:
        lengths: dict[int, int] = await self._call(lambda: self._parts.lengths(guest_id, numbers, progress))
        return lengths

    async def read(self, guest_id: str, number: int, offset: int, count: int) -> bytes:
        data: bytes = await self._call(lambda: self._parts.read(guest_id, number, offset, count))
        return data

    async def forget(self, guest_id: str, spec: MachineSpec) -> None:
        await self._call(lambda: self._parts.forget(guest_id, spec))

    async def put(self, guest_id: str, number: int, offset: int, data: bytes) -> None:
        await self._call(lambda: self._parts.put(guest_id, number, offset, data))

    async def keep(self, guest_id: str, spec: MachineSpec, number: int, length: int) -> None:
        await self._call(lambda: self._parts.keep(guest_id, spec, number, length))


class ConnectedStorage:
    """And its ``Storage``."""

    def __init__(self, parts: SimulatedStorage, call: Call) -> None:
        self._parts = parts
        self._call = call

    async def announce(self, guest_id: str, word: str) -> None:
        await self._call(lambda: self._parts.announce(guest_id, word))

    async def announced(self, guest_id: str) -> str:
        word: str = await self._call(lambda: self._parts.announced(guest_id))
        return word

    async def withdraw(self, guest_id: str) -> None:
        await self._call(lambda: self._parts.withdraw(guest_id))

    async def lacking(self, guest_id: str, spec: MachineSpec) -> list[str]:
        names: list[str] = await self._call(lambda: self._parts.lacking(guest_id, spec))
        return names
