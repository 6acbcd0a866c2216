"""A guest's serial port as a socket: libvirt's stream on one side, half of a socket pair on the other, and bytes both ways.

Why a socket: consoles are relayed as sockets (``Host.console``), and libvirt's streams know no asyncio. Everything happens in
libvirt's own event thread, which tells when either side can go on; no thread a console. What one side can't take yet is kept,
and the other is not read meanwhile, so no more than ``PIECE_BYTES`` waits each way.
"""

import contextlib
import logging
import socket
from typing import Any, Final

import libvirt

from nano.domain.errors import HostError
from nano.hypervisor.libvirt_api import Connection, translated

log = logging.getLogger("nano.hypervisor")

PIECE_BYTES: Final = 16 << 10
AGAIN: Final = -2  # of a stream that has, or takes, nothing now
BUSY: Final = "console_busy"


def open_serial(connection: Connection, uuid: str) -> socket.socket:
    """Blocking, in the manner of ``libvirt_api``. Raises HostError (console_busy when somebody has it open)."""
    try:
        with translated("Opening the serial port"):
            domain = connection.domain(uuid)
            stream = domain.connect().newStream(libvirt.VIR_STREAM_NONBLOCK)
            domain.openConsole(None, stream, libvirt.VIR_DOMAIN_CONSOLE_SAFE)
    except HostError as error:
        if "Active console session exists" not in error.message:
            raise
        raise HostError(
            "Somebody else has this serial console open.", code=BUSY, hint="There is one at a time; ask who it is."
        ) from None
    ours, theirs = socket.socketpair()
    try:
        Pump(stream, ours)
    except BaseException:
        theirs.close()
        raise
    return theirs


class Pump:
    """Lives as long as both sides do; libvirt's event loop holds it."""

    def __init__(self, stream: Any, end: socket.socket) -> None:
        self._stream = stream
        self._end = end
        self._to_guest = b""
        self._to_person = b""
        self._over = False
        end.setblocking(False)
        with translated("Opening the serial port"):
            self._watch = libvirt.virEventAddHandle(end.fileno(), libvirt.VIR_EVENT_HANDLE_READABLE, self._on_end, None)
            stream.eventAddCallback(libvirt.VIR_STREAM_EVENT_READABLE | ENDED, self._on_stream, None)

    def _on_stream(self, _stream: Any, _events: int, _opaque: Any) -> None:
        self._turn()

    def _on_end(self, _watch: int, _fd: int, _events: int, _opaque: Any) -> None:
        self._turn()

    def _turn(self) -> None:
        if self._over:
            return
        try:
            self._move()
            self._listen()
        except (libvirt.libvirtError, OSError, EOFError) as error:
            self._close(str(error)[:200])

    def _move(self) -> None:
        """All that either side gives and the other takes. Raises EOFError when one has ended."""
        if not self._to_person:
            got = self._stream.recv(PIECE_BYTES)
            if got == b"":
                raise EOFError("the guest's port was closed")
            self._to_person = b"" if got == AGAIN else got
        if self._to_person:
            with contextlib.suppress(BlockingIOError):
                self._to_person = self._to_person[self._end.send(self._to_person) :]
        if not self._to_guest:
            with contextlib.suppress(BlockingIOError):
                self._to_guest = self._end.recv(PIECE_BYTES)
                if not self._to_guest:
                    raise EOFError("it was closed here")
        if self._to_guest:
            sent = self._stream.send(self._to_guest)
            self._to_guest = self._to_guest[sent:] if sent > 0 else self._to_guest

    def _listen(self) -> None:
        """For what can be gone on with: reading where nothing is kept for the other side, else writing there."""
        on_stream = 0 if self._to_person else libvirt.VIR_STREAM_EVENT_READABLE
        on_stream |= libvirt.VIR_STREAM_EVENT_WRITABLE if self._to_guest else 0
        on_end = 0 if self._to_guest else libvirt.VIR_EVENT_HANDLE_READABLE
        on_end |= libvirt.VIR_EVENT_HANDLE_WRITABLE if self._to_person else 0
        self._stream.eventUpdateCallback(on_stream | ENDED)
        libvirt.virEventUpdateHandle(self._watch, on_end)

    def _close(self, why: str) -> None:
        self._over = True
        log.info("serial port closed reason=%s", why)
        libvirt.virEventRemoveHandle(self._watch)
        for end in (self._stream.eventRemoveCallback, self._stream.abort):
            with contextlib.suppress(libvirt.libvirtError):
                end()
        self._end.close()


ENDED: Final = libvirt.VIR_STREAM_EVENT_ERROR | libvirt.VIR_STREAM_EVENT_HANGUP
