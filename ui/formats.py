"""Numbers and times as people read them: GiB, MiB/s, percent, "3 minutes ago", 1 min 20 s. Pure; one instance a language.

Sizes are bytes, rates bytes per second, durations seconds.
"""

from datetime import UTC, datetime
from typing import Final, Literal

from babel.dates import format_datetime, format_timedelta
from babel.numbers import format_decimal

from nano.ui.words import Words

_UNITS: Final = ("B", "KiB", "MiB", "GiB", "TiB", "PiB")


class Formats:
    def __init__(self, words: Words) -> None:
        self.words = words

    def number(self, value: float) -> str:
        return str(format_decimal(value, locale=self.words.locale))

    def size(self, value: float) -> str:
        """ "1.5 GiB": at most three significant digits, none lost where it divides evenly."""
        amount, unit = float(value), _UNITS[0]
        for unit in _UNITS:
            if abs(amount) < 1024:
                break
            if unit != _UNITS[-1]:
                amount /= 1024
        text = f"{amount:.0f}" if amount == int(amount) or amount >= 100 else f"{amount:.1f}"
        return f"{text}\u00a0{unit}"

    def rate(self, value: float) -> str:
        return self.size(value) + "/s"

    def percent(self, value: float) -> str:
        return f"{value:.0f}\u00a0%"

    def moment(self, at: datetime | str | None) -> str:
        """The exact time, in UTC: "2026-11-21 03:10:53 UTC"."""
        if not at:
            return ""
        return as_time(at).strftime("%Y-%m-%d %H:%M:%S UTC")

    def clock(self, at: datetime | str) -> str:
        return as_time(at).strftime("%H:%M:%S")

    def day(self, at: datetime | str) -> str:
        return str(
            format_datetime(
                as_time(at), "MMM d, y" if self.words.tag == "en" else "y年M月d日", locale=self.words.locale
            )
        )

    def tick(self, at: datetime, is_day: bool) -> str:
        """What a scale says at a tick: the day ("Nov 9", "11月9日") or the time of day."""
        pattern = "HH:mm" if not is_day else "MMM d" if self.words.tag == "en" else "M月d日"
        return str(format_datetime(as_time(at), pattern, locale=self.words.locale))

    def ago(self, at: datetime | str | None, now: datetime) -> str:
        """ "3 minutes ago"; the browser keeps it true."""
        if not at:
            return ""
        passed = as_time(at) - now
        if abs(passed.total_seconds()) < 5:
            return self.words._("just now")
        size = abs(passed.total_seconds())
        unit: Literal["second", "minute", "hour", "day"] = (
            "second" if size < 60 else "minute" if size < 3600 else "hour" if size < 86400 else "day"
        )
        text = format_timedelta(
            passed, granularity=unit, threshold=1e9, add_direction=True, locale=self.words.locale
        )  # that threshold no unit reaches, so the one named is used: the same that the browser chooses
        return str(text)

    def duration(self, seconds: float) -> str:
        """ "0.4 s", "12 s", "1 min 20 s", "2 h 5 min"."""
        _ = self.words._
        seconds = max(seconds, 0)
        if seconds < 10:
            return _("%(n)s s", n=f"{seconds:.1f}")
        whole = round(seconds)
        if whole < 60:
            return _("%(n)s s", n=whole)
        if whole < 3600:
            return _("%(m)s min %(s)s s", m=whole // 60, s=whole % 60)
        if whole < 86400:
            return _("%(h)s h %(m)s min", h=whole // 3600, m=whole % 3600 // 60)
        return _("%(d)s d %(h)s h", d=whole // 86400, h=whole % 86400 // 3600)

    def between(self, start: datetime | str, end: datetime | str | None, now: datetime) -> str:
        """How long from start to end, or until now."""
        return self.duration(((as_time(end) if end else now) - as_time(start)).total_seconds())


def as_time(at: datetime | str) -> datetime:
    """An aware UTC datetime of itself, or of RFC 3339 text."""
    value = at if isinstance(at, datetime) else datetime.fromisoformat(at)
    return value if value.tzinfo else value.replace(tzinfo=UTC)


def short(identifier: str) -> str:
    """The part of a long id that people compare by eye."""
    return identifier[:8]
