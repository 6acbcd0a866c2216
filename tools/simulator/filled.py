"""A Core's journal of any size, filled in seconds: for measurements and tests of what happens after long use.

Every line comes from the same decisions that live commands take, and is folded as it reads back; only the waiting for
syncs is left out, by appending thousands of lines at once. Nothing in a node uses this module.
"""

import threading
import time
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any, Final

import msgspec

from nano.domain import guest_commands as gc
from nano.domain.cell import AddCell, DescribeCell, MeetCell
from nano.domain.facts import Command, Context, kind_of
from nano.domain.guest import Guest
from nano.domain.guest_hold import EndWork
from nano.domain.host_domain import DomainAgentChanged, DomainCreated, DomainPowerChanged
from nano.domain.machine import MEBI
from nano.domain.report import RecordReport, Reported, ReportedFact
from nano.domain.zone import FoundZone, Zone
from nano.journal.archive_schedule import ArchiveSettings
from nano.journal.archiving import archive_segments
from nano.journal.commit_log import CommitLog
from nano.journal.disk import append_all, replace_file
from nano.journal.folded import Folded
from nano.journal.line import Body, RawLine, encode_line, format_time, line_decoder
from nano.journal.mark import Mark, mark_text
from nano.journal.receipts import Receipts, receipts_key
from nano.journal.resource_files import derive, resource_path
from nano.journal.segments import Signer
from nano.journal.snapshots import Snapshots, SnapshotSettings
from nano.journal.workers import THREADS
from nano.tools.simulator.bed import numbered_ids

BATCH: Final = 5_000  # lines appended at once
STEP: Final = timedelta(milliseconds=20)
MANY: Final = ("guest", "task")  # kinds whose journals are left empty
_raw: Final = msgspec.json.Decoder(RawLine)


