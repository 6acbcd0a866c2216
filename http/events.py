"""The event stream: every fact once and in order as server-sent events, and between them what is only told live.

Facts come from the feed, which lets each client go at its own pace and keeps nothing for it; so what is held for a client
is one batch, and the latest of each live change. A client that stays behind too far or takes nothing for a while is sent
off with a last comment, and resumes with ``Last-Event-ID``. Streams are counted, and end at shutdown.
"""

import logging
from collections.abc import Callable
from typing import TYPE_CHECKING, Final

import anyio
import msgspec

from nano.domain.errors import Failure, Invalid, NanoError
from nano.domain.facts import Fact, id_of, kind_of
from nano.http.answers import Receive, Request, Send
from nano.http.decoding import decode_query, whole_number
from nano.http.event_lines import format_comment, format_event
from nano.http.lists import position_header
from nano.projections.zone_views import KINDS, SHOWN

if TYPE_CHECKING:
    from nano.core.core import Core

log = logging.getLogger("nano.http")

HEARTBEAT_S: Final = 15.0
USAGE_PAUSE_S: Final = 2.0
SEND_PATIENCE_S: Final = 20.0
STREAMS_MAX: Final = 256
LIVE_MAX: Final = 512
ENCODED_MAX: Final = 2_000
_POSITION_MAX: Final = 10**15
NO_ROW: Final = b"null"


class ChangeEvent(msgspec.Struct, frozen=True):
    """``data`` of an event ``change``; ``row`` is what the resource looks like now, null when it is gone."""

    position: int | None
    at: str | None
    actor: str
    resource: str
    type: str
    version: int
    row: msgspec.Raw


class EventStreams:
    """All event streams of one Core. ``close`` ends them."""

    def __init__(self, core: "Core", *, streams_max: int = STREAMS_MAX, patience_s: float = SEND_PATIENCE_S) -> None:
        self._core = core
        self._clients: dict[_Client, None] = {}  # in order, so that the same run tells them in the same order
        self._encoded: dict[int, bytes] = {}
        self._streams_max = streams_max
        self._patience_s = patience_s
        self._closing = False
        core.views.on_live(self._on_live)
        core.usage.listen(self._on_usage)

    def __len__(self) -> int:
        return len(self._clients)

    def close(self) -> None:
        self._closing = True
        for client in self._clients:
            client.end("Core is stopping")

    async def stream(self, request: Request, receive: Receive, send: Send) -> None:
        """Answers with the stream; returns when it has ended. Raises Invalid, Failure(too_many_streams) before that."""
        kinds = _kinds(decode_query(request.query, ("kinds",)))
        after = self._start(request.header(b"last-event-id"))
        if len(self._clients) >= self._streams_max or self._closing:
            raise Failure(
                f"{len(self._clients)} event streams are open, and no more are served.",
                code="too_many_streams",
                hint="Close one, or try again later.",
            )
        client = _Client(self._core, kinds, after, self._patience_s)
        self._clients[client] = None
        try:
            await client.run(receive, send, self._change)
        finally:
            self._clients.pop(client, None)

    def _start(self, last_event_id: str) -> int:
        """Where to begin: after the named position, or now. One from the future (another journal) begins now too."""
        if not last_event_id:
            return self._core.feed.position
        return min(whole_number(last_event_id, "last_event_id", 0, _POSITION_MAX), self._core.feed.position)

    def _on_live(self, kind: str, row_id: str) -> None:
        for client in self._clients:
            client.note_live(f"{kind}/{row_id}")

    def _on_usage(self) -> None:
        for client in self._clients:
            client.note_usage()

    def _change(self, fact: Fact) -> bytes:
        """The event of one fact, encoded once for all clients."""
        known = self._encoded.get(fact.position)
        if known is None:
            if len(self._encoded) >= ENCODED_MAX:
                self._encoded.clear()
            data = change_data(self._core, fact)
            known = self._encoded[fact.position] = format_event("change", data, fact.position)
        return known


def change_data(core: "Core", fact: Fact) -> bytes:
    event = ChangeEvent(
        position=fact.position,
        at=fact.at.isoformat().replace("+00:00", "Z"),
        actor=fact.actor,
        resource=fact.resource,
        type=str(fact.event.__struct_config__.tag),
        version=fact.version,
        row=msgspec.Raw(_row(core, fact.resource)),
    )
    return msgspec.json.encode(event)


def live_data(core: "Core", resource: str) -> bytes:
    """A row that changed without a fact: a task's progress, an alarm that was raised, changed or cleared."""
    version = core.views.versions.get(resource, 0)
    row, kind = _row(core, resource), kind_of(resource)
    what = "progress" if kind not in SHOWN else "cleared" if row == NO_ROW else "shown"
    return msgspec.json.encode(ChangeEvent(None, None, "", resource, f"{kind}.{what}", version, msgspec.Raw(row)))


