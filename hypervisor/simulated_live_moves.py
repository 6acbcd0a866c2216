"""``LiveMoves`` of the simulated machine: the running guest travels as one message, and is never on two machines."""

from typing import TYPE_CHECKING

import anyio
from anyio.streams.memory import MemoryObjectReceiveStream, MemoryObjectSendStream

from nano.domain.errors import HostError, NanoError, Unknown
from nano.domain.machine import MachineSpec
from nano.hypervisor.host import DOMAIN_WRONG_STATE, DomainEvent, Progress
from nano.hypervisor.live_moves import Berth, Relay
from nano.hypervisor.simulated_machine import SimulatedDomain

if TYPE_CHECKING:
    from nano.hypervisor.simulated import SimulatedHost

HANDED, TAKEN = b"handed\n", b"taken\n"


class SimulatedLiveMoves:
    def __init__(self, host: "SimulatedHost") -> None:
        self._host = host

    async def expect(self, guest_id: str, spec: MachineSpec, *, in_place: bool) -> Berth:
        await self._host.enter("expect", guest_id)
        if not in_place:
            await self._host.make_volumes(guest_id, spec, None, lambda _percent: None)
        self._host.expected[guest_id] = spec
        return Berth(token=guest_id, volumes="", bridge="", cell="", definition="")

    async def channel(self, token: str, name: str) -> "_Arrival":
        await self._host.enter("channel", token)
        if name != "memory" or token not in self._host.expected:
            raise Unknown(f"There is no channel {name!r}.", code="unknown_order")
        return _Arrival(self._host, token)

    async def move(
        self,
        guest_id: str,
        berth: Berth,  # noqa: ARG002
        relay: Relay,
        progress: Progress,
        *,
        in_place: bool,  # noqa: ARG002
    ) -> float:
        await self._host.enter("move", guest_id)
        domain = self._host.ours(guest_id)
        if domain.state != "running":
            raise HostError("The domain does not run.", code=DOMAIN_WRONG_STATE, hint="Start it first.")
        boots, (near, far) = domain.boots, _pair()

        async def carry() -> None:
            try:
                await relay("memory", far)
            finally:
                far.close()

        try:
            async with anyio.create_task_group() as tasks:
                tasks.start_soon(carry)
                await near.send(HANDED)
                answer = await near.receive()
                progress(100)
                if answer != TAKEN or domain.boots != boots or domain.state != "running":
                    raise anyio.EndOfStream
                self._host.machine.pop(guest_id, None)
                self._host.stream.tell(DomainEvent(guest_id, "undefined", detail="migrated"))
                tasks.cancel_scope.cancel()
        except* (anyio.EndOfStream, anyio.BrokenResourceError, NanoError) as why:
            raise HostError("The guest could not be handed over.", code="hypervisor_error") from why
        finally:
            near.close()
            far.close()
        return 0.0

    async def gone(self, guest_id: str) -> bool:
        await self._host.enter("gone", guest_id)
        return guest_id not in self._host.machine


class _Arrival:
    """The destination's end: the guest waits, paused and out of sight, until the cell defines it."""

    def __init__(self, host: "SimulatedHost", guest_id: str) -> None:
        self._host = host
        self._guest_id = guest_id
        self._answered = anyio.Event()

    async def send(self, data: bytes) -> None:
        if data == HANDED and (spec := self._host.expected.get(self._guest_id)) is not None:
            self._host.arrived[self._guest_id] = SimulatedDomain(spec, spec, "paused", self._host.now())
            self._answered.set()

    async def receive(self) -> bytes:
        await self._answered.wait()
        if self._answered.is_set():
            self._answered = anyio.Event()
            return TAKEN
        raise anyio.EndOfStream

    async def aclose(self) -> None:
        """What has arrived waits for its cell."""


class _End:
    def __init__(self) -> None:
        self._to: MemoryObjectSendStream[bytes]
        self._from: MemoryObjectReceiveStream[bytes]

    def join(self, to: MemoryObjectSendStream[bytes], source: MemoryObjectReceiveStream[bytes]) -> None:
        self._to, self._from = to, source

    async def send(self, data: bytes) -> None:
        await self._to.send(data)

    async def receive(self) -> bytes:
        return await self._from.receive()

    async def aclose(self) -> None:
        self.close()

    def close(self) -> None:
        self._to.close()
        self._from.close()


def _pair() -> tuple[_End, _End]:
    near, far = _End(), _End()
    out_send, out_receive = anyio.create_memory_object_stream[bytes](4)
    in_send, in_receive = anyio.create_memory_object_stream[bytes](4)
    near.join(out_send, in_receive)
    far.join(in_send, out_receive)
    return near, far
