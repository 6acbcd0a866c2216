"""``Insider`` of a cell process's connection: the machine's, with calls that take time and fail as all others do."""

from collections.abc import Awaitable, Callable
from typing import Any

from nano.domain.inside import Inside
from nano.hypervisor.insider import Insider


class ConnectedInsider:
    def __init__(self, insider: Insider, call: Callable[[Callable[[], Awaitable[Any]]], Awaitable[Any]]) -> None:
        self._insider = insider
        self._call = call

    async def set_password(self, guest_id: str, user: str, password: str) -> None:
        await self._call(lambda: self._insider.set_password(guest_id, user, password))

    async def trim(self, guest_id: str) -> None:
        await self._call(lambda: self._insider.trim(guest_id))

    async def inside(self, guest_id: str) -> Inside:
        told: Inside = await self._call(lambda: self._insider.inside(guest_id))
        return told
