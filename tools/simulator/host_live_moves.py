"""``LiveMoves`` as a cell process of the simulator meets them."""

from nano.domain.machine import MachineSpec
from nano.hypervisor.host import Progress
from nano.hypervisor.live_moves import Berth, Relay
from nano.hypervisor.simulated_live_moves import SimulatedLiveMoves
from nano.hypervisor.socket_channel import Channel
from nano.tools.simulator.host_changes import Call


class ConnectedLiveMoves:
    def __init__(self, parts: SimulatedLiveMoves, call: Call) -> None:
        self._parts = parts
        self._call = call

    async def expect(self, guest_id: str, spec: MachineSpec, *, in_place: bool) -> Berth:
        berth: Berth = await self._call(lambda: self._parts.expect(guest_id, spec, in_place=in_place))
        return berth

    async def channel(self, token: str, name: str) -> Channel:
        channel: Channel = await self._call(lambda: self._parts.channel(token, name))
        return channel

    async def move(
        self, guest_id: str, berth: Berth, relay: Relay, progress: Progress, *, in_place: bool
    ) -> float | None:
        still: float | None = await self._call(
            lambda: self._parts.move(guest_id, berth, relay, progress, in_place=in_place)
        )
        return still

    async def gone(self, guest_id: str) -> bool:
        gone: bool = await self._call(lambda: self._parts.gone(guest_id))
        return gone
