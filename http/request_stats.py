"""RequestStats: how many requests each route answered, with which status, and how long that took. For metrics only.

Bounded: routes come from the catalogue, and whatever is no route counts as ``none``.
"""

from typing import Final

from nano.journal.append_stats import Histogram

SECONDS: Final = (0.0005, 0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 5.0, 30.0)
NO_ROUTE: Final = "none"


class RequestStats:
    def __init__(self) -> None:
        self.answers: dict[tuple[str, int], int] = {}
        self.seconds: dict[str, Histogram] = {}

    def answered(self, route: str, status: int, seconds: float | None) -> None:
        """``seconds`` None: a stream, whose length says nothing about how quick we are."""
        key = (route, status)
        self.answers[key] = self.answers.get(key, 0) + 1
        if seconds is not None:
            histogram = self.seconds.get(route)
            if histogram is None:
                histogram = self.seconds[route] = Histogram(SECONDS)
            histogram.add(seconds)
