"""How the portal follows Core: rows that lean on each other, no needless questions, nothing read twice."""

import pytest

from nano.ui.testing.fake_core import FakeCore
from nano.ui.testing.patience import until

pytestmark = pytest.mark.anyio


async def test_guests_are_lost_with_their_cell_without_being_told_one_by_one(admin, core: FakeCore) -> None:  # type: ignore[no-untyped-def]
    for guest in core.rows["guest"].values():
        if guest["cell"] == "Cell_0a1b2c3d4e5f":
            guest["state"] = "lost"  # as Core's own rows do when the cell goes: no event of the guest tells it
    core.put("cell", {**core.rows["cell"]["Cell_0a1b2c3d4e5f"], "state": "offline"}, "cell.disconnected")
    await admin.until("/guests?state=lost", "db-primary")


async def test_leaning_rows_are_read_once_for_a_burst_and_then_no_more(admin, core: FakeCore) -> None:  # type: ignore[no-untyped-def]
    before = core.listed["cell"]
    for state in ("stopped", "running", "stopped", "running", "stopped"):
        key = next(iter(core.rows["guest"]))
        core.put("guest", {**core.rows["guest"][key], "state": state}, f"guest.{state}")
    # A later fact of another kind must not make the lists look old: they are true up to Core's position, not their own.
    core.put("compute_pool", {**core.rows["compute_pool"]["lab"], "enabled": False}, "compute_pool.modified")

    async def more_than(count: int) -> bool:
        return core.listed["cell"] > count

    await until(lambda: more_than(before))
    with pytest.raises(TimeoutError):
        await until(lambda: more_than(before + 2), limit_s=1.0)


async def test_after_a_break_only_what_is_new_is_followed(admin, core: FakeCore) -> None:  # type: ignore[no-untyped-def]
    asked = core.followed_after
    assert asked == len(core.facts), "the stream begins where the lists ended, not where a table last changed"
    await admin.get("/health")
