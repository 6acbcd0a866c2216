"""History over HTTP: recorded facts, newest first, of one resource or of everything.

Positions have no gaps, and neither have the versions of one resource, so the newest page is simply the last numbers and
``cursor`` is the number to go on below. A filtered page looks back through a bounded number of facts and then answers
with what it found; its cursor goes on from there.
"""

from collections.abc import Callable
from typing import TYPE_CHECKING, Final

import msgspec

from nano.domain.catalogue import QueryEntry
from nano.domain.errors import Invalid
from nano.domain.facts import Fact
from nano.http.answers import Answer, Request, json_answer
from nano.http.decoding import decode_query, whole_number
from nano.http.lists import find_row, position_header
from nano.http.routing import Handler
from nano.projections.table import PAGE_DEFAULT, PAGE_MAX

if TYPE_CHECKING:
    from nano.core.core import Core

LOOK_BACK: Final = 1_000
LOOK_BACKS_MAX: Final = 20
_POSITION_MAX: Final = 10**15

_encode = msgspec.json.Encoder().encode
Where = Callable[[Fact], bool]


def make_history(core: "Core", entry: QueryEntry) -> Handler:
    async def handle(request: Request) -> Answer:
        limit, before, _ = _paging(request.query, entry)
        (reference,) = request.arguments.values()
        resource = f"{entry.kind}/{reference}"
        if core.ledger.version(resource) == 0:  # also the deleted have a history, by id
            resource = f"{entry.kind}/{find_row(core.views, entry.kind, reference)}"
        newest = core.ledger.version(resource)
        below = newest + 1 if before is None else min(before, newest + 1)
        after = max(0, below - 1 - limit)
        facts = [fact for fact in await core.ledger.facts(after, limit, resource) if fact.version < below]
        return _answer(core, facts[::-1], after + 1 if after > 0 else None)

    return handle


def make_journal(core: "Core", entry: QueryEntry) -> Handler:
    async def handle(request: Request) -> Answer:
        limit, before, values = _paging(request.query, entry)
        where = _where(core, values)
        below = min(before or _POSITION_MAX, core.ledger.position + 1)
        found: list[Fact] = []
        for _ in range(LOOK_BACKS_MAX if where else 1):
            reach = LOOK_BACK if where else limit
            after = max(0, below - 1 - reach)
            facts = [fact for fact in await core.ledger.facts(after, reach) if fact.position < below]
            found += [fact for fact in facts[::-1] if where is None or where(fact)]
            below = after + 1
            if len(found) >= limit or after == 0:
                break
        if len(found) > limit:
            found = found[:limit]
            below = found[-1].position
        return _answer(core, found, below if below > 1 else None)

    return handle


def _paging(query: bytes, entry: QueryEntry) -> tuple[int, int | None, dict[str, str]]:
    values = decode_query(query, entry.parameters)
    limit = whole_number(values.pop("limit"), "limit", 1, PAGE_MAX) if "limit" in values else PAGE_DEFAULT
    cursor = values.pop("cursor", "")
    return limit, whole_number(cursor, "cursor", 1, _POSITION_MAX) if cursor else None, values


def _where(core: "Core", values: dict[str, str]) -> Where | None:
    """By actor, resource (``kind/id``, ``kind/name`` or a kind alone) and type of event (or its beginning, ``guest.``)."""
    if not values:
        return None
    actor, resource, tag = values.get("actor"), values.get("resource"), values.get("type", "")
    if resource is not None:
        kind, slash, reference = resource.partition("/")
        if not kind:
            raise Invalid("resource names no kind.", code="invalid_resource", hint="Write kind/id.", field="resource")
        if slash and kind in core.views.tables:
            resource = f"{kind}/{core.views.find(kind, reference) or reference}"
    prefix = f"{resource}/" if resource is not None and "/" not in resource else None

    def where(fact: Fact) -> bool:
        return (
            (actor is None or fact.actor == actor)
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


def _answer(core: "Core", facts: list[Fact], following: int | None) -> Answer:
    """``facts`` newest first; ``following`` is the number to go on below."""
    items = b",".join([_encode(fact) for fact in facts])
    cursor = b'"%d"' % following if following is not None else b"null"
    body = b'{"items":[%b],"next":%b,"position":%d}' % (items, cursor, core.views.position)
    return json_answer(body, 200, position_header(core.views))
