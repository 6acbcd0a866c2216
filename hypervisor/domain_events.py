"""libvirt's events as ``DomainEvent``s: meaning, delivery from its thread, and who listens.

``EventHub`` carries raw events from libvirt's thread to the loop and into every open ``EventStream``; a stream puts
them into Nano's words when its reader asks for the next one, so no task runs in the background.

Invariant: a stream never silently misses an event. When its reader is too slow, or the connection is lost, it ends;
the reader then looks at ``domains()`` and listens anew.
"""

import asyncio
import collections
import contextlib
import logging
import threading
import weakref
from collections.abc import AsyncIterator, Awaitable, Callable
from typing import Final

import anyio
import libvirt

from nano.hypervisor.host import DomainEvent, Running
from nano.hypervisor.libvirt_api import RawEvent

log = logging.getLogger("nano.hypervisor")

WAITING_MAX: Final = 4096

_STOPPED_WORDS: Final = {
    libvirt.VIR_DOMAIN_EVENT_STOPPED_SHUTDOWN: "shutdown by guest",
    libvirt.VIR_DOMAIN_EVENT_STOPPED_DESTROYED: "destroyed",
    libvirt.VIR_DOMAIN_EVENT_STOPPED_CRASHED: "crashed",
    libvirt.VIR_DOMAIN_EVENT_STOPPED_MIGRATED: "migrated away",
    libvirt.VIR_DOMAIN_EVENT_STOPPED_SAVED: "saved",
    libvirt.VIR_DOMAIN_EVENT_STOPPED_FAILED: "emulator failed",
    libvirt.VIR_DOMAIN_EVENT_STOPPED_FROM_SNAPSHOT: "restored from snapshot",
}
_SUSPENDED_WORDS: Final = {
    libvirt.VIR_DOMAIN_EVENT_SUSPENDED_IOERROR: "disk error",
    libvirt.VIR_DOMAIN_EVENT_SUSPENDED_WATCHDOG: "watchdog",
    libvirt.VIR_DOMAIN_EVENT_SUSPENDED_MIGRATED: "migrating",
}


def running_state(state: int, reason: int) -> Running:
    """VIR_DOMAIN_* in Nano's words. A domain that is shutting down still runs."""
    if state == libvirt.VIR_DOMAIN_SHUTOFF:
        return "crashed" if reason == libvirt.VIR_DOMAIN_SHUTOFF_CRASHED else "stopped"
    if state == libvirt.VIR_DOMAIN_CRASHED:
        return "crashed"
    if state in (libvirt.VIR_DOMAIN_PAUSED, libvirt.VIR_DOMAIN_PMSUSPENDED):
        return "paused"
    return "running"


def redefined(raw: RawEvent) -> bool:
    """Whether what was known of the domain's mark may no longer be so."""
    return raw.kind == "lifecycle" and raw.event == libvirt.VIR_DOMAIN_EVENT_DEFINED


class Bystander:
    """What a stream asks about a domain before it says something: is it ours, and does it exist (with which state)."""

    def __init__(
        self, ours: Callable[[str], Awaitable[bool]], state_of: Callable[[str], Awaitable[Running | None]]
    ) -> None:
        self.ours = ours
        self.state_of = state_of


