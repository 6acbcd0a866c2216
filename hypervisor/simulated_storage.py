"""``Storage`` of the simulated machine: what it keeps of volumes may be what another machine keeps too (``share``)."""

from typing import TYPE_CHECKING

from nano.domain.machine import MachineSpec
from nano.hypervisor.domain_xml import file_names
from nano.hypervisor.volumes import require_guest_id

if TYPE_CHECKING:
    from nano.hypervisor.simulated import SimulatedHost


class SimulatedStorage:
    def __init__(self, host: "SimulatedHost") -> None:
        self._host = host

    async def announce(self, guest_id: str, word: str) -> None:
        await self._host.enter("announce", guest_id)
        self._host.words[require_guest_id(guest_id)] = word

    async def announced(self, guest_id: str) -> str:
        await self._host.enter("announced", guest_id)
        return self._host.words.get(require_guest_id(guest_id), "")

    async def withdraw(self, guest_id: str) -> None:
        await self._host.enter("withdraw", guest_id)
        self._host.words.pop(require_guest_id(guest_id), None)
        self._host.expected.pop(guest_id, None)

    async def lacking(self, guest_id: str, spec: MachineSpec) -> list[str]:
        await self._host.enter("lacking", guest_id)
        return sorted(file_names(require_guest_id(guest_id), spec) - self._host.files.keys())
