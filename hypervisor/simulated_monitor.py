"""``Monitor`` of the simulated machine: a small picture in a colour of the guest's own."""

from typing import TYPE_CHECKING

from nano.hypervisor.picture import as_png, png

if TYPE_CHECKING:
    from nano.hypervisor.simulated import SimulatedHost

WIDTH, HEIGHT = 64, 40


class SimulatedMonitor:
    def __init__(self, host: "SimulatedHost") -> None:
        self._host = host

    async def screenshot(self, guest_id: str) -> bytes:
        await self._host.enter("screenshot", guest_id)
        self._host.running(guest_id)
        colour = bytes.fromhex(guest_id[:6])
        return as_png(png(WIDTH, HEIGHT, colour * (WIDTH * HEIGHT)))
