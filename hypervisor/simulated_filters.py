"""``PacketFilters`` of the simulated machine: texts of libvirt's filters, kept whole or not at all."""

from collections.abc import Mapping
from typing import TYPE_CHECKING

from nano.domain.ability import ANTI_SPOOFING, PACKET_FILTER
from nano.domain.machine import MachineSpec
from nano.hypervisor.filter_xml import filter_text
from nano.hypervisor.guard import claims_of
from nano.hypervisor.packet_filter import cannot_filter, tap_name

if TYPE_CHECKING:
    from nano.hypervisor.simulated import SimulatedHost


class SimulatedFilters:
    def __init__(self, host: "SimulatedHost") -> None:
        self._host = host

    def wanted(self, guest_id: str, spec: MachineSpec) -> str:
        return filter_text(guest_id, spec)

    async def found(self, guest_id: str) -> str:
        await self._host.enter("find_filter", guest_id)
        return self._host.in_force.get(guest_id, "")

    async def put(self, guest_id: str, spec: MachineSpec) -> None:
        await self._host.enter("put_filter", guest_id)
        if why := self._host.capabilities.why_not(PACKET_FILTER):
            raise cannot_filter(why)
        self._host.in_force[guest_id] = self.wanted(guest_id, spec)

    async def drop(self, guest_id: str) -> bool:
        await self._host.enter("drop_filter", guest_id)
        self._host.guarded.pop(guest_id, None)
        return self._host.in_force.pop(guest_id, None) is not None

    async def release(self, guest_id: str) -> None:
        await self._host.enter("drop_filter", guest_id)
        self._host.in_force.pop(guest_id, None)

    async def guard(self, specs: Mapping[str, MachineSpec], *, only: bool = False) -> None:
        await self._host.enter("guard", next(iter(specs), ""))
        if only:
            self._host.guarded.clear()
        for guest_id, spec in specs.items():
            self._host.guarded.pop(guest_id, None)
            if (claims := claims_of(spec, tap_name)) and not self._host.capabilities.why_not(ANTI_SPOOFING):
                self._host.guarded[guest_id] = claims

    async def guests(self) -> list[str]:
        await self._host.enter("filters")
        return sorted(self._host.in_force.keys() - self._host.foreign)
