"""AppendStats: how appending goes, counted for metrics. Measurements only: nothing is decided by them.

Written by the one thread that appends, read by the event loop: a reader may see a batch half counted, never a wrong total
later on.
"""

from bisect import bisect_left
from typing import Final

SECONDS: Final = (0.0001, 0.00025, 0.0005, 0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 10.0)
LINES: Final = (1.0, 2.0, 5.0, 10.0, 25.0, 50.0, 100.0, 250.0, 500.0, 1_000.0, 5_000.0)


class Histogram:
    """How many values were at most each bound; ``counts`` has one more, for those above the last."""

    def __init__(self, bounds: tuple[float, ...]) -> None:
        self.bounds = bounds
        self.counts = [0] * (len(bounds) + 1)
        self.sum = 0.0

    def add(self, value: float) -> None:
        self.counts[bisect_left(self.bounds, value)] += 1
        self.sum += value


class AppendStats:
    """``seconds``: writing and syncing one batch; ``lines``: how many commands shared it; ``failures``: batches refused."""

    def __init__(self) -> None:
        self.seconds = Histogram(SECONDS)
        self.lines = Histogram(LINES)
        self.failures = 0

    def appended(self, lines: int, seconds: float) -> None:
        self.seconds.add(seconds)
        self.lines.add(lines)
