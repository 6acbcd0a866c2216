"""The past of the zone, as pages show it: a page at a moment, what happened then, and the scale to move along.

A moment is named as Core's API names it: a position of the journal, or a time with its offset; "now" leads to the newest
position. All of it is read from Core at each look and nothing is kept: Core folds and remembers. Everything is bounded:
GUESTS_MAX rows, AROUND facts on either side of the moment, NEWEST facts and SAMPLES samples of older ones as marks.
"""

from collections.abc import Awaitable, Callable
from datetime import UTC, datetime
from typing import Any, Final, NamedTuple
from urllib.parse import urlencode

from starlette.requests import Request
from starlette.responses import RedirectResponse, Response

from nano.domain.errors import NanoError
from nano.ui.formats import as_time
from nano.ui.mirror import COLLECTIONS, Row
from nano.ui.pages.journal import name_of
from nano.ui.portal import Portal, explain
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
UNSEEN: Final = frozenset({"guest.console_opened", "guest.serial_opened", "guest.password_told", "guest.work_ended"})


class View(NamedTuple):
    """A page that can be of a moment. ``query`` are the parameters of its address, ``at`` among them; ``read`` gives what its
    templates need and the position at which that is true, or raises Core's refusal; ``nothing`` stands in for that then."""

    place: str
    query: dict[str, str]
    whole: str  # template of the page; uses parts/scale.html and ``part``
    part: str  # template of everything that moves, inside #then
    read: Callable[[str], Awaitable[tuple[dict[str, Any], int]]]
    nothing: dict[str, Any]


class Moment(NamedTuple):
    """``at`` as the address names it; ``fact`` is the last thing that had happened, None before the first."""

    at: str
    position: int
    time: datetime
    fact: Row | None
    fact_name: str
    previous: int | None
    following: int | None


async def show(portal: Portal, visit: Visit, request: Request, view: View) -> Response:
    """The page as it was. The address always names the moment, so it can be shared; ``?part=then`` is all but the scale."""
    query = view.query
    if query["at"] == NOW or "seconds" in request.query_params:
        if query["at"] == NOW:
            query["at"] = str(await newest(portal, visit))
        return RedirectResponse(address(view.place, query), 303)
    is_part = request.query_params.get("part") == "then"
    moment, problem, status = None, None, 200
    try:
        context, position = await view.read(query["at"])
        moment = await moment_at(portal, visit, query["at"], position)
    except NanoError as error:
        if is_part:
            return portal.refused(request, error)
        context, problem, status = view.nothing, explain(error, visit.words), error.status
    context |= {
        "usage": portal.usage,
        "watch": "",
        "past": moment,
        "problem": problem,
        "place": view.place,
        "query": query,
    }
    context["link"] = lambda **changes: address(view.place, {**query, **changes})
    if is_part:
        return portal.page(visit, view.part, context)
    context["scale"] = await scale(portal, visit)
    return portal.page(visit, view.whole, context, status=status)


def address(place: str, query: dict[str, str]) -> str:
    kept = {name: value for name, value in query.items() if value}
    return place + ("?" + urlencode(kept, safe=":") if kept else "")


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


async def moment_at(portal: Portal, visit: Visit, at: str, position: int) -> Moment:
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
        fact_name=await _name_then(portal, visit, fact) if fact else "",
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


async def _name_then(portal: Portal, visit: Visit, fact: Row) -> str:
    """The name of what a fact is about: as it is known now, else as Core knew it, before the fact when that was its end."""
    kind, _, key = fact["resource"].partition("/")
    if kind in portal.mirror.rows and portal.mirror.get(kind, key):
        return name_of(portal.mirror, fact["resource"], visit.words)
    for at in (fact["position"], fact["position"] - 1) if kind in COLLECTIONS else ():
        try:
            row = await portal.core.get(f"/{COLLECTIONS[kind]}/{key}", visit.caller, {"at": at})
        except NanoError:
            continue  # it was not there: the id has to do
        return str(row.get("name") or row.get("resource_name") or key)
    return name_of(portal.mirror, fact["resource"], visit.words)


def _time_of(at: str) -> datetime | None:
    try:
        return datetime.fromisoformat(at)
    except ValueError:
        return None
