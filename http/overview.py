"""Queries about the zone as a whole: what there is, what it is doing, where a guest would go, whether Core is well."""

from collections import Counter
from collections.abc import Callable
from datetime import datetime
from typing import TYPE_CHECKING

import msgspec

from nano.domain.ability import CAN
from nano.domain.catalogue import AT
from nano.domain.errors import Invalid, JournalError
from nano.domain.inspection import DriftRow, OrphanRow, Unasked
from nano.domain.machine import CORES_MAX, DISK_MAX, MEMORY_MAX
from nano.domain.naming import parse_size
from nano.domain.placement import Need, Verdict, place
from nano.http.answers import Answer, Request, json_answer
from nano.http.decoding import decode_query, whole_number
from nano.http.lists import find_row, parse_moment, position_header, refuse_past
from nano.journal.line import BEGINNING
from nano.projections.past_views import PastViews
from nano.projections.rows import CellRow, ComputePoolRow
from nano.projections.zone_views import ZoneViews

if TYPE_CHECKING:
    from nano.core.core import Core
    from nano.core.inspector import Findings

PLACEMENT_PARAMETERS = ("pool", "cores", "memory", "disk", "needs")


class ZoneRow(msgspec.Struct, frozen=True, kw_only=True):
    """``cores``, ``memory`` and ``disk`` (bytes) sum the online cells, ``…_promised`` all guests; counts are by state or
    severity, without zeros. Of the past too ``version`` and ``started_at`` are of the Core that answers; ``alarms`` are
    of now, and none then. ``recycle_hours``: how long guests rest in the recycle bin where nobody says another time."""

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
    cores_promised: int
    memory_promised: int
    disk_promised: int
    recycle_hours: int


class DriftList(msgspec.Struct, frozen=True):
    """``unasked``: cells that could not be asked, so nothing is known of them."""

    items: tuple[DriftRow, ...]
    unasked: tuple[Unasked, ...]


class OrphanList(msgspec.Struct, frozen=True):
    items: tuple[OrphanRow, ...]
    unasked: tuple[Unasked, ...]


class Health(msgspec.Struct, frozen=True):
    status: str
    version: str


def zone_row(core: "Core", views: ZoneViews, at: datetime, alarms: dict[str, int]) -> ZoneRow:
    cells = [row for name in views.tables["cell"].ids() if isinstance(row := views.tables["cell"].row(name), CellRow)]
    online = [cell for cell in cells if cell.state == "online"]
    guests: Counter[str] = Counter()
    for name in views.tables["compute_pool"].ids():
        pool = views.tables["compute_pool"].row(name)
        if isinstance(pool, ComputePoolRow):
            guests.update(pool.guests)
    return ZoneRow(
        id=views.zone_id,
        name=core.name,
        version=core.version,
        started_at=core.started_at,
        at=at,
        position=views.position,
        compute_pools=len(views.tables["compute_pool"]),
        cells=dict(sorted(Counter(cell.state for cell in cells).items())),
        guests=dict(sorted(guests.items())),
        images=len(views.tables["image"]),
        tasks_open=len(views.open_tasks),
        alarms=alarms,
        cores=sum(cell.cores for cell in online),
        memory=sum(cell.memory for cell in online),
        disk=sum(cell.disk for cell in online),
        cores_promised=sum(held.cores for held in views.held.values()),
        memory_promised=sum(held.memory for held in views.held.values()),
        disk_promised=sum(held.disk for held in views.held.values()),
        recycle_hours=core.zone.limits.recycle_hours,
    )


def _abilities(text: str) -> tuple[str, ...]:
    """Names with commas between them. Raises Invalid(invalid_needs)."""
    names = tuple(name for name in text.split(",") if name)
    if unknown := [name for name in names if name not in CAN]:
        raise Invalid(
            f"There is no ability {unknown[0][:40]!r}.",
            code="invalid_needs",
            hint=f"Use names with commas between them, of: {', '.join(CAN)}.",
            field="needs",
        )
    return names


class Overview:
    def __init__(self, core: "Core") -> None:
        self._core = core

    async def zone(self, request: Request) -> Answer:
        values = decode_query(request.query, (AT,))
        core = self._core
        if AT not in values:
            alarms = dict[str, int](sorted(Counter(alarm.severity for alarm in core.alarms.current()).items()))
            return _answer(zone_row(core, core.views, core.clock(), alarms), core.views.position)
        moment = parse_moment(values[AT])

        def answer_from(seen: PastViews) -> Answer:
            at = moment if isinstance(moment, datetime) else seen.at or BEGINNING
            return _answer(zone_row(core, seen, at, {}), seen.position)

        return await core.past.look(moment, answer_from)

    async def usage(self, request: Request) -> Answer:
        """Raises Invalid(no_past): samples are not journaled."""
        refuse_past(request.query, "Loads and rates are measured, not recorded")
        decode_query(request.query, ())
        return json_answer(self._core.usage.json(), 200, position_header(self._core.views.position))

    async def placement(self, request: Request) -> Answer:
        """A verdict with a score or a reason for every cell of the pool. Sizes in bytes, or with a unit.

        Of a moment in the past by what was promised then: what cells measured is not known any more.
        """
        values = decode_query(request.query, (*PLACEMENT_PARAMETERS, AT))

        def size(field: str, default: str, most: int) -> int:
            return whole_number(str(parse_size(values.get(field, default))), field, 1, most)

        need = Need(
            cores=whole_number(values.get("cores", "1"), "cores", 1, CORES_MAX),
            memory=size("memory", "128MiB", MEMORY_MAX),
            disk=size("disk", "1GiB", DISK_MAX),
            abilities=_abilities(values.get("needs", "")),
        )
        core, wanted = self._core, values.get("pool", "default")
        if AT not in values:
            return _answer(core.placement(find_row(core.views, "compute_pool", wanted), need), core.views.position)

        def answer_from(seen: PastViews) -> Answer:
            verdict = place(seen.candidates(find_row(seen, "compute_pool", wanted)), need, core.zone.limits)
            return _answer(verdict, seen.position)

        return await core.past.look(parse_moment(values[AT]), answer_from)

    async def drift(self, request: Request) -> Answer:
        return await self._inspected(request, lambda found: DriftList(found.drift, found.unasked))

    async def orphans(self, request: Request) -> Answer:
        return await self._inspected(request, lambda found: OrphanList(found.orphans, found.unasked))

    async def _inspected(self, request: Request, answer: "Callable[[Findings], DriftList | OrphanList]") -> Answer:
        """Asked of the cells now. Raises Invalid(no_past): hosts are looked at, not recorded."""
        refuse_past(request.query, "Hosts are looked at as they are now")
        decode_query(request.query, ())
        body = msgspec.json.encode(answer(await self._core.inspector.look()))
        return json_answer(body, 200, (b"cache-control", b"no-store"), position_header(self._core.views.position))

    async def health(self, request: Request) -> Answer:
        """Raises JournalError when Core can't record facts any more."""
        decode_query(request.query, ())
        poisoned = self._core.ledger.log.poisoned
        if poisoned is not None:
            raise JournalError("Core can't record anything.", hint="Look at Core's log, and restart it.")
        return json_answer(msgspec.json.encode(Health("ok", self._core.version)), 200, (b"cache-control", b"no-store"))


def _answer(value: ZoneRow | Verdict, position: int) -> Answer:
    return json_answer(msgspec.json.encode(value), 200, position_header(position))
