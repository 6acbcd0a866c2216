"""What is told on demand and kept nowhere on the way: a guest's password, the secret of its VNC access, what its agent says.

Who has a secret told is recorded first. Answers with a secret are never stored by anybody between (``no-store``).
"""

from collections.abc import Callable
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


class VncCredential(msgspec.Struct, frozen=True):
    """Where VNC viewers reach a guest's display, and the secret that they must show."""

    address: str
    port: int
    secret: str


def make_show_password(core: "Core", entry: CommandEntry) -> Handler:
    return _make_telling(core, entry, lambda guest_id: Credential(*core.password(guest_id)))


def make_show_vnc(core: "Core", entry: CommandEntry) -> Handler:
    return _make_telling(core, entry, lambda guest_id: VncCredential(*core.vnc(guest_id)))


def _make_telling(core: "Core", entry: CommandEntry, tell: Callable[[str], msgspec.Struct]) -> Handler:
    async def handle(request: Request) -> Answer:
        command, dry = read_command(entry, request)
        guest_id = find_row(core.views, "guest", request.arguments["guest"])
        if dry:
            core.dry_run(command, actor=request.principal.actor)
            return json_answer(b'{"events":[],"explanation":null}', 200, position_header(core.views.position))
        await execute(core, entry, command, request)
        return json_answer(msgspec.json.encode(tell(guest_id)), 200, NO_STORE, position_header(core.views.position))

    return handle


def make_inside(core: "Core") -> Handler:
    async def handle(request: Request) -> Answer:
        decode_query(request.query, ())
        inside = await core.inside(request.arguments["guest"])
        return json_answer(msgspec.json.encode(inside), 200, NO_STORE)

    return handle
