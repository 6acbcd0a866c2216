"""``Monitor`` of a cell process's connection: the machine's, with calls that take time and fail as all others do."""

from collections.abc import Awaitable, Callable
from typing import Any

from nano.hypervisor.monitor import Monitor


class ConnectedMonitor:
    def __init__(self, monitor: Monitor, call: Callable[[Callable[[], Awaitable[Any]]], Awaitable[Any]]) -> None:
        self._monitor = monitor
        self._call = call

    async def screenshot(self, guest_id: str) -> bytes:
        picture: bytes = await self._call(lambda: self._monitor.screenshot(guest_id))
        return picture
