"""The past of a zone is what readers saw then, byte for byte."""

from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import anyio
import anyio.lowlevel
import pytest

from nano.core.past import Past
from nano.domain.compute_pool import CreateComputePool, DeleteComputePool, ModifyComputePool
from nano.domain.errors import Invalid
from nano.domain.facts import Fact
from nano.domain.zone import Zone
from nano.journal.commit_log import CommitLog
from nano.journal.feed import Feed
from nano.journal.ledger import Ledger
from nano.journal.snapshots import SnapshotSettings
from nano.tools.simulator.bed import Bed, numbered_ids, utc_now

pytestmark = pytest.mark.anyio


async def test_every_position_and_instant_shows_what_was_shown_then(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("nano.core.past.STRIDE", 3)
    monkeypatch.setattr("nano.core.past.READ_MAX", 4)
    async with Bed(tmp_path).core() as core:
        shown: dict[int, bytes] = {}
        instants: dict[int, datetime] = {}

        def remember() -> None:
            shown[core.views.position] = core.views.tables["compute_pool"].page().body
            instants[core.views.position] = datetime.now(UTC)

        remember()
        for index in range(20):
            await core.execute(CreateComputePool(name=f"p{index}"), actor="a", command_id="")
            remember()
            if index % 3 == 0:
                await core.execute(ModifyComputePool(pool=f"p{index}", enabled=False), actor="a", command_id="")
                remember()
            if index % 4 == 0:
                await core.execute(DeleteComputePool(pool=f"p{index}"), actor="a", command_id="")
                remember()
        past = Past(core.ledger)
        for position in [*shown, *reversed(shown)]:
            views = await past.views(position)
            assert views.position == position
            assert (
                views.tables["compute_pool"].page().body.split(b',"total"')[0] == shown[position].split(b',"total"')[0]
            )
        for position, instant in instants.items():
            assert (await past.views(instant)).position == position


async def test_the_past_begins_at_a_snapshot_and_is_the_same(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("nano.core.past.STRIDE", 5)
    often = SnapshotSettings(every_events=10)
    log = CommitLog(tmp_path / "core" / "journal", clock=utc_now)
    ports: dict[str, Any] = {"clock": utc_now, "new_id": numbered_ids(1), "feed": Feed(), "snapshots": often}
    async with Ledger.open(log, Zone(), **ports) as ledger:
        for index in range(45):
            await ledger.execute(CreateComputePool(name=f"p{index}"), actor="a", command_id="")
            with anyio.fail_after(10):
                while ledger.position - ledger.snapshots.position >= 10:
                    await anyio.lowlevel.checkpoint()
        instants = {fact.position: fact.at for fact in await ledger.facts()}
        for position in (45, 3, 44, 21, 20, 19, 1, 30):
            begun: list[int] = []

            async def noted(after: int, limit: int, begun: list[int] = begun) -> list[Fact]:
                begun.append(after)
                return await Ledger.facts(ledger, after, limit)

            monkeypatch.setattr(ledger, "facts", noted)
            views = await Past(ledger).views(position)
            by_time = await Past(ledger).views(instants[position])
            assert begun[0] == (position // 10 * 10 if position >= 10 else 0)
            monkeypatch.setattr(ledger.snapshots, "newest", lambda **_: None)
            slow = await Past(ledger).views(position)
            monkeypatch.undo()
            monkeypatch.setattr("nano.core.past.STRIDE", 5)
            pages = [one.tables["compute_pool"].page().body for one in (views, by_time, slow)]
            assert pages[0].split(b',"total"')[0] == pages[1].split(b',"total"')[0] == pages[2].split(b',"total"')[0]
            assert len(views.tables["compute_pool"]) == position


async def test_before_everything_and_beyond_the_end(tmp_path: Path) -> None:
    async with Bed(tmp_path).core() as core:
        past = Past(core.ledger)
        assert len((await past.views(0)).tables["compute_pool"]) == 0
        assert len((await past.views(datetime(2000, 1, 1, tzinfo=UTC))).tables["compute_pool"]) == 0
        assert len((await past.views(datetime(2999, 1, 1, tzinfo=UTC))).tables["compute_pool"]) == 1
        for position in (-1, core.ledger.position + 1):
            with pytest.raises(Invalid) as refused:
                await past.views(position)
            assert refused.value.code == "invalid_at"
