"""Queries about the zone as a whole: what there is, what it is doing, where a guest would go, whether Core is well."""

from collections import Counter
from datetime import datetime
from typing import TYPE_CHECKING

import msgspec

from nano.domain.errors import JournalError
from nano.domain.machine import CORES_MAX, DISK_MAX, MEMORY_MAX
from nano.domain.naming import parse_size
from nano.domain.placement import Need
from nano.domain.zone import ZONE, ZoneInfo
from nano.http.answers import Answer, Request, json_answer
from nano.http.decoding import decode_query, whole_number
from nano.http.lists import find_row, position_header
from nano.projections.rows import CellRow, ComputePoolRow

if TYPE_CHECKING:
    from nano.core.core import Core

PLACEMENT_PARAMETERS = ("pool", "cores", "memory", "disk")


class ZoneRow(msgspec.Struct, frozen=True, kw_only=True):
    """``cores``, ``memory`` and ``disk`` (bytes) sum the online cells; counts are by state or severity, without zeros."""

    id: str
    name: str
    version: str
    started_at: datetime
    at: datetime
    position: int
    compute_pools: int
    cells: dict[str, int]
    guests: dict[str, int]
    images: int
    tasks_open: int
    alarms: dict[str, int]
    cores: int
    memory: int
    disk: int


class Health(msgspec.Struct, frozen=True):
    status: str
    version: str


def zone_row(core: "Core") -> ZoneRow:
    views = core.views
    info = core.zone.get(ZONE)
    cells = [row for name in views.tables["cell"].ids() if isinstance(row := views.tables["cell"].row(name), CellRow)]
    online = [cell for cell in cells if cell.state == "online"]
    guests: Counter[str] = Counter()
    for name in views.tables["compute_pool"].ids():
        pool = views.tables["compute_pool"].row(name)
        if isinstance(pool, ComputePoolRow):
            guests.update(pool.guests)
    return ZoneRow(
        id=info.id if isinstance(info, ZoneInfo) else "",
        name=core.name,
        version=core.version,
        started_at=core.started_at,
        at=core.clock(),
        position=views.position,
        compute_pools=len(views.tables["compute_pool"]),
        cells=dict(sorted(Counter(cell.state for cell in cells).items())),
        guests=dict(sorted(guests.items())),
        images=len(views.tables["image"]),
        tasks_open=len(core.zone.open_tasks),
        alarms=dict(sorted(Counter(alarm.severity for alarm in core.alarms.current()).items())),
        cores=sum(cell.cores for cell in online),
        memory=sum(cell.memory for cell in online),
        disk=sum(cell.disk for cell in online),
    )


class Overview:
    def __init__(self, core: "Core") -> None:
        self._core = core

    async def zone(self, request: Request) -> Answer:
        decode_query(request.query, ())
        return json_answer(msgspec.json.encode(zone_row(self._core)), 200, position_header(self._core.views))

    async def usage(self, request: Request) -> Answer:
        decode_query(request.query, ())
        return json_answer(self._core.usage.json(), 200, position_header(self._core.views))

    async def placement(self, request: Request) -> Answer:
        """A verdict with a score or a reason for every cell of the pool. Sizes in bytes, or with a unit."""
        values = decode_query(request.query, PLACEMENT_PARAMETERS)
        pool = find_row(self._core.views, "compute_pool", values.get("pool", "default"))

        def size(field: str, default: str, most: int) -> int:
            return whole_number(str(parse_size(values.get(field, default))), field, 1, most)

        need = Need(
            cores=whole_number(values.get("cores", "1"), "cores", 1, CORES_MAX),
            memory=size("memory", "128MiB", MEMORY_MAX),
            disk=size("disk", "1GiB", DISK_MAX),
        )
        verdict = self._core.placement(pool, need)
        return json_answer(msgspec.json.encode(verdict), 200, position_header(self._core.views))

    async def health(self, request: Request) -> Answer:
        """Raises JournalError when Core can't record facts any more."""
        decode_query(request.query, ())
        poisoned = self._core.ledger.log.poisoned
        if poisoned is not None:
            raise JournalError("Core can't record anything.", hint="Look at Core's log, and restart it.")
        return json_answer(msgspec.json.encode(Health("ok", self._core.version)), 200, (b"cache-control", b"no-store"))
