"""The past of the zone, as pages show it: the guests at a moment, what happened then, and the scale to move along.

A moment is named as Core's API names it: a position of the journal, or a time with its offset; "now" leads to the newest
position. All of it is read from Core at each look and nothing is kept: Core folds and remembers. Everything is bounded:
GUESTS_MAX rows, AROUND facts on either side of the moment, NEWEST facts and SAMPLES samples of older ones as marks.
"""

from collections.abc import Iterable
from datetime import UTC, datetime
from typing import Any, Final, NamedTuple

from nano.domain.errors import NanoError
from nano.ui.formats import as_time
from nano.ui.mirror import Row
from nano.ui.pages.journal import name_of
from nano.ui.portal import Portal
from nano.ui.sentences import TELLERS
from nano.ui.timeline import HEIGHT, MARKS_MAX, Timeline
from nano.ui.visit import Visit

NOW: Final = "now"
AT_MAX: Final = 40  # characters of a moment
GUESTS_MAX: Final = 5_000
LIST_MAX: Final = 1_000
AROUND: Final = 200
NEWEST: Final = 500
SAMPLES: Final = 6
SAMPLE: Final = 60
YEAR_9999_S: Final = 253_402_300_799
# What a table of guests can show a difference of; consoles and the ends of tasks leave it as it was.
NOTABLE: Final = ("guest.", "cell.connected", "cell.disconnected", "cell.added", "cell.removed")
UNSEEN: Final = frozenset({"guest.console_opened", "guest.work_ended"})


class Moment(NamedTuple):
    """``at`` as the address names it; ``fact`` is the last thing that had happened, None before the first."""

    at: str
    position: int
    time: datetime
    fact: Row | None
    fact_name: str
    previous: int | None
    following: int | None


async def newest(portal: Portal, visit: Visit) -> int:
    """The newest position of Core's journal, 0 when nothing happened yet."""
    page = await portal.core.get("/journal", visit.caller, {"limit": 1})
    return int(page["items"][0]["position"]) if page["items"] else 0


def moment_text(values: Any) -> str:
    """The moment that an address asks for, "" for none: ``at``, or ``seconds`` (since 1970) as a plain form sends it."""
    at = str(values.get("at", "")).strip()[:AT_MAX].replace(" ", "+")  # an unquoted "+00:00" arrives with a space
    seconds = str(values.get("seconds", ""))
    if at or not (seconds.isascii() and seconds.isdigit() and int(seconds[:12]) < YEAR_9999_S):
        return at
    return datetime.fromtimestamp(int(seconds[:12]), UTC).isoformat().replace("+00:00", "Z")


async def guests_at(portal: Portal, visit: Visit, at: str) -> tuple[list[Row], int, int]:
    """Guests as they were, the position at which that is true, and how many there were. Raises Core's refusal."""
    rows: list[Row] = []
    cursor, position, total = "", 0, 0
    while len(rows) < GUESTS_MAX:
        params: dict[str, str | int] = {"at": at, "limit": LIST_MAX}
        if cursor:
            params["cursor"] = cursor
        page, position = await portal.core.read_list("/guests", visit.caller, params)
        rows += page["items"]
        total = int(page["total"])
        cursor, at = page.get("next") or "", str(position)
        if not cursor:
            break
    return rows, position, total


async def moment_at(portal: Portal, visit: Visit, at: str, position: int, rows: Iterable[Row]) -> Moment:
    """What had happened last at a position, and the steps next to it."""
    params: dict[str, str | int] = {"cursor": position + AROUND + 1, "limit": 2 * AROUND + 1}
    facts = (await portal.core.get("/journal", visit.caller, params))["items"]
    fact = next((fact for fact in facts if fact["position"] <= position), None)
    before = [fact for fact in facts if fact["position"] < position]
    after = [fact for fact in reversed(facts) if fact["position"] > position]
    time = as_time(fact["at"] if fact and at.isdigit() else _time_of(at) or portal.clock())
    return Moment(
        at=at,
        position=position,
        time=time,
        fact=fact,
        fact_name=_name_then(portal, fact["resource"], rows) if fact else "",
        previous=_step(before),
        following=_step(after),
    )


def _step(facts: list[Row]) -> int | None:
    """The nearest that a table can show, else the furthest that was read, so that stepping always gets on."""
    near = next((fact for fact in facts if _is_notable(fact)), facts[-1] if facts else None)
    return int(near["position"]) if near else None


async def scale(portal: Portal, visit: Visit) -> dict[str, Any]:
    """The scale from the journal's first fact to now: its ends in seconds, ticks, and marks (paths)."""
    facts, is_whole = await _marked(portal, visit)
    now = portal.clock()
    begin = min((as_time(fact["at"]) for fact in facts), default=now)
    line = Timeline(begin, now)
    notable = [fact for fact in facts if _is_notable(fact)]
    return {
        "begin": int(line.begin.timestamp()),
        "end": int(line.end.timestamp()),
        "ticks": line.ticks(),
        "marks": line.marks(as_time(fact["at"]) for fact in notable),
        "bad_marks": line.marks(as_time(fact["at"]) for fact in notable if _is_bad(fact)),
        "field": (MARKS_MAX, HEIGHT),
        "is_whole": is_whole,
        "first": min((int(fact["position"]) for fact in facts), default=0),
        "last": max((int(fact["position"]) for fact in facts), default=0),
    }


async def _marked(portal: Portal, visit: Visit) -> tuple[list[Row], bool]:
    """The newest facts and, when there are older ones, samples of those and the first; and whether that is all."""

    async def read(cursor: int | None, limit: int) -> list[Row]:
        params: dict[str, str | int] = {"limit": limit}
        if cursor:
            params["cursor"] = cursor
        try:
            return list((await portal.core.get("/journal", visit.caller, params))["items"])
        except NanoError:
            return []  # the page says by its guests that Core does not answer

    facts = await read(None, NEWEST)
    oldest = int(facts[-1]["position"]) if facts else 1
    if oldest <= 1:
        return facts, True
    for number in range(SAMPLES):
        facts += await read(min(oldest, SAMPLE + 1 + number * oldest // SAMPLES), SAMPLE)
    return facts, oldest <= SAMPLE * SAMPLES


def _is_notable(fact: Row) -> bool:
    kind = str(fact["event"]["type"])
    return kind.startswith(NOTABLE) and kind not in UNSEEN


def _is_bad(fact: Row) -> bool:
    return TELLERS.get(str(fact["event"]["type"]), ("", "", None))[1] == "bad"


def _name_then(portal: Portal, resource: str, rows: Iterable[Row]) -> str:
    """The name by which it was known; of what is gone, as its tasks remember it."""
    kind, _, key = resource.partition("/")
    then = next((str(row["name"]) for row in rows if row["id"] == key), "") if kind == "guest" else ""
    tasks = (str(task["resource_name"]) for task in portal.mirror.tasks() if task["resource"] == resource)
    known = portal.mirror.get(kind, key) if kind in portal.mirror.rows else None
    return then or (name_of(portal.mirror, resource) if known else next(tasks, "") or name_of(portal.mirror, resource))


def _time_of(at: str) -> datetime | None:
    try:
        return datetime.fromisoformat(at)
    except ValueError:
        return None
