"""``Compactor`` of the simulated machine: half of what a volume takes was not used. A kill leaves the unfinished copy there."""

from typing import TYPE_CHECKING

from nano.domain.errors import NanoError
from nano.hypervisor.domain_xml import volume_name
from nano.hypervisor.host import Progress
from nano.hypervisor.volumes import PART

if TYPE_CHECKING:
    from nano.hypervisor.simulated import SimulatedHost


class SimulatedCompactor:
    def __init__(self, host: "SimulatedHost") -> None:
        self._host = host

    async def compact(self, guest_id: str, number: int, progress: Progress) -> int:
        host = self._host
        await host.enter("compact", guest_id)
        domain = host.ours(guest_id)
        if domain.state == "running":
            await host.insider.trim(guest_id)
            return sum(self._halve(volume_name(guest_id, one)) for one in domain.spec.volume_numbers)
        name = volume_name(guest_id, number)
        try:
            host.take(name + PART, host.files[name] // 2)
            progress(50)
            await host.enter("replace_volume", guest_id)
        except NanoError:
            host.drop(name + PART)
            raise
        host.drop(name + PART)
        return self._halve(name)

    async def tidy(self, guest_id: str, number: int) -> None:
        await self._host.enter("tidy_volume", guest_id)
        self._host.drop(volume_name(guest_id, number) + PART)

    def _halve(self, name: str) -> int:
        before = self._host.files[name]
        self._host.take(name, before // 2)
        return before - before // 2
