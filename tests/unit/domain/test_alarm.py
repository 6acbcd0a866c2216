"""Alarms as values: the same condition is the same alarm, and the guide tells of every kind there is."""

import re
from datetime import UTC, datetime, timedelta
from pathlib import Path

from nano.domain.alarm import KINDS, Finding, alarms_of

NOON = datetime(2026, 11, 21, 12, tzinfo=UTC)
GUIDE = Path(__file__).parents[3] / "docs" / "guides" / "operations.md"


def test_an_alarm_lasts_as_long_as_its_condition() -> None:
    low = Finding("disk_low", {"folder": "/a", "free": "1 GiB", "percent": "9.0"}, place="journal")
    first = alarms_of("one", "cell/one", [low], {}, NOON)
    less = low._replace(details={**low.details, "percent": "8.9"})
    again = alarms_of("one", "cell/one", [less], first, NOON + timedelta(hours=1))
    (before,), (after,) = first.values(), again.values()
    assert (after.id, after.since, after.resource) == (before.id, NOON, "cell/one")
    assert (before.message, after.message) == tuple(
        f"The file system of /a (journal) has 1 GiB left, {percent} %." for percent in ("9.0", "8.9")
    )
    assert alarms_of("one", "cell/one", [], again, NOON) == {}
    (raised,) = alarms_of("one", "cell/one", [low], {}, NOON + timedelta(hours=2)).values()
    assert raised.since == NOON + timedelta(hours=2)


def test_two_places_and_two_resources_are_two_alarms() -> None:
    findings = [
        Finding("disk_low", {"folder": "/a", "free": "1", "percent": "1"}, place="journal"),
        Finding("disk_low", {"folder": "/b", "free": "1", "percent": "1"}, place="volumes"),
        Finding("cell_offline", {"cell": "one", "since": "x"}, "cell/one"),
        Finding("cell_offline", {"cell": "two", "since": "x"}, "cell/two"),
    ]
    found = alarms_of("Core_a", "core/Core_a", findings, {}, NOON)
    assert list(found) == ["disk_low:Core_a:journal", "disk_low:Core_a:volumes", "cell_offline:one", "cell_offline:two"]
    assert {alarm.node for alarm in found.values()} == {"Core_a"}


def test_the_guide_tells_of_every_alarm_and_its_severity() -> None:
    told = dict(re.findall(r"^\| `(\w+)` \| (critical|warning) \|", GUIDE.read_text(), re.MULTILINE))
    assert told == {code: kind.severity for code, kind in KINDS.items()}


def test_every_metric_of_the_guide_exists() -> None:
    named = set(re.findall(r"`(nano_\w+?)(?:_total)?(?:\{[^}]*\})?`", GUIDE.read_text()))
    source = (Path(__file__).parents[3] / "http" / "metrics.py").read_text()
    made = set(re.findall(r'"(nano_\w+)"', source)) - {"nano_node_info"}
    assert named == made