class FilledJournal:
    """Use it in this order: made, ``fill``, ``close``; ``snapshot`` where wanted, or one each time that so many events came,
    as on a node. ``node`` is the node's folder."""

    def __init__(
        self, node: Path, *, guests: int, cells: int, snapshots_every: int = 0, signer: Signer | None = None
    ) -> None:
        self._snapshots_every, self._snapshot_at = snapshots_every, 0
        self.zone = Zone()
        self.stall_ms = 0.0
        self._log = CommitLog(node / "data" / "journal", clock=lambda: datetime.now(UTC), signer=signer)
        self._decoder = line_decoder(self.zone.rules.event_types())
        self._folded = Folded(self.zone)
        self._new_id = numbered_ids(1)
        self._at = datetime(2026, 1, 1, tzinfo=UTC)
        self._lines: list[bytes] = []
        self._rows: dict[str, list[bytes]] = {}
        self._first = self._position = self._number = 0
        self._log.open()
        for _ in self._log.replay(self._decoder):
            raise AssertionError("the journal is new")
        self._folded.receipts = Receipts(receipts_key(self._log.disk, node / "data"))
        self._hash = self._log.hash
        self._found(guests, cells)

    def _found(self, guests: int, cells: int) -> None:
        self._do(FoundZone())
        for index in range(cells):
            name = f"cell{index}"
            self._do(MeetCell(name=name, fingerprint=f"f{index}", address="10.0.0.1:1"))
            self._do(AddCell(cell=name))
            described: dict[str, Any] = {"virt_type": "qemu", "virt_note": "", "hypervisor": "libvirt"}
            self._do(DescribeCell(name=name, cores=64, memory=1 << 40, disk=1 << 44, **described))
        for index in range(guests):
            cell = f"cell{index % cells}"
            self._do(gc.CreateGuest(name=f"g{index:05d}", memory=128 * MEBI, disks=(64 * MEBI,), cell=cell))
            guest = self.zone.find_guest(f"g{index:05d}")
            self._report(guest, DomainCreated())
            self._do(gc.EndCreate(guest.task))

    def fill(self, events: int) -> int:
        """Guests start and stop until there are so many events, where there are fewer; how many there are."""
        while self._position < events:
            for guest in list(self.zone.guests()):
                power = "stopped" if guest.power == "running" else "running"
                changed = DomainPowerChanged(power, "bench")  # type: ignore[arg-type]
                self._report(guest, changed)
                if self._position >= events:
                    break
        self._flush()
        return self._position

    def live(self, events: int) -> int:
        """Guests are ordered to start, answer, have their console opened, are ordered to stop or stop by themselves, until
        there are so many events; how many there are. As in a real zone, most lines come of tasks."""
        while self._position < events:
            for guest in list(self.zone.guests()):
                self._one_life(guest)
                if self._position >= events:
                    break
        self._flush()
        return self._position

    def _one_life(self, guest: Guest) -> None:
        self._ordered(guest, gc.StartGuest(guest=guest.id), DomainPowerChanged("running", "on order"))
        self._report(guest, DomainAgentChanged(connected=True, addresses=("192.168.10.17",)))
        if self._number % 2:
            self._do(gc.OpenConsole(guest=guest.id))
            self._ordered(guest, gc.StopGuest(guest=guest.id), DomainPowerChanged("stopped", "on order"))
        else:
            self._report(guest, DomainPowerChanged("stopped", "by itself"))

    def _ordered(self, guest: Guest, order: gc.StartGuest | gc.StopGuest, outcome: DomainPowerChanged) -> None:
        self._do(order)
        self._report(guest, outcome)
        self._do(EndWork(self.zone.find_guest(guest.id).task))

    def _report(self, guest: Guest, event: Reported) -> None:
        self._do(RecordReport(cell=guest.cell, facts=(ReportedFact(guest.id, event),)))

    def snapshot(self) -> tuple[float, float]:
        """(ms to copy, s to write); ``stall_ms`` is how long another thread had to wait for its turn at most."""
        began = time.perf_counter()
        capture = self._folded.capture(self._position, self._hash)
        copied = time.perf_counter()
        ended = threading.Event()
        watch = threading.Thread(target=self._watch, args=(ended,))
        watch.start()
        trouble = Snapshots(self._log, self.zone, SnapshotSettings(), THREADS).write(capture)
        ended.set()
        watch.join()
        assert not trouble, trouble
        return (copied - began) * 1e3, time.perf_counter() - copied

    def close(self) -> None:
        """As a node leaves it, but for the journals of guests and tasks: they are there, and empty. No start reads them; those
        that a start writes to are whole."""
        resources, disk = self._log.folder / "resources", self._log.disk
        for kind in {kind_of(resource) for resource in self._folded.versions}:
            disk.make_folder(resources / kind)
        for resource in self._folded.versions:
            handle = disk.open(resource_path(resources, resource), create=True)
            append_all(disk, handle, b"".join(self._rows.get(resource, ())))
            disk.close(handle)
        mark = Mark(self._position, self._position, disk.boot_id())
        replace_file(disk, resources / ".mark", mark_text(mark))
        self._log.close()
        archive_segments(disk, self._log.folder / "commits", ArchiveSettings().plain_segments)

    def _watch(self, ended: threading.Event) -> None:
        while not ended.is_set():
            before = time.perf_counter()
            ended.wait(0.001)
            self.stall_ms = max(self.stall_ms, (time.perf_counter() - before) * 1e3 - 1)

    def _do(self, command: Command) -> None:
        self._at += STEP
        self._number += 1
        name = f"bench-{self._number}"
        emitted = self.zone.decide(command, Context(self._at, "bench", name, self._new_id, ""))
        entries = self._folded.address(emitted)
        digest = f"{self._number:016x}"
        body = Body(self._position + 1, format_time(self._at), self._log.epoch, "bench", name, "", digest, entries)
        text, self._hash = encode_line(self._hash, body)
        line = self._decoder.decode(text)
        self._folded.apply(line)
        if any(kind_of(entry.resource) not in MANY for entry in line.events):
            for resource, rows in derive([_raw.decode(text)]).items():
                if kind_of(resource) not in MANY:
                    self._rows.setdefault(resource, []).extend(rows.texts)
        if not self._lines:
            self._first = line.position
        self._lines.append(text)
        self._position = line.last
        if len(self._lines) >= BATCH:
            self._flush()

    def _flush(self) -> None:
        if self._lines:
            self._log.append(b"".join(self._lines), self._first, self._position, self._hash)
            self._lines.clear()
        if self._snapshots_every and self._position - self._snapshot_at >= self._snapshots_every:
            self._snapshot_at = self._position
            self.snapshot()
