"""``Ports`` of a cell process's connection: the machine's, with calls that take time and fail as all others do."""

from collections.abc import Awaitable, Callable
from typing import Any

from nano.hypervisor.ports import Listening, Ports


class ConnectedPorts:
    def __init__(self, ports: Ports, call: Callable[[Callable[[], Awaitable[Any]]], Awaitable[Any]]) -> None:
        self._ports = ports
        self._call = call

    async def open(self, guest_id: str, address: str, port: int) -> Listening:
        opened: Listening = await self._call(lambda: self._ports.open(guest_id, address, port))
        return opened

    async def shut(self, guest_id: str) -> None:
        await self._call(lambda: self._ports.shut(guest_id))
