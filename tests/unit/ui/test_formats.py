"""Numbers and times as people read them."""

from datetime import UTC, datetime, timedelta

import pytest

from nano.ui.formats import Formats, as_time, short
from nano.ui.words import load_words

WORDS = load_words()
EN, ZH = Formats(WORDS["en"]), Formats(WORDS["zh_Hans"])
NOW = datetime(2026, 11, 21, 3, 10, 53, tzinfo=UTC)


@pytest.mark.parametrize(
    ("size", "text"),
    [(0, "0 B"), (1023, "1023 B"), (1 << 20, "1 MiB"), (1536 << 20, "1.5 GiB"), (384 << 30, "384 GiB"), (7 << 40, "7 TiB"),
     (1023.99 * 1024, "1024 KiB"), (5 << 50, "5 PiB"), (5000 << 50, "5000 PiB")],
)  # fmt: skip
def test_sizes(size: float, text: str) -> None:
    assert EN.size(size).replace("\u00a0", " ") == text


@pytest.mark.parametrize(
    ("seconds", "text", "chinese"),
    [(0.42, "0.4 s", "0.4 秒"), (59.6, "1 min 0 s", "1 分 0 秒"), (80, "1 min 20 s", "1 分 20 秒"),
     (7500, "2 h 5 min", "2 小时 5 分"), (90000, "1 d 1 h", "1 天 1 小时"), (-3, "0.0 s", "0.0 秒")],
)  # fmt: skip
def test_durations(seconds: float, text: str, chinese: str) -> None:
    assert (EN.duration(seconds), ZH.duration(seconds)) == (text, chinese)


@pytest.mark.parametrize(
    ("passed", "text"),
    [(timedelta(seconds=2), "just now"), (timedelta(seconds=42), "42 seconds ago"), (timedelta(minutes=3), "3 minutes ago"),
     (timedelta(hours=30), "1 day ago"), (timedelta(days=12), "12 days ago"), (-timedelta(minutes=5), "in 5 minutes")],
)  # fmt: skip
def test_ago(passed: timedelta, text: str) -> None:
    assert EN.ago(NOW - passed, NOW) == text


def test_times_without_a_zone_are_utc_and_nothing_is_nothing() -> None:
    assert as_time("2026-11-21T03:10:53Z") == as_time("2026-11-21T03:10:53") == NOW
    assert EN.moment(NOW) == "2026-11-21 03:10:53 UTC"
    assert (EN.moment(None), EN.ago("", NOW)) == ("", "")


def test_a_short_id_is_its_beginning() -> None:
    assert short("153e7c2a-26a2-40bd") == "153e7c2a"
