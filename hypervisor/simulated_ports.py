"""``Ports`` of the simulated machine: who connects is a test, by ``connect``. They close with the process that opened them."""

import math
from typing import TYPE_CHECKING

import anyio
from anyio.streams.memory import MemoryObjectReceiveStream, MemoryObjectSendStream

from nano.domain.errors import HostError
from nano.hypervisor.ports import PORT_TAKEN, Listening, Serve
from nano.hypervisor.socket_channel import Channel

if TYPE_CHECKING:
    from nano.hypervisor.simulated_machine import SimulatedMachine


class SimulatedPorts:
    def __init__(self, machine: "SimulatedMachine") -> None:
        self._machine = machine

    async def open(self, guest_id: str, address: str, port: int) -> Listening:
        await self.shut(guest_id)
        await self._machine.enter("open_port", guest_id)
        listening = self._machine.open_ports.get((address, port))
        if listening is not None or port in self._machine.taken_ports:
            raise HostError(f"Port {port} of {address} can't be had.", code=PORT_TAKEN, hint="Free it.")
        listening = self._machine.open_ports[address, port] = SimulatedListening(self._machine, guest_id)
        return listening

    async def shut(self, guest_id: str) -> None:
        """Nothing happens where nothing is open."""
        for listening in list(self._machine.open_ports.values()):
            if listening.guest_id == guest_id:
                await self._machine.enter("shut_port", guest_id)
                await listening.aclose()


class SimulatedListening:
    def __init__(self, machine: "SimulatedMachine", guest_id: str) -> None:
        self.guest_id = guest_id
        self._machine = machine
        self._scope = anyio.CancelScope()
        self._ended = anyio.Event()
        self._served = False
        self._send, self._waiting = anyio.create_memory_object_stream[tuple[MemoryChannel, str]](math.inf)

    async def serve(self, serve: Serve) -> None:
        async def one(channel: Channel, peer: str) -> None:
            try:
                await serve(channel, peer)
            finally:
                with anyio.CancelScope(shield=True):
                    await channel.aclose()

        self._served = True
        try:
            with self._scope:
                async with anyio.create_task_group() as tasks, self._waiting:
                    async for channel, peer in self._waiting:
                        tasks.start_soon(one, channel, peer)
        finally:
            self._ended.set()

    def connect(self, peer: str = "192.0.2.1") -> Channel:
        """The viewer's end."""
        ours, theirs = memory_channels()
        self._machine.callers.append(ours)
        self._send.send_nowait((theirs, peer))
        return ours

    async def aclose(self) -> None:
        for place, listening in list(self._machine.open_ports.items()):
            if listening is self:
                del self._machine.open_ports[place]
        self._scope.cancel()
        self._send.close()
        if self._served:
            await self._ended.wait()
        else:
            while self._waiting.statistics().current_buffer_used:
                await self._waiting.receive_nowait()[0].aclose()
            self._waiting.close()


class MemoryChannel:
    def __init__(self, out: MemoryObjectSendStream[bytes], come: MemoryObjectReceiveStream[bytes]) -> None:
        self._out = out
        self._come = come

    async def send(self, data: bytes) -> None:
        if data:
            await self._out.send(data)

    async def receive(self) -> bytes:
        return await self._come.receive()

    async def aclose(self) -> None:
        self._out.close()
        self._come.close()


def memory_channels() -> tuple[MemoryChannel, MemoryChannel]:
    """Two ends; a few pieces wait each way."""
    there, here = anyio.create_memory_object_stream[bytes](4), anyio.create_memory_object_stream[bytes](4)
    return MemoryChannel(there[0], here[1]), MemoryChannel(here[0], there[1])
