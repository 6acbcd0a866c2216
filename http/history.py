"""History over HTTP: recorded facts, newest first, of one resource or of everything.

Positions have no gaps, and neither have the versions of one resource, so the newest page is simply the last numbers and
``cursor`` is the number to go on below. A filtered page looks back through a bounded number of facts and then answers
with what it found; its cursor goes on from there. ``?at=`` tells what could have been told then: names are looked up among
those of that moment, and nothing later is there.
"""

from collections.abc import Callable
from typing import TYPE_CHECKING, Final

import msgspec

from nano.domain.catalogue import AT, QueryEntry
from nano.domain.errors import Invalid
from nano.domain.facts import Fact
from nano.http.answers import Answer, Request, json_answer
from nano.http.decoding import decode_query, whole_number
from nano.http.lists import find_row, parse_moment, position_header
from nano.http.routing import Handler
from nano.projections.table import PAGE_DEFAULT, PAGE_MAX
from nano.projections.zone_views import ZoneViews

if TYPE_CHECKING:
    from nano.core.core import Core

LOOK_BACK: Final = 1_000
LOOK_BACKS_MAX: Final = 20
_POSITION_MAX: Final = 10**15

_encode = msgspec.json.Encoder().encode
Where = Callable[[Fact], bool]


def make_history(core: "Core", entry: QueryEntry) -> Handler:
    async def handle(request: Request) -> Answer:
        limit, before, values = _paging(request.query, entry)
        (reference,) = request.arguments.values()
        then = await _then(core, values)
        resource = f"{entry.kind}/{reference}"
        newest = await _version(core, resource, then)  # also the deleted have a history, by id
        if not newest:
            row_id = await _seen(core, then, lambda views: find_row(views, entry.kind, reference))
            resource = f"{entry.kind}/{row_id}"
            newest = await _version(core, resource, then)
        below = newest + 1 if before is None else min(before, newest + 1)
        after = max(0, below - 1 - limit)
        facts = [fact for fact in await core.ledger.facts(after, limit, resource) if fact.version < below]
        more = after > 0 and bool(facts) and facts[0].version == after + 1  # else the rest went with old segments
        return _answer(facts[::-1], after + 1 if more else None, core.views.position if then is None else then)

    return handle


def make_journal(core: "Core", entry: QueryEntry) -> Handler:
    async def handle(request: Request) -> Answer:
        limit, before, values = _paging(request.query, entry)
        then = await _then(core, values)
        where = await _where(core, values, then)
        position = core.ledger.position if then is None else then
        below = min(before or _POSITION_MAX, position + 1)
        found: list[Fact] = []
        begins = core.ledger.log.begins.position
        for _ in range(LOOK_BACKS_MAX if where else 1):
            reach = LOOK_BACK if where else limit
            after = max(begins, below - 1 - reach)
            facts = [fact for fact in await core.ledger.facts(after, reach) if fact.position < below]
            found += [fact for fact in facts[::-1] if where is None or where(fact)]
            below = after + 1
            if len(found) >= limit or after == begins:
                break
        if len(found) > limit:
            found = found[:limit]
            below = found[-1].position
        return _answer(found, below if below > begins + 1 else None, position)

    return handle


async def _then(core: "Core", values: dict[str, str]) -> int | None:
    """The position of the moment that was asked for; None = now. Raises Invalid(invalid_at)."""
    at = values.pop(AT, None)
    return None if at is None else await core.past.position(parse_moment(at))


async def _version(core: "Core", resource: str, then: int | None) -> int:
    """How many events the resource had had; 0 for one that was not there yet."""
    low, high = 0, core.ledger.version(resource)
    if then is None:
        return high
    while low < high:
        middle = (low + high + 1) // 2
        facts = await core.ledger.facts(middle - 1, 1, resource)  # none when it is staged and not durable yet
        low, high = (middle, high) if facts and facts[0].position <= then else (low, middle - 1)
    return low


async def _seen(core: "Core", then: int | None, find: Callable[[ZoneViews], str]) -> str:
    return find(core.views) if then is None else await core.past.look(then, find)


def _paging(query: bytes, entry: QueryEntry) -> tuple[int, int | None, dict[str, str]]:
    values = decode_query(query, entry.parameters)
    limit = whole_number(values.pop("limit"), "limit", 1, PAGE_MAX) if "limit" in values else PAGE_DEFAULT
    cursor = values.pop("cursor", None)
    return limit, whole_number(cursor, "cursor", 1, _POSITION_MAX) if cursor is not None else None, values


async def _where(core: "Core", values: dict[str, str], then: int | None) -> Where | None:
    """By actor, resource (``kind/id``, ``kind/name`` or a kind alone), type of event (or its beginning, ``guest.``), command
    id and cause (``task/id``)."""
    if not values:
        return None
    actor, resource, tag = values.get("actor"), values.get("resource"), values.get("type", "")
    command, cause = values.get("command"), values.get("cause")
    if resource is not None:
        kind, slash, reference = resource.partition("/")
        if not kind:
            raise Invalid("resource names no kind.", code="invalid_resource", hint="Write kind/id.", field="resource")
        if slash and kind in core.views.tables:
            found = await _seen(core, then, lambda views: views.find(kind, reference) or reference)
            resource = f"{kind}/{found}"
    prefix = f"{resource}/" if resource is not None and "/" not in resource else None

    def where(fact: Fact) -> bool:
        return (
            (actor is None or fact.actor == actor)
            and (command is None or fact.command_id == command)
            and (cause is None or fact.cause == cause)
            and (
                resource is None
                or fact.resource == resource
                or (prefix is not None and fact.resource.startswith(prefix))
            )
            and (not tag or _matches_type(str(fact.event.__struct_config__.tag), tag))
        )

    return where


def _matches_type(tag: str, wanted: str) -> bool:
    return tag == wanted or (wanted.endswith(".") and tag.startswith(wanted))


def _answer(facts: list[Fact], following: int | None, position: int) -> Answer:
    """``facts`` newest first; ``following`` is the number to go on below."""
    items = b",".join([_encode(fact) for fact in facts])
    cursor = b'"%d"' % following if following is not None else b"null"
    body = b'{"items":[%b],"next":%b,"position":%d}' % (items, cursor, position)
    return json_answer(body, 200, position_header(position))
