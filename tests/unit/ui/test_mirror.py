"""The mirror and the hub: what a change means for the pages that are open."""

from datetime import UTC, datetime
from typing import Any

import anyio
import pytest

from nano.domain.errors import Refusal
from nano.ui.hub import EVERYTHING, SEATS_PER_SESSION_MAX, TOPICS_MAX, Hub
from nano.ui.mirror import Mirror
from nano.ui.usage_ring import POINTS, STEP_S, UsageRing, with_used

NOW = datetime(2026, 11, 21, tzinfo=UTC)


def guest(state: str, **changes: Any) -> dict[str, Any]:
    return {"id": "g1", "name": "web", "state": state, "cell": "c1", "pool": "default", **changes}


def test_a_row_that_changed_state_moves_lists_and_those_that_lean_on_it() -> None:
    mirror = Mirror(NOW)
    assert mirror.apply("guest/g1", guest("stopped"), 5) == (
        {"guest.g1", "guest", "guest.list"},
        {"cell", "compute_pool"},
    )
    assert mirror.apply("guest/g1", guest("stopped", task="t1"), 6) == ({"guest.g1", "guest"}, set())
    assert mirror.apply("guest/g1", guest("stopped", task="t1"), 7) == (set(), set())
    assert mirror.apply("guest/g1", guest("stopped", cell="c2"), 8)[1] == {"cell", "compute_pool"}, "both count it"
    assert mirror.apply("guest/g1", None, 8)[0] == {"guest.g1", "guest", "guest.list"}
    assert mirror.rows["guest"] == {}
    assert mirror.position == 8


def test_a_cell_that_goes_takes_its_guests_along() -> None:
    mirror = Mirror(NOW)
    mirror.apply("cell/c1", {"name": "c1", "state": "online", "pool": "default"}, 1)
    assert mirror.apply("cell/c1", {"name": "c1", "state": "offline", "pool": "default"}, 2)[1] == {
        "guest",
        "compute_pool",
    }


def test_what_is_no_row_changes_nothing() -> None:
    mirror = Mirror(NOW)
    assert mirror.apply("zone/zone", {"id": "z"}, 3) == (set(), set())


def test_a_whole_list_tells_only_of_differences() -> None:
    mirror = Mirror(NOW)
    mirror.replace("guest", [guest("stopped"), guest("running", id="g2", name="db")])
    fresh = [guest("stopped"), guest("lost", id="g2", name="db"), guest("stopped", id="g3")]
    assert mirror.replace("guest", fresh) == (
        {"guest", "guest.list", "guest.g2", "guest.g3"},
        {"cell", "compute_pool"},
    )
    assert mirror.replace("guest", fresh) == (set(), set())
    assert mirror.guest("db") == mirror.guest("g2")
    assert mirror.guest("nobody") is None


@pytest.mark.anyio
async def test_what_waits_for_a_browser_is_bounded() -> None:
    hub = Hub()
    with hub.seat("s1") as seat:
        hub.publish({"guest.g1"})
        hub.publish({"guest.g1", "guest"})
        hub.measure({"cells": {}})
        with anyio.fail_after(1):
            await seat.wake.wait()
        assert seat.take() == (["guest", "guest.g1"], {"cells": {}}, False)
        assert not seat.wake.is_set()
        hub.publish({f"guest.g{n}" for n in range(TOPICS_MAX + 1)})
        hub.publish({"cell"})
        hub.link()
        assert seat.take() == ([EVERYTHING], None, True)
    hub.publish({"guest"})
    assert seat.topics == set()


def test_seats_of_a_session_are_counted_and_end_with_it() -> None:
    hub = Hub()
    with hub.seat("other") as other:
        entered = [hub.seat("s1") for _ in range(SEATS_PER_SESSION_MAX)]
        seats = [seat.__enter__() for seat in entered]
        with pytest.raises(Refusal), hub.seat("s1"):
            pass
        hub.close("s1")
        assert all(seat.closed for seat in seats)
        assert not other.closed
        for seat in entered:
            seat.__exit__(None, None, None)
        with hub.seat("s1") as again:
            assert not again.closed


@pytest.mark.anyio
async def test_a_page_is_told_what_it_missed_before_it_listened() -> None:
    hub = Hub("run1")
    hub.publish({"guest"})
    seen = hub.mark
    hub.publish({"cell"})
    hub.publish({"task"})
    assert hub.missed(seen) == {"cell", "task"}
    assert hub.missed(hub.mark) == set()
    with hub.seat("s1", seen) as seat:
        assert seat.take()[0] == ["cell", "task"]
    for old in ("run0.2", "run1.99", "nonsense", "run1.", "run1.-1"):
        assert hub.missed(old) == {EVERYTHING}
    for _ in range(2_000):
        hub.publish({"guest"})
    assert hub.missed(seen) == {EVERYTHING}


def test_measurements_are_means_of_ten_seconds_and_an_hour_long() -> None:
    ring = UsageRing()
    begin = 1_000_000
    for second in range(0, 5000, 2):
        cell = {"cpu_percent": 10.0 if second % 4 else 30.0, "memory_total": 100, "memory_available": 40}
        ring.put({"cells": {"c1": cell}, "guests": {}}, begin + second)
    columns = ring.zone.columns()
    assert len(columns["time"]) == POINTS
    assert columns["time"][1] - columns["time"][0] == STEP_S
    assert columns["memory_used"][-1] == 60
    assert 10 < columns["cpu_percent"][5] < 30
    assert ring.recent("cell/c1", "memory_total", 3) == [100, 100, 100]
    assert ring.recent("guest/none", "cpu_percent", 3) == []


def test_what_falls_silent_is_forgotten_after_an_hour() -> None:
    ring = UsageRing()
    ring.put({"cells": {}, "guests": {"g1": {"cpu_percent": 5.0}}}, 0)
    assert ring.series("guest/g1") is not None
    ring.put({"cells": {}, "guests": {}}, STEP_S * POINTS + 1)
    assert ring.series("guest/g1") is None


def test_used_is_what_is_not_available() -> None:
    assert with_used({"memory_total": 10, "memory_available": 4})["memory_used"] == 6
    assert with_used({"cpu_percent": 4}) == {"cpu_percent": 4}
