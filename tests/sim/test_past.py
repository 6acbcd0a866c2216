"""The past of a zone is what readers saw then, byte for byte."""

from datetime import UTC, datetime
from pathlib import Path

import pytest

from nano.core.past import Past
from nano.domain.compute_pool import CreateComputePool, DeleteComputePool, ModifyComputePool
from nano.domain.errors import Invalid
from nano.tools.simulator.bed import Bed

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
