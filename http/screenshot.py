"""``GET /guests/{guest}/screenshot``: what a running guest shows, as PNG. Its ETag names what it shows, so that who asks
again gets bytes only when something moved; it may be a few seconds old (``core.screens.FRESH_S``)."""

from typing import TYPE_CHECKING

from nano.core.screens import FRESH_S
from nano.http.answers import Answer, Request, not_modified, tag_matches
from nano.http.decoding import decode_query
from nano.http.routing import Handler

if TYPE_CHECKING:
    from nano.core.core import Core


def make_screenshot(core: "Core") -> Handler:
    async def handle(request: Request) -> Answer:
        decode_query(request.query, ())
        screen = await core.screenshot(request.arguments["guest"])
        etag = b'"%s"' % screen.tag.encode()
        if tag_matches(request.header(b"if-none-match").encode(), etag):
            return not_modified(etag)
        headers = [
            (b"content-type", b"image/png"),
            (b"content-length", b"%d" % len(screen.png)),
            (b"cache-control", b"private, max-age=%d" % FRESH_S),
            (b"etag", etag),
        ]
        return Answer(200, headers, screen.png)

    return handle
