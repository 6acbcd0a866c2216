"""The past of a zone is what readers saw then, byte for byte."""

import random
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import anyio
import anyio.lowlevel
import pytest

from nano.core.past import CHECKPOINTS_MAX, WINDOWS_MAX, Past
from nano.domain.compute_pool import CreateComputePool, DeleteComputePool, ModifyComputePool
from nano.domain.errors import Invalid
from nano.domain.facts import Fact
from nano.domain.zone import Zone
from nano.journal.commit_log import CommitLog
from nano.journal.feed import Feed
from nano.journal.ledger import Ledger
from nano.journal.snapshots import SnapshotSettings
from nano.projections.past_views import PastViews
from nano.tools.simulator.bed import Bed, numbered_ids, utc_now

pytestmark = pytest.mark.anyio


def page(views: PastViews) -> bytes:
    return views.tables["compute_pool"].page(1000).body.split(b',"total"')[0]


async def pool_count(past: Past, moment: int | datetime) -> int:
    return await past.look(moment, lambda views: len(views.tables["compute_pool"]))


@pytest.fixture(params=["near", "copies", "far"])
def reach(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> None:
    """One window that walks, copies of windows, or a new one for nearly every look."""
    near, copied, undone = {"near": (1000, 1000, 1000), "copies": (2, 60, 60), "far": (1, 1, 2)}[request.param]
    monkeypatch.setattr("nano.core.past.NEAR", near)
    monkeypatch.setattr("nano.core.past.COPY", copied)
    monkeypatch.setattr("nano.core.past.UNDO_MAX", undone)
    monkeypatch.setattr("nano.core.past.STRIDE", 6)
    monkeypatch.setattr("nano.core.past.READ_MAX", 4)
    monkeypatch.setattr("nano.core.past.SEARCH_MAX", 3)


@pytest.mark.usefixtures("reach")
async def test_every_position_and_instant_shows_what_was_shown_then(tmp_path: Path) -> None:
    async with Bed(tmp_path).core() as core:
        shown: dict[int, bytes] = {}
        instants: dict[int, datetime] = {}

        def remember() -> None:
            shown[core.views.position] = core.views.tables["compute_pool"].page(1000).body.split(b',"total"')[0]
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
        past = Past(core.ledger, "run")
        for position in [*shown, *reversed(shown), *sorted(shown, key=lambda one: one * 7 % 11)]:
            assert await past.look(position, page) == shown[position]
            assert await past.look(position, lambda views: views.position) == position
        for position, instant in sorted(instants.items(), key=lambda one: one[0] * 5 % 7):
            assert await past.position(instant) == position
            assert await Past(core.ledger, "run").position(instant) == position
            assert await past.look(instant, page) == shown[position]

        async def visit(seed: int) -> None:
            chance = random.Random(seed)
            for position in chance.choices([*shown], k=40):
                assert await past.look(position, page) == shown[position]

        async with anyio.create_task_group() as visitors:
            for seed in range(6):
                visitors.start_soon(visit, seed)
        assert len(past._windows) <= WINDOWS_MAX
        assert all(len(window.views.tables["compute_pool"]) for window in past._windows)
        assert len(past._checkpoints) <= CHECKPOINTS_MAX


async def test_the_past_begins_at_a_snapshot_and_is_the_same(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("nano.core.past.STRIDE", 5)
    monkeypatch.setattr("nano.core.past.UNDO_MAX", 2)
    often = SnapshotSettings(every_events=10)
    log = CommitLog(tmp_path / "core" / "journal", clock=utc_now)
    ports: dict[str, Any] = {"clock": utc_now, "new_id": numbered_ids(1), "feed": Feed(), "snapshots": often}
    async with Ledger.open(log, Zone(), **ports) as ledger:
        for index in range(45):
            await ledger.execute(CreateComputePool(name=f"p{index}"), actor="a", command_id="")
            with anyio.fail_after(10):
                while ledger.position - ledger.snapshots.position >= 10:
                    await anyio.lowlevel.checkpoint()
        for position in (45, 3, 44, 21, 20, 19, 1, 30):
            begun: list[int] = []

            async def noted(after: int, limit: int, begun: list[int] = begun) -> list[Fact]:
                begun.append(after)
                return await Ledger.facts(ledger, after, limit)

            with monkeypatch.context() as patched:
                patched.setattr(ledger, "facts", noted)
                quick = await Past(ledger, "run").look(position, page)
                assert begun[:1] in ([position // 10 * 10], [0] if position < 10 else [])
                patched.setattr(ledger.snapshots, "newest", lambda **_: None)
                assert await Past(ledger, "run").look(position, page) == quick
            assert await pool_count(Past(ledger, "run"), position) == position


async def test_visitors_near_each_other_share_a_window_and_a_moving_one_is_not_made_twice(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    async with Bed(tmp_path).core() as core:
        for index in range(30):
            await core.execute(CreateComputePool(name=f"p{index}"), actor="a", command_id="")
        end, made = core.ledger.position, []
        make = Past._make

        async def counted(past: Past, position: int) -> PastViews:
            made.append(position)
            return await make(past, position)

        monkeypatch.setattr(Past, "_make", counted)

        async def visit(shift: int) -> None:
            for step in range(20):
                position = end - (step * 7 + shift) % 30
                assert await pool_count(core.past, position) == 1 + 30 - (end - position)

        async with anyio.create_task_group() as visitors:
            for shift in range(5):
                visitors.start_soon(visit, shift)
        assert len(made) == 1


async def test_a_fold_that_breaks_is_told_and_leaves_no_half_of_it(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    async with Bed(tmp_path).core() as core:
        for name in ("a", "b"):
            await core.execute(CreateComputePool(name=name), actor="a", command_id="")
        end = core.ledger.position
        assert await pool_count(core.past, end - 2) == 1
        with monkeypatch.context() as patched:
            patched.setattr(PastViews, "_settle", lambda _: 1 // 0)
            with pytest.raises(ZeroDivisionError):
                await core.past.look(end, page)
        assert not core.past._windows
        assert await pool_count(core.past, end - 1) == 2


async def test_a_look_that_breaks_harms_no_other(tmp_path: Path) -> None:
    async with Bed(tmp_path).core() as core:
        await core.execute(CreateComputePool(name="p"), actor="a", command_id="")

        def broken(views: PastViews) -> int:
            raise Invalid("no")

        end = core.ledger.position
        with pytest.raises(Invalid):
            await core.past.look(end, broken)
        with anyio.move_on_after(0):
            await core.past.look(end - 1, page)
        assert await pool_count(core.past, end) == 2
        assert await pool_count(core.past, end - 1) == 1


async def test_before_everything_and_beyond_the_end(tmp_path: Path) -> None:
    async with Bed(tmp_path).core() as core:
        past = core.past
        assert await pool_count(past, 0) == 0
        assert await pool_count(past, datetime(2000, 1, 1, tzinfo=UTC)) == 0
        assert await pool_count(past, datetime(2999, 1, 1, tzinfo=UTC)) == 1
        for position in (-1, core.ledger.position + 1):
            with pytest.raises(Invalid) as refused:
                await past.position(position)
            assert refused.value.code == "invalid_at"
