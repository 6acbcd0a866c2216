"""Values as people read them: ages, durations, rates, sizes, yes and no.

Every function is pure: the instant and the time zone are arguments, so golden files can hold what they give.
"""

import re
from collections.abc import Mapping
from datetime import datetime, tzinfo
from typing import Any, Final

from nano.domain.naming import format_size

NOTHING: Final = "-"
_UUID: Final = re.compile(r"[0-9a-f]{8}(-[0-9a-f]{4}){3}-[0-9a-f]{12}")
_UNITS: Final = ((86_400, "day", "days"), (3_600, "h", "h"), (60, "min", "min"))


def parse_time(text: str) -> datetime:
    """An aware time from RFC 3339 text as the API and the journals write it. Raises ValueError."""
    at = datetime.fromisoformat(text)
    if at.tzinfo is None:
        raise ValueError(f"{text!r} has no time zone")
    return at


def ago(at: datetime, now: datetime) -> str:
    """Roughly how long since (or until): "just now", "12 s ago", "3 min ago", "in 2 h"."""
    seconds = (now - at).total_seconds()
    if -2 < seconds < 2:
        return "just now"
    text = about(abs(seconds))
    return f"{text} ago" if seconds > 0 else f"in {text}"


def about(seconds: float) -> str:
    """A duration in its largest unit: "12 s", "3 min", "2 h", "5 days"."""
    for size, one, many in _UNITS:
        if seconds >= size:
            count = int(seconds // size)
            return f"{count} {one if count == 1 else many}"
    return f"{int(seconds)} s"


def lasted(seconds: float) -> str:
    """A duration in detail: "0.24 s", "3.1 s", "42 s", "3 min 20 s", "2 h 5 min"."""
    seconds = max(0.0, seconds)
    if seconds < 1:
        return f"{seconds:.2f} s"
    if seconds < 10:
        return f"{seconds:.1f} s"
    if seconds < 60:
        return f"{seconds:.0f} s"
    minutes, rest = divmod(round(seconds), 60)
    if minutes < 60:
        return f"{minutes} min {rest} s" if rest else f"{minutes} min"
    hours, minutes = divmod(minutes, 60)
    return f"{hours} h {minutes} min" if minutes else f"{hours} h"


def exact(at: datetime, zone: tzinfo | None) -> str:
    """Local time to the second; ``zone`` None = the zone of this machine."""
    return at.astimezone(zone).strftime("%Y-%m-%d %H:%M:%S")


def moment(at: datetime, zone: tzinfo | None, *, narrow: bool) -> str:
    """Local time to the second, without the year where room is short."""
    text = exact(at, zone)
    return text[5:] if narrow else text


def clock_time(at: datetime, zone: tzinfo | None) -> str:
    """Time of the day only, to the millisecond."""
    return at.astimezone(zone).strftime("%H:%M:%S.%f")[:-3]


def size(value: Any) -> str:
    """Bytes as "128 MiB"; 0 as "-" (not known yet)."""
    return format_size(int(value)) if value else NOTHING


def sizes(values: Any) -> str:
    """Several sizes: "64 MiB + 10 GiB"."""
    return " + ".join(format_size(int(value)) for value in values) if values else NOTHING


def rate(value: Any) -> str:
    """Bytes a second: "1.2 MiB/s"; 0 as "0"."""
    return f"{format_size(int(value))}/s" if value and value >= 1 else "0"


def percent(value: Any) -> str:
    """Percent from 0 to 100: "3 %"."""
    return f"{float(value):.0f} %"


def yes(value: Any) -> str:
    return "yes" if value else "no"


def plural(count: int, one: str, many: str = "") -> str:
    return f"{count} {one if count == 1 else many or one + 's'}"


def short(identifier: str) -> str:
    """A UUID as its first eight characters, with whatever follows it ("3f0c9d2e/start"); anything else as it is."""
    match = _UUID.match(identifier)
    return identifier[:8] + identifier[match.end() :] if match else identifier


def who(actor: str) -> str:
    """Whoever did something: a user, "core", "hypervisor", or a cell by its name alone."""
    return actor.removeprefix("cell/")


def fitted(text: str, width: int) -> str:
    """Exactly ``width`` characters: filled up, or cut with an ellipsis."""
    return f"{text:<{width}}" if len(text) <= width else text[: width - 1] + "…"


def ports(rule: Mapping[str, Any]) -> str:
    """Of a security rule: "80-89", or "every"."""
    last = f"-{rule['last_port']}" if rule["last_port"] else ""
    return f"{rule['port']}{last}" if rule["port"] else "every"


def policy(security: Mapping[str, Any]) -> str:
    """A guest's security policy on one line."""
    count = len(security["rules"])
    rules = "1 rule" if count == 1 else f"{count} rules"
    only = f"; only {', '.join(security['addresses'])}" if security["addresses"] else ""
    return f"{rules}, else {security['default']}{only}"


def held_by(snapshot: dict[str, Any]) -> str:
    """What a snapshot holds: "memory", "disks, frozen" when file systems stood still, "disks"."""
    return "memory" if snapshot.get("memory") else "disks, frozen" if snapshot.get("frozen") else "disks"


def schedule(value: dict[str, Any]) -> str:
    """When snapshots are taken and deleted: "every 6 h, 7 kept, deleted after 720 h"."""
    said = f"every {value['every_hours']} h, {value['keep']} kept"
    said += f", deleted after {value['expire_hours']} h" if value.get("expire_hours") else ""
    return said + (", with memory" if value.get("with_memory") else "")
