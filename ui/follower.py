"""The follower: keeps mirror, usage ring and hub true by one subscription to Core's event stream.

However the connection ends, everything is read again before following on: a list tells its position, and the stream
resumes from there, so nothing is missed and nothing is shown twice. Kinds that are no facts have no position to resume
from; they are read once more when the stream listens. Core may be down at the start, move or vanish; the
mirror then says since when, and the tries go on with growing pauses.
"""

import logging
from collections import Counter
from collections.abc import Awaitable, Callable, Iterable, Set
from datetime import datetime
from typing import Final

import anyio

from nano.domain.errors import NanoError, Unreachable
from nano.ui.core_api import SYSTEM, CoreApi
from nano.ui.hub import EVERYTHING, Hub
from nano.ui.mirror import COLLECTIONS, LIVE_KINDS, Mirror, Row
from nano.ui.usage_ring import UsageRing

log = logging.getLogger("nano.ui")

PAGE: Final = 1000
PAUSE_S: Final = (0.2, 0.5, 1.0, 2.0, 3.0)
SETTLE_S: Final = 0.15  # leaning rows are read once for a burst of changes
READS_MAX: Final = 20


class Follower:
    def __init__(
        self,
        core: CoreApi,
        mirror: Mirror,
        hub: Hub,
        usage: UsageRing,
        *,
        clock: Callable[[], datetime],
        sleep: Callable[[float], Awaitable[None]] = anyio.sleep,
    ) -> None:
        self._core = core
        self._mirror = mirror
        self._hub = hub
        self._usage = usage
        self._clock = clock
        self._sleep = sleep
        self._leaning: set[str] = set()
        self._told_live: Counter[str] = Counter()  # changes without a position, by kind
        self._lean = anyio.Event()

    async def run(self) -> None:
        """Follow until cancelled."""
        failures = 0
        while True:
            try:
                await self._core.reconnect()
                position = await self._load()
                self._came()
                failures = 0
                await self._follow(position)
            except (NanoError, ValueError, KeyError, ExceptionGroup) as error:
                if (cause := _expected(error)) is None:
                    raise
                self._went(cause)
            await self._sleep(PAUSE_S[min(failures, len(PAUSE_S) - 1)])
            failures += 1

    async def _follow(self, position: int) -> None:
        async with self._core.events(position, self._read_live) as messages, anyio.create_task_group() as group:
            group.start_soon(self._read_leaning)
            async for name, data in messages:
                if name == "usage":
                    self._usage.put(data, self._clock().timestamp())
                    self._hub.measure(self._usage.latest)
                elif name == "change":
                    self._change(data)
            group.cancel_scope.cancel()
        raise Unreachable("Core ended the event stream.", code="core_unreachable")

    def _read_live(self) -> None:
        """What is not recorded may have changed between reading the lists and listening."""
        self._due(LIVE_KINDS)

    def _change(self, change: Row) -> None:
        resource = str(change["resource"])
        if change.get("position") is None:
            self._told_live[resource.partition("/")[0]] += 1
        topics, leaning = self._mirror.apply(resource, change.get("row"), int(change.get("position") or 0))
        self._hub.publish(topics | {"journal"} if change.get("position") else topics)
        self._due(leaning)

    def _due(self, kinds: Set[str]) -> None:
        """To be read once more."""
        if kinds:
            self._leaning |= kinds
            self._lean.set()

    async def _read_leaning(self) -> None:
        while True:
            await self._lean.wait()
            await self._sleep(SETTLE_S)
            kinds, self._leaning, self._lean = self._leaning, set(), anyio.Event()
            await self._read(sorted(kinds))

    async def _load(self) -> int:
        """Read every list; the position from which the stream misses nothing."""
        self._mirror.position = 0  # another Core, or one restored from a backup, may be at an earlier one than before
        self._mirror.position = await self._read(COLLECTIONS)
        return self._mirror.position

    async def _read(self, kinds: Iterable[str]) -> int:
        """Read these lists; the lowest position of them. What became older meanwhile than something else that is known, is
        due once more: the stream will not tell of it, or not that it matters."""
        read: dict[str, int] = {}
        leaning: dict[str, int] = {}  # kind -> position by which something moved that it leans on
        topics: set[str] = set()
        for kind in kinds:
            told = self._told_live[kind]
            rows, position = await self._list(kind)
            if position < self._mirror.position or told != self._told_live[kind]:
                self._due({kind})
                continue
            changed, moved = self._mirror.replace(kind, rows)
            topics |= changed
            read[kind] = position
            leaning |= dict.fromkeys(moved, position)
        self._due({kind for kind, position in leaning.items() if read.get(kind, 0) < position})
        self._hub.publish(topics)
        return min(read.values(), default=0)

    async def _list(self, kind: str) -> tuple[list[Row], int]:
        rows: list[Row] = []
        cursor, position = "", None
        for _ in range(READS_MAX):
            params: dict[str, str | int] = {"limit": PAGE} | ({"cursor": cursor} if cursor else {})
            page, at = await self._core.read_list("/" + COLLECTIONS[kind], SYSTEM, params)
            rows += page["items"]
            position = at if position is None else min(position, at)
            cursor = page.get("next") or ""
            if not cursor:
                break
        return rows, position or 0

    def _came(self) -> None:
        if self._mirror.away_since is not None:
            log.info("core answers api=%s position=%d", self._core.address, self._mirror.position)
        self._mirror.away_since = None
        self._mirror.loaded = True
        self._hub.link()
        self._hub.publish({EVERYTHING})

    def _went(self, error: Exception) -> None:
        if self._mirror.away_since is None:
            self._mirror.away_since = self._clock()
            log.warning("core is away reason=%s", error)
            self._hub.link()


def _expected(error: Exception) -> Exception | None:
    """The plain reason behind an error that only means "Core is not there, or not well"; None for a defect of ours."""
    if isinstance(error, ExceptionGroup):
        causes = [_expected(inner) for inner in error.exceptions]
        return causes[0] if all(causes) else None
    return error if isinstance(error, NanoError | ValueError | KeyError) else None