class EventStream(AsyncIterator[DomainEvent]):
    """One listener's events, from its making on."""

    def __init__(self, bystander: Bystander, waiting_max: int = WAITING_MAX) -> None:
        self._bystander = bystander
        self._waiting: collections.deque[RawEvent] = collections.deque()
        self._waiting_max = waiting_max
        self._ready: collections.deque[DomainEvent] = collections.deque()
        self._undefined_running: set[str] = set()
        self._ended = False
        self._news = anyio.Event()

    def offer(self, raw: RawEvent) -> None:
        if self._ended:
            return
        if len(self._waiting) >= self._waiting_max:
            log.warning("event listener too slow, ended waiting=%d", len(self._waiting))
            self.end()
            return
        self._waiting.append(raw)
        self._news.set()

    def end(self) -> None:
        self._ended = True
        self._news.set()

    async def __anext__(self) -> DomainEvent:
        while not self._ready:
            while not self._waiting:
                if self._ended:
                    raise StopAsyncIteration
                self._news = anyio.Event()
                await self._news.wait()
            self._ready.extend(await self._in_our_words(self._waiting.popleft()))
        return self._ready.popleft()

    async def aclose(self) -> None:
        self._waiting.clear()
        self._ready.clear()
        self.end()

    async def _in_our_words(self, raw: RawEvent) -> list[DomainEvent]:
        if not await self._bystander.ours(raw.uuid):
            return []
        if raw.kind == "agent":
            connected = raw.event == libvirt.VIR_CONNECT_DOMAIN_EVENT_AGENT_LIFECYCLE_STATE_CONNECTED
            state = await self._bystander.state_of(raw.uuid) or "stopped"
            return [DomainEvent(raw.uuid, "agent", state, connected)]
        if raw.kind == "reboot":
            return [DomainEvent(raw.uuid, "state", "running", detail="rebooted")]
        if raw.kind == "io_error":
            if raw.event != libvirt.VIR_DOMAIN_EVENT_IO_ERROR_PAUSE:
                return []  # reported to the guest; the domain goes on
            return [DomainEvent(raw.uuid, "state", "paused", detail=f"disk error {raw.text}")]
        return await self._lifecycle(raw)

    async def _lifecycle(self, raw: RawEvent) -> list[DomainEvent]:
        guest, event, detail = raw.uuid, raw.event, raw.detail
        if event in (libvirt.VIR_DOMAIN_EVENT_STARTED, libvirt.VIR_DOMAIN_EVENT_RESUMED):
            words = "started" if event == libvirt.VIR_DOMAIN_EVENT_STARTED else "resumed"
            return [DomainEvent(guest, "state", "running", detail=words)]
        if event == libvirt.VIR_DOMAIN_EVENT_SUSPENDED:
            return [DomainEvent(guest, "state", "paused", detail=_SUSPENDED_WORDS.get(detail, "suspended"))]
        if event == libvirt.VIR_DOMAIN_EVENT_PMSUSPENDED:
            return [DomainEvent(guest, "state", "paused", detail="asleep")]
        if event == libvirt.VIR_DOMAIN_EVENT_CRASHED:
            return [DomainEvent(guest, "state", "crashed", detail="guest panicked")]
        if event == libvirt.VIR_DOMAIN_EVENT_STOPPED:
            return await self._stopped(guest, detail)
        if event == libvirt.VIR_DOMAIN_EVENT_UNDEFINED:
            if await self._bystander.state_of(guest) is None:
                return [DomainEvent(guest, "undefined", detail="undefined")]
            self._undefined_running.add(guest)  # it is gone when it stops, and libvirt says no more then
        elif event == libvirt.VIR_DOMAIN_EVENT_DEFINED:
            self._undefined_running.discard(guest)
        return []  # SHUTDOWN among them: it still runs

    async def _stopped(self, guest: str, detail: int) -> list[DomainEvent]:
        died = detail == libvirt.VIR_DOMAIN_EVENT_STOPPED_CRASHED or (
            detail == libvirt.VIR_DOMAIN_EVENT_STOPPED_FAILED and await self._bystander.state_of(guest) == "crashed"
        )
        words = _STOPPED_WORDS.get(detail, "stopped")
        said = [DomainEvent(guest, "state", "crashed" if died else "stopped", detail=words)]
        if guest in self._undefined_running:
            self._undefined_running.discard(guest)
            said.append(DomainEvent(guest, "undefined", detail="undefined"))
        return said


class EventHub:
    """Where libvirt's thread leaves events, and the streams that take them up on the loop."""

    def __init__(
        self, seen: Callable[[RawEvent], None], lost: Callable[[], None], waiting_max: int = WAITING_MAX
    ) -> None:
        """``seen`` is told each event before the streams; ``lost`` when the connection broke. Both on the loop."""
        self._loop = asyncio.get_running_loop()
        self._seen = seen
        self._lost = lost
        self._streams: weakref.WeakSet[EventStream] = weakref.WeakSet()
        self._lock = threading.Lock()
        self._arrived: collections.deque[RawEvent] = collections.deque()
        self._waiting_max = waiting_max
        self._woken = False
        self._overflowed = False

    def listen(self, bystander: Bystander) -> EventStream:
        stream = EventStream(bystander)
        self._streams.add(stream)
        return stream

    def tell(self, raw: RawEvent) -> None:
        """From libvirt's thread: queue it for the loop. What does not fit ends every stream instead of being lost."""
        with self._lock:
            if len(self._arrived) < self._waiting_max:
                self._arrived.append(raw)
            else:
                self._overflowed = True
            if self._woken:
                return
            self._woken = True
        self._from_thread(self._deliver)

    def tell_lost(self) -> None:
        self._from_thread(self._lost)

    def end_all(self) -> None:
        for stream in list(self._streams):
            stream.end()
        self._streams.clear()

    def _deliver(self) -> None:
        with self._lock:
            arrived, overflowed = list(self._arrived), self._overflowed
            self._arrived.clear()
            self._woken = self._overflowed = False
        for raw in arrived:
            self._seen(raw)
            for stream in list(self._streams):
                stream.offer(raw)
        if overflowed:
            log.warning("more events than fit, listeners ended waiting=%d", len(arrived))
            self.end_all()

    def _from_thread(self, call: Callable[[], None]) -> None:
        with contextlib.suppress(RuntimeError):  # the loop has ended; so has everybody who would listen
            self._loop.call_soon_threadsafe(call)
