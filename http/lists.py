"""Lists and shows: rows straight from the views' JSON, nothing encoded that was encoded before.

A list is remembered by its query string together with the table's ETag, so the usual request costs a comparison. A row's
ETag is its version and a checksum of what is shown, because a row also shows what other resources did (a guest whose
cell is lost has no new version); ``If-Match`` looks at the version alone. ``?at=`` shows the same as it was at a position
or an instant, from Core's past.
"""

import zlib
from collections.abc import Awaitable, Callable
from datetime import datetime
from typing import TYPE_CHECKING, Final, get_args, get_type_hints

from nano.domain.alarm import Alarm
from nano.domain.catalogue import AT, QueryEntry
from nano.domain.errors import Invalid, Unknown
from nano.http.answers import Answer, Request, json_answer, not_modified, tag_matches
from nano.http.decoding import decode_query, whole_number
from nano.http.signing import query_pairs
from nano.projections.rows import BackupRow, CellRow, ComputePoolRow, GuestRow, ImageRow, Row, TaskRow, TemplateRow
from nano.projections.table import PAGE_DEFAULT, PAGE_MAX
from nano.projections.zone_views import ZoneViews

ROWS: Final[dict[str, type[Row]]] = {
    "compute_pool": ComputePoolRow,
    "cell": CellRow,
    "guest": GuestRow,
    "image": ImageRow,
    "template": TemplateRow,
    "media": ImageRow,
    "task": TaskRow,
    "alarm": Alarm,
    "backup": BackupRow,
}
REMEMBERED_BYTES_MAX: Final = 8 << 20
REMEMBERED_MAX: Final = 256
CHOSEN: Final = frozenset({"state", "severity"})  # filters with few values
ETAG_AT: Final = 2  # place of the ETag among a list's headers
_NO_CACHE: Final = (b"cache-control", b"private, no-cache")

if TYPE_CHECKING:
    from nano.core.core import Core
    from nano.core.past import Moment

Where = Callable[[Row], bool]
Handle = Callable[[Request], Awaitable[Answer]]


def position_header(position: int) -> tuple[bytes, bytes]:
    return (b"x-nano-position", b"%d" % position)


def find_row(views: ZoneViews, kind: str, reference: str) -> str:
    """The id of a row by id or name. Raises Unknown(unknown_<kind>)."""
    row_id = views.find(kind, reference)
    if row_id is None:
        word = kind.replace("_", " ")
        raise Unknown(
            f"There is no {word} {reference!r}.", code=f"unknown_{kind}", hint=f"List {word}s to see what there is."
        )
    return row_id


def row_etag(fragment: bytes, version: int) -> bytes:
    return b'"v%d-%08x"' % (version, zlib.crc32(fragment))


def parse_moment(text: str) -> "Moment":
    """A position, or an instant with its offset. Raises Invalid(invalid_at)."""
    if text.isascii() and text.isdigit() and len(text) <= 15:
        return int(text)
    try:
        instant = datetime.fromisoformat(text)
    except ValueError:
        instant = None
    if instant is None or instant.tzinfo is None:
        raise Invalid(
            f"at is {text[:40]!r}.",
            code="invalid_at",
            hint="Use a position, or a time with its offset: 2026-11-21T03:10:53Z.",
            field="at",
        )
    return instant


def refuse_past(query: bytes, why: str) -> None:
    """Raises Invalid(no_past) where a moment is asked for."""
    if any(name == AT.encode() for name, _ in query_pairs(query)):
        raise Invalid(
            f"{why}: there is nothing of the past.",
            code="no_past",
            hint="Ask without at; the zone, its lists, rows, histories and journal can be asked with it.",
            field=AT,
        )


def make_list(core: "Core", entry: QueryEntry) -> Handle:
    views = core.views
    table = views.tables[entry.kind]
    filters = tuple(name for name in entry.parameters if name not in ("limit", "cursor", AT))
    remembered: dict[bytes, tuple[str, Answer]] = {}
    size = 0

    def remember(query: bytes, etag: str, answer: Answer) -> None:
        nonlocal size
        if size + len(answer.body) > REMEMBERED_BYTES_MAX or len(remembered) >= REMEMBERED_MAX:
            remembered.clear()
            size = 0
        size += len(answer.body)
        remembered[query] = (etag, answer)

    async def fresh(query: bytes) -> Answer:
        if AT not in entry.parameters:
            refuse_past(query, f"{entry.kind.capitalize()}s are what is so right now, not recorded")
        values = decode_query(query, entry.parameters)
        limit = whole_number(values["limit"], "limit", 1, PAGE_MAX) if "limit" in values else PAGE_DEFAULT
        chosen = {name: values[name] for name in filters if name in values}

        def answer_from(seen: ZoneViews) -> Answer:
            where = _where(seen, entry.kind, chosen)
            page = seen.tables[entry.kind].page(limit, values.get("cursor"), where)
            etag = seen.etag(entry.kind).encode()
            return json_answer(page.body, 200, (b"etag", etag), _NO_CACHE, position_header(seen.position))

        if AT in values:
            return await core.past.look(parse_moment(values[AT]), answer_from)
        answer = answer_from(views)
        if len(query) <= 256:
            remember(query, table.etag, answer)
        return answer

    async def handle(request: Request) -> Answer:
        wanted = request.headers.get(b"if-none-match")
        known = remembered.get(request.query)
        if known is not None and known[0] == table.etag:
            answer = known[1]
            answer.headers[-1] = position_header(views.position)
        else:
            answer = await fresh(request.query)
        etag = answer.headers[ETAG_AT][1]
        return not_modified(etag) if wanted is not None and tag_matches(wanted, etag) else answer

    return handle


def _where(views: ZoneViews, kind: str, values: dict[str, str]) -> Where | None:
    if not values:
        return None
    for name in CHOSEN & values.keys():
        known = get_args(get_type_hints(ROWS[kind])[name])
        if values[name] not in known:
            raise Invalid(
                f"{name} is {values[name][:40]!r}.",
                code=f"invalid_{name}",
                hint=f"Use one of: {', '.join(known)}.",
                field=name,
            )
    part = values.pop("name", "").casefold()
    if "resource" in values:
        of_kind, _, reference = values["resource"].partition("/")
        if of_kind in views.tables:
            values["resource"] = f"{of_kind}/{views.find(of_kind, reference) or reference}"
    tag = values.pop("tag", "")
    exact = tuple(values.items())

    def where(row: Row) -> bool:
        if part and part not in getattr(row, "name", "").casefold():
            return False
        if tag and tag not in getattr(row, "tags", ()):
            return False
        return all(getattr(row, name) == value for name, value in exact)

    return where


def make_show(core: "Core", entry: QueryEntry) -> Handle:
    async def handle(request: Request) -> Answer:
        values = decode_query(request.query, entry.parameters)
        wanted = request.headers.get(b"if-none-match")
        (reference,) = request.arguments.values()

        def answer_from(seen: ZoneViews) -> Answer:
            row_id = find_row(seen, entry.kind, reference)
            fragment = seen.tables[entry.kind].fragment(row_id)
            assert fragment is not None, "a row that is found has a fragment"
            etag = row_etag(fragment, seen.versions[f"{entry.kind}/{row_id}"])
            if wanted is not None and tag_matches(wanted, etag):
                return not_modified(etag)
            return json_answer(fragment, 200, (b"etag", etag), _NO_CACHE, position_header(seen.position))

        if AT in values:
            return await core.past.look(parse_moment(values[AT]), answer_from)
        return answer_from(core.views)

    return handle
