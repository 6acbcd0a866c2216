"""The past of a zone whose oldest segments were dropped begins at the horizon, and says so."""

from collections.abc import AsyncIterator
from datetime import UTC, datetime, timedelta
from itertools import count
from pathlib import Path

import pytest

from nano.core.past import Past
from nano.domain import compute_pool as cp
from nano.domain.errors import Invalid
from nano.domain.zone import FoundZone, Zone
from nano.journal.archiving import archive_segments
from nano.journal.commit_log import CommitLog
from nano.journal.disk import RealDisk
from nano.journal.feed import Feed
from nano.journal.horizon import Limits
from nano.journal.ledger import Ledger
from nano.journal.retention import Retention

pytestmark = pytest.mark.anyio

START = datetime(2026, 11, 21, tzinfo=UTC)
POOLS = 40
SMALL = Limits(days=0, size=1)


def ledger_on(folder: Path, begin: datetime = START) -> Ledger:
    ticks, ids = count(), count()

    def clock() -> datetime:
        return begin + timedelta(seconds=next(ticks))

    log = CommitLog(folder, clock=clock, limits=SMALL, segment_bytes_max=2_000)
    return Ledger(log, Zone(), clock=clock, new_id=lambda: f"id-{next(ids)}", feed=Feed())


@pytest.fixture
async def ledger(tmp_path: Path) -> AsyncIterator[Ledger]:
    first = ledger_on(tmp_path)
    await first.start()
    await first.execute(FoundZone(), actor="core", command_id="")
    for number in range(POOLS):
        await first.execute(cp.CreateComputePool(name=f"p{number}"), actor="admin", command_id="")
    await first.aclose()
    archive_segments(RealDisk(), tmp_path / "commits", 2)
    assert Retention(RealDisk(), tmp_path, Zone, SMALL, None).prepare(START) > 0
    ledger = ledger_on(tmp_path, START + timedelta(hours=1))
    await ledger.start()
    yield ledger
    await ledger.aclose()


async def test_it_begins_at_the_horizon(ledger: Ledger) -> None:
    past = Past(ledger, "1")
    begins = ledger.log.begins
    assert 0 < begins.position < ledger.position
    before_pools = ledger.position - POOLS
    for moment in range(begins.position, ledger.position + 1):
        pools = await past.look(moment, lambda views: len(list(views.tables["compute_pool"].ids())))
        assert pools == moment - before_pools + 1  # and the one that a zone is founded with
    assert await past.position(begins.time) == begins.position
    for early in (0, begins.position - 1, begins.time - timedelta(seconds=1)):
        with pytest.raises(Invalid) as caught:
            await past.position(early)
        assert caught.value.code == "before_horizon"
        assert str(begins.position) in caught.value.hint
