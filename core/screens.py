"""ScreenDesk: pictures of guests' screens, asked of their cells when somebody looks, and kept for a moment.

Many viewers of the same guest cost its cell one picture in ``FRESH_S`` seconds. Nothing of it is journaled or stored;
pictures of the last ``KEPT_MAX`` guests that were looked at stay in memory.
"""

import hashlib
from collections.abc import Awaitable, Callable
from typing import Final, NamedTuple

import anyio

FRESH_S: Final = 5.0
KEPT_MAX: Final = 64


class Screen(NamedTuple):
    """``tag`` names what it shows; ``taken`` is in seconds of the desk's clock."""

    png: bytes
    tag: str
    taken: float


class ScreenDesk:
    """``take(guest_id)`` gives a new picture; ``now`` gives seconds."""

    def __init__(self, take: Callable[[str], Awaitable[bytes]], now: Callable[[], float]) -> None:
        self._take = take
        self._now = now
        self._kept: dict[str, Screen] = {}  # the one looked at last is the last
        self._locks: dict[str, anyio.Lock] = {}  # of guests whose picture is being taken

    async def look(self, guest_id: str) -> Screen:
        """Raises what ``take`` raises."""
        lock = self._locks.setdefault(guest_id, anyio.Lock())
        try:
            async with lock:
                return self._keep(guest_id, self._fresh(guest_id) or await self._shoot(guest_id))
        finally:
            if not lock.statistics().tasks_waiting and self._locks.get(guest_id) is lock:
                del self._locks[guest_id]

    def _fresh(self, guest_id: str) -> Screen | None:
        screen = self._kept.get(guest_id)
        return screen if screen is not None and self._now() - screen.taken < FRESH_S else None

    async def _shoot(self, guest_id: str) -> Screen:
        self._kept.pop(guest_id, None)  # if it can't be seen now, what it showed before is of no use
        png = await self._take(guest_id)
        return Screen(png, hashlib.sha256(png).hexdigest()[:32], self._now())

    def _keep(self, guest_id: str, screen: Screen) -> Screen:
        self._kept.pop(guest_id, None)
        self._kept[guest_id] = screen
        while len(self._kept) > KEPT_MAX:
            del self._kept[next(iter(self._kept))]
        return screen
