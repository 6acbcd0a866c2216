"""``Moves`` of the simulated machine: a volume travels as a note of how much room it takes and what its guest sees."""

from collections.abc import Collection
from typing import TYPE_CHECKING

import msgspec

from nano.domain.errors import HostError
from nano.domain.machine import MachineSpec
from nano.hypervisor.domain_xml import seed_name, volume_name
from nano.hypervisor.host import Progress
from nano.hypervisor.moves import SEED, damaged
from nano.hypervisor.volumes import require_guest_id

if TYPE_CHECKING:
    from nano.hypervisor.simulated import SimulatedHost


class SimulatedMoves:
    def __init__(self, host: "SimulatedHost") -> None:
        self._host = host

    async def lengths(self, guest_id: str, numbers: Collection[int], progress: Progress) -> dict[int, int]:
        await self._host.enter("lengths", guest_id)
        progress(100)
        return {number: len(self._note(guest_id, number)) for number in numbers}

    async def read(self, guest_id: str, number: int, offset: int, count: int) -> bytes:
        await self._host.enter("read", guest_id)
        return self._note(guest_id, number)[offset : offset + count]

    async def forget(self, guest_id: str, spec: MachineSpec) -> None:  # noqa: ARG002
        await self._host.enter("forget", guest_id)

    async def put(self, guest_id: str, number: int, offset: int, data: bytes) -> None:
        await self._host.enter("put", guest_id)
        name = _name(guest_id, number)
        if name in self._host.sizes:
            raise HostError(f"Volume {name} is there already.", code="volume_failed")
        held = self._host.arriving.get(name, b"")[:offset]
        self._host.arriving[name] = held.ljust(offset, b"\0") + data
        self._host.take(name, len(self._host.arriving[name]))

    async def keep(self, guest_id: str, spec: MachineSpec, number: int, length: int) -> None:
        await self._host.enter("keep", guest_id)
        name = _name(guest_id, number)
        if name in self._host.sizes:
            raise HostError(f"Volume {name} is there already.", code="volume_failed")
        try:
            taken, size = msgspec.json.decode(self._host.arriving[name][:length], type=tuple[int, int])
        except (KeyError, msgspec.MsgspecError):
            raise damaged("is no disk") from None
        if number != SEED and size != spec.disks[spec.volume_numbers.index(number)]:
            raise damaged("is not a disk of its size")
        self._host.take(name, taken)
        if number != SEED:
            self._host.sizes[name] = size
        del self._host.arriving[name]

    def _note(self, guest_id: str, number: int) -> bytes:
        name = _name(guest_id, number)
        if name not in self._host.files:
            raise HostError(f"There is no volume {name}.", code="volume_failed", hint="Restore it from a backup.")
        return msgspec.json.encode((self._host.files[name], self._host.sizes.get(name, 0)))


def _name(guest_id: str, number: int) -> str:
    require_guest_id(guest_id)
    return seed_name(guest_id) if number == SEED else volume_name(guest_id, number)
