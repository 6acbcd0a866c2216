"""What is told on demand and kept nowhere on the way: a guest's password, and what its agent says of its system.

Who has a password told is recorded first. Answers with a secret are never stored by anybody between (``no-store``).
"""

from typing import TYPE_CHECKING

import msgspec

from nano.domain.catalogue import CommandEntry
from nano.http.answers import Answer, Request, json_answer
from nano.http.commands import execute, read_command
from nano.http.decoding import decode_query
from nano.http.lists import find_row, position_header
from nano.http.routing import Handler

if TYPE_CHECKING:
    from nano.core.core import Core

NO_STORE = (b"cache-control", b"no-store")


class Credential(msgspec.Struct, frozen=True):
    """An account inside a guest and its password."""

    user: str
    password: str


def make_show_password(core: "Core", entry: CommandEntry) -> Handler:
    async def handle(request: Request) -> Answer:
        command, dry = read_command(entry, request)
        guest_id = find_row(core.views, "guest", request.arguments["guest"])
        if dry:
            core.dry_run(command, actor=request.principal.actor)
            return json_answer(b'{"events":[],"explanation":null}', 200, position_header(core.views.position))
        await execute(core, entry, command, request)
        body = msgspec.json.encode(Credential(*core.password(guest_id)))
        return json_answer(body, 200, NO_STORE, position_header(core.views.position))

    return handle


def make_inside(core: "Core") -> Handler:
    async def handle(request: Request) -> Answer:
        decode_query(request.query, ())
        inside = await core.inside(request.arguments["guest"])
        return json_answer(msgspec.json.encode(inside), 200, NO_STORE)

    return handle
