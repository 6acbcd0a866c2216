"""Values in words, and data for programs."""

from datetime import UTC, datetime, timedelta, timezone

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from nano.tools.display import plain, words

NOW = datetime(2026, 11, 21, 3, 30, tzinfo=UTC)


@pytest.mark.parametrize(
    ("seconds", "said"),
    [
        (0, "just now"), (-1.5, "just now"), (12, "12 s ago"), (59.9, "59 s ago"), (60, "1 min ago"), (7_300, "2 h ago"),
        (86_400, "1 day ago"), (200_000, "2 days ago"), (-90, "in 1 min"),
    ],
)  # fmt: skip
def test_ages(seconds: float, said: str) -> None:
    assert words.ago(NOW - timedelta(seconds=seconds), NOW) == said


@pytest.mark.parametrize(
    ("seconds", "said"),
    [
        (0.004, "0.00 s"),
        (0.24, "0.24 s"),
        (3.14, "3.1 s"),
        (42, "42 s"),
        (200, "3 min 20 s"),
        (180, "3 min"),
        (7_500, "2 h 5 min"),
    ],
)
def test_durations(seconds: float, said: str) -> None:
    assert words.lasted(seconds) == said


def test_times_are_local() -> None:
    at = words.parse_time("2026-11-21T03:10:53.123456Z")
    assert words.exact(at, timezone(timedelta(hours=8))) == "2026-11-21 11:10:53"
    assert words.moment(at, UTC, narrow=True) == "11-21 03:10:53"
    assert words.clock_time(at, UTC) == "03:10:53.123"
    with pytest.raises(ValueError, match="time zone"):
        words.parse_time("2026-11-21T03:10:53")


def test_small_words() -> None:
    assert words.size(0) == "-"
    assert words.sizes([1 << 30, 64 << 20]) == "1 GiB + 64 MiB"
    assert words.rate(0.4) == "0"
    assert words.rate(2048) == "2 KiB/s"
    assert words.plural(1, "guest") == "1 guest"
    assert words.plural(2, "guest") == "2 guests"
    assert words.short("3f0c9d2e-7b1a-4c5d-8e6f-0123456789ab.start") == "3f0c9d2e.start"
    assert words.short("default") == "default"
    assert words.who("cell/Cell_1") == "Cell_1"
    assert words.fitted("Cell_0a1b2c3d", 6) == "Cell_…"


values = st.recursive(
    st.none() | st.booleans() | st.integers(-(2**53), 2**53) | st.text(max_size=12),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=6), inner, max_size=3),
    max_leaves=12,
)


@given(values)
def test_yaml_is_read_back_as_what_it_was(value: object) -> None:
    assert read_yaml(plain.yaml_text(value).split("\n")) == value


def read_yaml(lines: list[str]) -> object:
    """The part of YAML that ``plain`` writes, read strictly by its indentation."""
    first = lines[0]
    if first.startswith("- "):
        items: list[list[str]] = []
        for line in lines:
            assert line[:2] in ("- ", "  ")
            if line.startswith("- "):
                items.append([])
            items[-1].append(line[2:])
        return [read_yaml(item) for item in items]
    key, rest = split_key(first)
    if key is None:
        assert len(lines) == 1
        return scalar(first)
    found: dict[object, object] = {}
    while lines:
        key, rest = split_key(lines[0])
        inner = [line[2:] for line in take_indented(lines[1:])]
        found[scalar(str(key))] = read_yaml(inner) if inner else scalar(rest)
        lines = lines[1 + len(inner) :]
    return found


def take_indented(lines: list[str]) -> list[str]:
    count = next((number for number, line in enumerate(lines) if not line.startswith("  ")), len(lines))
    return lines[:count]


def split_key(line: str) -> tuple[str | None, str]:
    if line.startswith('"'):
        end = 1
        while line[end] != '"':
            end += 2 if line[end] == "\\" else 1
        return (line[: end + 1], line[end + 2 :].strip()) if line[end + 1 : end + 2] == ":" else (None, line)
    key, colon, rest = line.partition(":")
    return (key, rest.strip()) if colon and line[0] not in "[{" else (None, line)


def scalar(text: str) -> object:
    try:
        return msgspec.json.decode(text.encode())
    except msgspec.DecodeError:
        assert text.lower() not in ("y", "n", "yes", "no", "on", "off", "true", "false", "null", "")
        return text
