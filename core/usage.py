"""UsageBoard: what cells measured last. Observations, never facts: nothing here is journaled or survives a restart.

Heartbeats come every two seconds from each cell. A cell that falls silent is taken off the board, so an offline cell
counts no usage (the original kept summing its last one).
"""

from collections.abc import Callable
from typing import TypeVar

import msgspec

from nano.domain.placement import Load
from nano.transports.messages import GuestRates, Heartbeat

T = TypeVar("T")


class CellUsage(msgspec.Struct, frozen=True):
    """A cell's load; rates in bytes/s, sizes in bytes, CPU in percent of all cores."""

    cpu_percent: float
    memory_total: int
    memory_available: int
    disk_total: int
    disk_available: int
    read_rate: int
    write_rate: int
    receive_rate: int
    send_rate: int
    uptime_s: float


class GuestUsage(msgspec.Struct, frozen=True):
    cpu_percent: float
    memory_used: int
    read_rate: int
    write_rate: int
    receive_rate: int
    send_rate: int


class Usage(msgspec.Struct, frozen=True):
    cells: dict[str, CellUsage]
    guests: dict[str, GuestUsage]


class UsageBoard:
    def __init__(self) -> None:
        self.loads: dict[str, Load] = {}
        self._cells: dict[str, CellUsage] = {}
        self._guests: dict[str, dict[str, GuestUsage]] = {}
        self._listeners: list[Callable[[], None]] = []
        self._json: bytes | None = None

    def heard(self, cell: str, beat: Heartbeat) -> None:
        self._cells[cell] = _pick(CellUsage, beat)
        self._guests[cell] = {guest.guest_id: _pick(GuestUsage, guest) for guest in beat.guests}
        self.loads[cell] = _pick(Load, beat)
        self._changed()

    def forget(self, cell: str) -> None:
        if self._cells.pop(cell, None) is None:
            return
        self._guests.pop(cell, None)
        self.loads.pop(cell, None)
        self._changed()

    @property
    def usage(self) -> Usage:
        guests = {guest_id: usage for of_cell in self._guests.values() for guest_id, usage in of_cell.items()}
        return Usage(dict(self._cells), guests)

    def json(self) -> bytes:
        """The whole board as ``{"cells":{name:{…}},"guests":{id:{…}}}``, encoded once a change."""
        if self._json is None:
            self._json = msgspec.json.encode(self.usage)
        return self._json

    def listen(self, listener: Callable[[], None]) -> None:
        """Call ``listener()`` after each heartbeat."""
        self._listeners.append(listener)

    def unlisten(self, listener: Callable[[], None]) -> None:
        self._listeners.remove(listener)

    def _changed(self) -> None:
        self._json = None
        for listener in self._listeners:
            listener()


def _pick(kind: type[T], source: Heartbeat | GuestRates) -> T:
    return msgspec.convert(source, kind, from_attributes=True)