def _row(core: "Core", resource: str) -> bytes:
    table = core.views.tables.get(kind_of(resource))
    return (table.fragment(id_of(resource)) if table is not None else None) or NO_ROW


def _kinds(values: dict[str, str]) -> frozenset[str]:
    """Empty = all."""
    kinds = frozenset(part for part in values.get("kinds", "").split(",") if part)
    unknown = sorted(kinds - {*KINDS, *SHOWN, "usage", "zone"})
    if unknown:
        raise Invalid(
            f"There are no resources of kind {unknown[0][:40]!r}.",
            code="invalid_kinds",
            hint=f"Use some of: {', '.join((*KINDS, *SHOWN))}, usage; or leave it out for all.",
            field="kinds",
        )
    return kinds


class _Client:
    def __init__(self, core: "Core", kinds: frozenset[str], after: int, patience_s: float) -> None:
        self._core = core
        self._kinds = kinds
        self._after = after
        self._patience_s = patience_s
        self._live: dict[str, None] = {}
        self._usage = self._wants("usage")
        self._usage_due = 0.0
        self._moved = anyio.Event()
        if self._usage:
            self._moved.set()  # what was measured last is told at once
        self._reason = ""
        self._lock = anyio.Lock()

    def _wants(self, kind: str) -> bool:
        return not self._kinds or kind in self._kinds

    def note_live(self, resource: str) -> None:
        if self._wants(kind_of(resource)) and len(self._live) < LIVE_MAX:
            self._live[resource] = None
            self._moved.set()

    def note_usage(self) -> None:
        self._usage = self._wants("usage")
        self._moved.set()

    def end(self, reason: str) -> None:
        """The first reason counts."""
        self._reason = self._reason or reason
        self._moved.set()

    async def run(self, receive: Receive, send: Send, change: Callable[[Fact], bytes]) -> None:
        headers = [
            (b"content-type", b"text/event-stream"),
            (b"cache-control", b"no-store"),
            (b"connection", b"close"),
            (b"x-accel-buffering", b"no"),
            position_header(self._core.views.position),
        ]
        await send({"type": "http.response.start", "status": 200, "headers": headers})
        await self._write(send, format_comment(f"from {self._after}"))
        async with anyio.create_task_group() as tasks:
            tasks.start_soon(self._watch, receive)
            tasks.start_soon(self._follow, send, change)
            await self._tell_live(send)
            tasks.cancel_scope.cancel()
        with anyio.move_on_after(1.0):
            await send({"type": "http.response.body", "body": format_comment(f"end: {self._reason}")})

    def has_ended(self) -> bool:
        return bool(self._reason)

    async def _watch(self, receive: Receive) -> None:
        """A client that has gone is noticed even while there is nothing to tell it."""
        while (await receive())["type"] != "http.disconnect":
            pass
        self.end("the client has gone")

    async def _follow(self, send: Send, change: Callable[[Fact], bytes]) -> None:
        try:
            async with self._core.feed.subscribe(self._after) as batches:
                async for batch in batches:
                    facts = [fact for fact, _, _ in batch if self._wants(kind_of(fact.resource))]
                    if facts:
                        await self._write(send, b"".join([change(fact) for fact in facts]))
        except NanoError as error:  # the journal can't be read: the answer has begun, so it is told as the last word
            log.warning("event stream ended code=%s reason=%s", error.code, error.message)
            self.end(error.code)
        self.end("Core is stopping")

    async def _tell_live(self, send: Send) -> None:
        """Usage, live progress and heartbeats, until the stream is to end."""
        while not self.has_ended():
            now = anyio.current_time()
            usage_waits = self._usage and now < self._usage_due
            with anyio.move_on_after(self._usage_due - now if usage_waits else HEARTBEAT_S) as silence:
                await self._moved.wait()
            if self.has_ended():
                return
            self._moved = anyio.Event()
            now = anyio.current_time()
            parts = [format_event("change", live_data(self._core, resource)) for resource in self._live]
            self._live.clear()
            if self._usage and now >= self._usage_due:
                parts.append(format_event("usage", self._core.usage.json()))
                self._usage, self._usage_due = False, now + USAGE_PAUSE_S
            if silence.cancelled_caught and not parts:
                parts.append(format_comment("heartbeat"))
            if parts:
                await self._write(send, b"".join(parts))

    async def _write(self, send: Send, data: bytes) -> None:
        """Waits while the client does not read, but not for ever."""
        async with self._lock:
            if self.has_ended():
                return
            with anyio.move_on_after(self._patience_s) as patience:
                await send({"type": "http.response.body", "body": data, "more_body": True})
            if patience.cancelled_caught:
                self.end("too slow; resume with Last-Event-ID")
