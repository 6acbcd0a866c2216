"""The scale of a zone's life: round ticks, few of them, places within it."""

from datetime import UTC, datetime, timedelta
from itertools import pairwise

import pytest

from nano.ui.timeline import MARKS_MAX, TICKS_MAX, Timeline

BEGIN = datetime(2026, 11, 9, 3, 10, 53, tzinfo=UTC)


@pytest.mark.parametrize(
    ("life", "step"),
    [(timedelta(minutes=5), timedelta(minutes=1)), (timedelta(hours=5), timedelta(hours=1)),
     (timedelta(days=2), timedelta(hours=12)), (timedelta(days=12), timedelta(days=2)),
     (timedelta(days=800), timedelta(days=365)), (timedelta(days=9000), timedelta(days=1460))],
)  # fmt: skip
def test_ticks_are_few_round_and_within(life: timedelta, step: timedelta) -> None:
    line = Timeline(BEGIN, BEGIN + life)
    ticks = line.ticks()
    assert 0 < len(ticks) <= TICKS_MAX
    assert all(0 <= tick.place <= 100 for tick in ticks)
    assert all(tick.at.timestamp() % step.total_seconds() == 0 for tick in ticks)
    assert {after.at - before.at for before, after in pairwise(ticks)} <= {step}
    assert [tick.is_day for tick in ticks] == [tick.at.hour == tick.at.minute == 0 for tick in ticks]


def test_a_life_of_nothing_has_a_beginning_and_an_end() -> None:
    line = Timeline(BEGIN, BEGIN)
    assert line.end > line.begin
    assert line.ticks() == []
    assert line.place(BEGIN - timedelta(days=1)) == 0
    assert line.place(BEGIN + timedelta(days=1)) == 100


def test_marks_that_fall_together_are_drawn_once() -> None:
    line = Timeline(BEGIN, BEGIN + timedelta(days=1))
    half = BEGIN + timedelta(hours=12)
    assert line.marks([half, half + timedelta(seconds=1)]) == f"M{MARKS_MAX // 2} 0v10"
    every = [BEGIN + timedelta(seconds=second) for second in range(0, 86400, 20)]
    assert line.marks(every).count("M") == MARKS_MAX + 1
