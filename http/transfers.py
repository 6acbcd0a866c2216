"""The bytes of images over the API: taken in pieces of any size, given out whole or by ranges.

A piece says where it begins (``offset``); what is there already is told by a GET, so a sender whose connection was cut goes on
from there. Signatures of these requests do not cover the bytes: what covers all of them is the digest in the signed command
that ends the upload. Never more than a few blocks of an image are in memory.
"""

from typing import TYPE_CHECKING, Final

import msgspec

from nano.domain.catalogue import COLLECTIONS
from nano.domain.errors import Conflict
from nano.domain.image import Collection, Image, find_image, require_ready
from nano.http.answers import Answer, Receive, Request, Send, json_answer, send_answer
from nano.http.decoding import decode_query, whole_number
from nano.http.problems import BadRequest
from nano.http.routing import PREFIX, Route
from nano.transports.bulk import BulkFile, body_of, send_file

if TYPE_CHECKING:
    from nano.core.core import Core
    from nano.core.uploads import Upload

UPLOADABLE: Final[tuple[Collection, ...]] = ("image", "media")
_OFFSET_MAX: Final = 1 << 60


class Received(msgspec.Struct, frozen=True):
    """``received`` bytes of ``size`` are there; the next piece begins at ``received``."""

    received: int
    size: int


def transfer_routes(core: "Core") -> list[Route]:
    return [route for collection in UPLOADABLE for route in _routes(core, collection)]


def _routes(core: "Core", collection: Collection) -> list[Route]:
    async def take(request: Request, receive: Receive, send: Send) -> None:
        values = decode_query(request.query, ("offset",))
        if "offset" not in values:
            raise BadRequest("It is not said where these bytes begin.", code="invalid_offset", hint="Use ?offset=N.")
        offset = whole_number(values["offset"], "offset", 0, _OFFSET_MAX)
        image = find_image(core.zone, request.arguments[collection], collection)
        upload = await _open(core, image)
        if upload.sender:
            raise Conflict(
                f"{image.name} is being sent by a cell.", code="upload_busy", hint="Upload under another name."
            )
        await upload.announce(image.wanted)
        await upload.write(offset, body_of(receive))
        await send_answer(send, _received(upload.received, upload.size))

    async def told(request: Request) -> Answer:
        decode_query(request.query, ())
        image = find_image(core.zone, request.arguments[collection], collection)
        upload = await _open(core, image)
        return _received(upload.received, upload.size or image.wanted)

    async def give(request: Request, receive: Receive, send: Send) -> None:  # noqa: ARG001
        decode_query(request.query, ())
        image = require_ready(find_image(core.zone, request.arguments[collection], collection))
        await send_file(
            request.method,
            request.headers,
            send,
            BulkFile(core.images.path(image), image.size, image.sha256),
            core.files,
        )

    path = f"{PREFIX}/{COLLECTIONS[collection]}/{{{collection}}}"
    return [
        Route(f"{collection}.content.put", "PUT", f"{path}/content", "operate", streamer=take, takes_body=True),
        Route(f"{collection}.content.get", "GET", f"{path}/content", "operate", streamer=give),
        Route(f"{collection}.received", "GET", f"{path}/received", "operate", told),
    ]


async def _open(core: "Core", image: Image) -> "Upload":
    waits = image.task and not image.claimed
    return await core.uploads.find_soon(image.id) if waits else core.uploads.find(image.id)


def _received(received: int, size: int) -> Answer:
    return json_answer(msgspec.json.encode(Received(received, size)))
