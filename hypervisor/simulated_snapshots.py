"""``Snapshots`` of the simulated machine: what a domain was is kept beside it, its memory takes room in its first volume."""

from typing import TYPE_CHECKING

from nano.domain.errors import HostError
from nano.domain.machine import MachineSpec
from nano.hypervisor.domain_xml import volume_name
from nano.hypervisor.host import Running
from nano.hypervisor.simulated_machine import SimulatedDomain, SimulatedSnapshot
from nano.hypervisor.snapshots import Stage, require_snapshot_id, settled, stage_of, taken

if TYPE_CHECKING:
    from nano.hypervisor.simulated import SimulatedHost


class SimulatedSnapshots:
    def __init__(self, host: "SimulatedHost") -> None:
        self._host = host

    async def held(self, guest_id: str, snapshot_id: str) -> bool | None:
        await self._host.enter("snapshot_held", guest_id)
        found = self._host.ours(guest_id).snapshots.get(require_snapshot_id(snapshot_id))
        return None if found is None else found.live is not None

    async def make(self, guest_id: str, snapshot_id: str, spec: MachineSpec, *, memory: bool) -> bool:  # noqa: ARG002
        await self._host.enter("snapshot_make", guest_id)
        domain = self._host.ours(guest_id)
        found = domain.snapshots.get(require_snapshot_id(snapshot_id))
        if found is None:
            live = domain.live if memory else None
            kept = live.memory if live is not None else 0
            self._grow(guest_id, domain, kept)
            state: Running = domain.state if live is not None else "stopped"
            found = SimulatedSnapshot(domain.spec, live, state, taken(snapshot_id), domain.content, kept)
            domain.snapshots[snapshot_id] = found
        await self._host.enter("snapshot_made", guest_id)
        return found.live is not None

    async def freeze(self, guest_id: str) -> bool:
        await self._host.enter("freeze", guest_id)
        domain = self._host.ours(guest_id)
        domain.frozen = domain.state == "running" and self._host.listens(domain)
        await self._host.enter("frozen", guest_id)
        return domain.frozen

    async def thaw(self, guest_id: str) -> None:
        await self._host.enter("thaw", guest_id)
        self._host.ours(guest_id).frozen = False

    async def restore(self, guest_id: str, snapshot_id: str, spec: MachineSpec, *, memory: bool) -> None:  # noqa: ARG002
        await self._host.enter("snapshot_restore", guest_id)
        domain = self._host.ours(guest_id)
        found = domain.snapshots.get(require_snapshot_id(snapshot_id))
        if found is None:
            raise HostError("The volumes have no such snapshot.", code="snapshot_missing", hint="Delete it.")
        if domain.state in ("running", "paused"):
            self._host.become(guest_id, "stopped", "from snapshot")
        domain.spec, domain.note, domain.content = found.spec, found.note, found.content
        if found.live is not None:
            self._host.become(guest_id, "running", "from snapshot")
            domain.live = found.live
            if found.state == "paused":
                self._host.become(guest_id, "paused", "from snapshot")
        await self._host.enter("snapshot_restored", guest_id)

    async def settle(self, guest_id: str, spec: MachineSpec, order_id: str) -> None:
        self._host.ours(guest_id)
        await self._host.define(guest_id, spec)
        self._host.ours(guest_id).note = settled(order_id)

    async def stage(self, guest_id: str, snapshot_id: str, order_id: str) -> Stage:
        await self._host.enter("snapshot_stage", guest_id)
        return stage_of(self._host.ours(guest_id).note, snapshot_id, order_id)

    async def drop(self, guest_id: str, snapshot_id: str, spec: MachineSpec) -> bool:  # noqa: ARG002
        await self._host.enter("snapshot_drop", guest_id)
        domain = self._host.ours(guest_id)
        found = domain.snapshots.pop(require_snapshot_id(snapshot_id), None)
        if found is not None:
            self._grow(guest_id, domain, -found.kept)
        await self._host.enter("snapshot_dropped", guest_id)
        return found is not None

    async def in_volumes(self, guest_id: str) -> dict[int, frozenset[str]]:
        await self._host.enter("snapshots_in_volumes", guest_id)
        domain = self._host.machine.get(guest_id)
        found = domain.snapshots.items() if domain is not None else ()
        return {
            number: frozenset(key for key, one in found if number in one.spec.volume_numbers)
            for number in (domain.spec.volume_numbers if domain is not None else ())
        }

    def _grow(self, guest_id: str, domain: SimulatedDomain, size: int) -> None:
        name = volume_name(guest_id, domain.spec.volume_numbers[0])
        if name in self._host.files:
            self._host.take(name, self._host.files[name] + size)
