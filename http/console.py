"""A guest's display, or its serial port: a one-time token over the API, then bytes both ways over a websocket.

The token is the secret, because browsers can't sign a websocket: 256 bits, good once, for TOKEN_S seconds, in memory
only. FrontEnd relays it to the browser, so nothing but the portal need be reachable. Only binary frames count; text is
passed over, as the product does. When the display ends the websocket is closed with the reason.
"""

import logging
import re
import secrets
from collections.abc import Callable
from datetime import datetime, timedelta
from typing import TYPE_CHECKING, Any, Final

import anyio
import msgspec

from nano.domain.catalogue import CommandEntry
from nano.domain.errors import Conflict, Failure, NanoError, Unauthenticated
from nano.domain.guest_commands import OpenSerial
from nano.http.answers import Answer, Message, Receive, Request, Send, json_answer
from nano.http.commands import execute, read_command
from nano.http.lists import find_row, position_header
from nano.http.problems import problem_answer
from nano.http.routing import PREFIX
from nano.projections.rows import GuestRow
from nano.transports.link import Pipe
from nano.transports.messages import Port

if TYPE_CHECKING:
    from nano.core.core import Core

log = logging.getLogger("nano.http")

TOKEN_S: Final = 15.0  # as the product's monitor channels (nano-api §12)
TOKENS_MAX: Final = 1_000
CONSOLES_MAX: Final = 128
ENDED, GONE_AWAY, TRY_LATER = 1000, 1001, 1013  # RFC 6455 §7.4.1 and its registry
_PATH: Final = re.compile(re.escape(PREFIX) + r"/console/([0-9A-Za-z_-]{20,100})")
_CLOSED: Final = (anyio.EndOfStream, anyio.BrokenResourceError, anyio.ClosedResourceError, OSError)


class ConsoleToken(msgspec.Struct, frozen=True):
    """``path`` is where the websocket is opened, once, before ``expires_at``."""

    token: str
    path: str
    expires_at: datetime
    guest: str


class Tokens:
    """Times by the given clock. A token leaves the store when it is taken, or late."""

    def __init__(self, clock: Callable[[], datetime]) -> None:
        self._clock = clock
        self._waiting: dict[str, tuple[ConsoleToken, Port]] = {}  # in order of expiry

    def issue(self, guest_id: str, port: Port = "display") -> ConsoleToken:
        """Raises Failure(too_many_consoles)."""
        now = self._clock()
        for token in [token for token, (ticket, _) in self._waiting.items() if ticket.expires_at <= now]:
            del self._waiting[token]
        if len(self._waiting) >= TOKENS_MAX:
            raise Failure(
                "Too many consoles wait to be opened.", code="too_many_consoles", hint="Try again in some seconds."
            )
        secret = secrets.token_urlsafe(32)
        expires = now + timedelta(seconds=TOKEN_S)
        ticket = ConsoleToken(secret, f"{PREFIX}/console/{secret}", expires, guest_id)
        self._waiting[secret] = (ticket, port)
        return ticket

    def take(self, token: str) -> tuple[str, Port] | None:
        """The guest's id and what of it, once; None for a token that never was, was taken, or is late."""
        waiting = self._waiting.pop(token, None)
        if waiting is None or waiting[0].expires_at <= self._clock():
            return None
        return waiting[0].guest, waiting[1]


