"""A commit log as the ``eventsourcing`` library sees one: stored events in, stored events out, from many threads.

One ``EventStore`` owns the log (lock, epoch) and an index in memory: for each resource, version → position. Every
insert is one line and one sync. Resource journals are not kept here; a node catches them up when it starts.
"""

from collections.abc import Callable, Iterator, Sequence
from datetime import UTC, datetime
from itertools import islice
from pathlib import Path
from threading import Event, RLock
from typing import Any, Final
from uuid import UUID

import msgspec
from eventsourcing.persistence import IntegrityError, Notification, OperationalError, StoredEvent, Tracking

from nano.domain.errors import JournalError, NanoError
from nano.journal.commit_log import CommitLog
from nano.journal.disk import Disk
from nano.journal.line import Body, Line, Tracked, encode_line, format_time, line_decoder
from nano.journal.stored import entry_of, is_native, notification_of, resource_of, version_of

ACTOR: Final = "eventsourcing"
SMALL_READ_BYTES: Final = 16 << 10


def utc_now() -> datetime:
    return datetime.now(UTC)


class EventStore:
    """Open from construction until ``close``. Raises JournalError, JournalDamaged as the log does."""

    def __init__(self, folder: Path, *, clock: Callable[[], datetime] = utc_now, disk: Disk | None = None) -> None:
        self._clock = clock
        self._lock = RLock()
        self._log = CommitLog(folder, clock=clock, disk=disk)
        self._decoder = line_decoder()
        self._positions: dict[str, dict[int, int]] = {}
        self._counts: dict[str, int] = {}
        self._tracking: dict[str, int] = {}
        self._listeners: set[Event] = set()
        self._log.open()
        if self._log.begins.position:
            self._log.close()
            raise JournalError(
                f"The journal {folder} begins after position {self._log.begins.position}: it is not all there.",
                code="journal_not_from_its_beginning",
                hint="Applications need every event: open a backup that has them all.",
            )
        for lines in self._log.replay(self._decoder):
            for line in lines:
                self._index(line)
        self._time = self._log.time

    def insert(self, stored_events: Sequence[StoredEvent], tracking: Tracking | None, **who: str) -> list[int]:
        """Positions of the events. ``who`` may give ``actor``, ``command_id`` and ``cause``. Raises IntegrityError
        (a version or tracking position exists, or would leave a gap) and OperationalError (the log can't take it)."""
        with self._lock:
            self._check(stored_events, tracking)
            if not stored_events and tracking is None:
                return []
            first = self._log.position + 1
            line, text, digest = self._line(first, stored_events, tracking, who)
            try:
                self._log.append(text, first, line.last, digest)
            except NanoError as error:
                raise OperationalError(str(error)) from error
            self._index(line)
            self._time = line.time
            for listener in self._listeners:
                listener.set()
            return list(range(first, line.last + 1))

    def of_originator(
        self, originator_id: UUID | str, gt: int | None, lte: int | None, desc: bool, limit: int | None
    ) -> list[tuple[datetime, Notification]]:
        """Its events with the times of their lines, in order of version."""
        with self._lock:
            index = self._positions.get(resource_of(originator_id), {})
            versions = sorted((v for v in index if (gt is None or v > gt) and (lte is None or v <= lte)), reverse=desc)
            positions = [index[version] for version in islice(versions, limit)]
        found = self._at(positions)
        return [found[position] for position in positions]

    def notifications(self, first: int, last: int | None, limit: int, topics: Sequence[str]) -> list[Notification]:
        """Up to ``limit`` with first <= position <= last."""
        return list(islice(self._notifications(first, last, topics, limit), limit))

    def last_position(self) -> int | None:
        return self._log.position or None

    def tracked(self, application_name: str) -> int | None:
        return self._tracking.get(application_name)

    def listen(self, event: Event) -> None:
        """Set this event after every insert."""
        with self._lock:
            self._listeners.add(event)

    def unlisten(self, event: Event) -> None:
        with self._lock:
            self._listeners.discard(event)

    def close(self) -> None:
        with self._lock:
            self._log.close()

    def _check(self, stored_events: Sequence[StoredEvent], tracking: Tracking | None) -> None:
        added: dict[str, int] = {}
        seen = set()
        for stored in stored_events:
            resource = resource_of(stored.originator_id)
            key = (resource, stored.originator_version)
            if stored.originator_version in self._positions.get(resource, ()) or key in seen:
                raise IntegrityError(f"{resource} has a version {stored.originator_version} already.")
            seen.add(key)
            added[resource] = added.get(resource, self._counts.get(resource, 0)) + 1
            if is_native(stored) and stored.originator_version != added[resource]:
                raise IntegrityError(f"The next version of {resource} is {added[resource]}.")
        if tracking is not None and tracking.notification_id <= (self._tracking.get(tracking.application_name) or 0):
            raise IntegrityError(f"{tracking.application_name} was tracked up to {tracking.notification_id} already.")

    def _line(
        self, first: int, stored_events: Sequence[StoredEvent], tracking: Tracking | None, who: dict[str, str]
    ) -> tuple[Line[Any], bytes, bytes]:
        counts: dict[str, int] = {}
        entries = []
        for stored in stored_events:
            resource = resource_of(stored.originator_id)
            counts[resource] = counts.get(resource, self._counts.get(resource, 0)) + 1
            entries.append(entry_of(stored, counts[resource]))
        body = Body(
            first,
            format_time(max(self._clock(), self._time)),
            self._log.epoch,
            who.get("actor", ACTOR),
            who.get("command_id", ""),
            who.get("cause", ""),
            "",
            tuple(entries),
            Tracked(tracking.application_name, tracking.notification_id) if tracking is not None else None,
        )
        text, digest = encode_line(self._log.hash, body)
        try:
            return self._decoder.decode(text), text, digest
        except msgspec.DecodeError as error:
            raise JournalError(f"The line would not read back: {error}.", code="event_unreadable") from error

    def _index(self, line: Line[Any]) -> None:
        for number, entry in enumerate(line.events):
            self._positions.setdefault(entry.resource, {})[version_of(entry)] = line.position + number
            self._counts[entry.resource] = entry.version
        if line.tracking is not None:
            self._tracking[line.tracking.upstream] = line.tracking.position

    def _at(self, positions: list[int]) -> dict[int, tuple[datetime, Notification]]:
        """The events at these positions; those that lie close together are read together."""
        found: dict[int, tuple[datetime, Notification]] = {}
        wanted = set(positions)
        for position in sorted(wanted):
            if position not in found:
                lines = next(self._blocks(position, SMALL_READ_BYTES))
                found |= {one.id: (at, one) for at, one in _unpacked(lines) if one.id in wanted}
        return found

    def _blocks(self, first: int, read_bytes: int) -> Iterator[list[Line[Any]]]:
        return self._log.lines(self._decoder, first - 1, read_bytes=read_bytes)

    def _notifications(self, first: int, last: int | None, topics: Sequence[str], limit: int) -> Iterator[Notification]:
        for lines in self._blocks(first, SMALL_READ_BYTES if limit <= 100 else 16 * SMALL_READ_BYTES):
            for _, one in _unpacked(lines):
                if last is not None and one.id > last:
                    return
                if one.id >= first and (not topics or one.topic in topics):
                    yield one


def _unpacked(lines: list[Line[Any]]) -> Iterator[tuple[datetime, Notification]]:
    for line in lines:
        for number, entry in enumerate(line.events):
            yield line.time, notification_of(line.position + number, entry)
