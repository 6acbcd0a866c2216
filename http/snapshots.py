"""The snapshots of a guest, as a list of their own; they are part of the guest's row, from which this is made."""

from typing import TYPE_CHECKING

import msgspec

from nano.domain.catalogue import AT
from nano.http.answers import Answer, Request, json_answer
from nano.http.decoding import decode_query
from nano.http.lists import Handle, find_row, parse_moment, position_header
from nano.projections.rows import GuestRow
from nano.projections.zone_views import ZoneViews

if TYPE_CHECKING:
    from nano.core.core import Core


def make_snapshots(core: "Core") -> Handle:
    async def handle(request: Request) -> Answer:
        values = decode_query(request.query, (AT,))

        def answer_from(seen: ZoneViews) -> Answer:
            row = seen.tables["guest"].row(find_row(seen, "guest", request.arguments["guest"]))
            assert isinstance(row, GuestRow)
            body = {"items": row.snapshots, "total": len(row.snapshots), "next": None, "position": seen.position}
            no_cache = (b"cache-control", b"private, no-cache")
            return json_answer(msgspec.json.encode(body), 200, no_cache, position_header(seen.position))

        if AT in values:
            return await core.past.look(parse_moment(values[AT]), answer_from)
        return answer_from(core.views)

    return handle
