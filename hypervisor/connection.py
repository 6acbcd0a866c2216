"""The one connection a host driver keeps to libvirt, made anew when libvirtd went away.

Why: libvirtd restarts (upgrades, crashes) while guests run on. The next call after a loss connects again, so nothing
above needs to know; listeners end at the loss, which tells them to look at ``domains()`` afresh.

Invariant: at most one connection is open, and whatever was learnt over a lost one (marks of domains) is forgotten.
Reconnecting is driven by calls (the Cell samples every 2 s), never by a task of its own; one attempt a call.
"""

import logging
from collections.abc import Callable
from typing import Final, TypeVar

import anyio

from nano.domain.errors import HostError
from nano.hypervisor.blocking_calls import DEADLINE_S, BlockingCalls
from nano.hypervisor.domain_events import Bystander, EventHub, EventStream, redefined, running_state
from nano.hypervisor.host import HYPERVISOR_UNREACHABLE, Running
from nano.hypervisor.libvirt_api import Connection, RawEvent
from nano.hypervisor.metadata import Mark, read_mark

log = logging.getLogger("nano.hypervisor")

T = TypeVar("T")

MARKS_MAX: Final = 20_000


class LibvirtConnection:
    def __init__(self, uri: str, calls: BlockingCalls, cell: str = "") -> None:
        """``cell``: domains marked as another cell's are not ours; "" takes every marked domain."""
        self.uri = uri
        self._calls = calls
        self._cell = cell
        self._open: Connection | None = None
        self._opening = anyio.Lock()
        self._closed = False
        self._marks: dict[str, Mark | None] = {}
        self._hub = EventHub(self._seen, self._lost)

    async def run(self, call: Callable[[Connection], T], *, what: str, deadline_s: float = DEADLINE_S) -> T:
        """``call(connection)`` in a thread. Raises HostError (code hypervisor_unreachable when it can't connect)."""
        connection = await self._connected()
        try:
            return await self._calls.run(lambda: call(connection), what=what, deadline_s=deadline_s)
        except HostError as error:
            if error.code == HYPERVISOR_UNREACHABLE and self._open is connection:
                self._lost()
            raise

    async def mark(self, guest_id: str) -> Mark | None:
        """The domain's mark when it is ours; None when it is not, or is gone. Read once, then remembered."""
        if guest_id not in self._marks:
            await self._read_mark(guest_id)
        return self._marks.get(guest_id)

    async def is_foreign(self, guest_id: str) -> bool:
        """Whether a domain of that UUID exists that is not ours."""
        if guest_id not in self._marks:
            return await self._read_mark(guest_id) and self._marks[guest_id] is None
        if self._marks[guest_id] is not None:
            return False
        return await self.run(lambda c: c.state(guest_id), what="Looking for a domain") is not None

    async def _read_mark(self, guest_id: str) -> bool:
        """Remember the mark of a domain that exists; False when it does not."""
        text, state = await self.run(lambda c: (c.mark_text(guest_id), c.state(guest_id)), what="Reading metadata")
        if state is not None:
            self._remember(guest_id, text)
        return state is not None

    def forget(self, guest_id: str) -> None:
        self._marks.pop(guest_id, None)

    def listen(self) -> EventStream:
        return self._hub.listen(Bystander(self._is_ours, self._state_of))

    async def close(self) -> None:
        self._closed = True
        connection, self._open = self._open, None
        self._hub.end_all()
        if connection is not None:
            await self._calls.run(connection.close, what="Closing the connection")

    async def _connected(self) -> Connection:
        async with self._opening:
            if self._closed:
                raise HostError("The connection to libvirt is closed.", code=HYPERVISOR_UNREACHABLE)
            if self._open is not None:
                return self._open
            connection = await self._calls.run(self._connect, what=f"Connecting to {self.uri}")
            self._open = connection
            log.info("libvirt connected uri=%s", self.uri)
            # Marks read now let an event about a domain that is already gone be known as ours.
            texts = await self._calls.run(
                lambda: [(state.uuid, connection.mark_text(state.uuid)) for state in connection.states()],
                what="Reading marks",
            )
            for guest_id, text in texts:
                self._remember(guest_id, text)
            return connection

    def _connect(self) -> Connection:
        connection = Connection(self.uri)
        try:
            connection.on_events(self._hub.tell, self._hub.tell_lost)
            connection.settle()
        except BaseException:
            connection.close()
            raise
        return connection

    def _remember(self, guest_id: str, text: str) -> None:
        if len(self._marks) >= MARKS_MAX:
            self._marks.clear()
        mark = read_mark(text)
        if mark is not None and self._cell and mark.cell and mark.cell != self._cell:
            mark = None
        self._marks[guest_id] = mark

    def _seen(self, raw: RawEvent) -> None:
        if redefined(raw):
            self.forget(raw.uuid)

    def _lost(self) -> None:
        connection, self._open = self._open, None
        if connection is None:
            return
        log.warning("libvirt connection lost uri=%s", self.uri)
        self._marks.clear()
        self._hub.end_all()

    async def _is_ours(self, guest_id: str) -> bool:
        try:
            return await self.mark(guest_id) is not None
        except HostError as error:
            log.warning("event not told guest=%s error=%s", guest_id, error)
            return False

    async def _state_of(self, guest_id: str) -> Running | None:
        try:
            found = await self.run(lambda c: c.state(guest_id), what="Looking at a domain")
        except HostError:
            return None
        return None if found is None else running_state(found.state, found.reason)
