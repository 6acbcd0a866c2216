"""``Insider`` of the simulated machine: an agent that answers as soon as its guest has booted."""

from typing import TYPE_CHECKING

from nano.domain.inside import FileSystem, Inside, Interface
from nano.hypervisor.insider import silent

if TYPE_CHECKING:
    from nano.hypervisor.simulated import SimulatedHost


class SimulatedInsider:
    def __init__(self, host: "SimulatedHost") -> None:
        self._host = host

    async def set_password(self, guest_id: str, user: str, password: str) -> None:
        await self._host.enter("set_password", guest_id)
        self._host.running(guest_id)
        if await self._host.agent(guest_id) is None:
            raise silent()
        self._host.running(guest_id).passwords[user] = password

    async def trim(self, guest_id: str) -> None:
        await self._host.enter("trim", guest_id)
        self._host.running(guest_id)
        if await self._host.agent(guest_id) is None:
            raise silent()

    async def inside(self, guest_id: str) -> Inside:
        await self._host.enter("inside", guest_id)
        domain = self._host.running(guest_id)
        report = await self._host.agent(guest_id)
        if report is None:
            raise silent()
        spec = domain.spec
        return Inside(
            host_name=report.hostname,
            system="Simulated",
            memory=spec.memory,
            memory_used=spec.memory // 2,
            interfaces=(Interface(name="eth0", mac=spec.mac, addresses=report.addresses),),
            file_systems=(
                FileSystem(mount="/", device="sda", type="ext4", size=spec.disks[0], used=spec.disks[0] // 4),
            ),
        )
