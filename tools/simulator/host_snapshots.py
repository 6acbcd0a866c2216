"""``Snapshots`` as a cell process of the simulator meets them: every call through its connection, which may fail or die."""

from nano.domain.machine import MachineSpec
from nano.hypervisor.simulated_snapshots import SimulatedSnapshots
from nano.hypervisor.snapshots import Stage
from nano.tools.simulator.host_changes import Call


class ConnectedSnapshots:
    def __init__(self, parts: SimulatedSnapshots, call: Call) -> None:
        self._parts = parts
        self._call = call

    async def held(self, guest_id: str, snapshot_id: str) -> bool | None:
        memory: bool | None = await self._call(lambda: self._parts.held(guest_id, snapshot_id))
        return memory

    async def make(self, guest_id: str, snapshot_id: str, spec: MachineSpec, *, memory: bool) -> bool:
        has: bool = await self._call(lambda: self._parts.make(guest_id, snapshot_id, spec, memory=memory))
        return has

    async def freeze(self, guest_id: str) -> bool:
        frozen: bool = await self._call(lambda: self._parts.freeze(guest_id))
        return frozen

    async def thaw(self, guest_id: str) -> None:
        await self._call(lambda: self._parts.thaw(guest_id))

    async def restore(self, guest_id: str, snapshot_id: str, spec: MachineSpec, *, memory: bool) -> None:
        await self._call(lambda: self._parts.restore(guest_id, snapshot_id, spec, memory=memory))

    async def settle(self, guest_id: str, spec: MachineSpec, order_id: str) -> None:
        await self._call(lambda: self._parts.settle(guest_id, spec, order_id))

    async def stage(self, guest_id: str, snapshot_id: str, order_id: str) -> Stage:
        stage: Stage = await self._call(lambda: self._parts.stage(guest_id, snapshot_id, order_id))
        return stage

    async def drop(self, guest_id: str, snapshot_id: str, spec: MachineSpec) -> bool:
        found: bool = await self._call(lambda: self._parts.drop(guest_id, snapshot_id, spec))
        return found

    async def in_volumes(self, guest_id: str) -> dict[int, frozenset[str]]:
        held: dict[int, frozenset[str]] = await self._call(lambda: self._parts.in_volumes(guest_id))
        return held
