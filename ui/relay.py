"""Consoles: a guest's display or serial port, from the browser's websocket through FrontEnd to Core's.

The browser asks for a ticket (in its session, with its form token), and shows it once, within seconds, on a websocket of
the same origin and the same session. Only then is Core asked for its own one-time token. Bytes go both ways as they come;
each side waits for the other (no queue of ours), so a slow browser slows the guest's display and nothing else. Whatever
ends it is said in words in the close frame.
"""

import hashlib
import logging
import secrets
from collections.abc import Callable
from datetime import datetime, timedelta
from typing import Final, Literal

import anyio
from starlette.websockets import WebSocket, WebSocketDisconnect
from websockets.asyncio.client import ClientConnection, connect
from websockets.exceptions import ConnectionClosed, WebSocketException

from nano.domain.errors import NanoError, Refusal
from nano.ui.core_api import Caller, CoreApi
from nano.ui.visit import visit_of

log = logging.getLogger("nano.ui")

Port = Literal["console", "serial"]  # as Core's paths name them: the display, and the serial port

TICKET_LIFE: Final = timedelta(seconds=30)
TICKETS_MAX: Final = 1_000
OPEN_MAX: Final = 200
FRAME_BYTES_MAX: Final = 4 << 20
CONNECT_S: Final = 10.0
REASON_BYTES_MAX: Final = 120  # of a websocket close frame
REFUSED: Final = 4000  # close codes of our own: refused by Core, or ended by it
GUEST_ENDED: Final = 4001


class Consoles:
    def __init__(self, core: CoreApi, clock: Callable[[], datetime]) -> None:
        self._core = core
        self._clock = clock
        self._tickets: dict[str, tuple[str, str, Port, datetime]] = {}
        self._open: dict[str, set[anyio.CancelScope]] = {}

    def ticket(self, session_id: str, guest: str, port: Port = "console") -> str:
        """A one-time ticket for this session and port of the guest, good for TICKET_LIFE."""
        now = self._clock()
        self._tickets = {key: held for key, held in self._tickets.items() if held[3] > now}
        if len(self._tickets) >= TICKETS_MAX or sum(map(len, self._open.values())) >= OPEN_MAX:
            raise Refusal("Too many consoles are open.", code="too_many_consoles", hint="Close some of them.")
        ticket = secrets.token_urlsafe(24)
        self._tickets[_digest(ticket)] = (session_id, guest, port, now + TICKET_LIFE)
        return ticket

    def redeem(self, ticket: str, session_id: str, guest: str) -> Port | None:
        """What the ticket is for; it is good for nothing any more after this."""
        held = self._tickets.pop(_digest(ticket), None)
        if held is None or held[:2] != (session_id, guest) or held[3] <= self._clock():
            return None
        return held[2]

    def close(self, session_id: str) -> None:
        """End the consoles of a session that has ended."""
        for scope in self._open.get(session_id, ()):
            scope.cancel()

    async def serve(self, socket: WebSocket) -> None:
        """One console, from handshake to close."""
        visit = visit_of(socket)
        guest = str(socket.path_params["guest"])
        ticket = socket.query_params.get("ticket", "")
        port = self.redeem(ticket, visit.session.id, guest) if visit.session else None
        if visit.session is None or port is None:
            await socket.close(1008, "this console ticket is used up or expired")
            return
        await socket.accept("binary" if "binary" in socket.scope.get("subprotocols", ()) else None)
        code, reason = REFUSED, "your session has ended; log in again"
        scope = anyio.CancelScope()
        self._open.setdefault(visit.session.id, set()).add(scope)
        try:
            with scope:
                code, reason = await self._relay(socket, f"/guests/{guest}/{port}", visit.caller)
        except NanoError as error:
            code, reason = REFUSED, f"{error.code}: {error.message}"
        except (WebSocketException, OSError, TimeoutError) as error:
            code, reason = (
                REFUSED,
                f"core_unreachable: Core's end of the console can't be reached ({type(error).__name__})",
            )
        finally:
            self._open[visit.session.id].discard(scope)
            if not self._open[visit.session.id]:
                del self._open[visit.session.id]
        log.info("console ended guest=%s user=%s reason=%s", guest, visit.caller.name, reason)
        if code:
            await socket.close(code, _short(reason))

    async def _relay(self, socket: WebSocket, path: str, caller: Caller) -> tuple[int, str]:
        """Bytes both ways until one side ends; (0, …) when the browser left."""
        opened = await self._core.ask("POST", path, caller)
        address = self._core.websocket_address(str(opened["path"]))
        async with connect(
            address, max_size=FRAME_BYTES_MAX, max_queue=4, compression=None, open_timeout=CONNECT_S, proxy=None
        ) as core:
            end: list[tuple[int, str]] = []
            async with anyio.create_task_group() as group:

                async def first(pump: Callable[[WebSocket, ClientConnection], object]) -> None:
                    end.append(await pump(socket, core))  # type: ignore[misc]
                    group.cancel_scope.cancel()

                group.start_soon(first, _to_core)
                group.start_soon(first, _to_browser)
        return end[0]


async def _to_core(socket: WebSocket, core: ClientConnection) -> tuple[int, str]:
    try:
        while True:
            await core.send(await socket.receive_bytes())
    except (WebSocketDisconnect, KeyError):
        return 0, "closed by the browser"
    except ConnectionClosed as error:
        return GUEST_ENDED, _why(error)


async def _to_browser(socket: WebSocket, core: ClientConnection) -> tuple[int, str]:
    try:
        async for data in core:
            await socket.send_bytes(data if isinstance(data, bytes) else data.encode())
    except WebSocketDisconnect:
        return 0, "closed by the browser"
    except ConnectionClosed as error:
        return GUEST_ENDED, _why(error)
    return GUEST_ENDED, core.close_reason or "the guest's end of it was closed"


def _why(error: ConnectionClosed) -> str:
    return (error.rcvd.reason if error.rcvd else "") or "the guest's end of it was closed"


def _short(reason: str) -> str:
    return reason.encode()[:REASON_BYTES_MAX].decode(errors="ignore")


def _digest(ticket: str) -> str:
    return hashlib.sha256(ticket.encode()).hexdigest()
