"""The last hour of measurements, for charts. Observations: in memory only, gone with the process, bounded.

Core reports every two seconds; a point here is the mean of ten seconds, 360 points an hour, of the zone, each cell and
each guest. Rates in bytes/s, CPU in percent, sizes in bytes.
"""

from collections import deque
from collections.abc import Mapping
from typing import Any, Final

STEP_S: Final = 10
POINTS: Final = 360
SERIES_MAX: Final = 5_000  # cells and guests together; more are not charted
CELL_FIELDS: Final = (
    "cpu_percent",
    "memory_total",
    "memory_available",
    "disk_total",
    "disk_available",
    "read_rate",
    "write_rate",
    "receive_rate",
    "send_rate",
)
GUEST_FIELDS: Final = ("cpu_percent", "memory_used", "read_rate", "write_rate", "receive_rate", "send_rate")

USED: Final = (
    ("memory_used", "memory_total", "memory_available"),
    ("disk_used", "disk_total", "disk_available"),
)

Sample = tuple[float, ...]


def with_used(values: Mapping[str, float]) -> dict[str, float]:
    """The same with what is used, where total and available are known."""
    found = dict(values)
    for used, total, available in USED:
        if total in found:
            found[used] = found[total] - found[available]
    return found


class Series:
    """Points of one thing: (second, values…)."""

    def __init__(self, fields: tuple[str, ...]) -> None:
        self.fields = fields
        self.points: deque[tuple[int, Sample]] = deque(maxlen=POINTS)
        self._slot = 0
        self._sum: list[float] = []
        self._count = 0

    def add(self, at: float, sample: Sample) -> None:
        slot = int(at) // STEP_S * STEP_S
        if slot != self._slot or not self._count:
            self._slot, self._sum, self._count = slot, [0.0] * len(sample), 0
            self.points.append((slot, sample))
        self._count += 1
        self._sum = [old + new for old, new in zip(self._sum, sample, strict=True)]
        self.points[-1] = (slot, tuple(value / self._count for value in self._sum))

    def columns(self) -> dict[str, list[float]]:
        """``{"time":[…], field:[…]}``, oldest first: what a chart takes."""
        found: dict[str, list[float]] = {"time": [float(at) for at, _ in self.points]}
        for index, name in enumerate(self.fields):
            found[name] = [round(values[index], 2) for _, values in self.points]
        for used, total, available in USED:
            if total in found:
                found[used] = [whole - free for whole, free in zip(found[total], found[available], strict=True)]
        return found


class UsageRing:
    def __init__(self) -> None:
        self.latest: dict[str, Any] = {"cells": {}, "guests": {}}
        self.zone = Series(CELL_FIELDS)
        self._series: dict[str, Series] = {}

    def put(self, usage: Mapping[str, Any], at: float) -> None:
        cells: dict[str, dict[str, float]] = dict(usage.get("cells") or {})
        guests: dict[str, dict[str, float]] = dict(usage.get("guests") or {})
        self.latest = {"cells": cells, "guests": guests}
        for name, values in cells.items():
            self._add(f"cell/{name}", CELL_FIELDS, values, at)
        for name, values in guests.items():
            self._add(f"guest/{name}", GUEST_FIELDS, values, at)
        if cells:
            self.zone.add(at, self.zone_sample())
        self._forget_silent(at)

    def zone_sample(self) -> Sample:
        """All cells together; CPU as their mean."""
        cells = list(self.latest["cells"].values())
        sums = [sum(float(cell.get(field, 0)) for cell in cells) for field in CELL_FIELDS]
        sums[0] /= max(1, len(cells))
        return tuple(sums)

    def zone_now(self) -> dict[str, float]:
        return dict(zip(CELL_FIELDS, self.zone_sample(), strict=True))

    def series(self, resource: str) -> Series | None:
        """Of "cell/<name>" or "guest/<id>"; None when nothing was measured in the last hour."""
        return self._series.get(resource)

    def recent(self, resource: str, field: str, count: int) -> list[float]:
        """The last values of one field, oldest first."""
        series = self._series.get(resource)
        if series is None:
            return []
        index = series.fields.index(field)
        return [values[index] for _, values in list(series.points)[-count:]]

    def _add(self, name: str, fields: tuple[str, ...], values: Mapping[str, float], at: float) -> None:
        series = self._series.get(name)
        if series is None:
            if len(self._series) >= SERIES_MAX:
                return
            series = self._series[name] = Series(fields)
        series.add(at, tuple(float(values.get(field, 0)) for field in fields))

    def _forget_silent(self, at: float) -> None:
        limit = at - STEP_S * POINTS
        gone = [name for name, series in self._series.items() if series.points[-1][0] < limit]
        for name in gone:
            del self._series[name]
