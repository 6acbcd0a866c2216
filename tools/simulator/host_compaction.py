"""``Compactor`` as a cell process of the simulator meets it: through its connection, which may fail or die."""

from collections.abc import Awaitable, Callable
from typing import Any

from nano.hypervisor.compaction import Compactor
from nano.hypervisor.host import Progress

Call = Callable[[Callable[[], Awaitable[Any]]], Awaitable[Any]]


class ConnectedCompactor:
    def __init__(self, compactor: Compactor, call: Call) -> None:
        self._compactor = compactor
        self._call = call

    async def compact(self, guest_id: str, number: int, progress: Progress) -> int:
        freed: int = await self._call(lambda: self._compactor.compact(guest_id, number, progress))
        return freed

    async def tidy(self, guest_id: str, number: int) -> None:
        await self._call(lambda: self._compactor.tidy(guest_id, number))