class Consoles:
    def __init__(self, core: "Core", clock: Callable[[], datetime]) -> None:
        self._core = core
        self._tokens = Tokens(clock)
        self._open: set[anyio.CancelScope] = set()
        self._closing = False

    def __len__(self) -> int:
        return len(self._open)

    def close(self) -> None:
        self._closing = True
        for scope in self._open:
            scope.cancel()

    def make_handler(self, entry: CommandEntry) -> Callable[[Request], Any]:
        """Of the command that gives out a token; Core has recorded who asked before the token is told."""

        port: Port = "serial" if entry.command is OpenSerial else "display"

        async def handle(request: Request) -> Answer:
            command, dry = read_command(entry, request)
            guest_id = find_row(self._core.views, "guest", request.arguments["guest"])
            if dry:
                self._core.dry_run(command, actor=request.principal.actor)
                return json_answer(b'{"events":[],"explanation":null}', 200, position_header(self._core.views.position))
            receipt = await execute(self._core, entry, command, request)
            if receipt.repeated:
                raise Conflict(
                    "The token for this request was given out already.",
                    code="console_token_spent",
                    hint="Ask anew, with a new idempotency key.",
                )
            body = msgspec.json.encode(self._tokens.issue(guest_id, port))
            return json_answer(body, 200, (b"cache-control", b"no-store"), position_header(self._core.views.position))

        return handle

    async def websocket(self, scope: Message, receive: Receive, send: Send) -> None:
        """One websocket connection, from its handshake to its end."""
        if (await receive())["type"] != "websocket.connect":
            return
        match = _PATH.fullmatch(scope["path"])
        taken = self._tokens.take(match[1]) if match else None
        if taken is None:
            await _refuse(
                scope,
                send,
                Unauthenticated(
                    "This console token was used, has expired, or never was.",
                    code="invalid_console_token",
                    hint=f"Ask for a new one and open it within {TOKEN_S:.0f} seconds.",
                ),
            )
            return
        if self._closing or len(self._open) >= CONSOLES_MAX:
            await _refuse(scope, send, Failure("No more consoles can be opened now.", code="too_many_consoles"))
            return
        with anyio.CancelScope() as life:
            self._open.add(life)
            try:
                await self._serve(*taken, scope, receive, send)
            finally:
                self._open.discard(life)
        if life.cancelled_caught:
            await _close(send, GONE_AWAY, "Core is stopping.")

    async def _serve(self, guest_id: str, port: Port, scope: Message, receive: Receive, send: Send) -> None:
        try:
            pipe = await self._core.console(guest_id, port)
        except NanoError as error:
            await _refuse(scope, send, error)
            return
        offered = scope.get("subprotocols") or []
        await send({"type": "websocket.accept", "subprotocol": "binary" if "binary" in offered else None})
        log.info("console opened guest=%s port=%s", guest_id, port)
        try:
            client_left = await _relay(pipe, receive, send)
        finally:
            with anyio.CancelScope(shield=True), anyio.move_on_after(2.0):
                await pipe.aclose()
            log.info("console closed guest=%s port=%s", guest_id, port)
        if not client_left:
            await _close(send, ENDED, self._why(guest_id))

    def _why(self, guest_id: str) -> str:
        row = self._core.views.tables["guest"].row(guest_id)
        if not isinstance(row, GuestRow):
            return "The guest was deleted."
        return "The connection to it has ended." if row.state in ("running", "paused") else f"The guest is {row.state}."


async def _relay(pipe: Pipe, receive: Receive, send: Send) -> bool:
    """Copies both ways until either end closes; True when it was the websocket's end."""
    left = False

    async def to_guest(life: anyio.CancelScope) -> None:
        nonlocal left
        while True:
            message = await receive()
            if message["type"] == "websocket.disconnect":
                left = True
                break
            if data := message.get("bytes"):
                try:
                    await pipe.send(data)
                except (*_CLOSED, NanoError):
                    break
        life.cancel()

    async def to_client(life: anyio.CancelScope) -> None:
        while True:
            try:
                data = await pipe.receive()
            except (*_CLOSED, NanoError):
                break
            await send({"type": "websocket.send", "bytes": data})
        life.cancel()

    async with anyio.create_task_group() as tasks:
        tasks.start_soon(to_guest, tasks.cancel_scope)
        tasks.start_soon(to_client, tasks.cancel_scope)
    return left


async def _close(send: Send, code: int, reason: str) -> None:
    try:
        with anyio.move_on_after(2.0):
            await send({"type": "websocket.close", "code": code, "reason": reason[:120]})
    except (OSError, RuntimeError):  # the client was faster
        log.debug("websocket closed by its client first")


async def _refuse(scope: Message, send: Send, error: NanoError) -> None:
    """Before the handshake is accepted: a problem document where the server can send one, else a plain refusal."""
    if "websocket.http.response" not in scope.get("extensions", {}):
        await send({"type": "websocket.close", "code": TRY_LATER, "reason": error.code})
        return
    answer = problem_answer(error)
    await send({"type": "websocket.http.response.start", "status": answer.status, "headers": answer.headers})
    await send({"type": "websocket.http.response.body", "body": answer.body})
