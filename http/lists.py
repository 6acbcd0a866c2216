"""Lists and shows: rows straight from the views' JSON, nothing encoded that was encoded before.

A list is remembered by its query string together with the table's ETag, so the usual request costs a comparison. A row's
ETag is its version and a checksum of what is shown, because a row also shows what other resources did (a guest whose
cell is lost has no new version); ``If-Match`` looks at the version alone.
"""

import zlib
from collections.abc import Awaitable, Callable
from typing import Final, get_args, get_type_hints

from nano.domain.catalogue import QueryEntry
from nano.domain.errors import Invalid, Unknown
from nano.http.answers import Answer, Request, json_answer, not_modified, tag_matches
from nano.http.decoding import decode_query, whole_number
from nano.projections.rows import CellRow, ComputePoolRow, GuestRow, ImageRow, Row, TaskRow
from nano.projections.table import PAGE_DEFAULT, PAGE_MAX
from nano.projections.zone_views import ZoneViews

ROWS: Final[dict[str, type[Row]]] = {
    "compute_pool": ComputePoolRow,
    "cell": CellRow,
    "guest": GuestRow,
    "image": ImageRow,
    "task": TaskRow,
}
REMEMBERED_BYTES_MAX: Final = 8 << 20
REMEMBERED_MAX: Final = 256
_NO_CACHE: Final = (b"cache-control", b"private, no-cache")

Where = Callable[[Row], bool]
Handle = Callable[[Request], Awaitable[Answer]]


def position_header(views: ZoneViews) -> tuple[bytes, bytes]:
    return (b"x-nano-position", b"%d" % views.position)


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


def make_list(views: ZoneViews, entry: QueryEntry) -> Handle:
    table = views.tables[entry.kind]
    filters = tuple(name for name in entry.parameters if name not in ("limit", "cursor"))
    remembered: dict[bytes, tuple[str, Answer]] = {}
    size = 0

    def remember(query: bytes, etag: str, answer: Answer) -> None:
        nonlocal size
        if size + len(answer.body) > REMEMBERED_BYTES_MAX or len(remembered) >= REMEMBERED_MAX:
            remembered.clear()
            size = 0
        size += len(answer.body)
        remembered[query] = (etag, answer)

    def fresh(query: bytes) -> Answer:
        values = decode_query(query, entry.parameters)
        limit = whole_number(values["limit"], "limit", 1, PAGE_MAX) if "limit" in values else PAGE_DEFAULT
        where = _where(views, entry.kind, {name: values[name] for name in filters if name in values})
        page = table.page(limit, values.get("cursor", ""), where)
        answer = json_answer(page.body, 200, (b"etag", page.etag.encode()), _NO_CACHE, position_header(views))
        if len(query) <= 256:
            remember(query, page.etag, answer)
        return answer

    async def handle(request: Request) -> Answer:
        etag = table.etag
        wanted = request.headers.get(b"if-none-match")
        known = remembered.get(request.query)
        if known is None or known[0] != etag:
            answer = fresh(request.query)
        else:
            answer = known[1]
            answer.headers[-1] = position_header(views)
        if wanted is not None and tag_matches(wanted, etag.encode()):
            return not_modified(etag.encode())
        return answer

    return handle


def _where(views: ZoneViews, kind: str, values: dict[str, str]) -> Where | None:
    if not values:
        return None
    if "state" in values:
        known = get_args(get_type_hints(ROWS[kind])["state"])
        if values["state"] not in known:
            raise Invalid(
                f"state is {values['state'][:40]!r}.",
                code="invalid_state",
                hint=f"Use one of: {', '.join(known)}.",
                field="state",
            )
    part = values.pop("name", "").casefold()
    if "resource" in values:
        of_kind, _, reference = values["resource"].partition("/")
        if of_kind in views.tables:
            values["resource"] = f"{of_kind}/{views.find(of_kind, reference) or reference}"
    exact = tuple(values.items())

    def where(row: Row) -> bool:
        if part and part not in getattr(row, "name", "").casefold():
            return False
        return all(getattr(row, name) == value for name, value in exact)

    return where


def make_show(views: ZoneViews, entry: QueryEntry) -> Handle:
    table = views.tables[entry.kind]

    async def handle(request: Request) -> Answer:
        decode_query(request.query, ())
        (reference,) = request.arguments.values()
        row_id = find_row(views, entry.kind, reference)
        fragment = table.fragment(row_id)
        assert fragment is not None, "a row that is found has a fragment"
        etag = row_etag(fragment, views.versions[f"{entry.kind}/{row_id}"])
        wanted = request.headers.get(b"if-none-match")
        if wanted is not None and tag_matches(wanted, etag):
            return not_modified(etag)
        return json_answer(fragment, 200, (b"etag", etag), _NO_CACHE, position_header(views))

    return handle
