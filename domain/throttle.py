"""The throttle: how many wrong secrets an account or an address gets before it must wait.

Bounded memory: past KEYS_MAX the longest untouched keys are forgotten. Nothing is journaled; a restart forgives.
"""

from collections import OrderedDict, deque
from typing import Final

KEYS_MAX: Final = 10_000


class Throttle:
    """``limits`` = failures allowed by kind of key ("account", "address") within ``window_s`` seconds."""

    def __init__(self, limits: dict[str, int], window_s: float) -> None:
        self._limits = limits
        self._window_s = window_s
        self._failures: OrderedDict[tuple[str, str], deque[float]] = OrderedDict()

    def wait_s(self, now: float, **keys: str) -> float:
        """Seconds until another try is allowed; 0 = now. ``keys`` by kind: account="ada", address="::1"."""
        return max((self._wait_of(kind, key, now) for kind, key in keys.items()), default=0.0)

    def failed(self, now: float, **keys: str) -> None:
        for kind, key in keys.items():
            times = self._failures.setdefault((kind, key), deque(maxlen=self._limits[kind]))
            times.append(now)
            self._failures.move_to_end((kind, key))
        while len(self._failures) > KEYS_MAX:
            self._failures.popitem(last=False)

    def forgive(self, kind: str, key: str) -> None:
        """A right password clears the account's count (not the address's: others may guess from there)."""
        self._failures.pop((kind, key), None)

    def take_back(self, at: float, kind: str, key: str) -> None:
        """What was counted at that time was no failure."""
        times = self._failures.get((kind, key))
        if times is not None and at in times:
            times.remove(at)

    def _wait_of(self, kind: str, key: str, now: float) -> float:
        times = self._failures.get((kind, key))
        if times is None or len(times) < self._limits[kind]:
            return 0.0
        return max(0.0, times[0] + self._window_s - now)
