"""Keeps the resource journals beside the commit log: one thread that follows the log's durable end.

The thread reads what became durable back from the log, in stretches, and appends each resource's rows to its file;
so it holds nothing in memory, never slows a commit, and catching up after a restart is the same work as keeping up.
It looks again LAG_S after a stretch, or at once when somebody waits (``flush``).

Invariant: every file is a prefix of what the log says about its resource. ``resources/.mark`` says up to which
position everything is written, and up to which it is also synced. After a crash of the process the first counts. After
a crash of the machine (another boot id) the second: what files say beyond it may have holes, and is cut and written
again; so it is after a sync that failed, because the kernel may call pages clean then that it has not written. Before a
file is first added to, its end is looked at; one that does not fit (torn, shorter, or gone) is cut or made anew. One
that is gone is also made anew at a start. Trouble here never harms the commit log: it is logged and tried again.

The mark's file is not synced as it moves, so a loss of power may bring back any older one. That is harmless, because
what an older one calls synced is synced; before that stops being so, the claim is withdrawn durably (``_withdraw``).
"""

import contextlib
import logging
import threading
from collections.abc import Callable, Mapping
from datetime import datetime
from pathlib import Path
from typing import Final

import msgspec

from nano.journal.commit_log import CommitLog
from nano.journal.disk import Disk, append_all, replace_file
from nano.journal.horizon import read_base, read_horizon
from nano.journal.line import RawLine, line_decoder
from nano.journal.log import Log
from nano.journal.mark import Mark, mark_text, read_mark
from nano.journal.resource_files import Rows, derive, end_of, read_tail, resource_path, trim
from nano.journal.snapshot_text import versions_in

log = logging.getLogger("nano.journal")

LAG_S: Final = 0.5
"""Longest wait between two stretches. Under load it decides how many rows share one opening of a file (measured with 1,000
counters counted at once: 36,000 commands/s at 0.05 s, 41,000 at 0.25 s, 50,000 without resource journals)."""
IDLE_S: Final = 2.0
CHECKED_MAX: Final = 10_000
"""Files whose end is known to be right; beyond it they are looked at once more."""
STRETCH_BYTES: Final = 4 << 20
REBUILD_BYTES: Final = 128 << 20
"""Rows that are held before they are written, when all is made anew: each file is opened a few times, not once a stretch."""
SYNC_AT_CLOSE_MAX: Final = 2_000
"""Files synced when stopping; more are left to the next start's check (only after a crash of the machine)."""
SYNC_AT_REST_MAX: Final = 200
"""Files synced at once when nothing came for IDLE_S, so that a command that comes then does not wait long."""


class ResourceJournals:
    """``start`` it on an open log, call ``moved`` after every durable batch, ``close`` it before the log."""

    def __init__(self, commit_log: Log, *, lag_s: float = LAG_S) -> None:
        self.folder = commit_log.folder / "resources"
        self.written = 0
        self._log = commit_log
        self._disk = commit_log.disk
        self._lag_s = lag_s
        self._decoder = msgspec.json.Decoder(RawLine)
        self._synced = 0
        self._boot = ""
        self._unsynced: set[str] = set()
        self._kinds: set[str] = set()
        self._checked: set[str] = set()
        self._moved = threading.Event()
        self._hurry = threading.Event()
        self._stretch_done = threading.Condition()
        self._rounds = 0
        self._ready = False
        self._sync_failed = False
        self._closing = False
        self._ended = False
        self.trouble = ""
        """Why nothing could be written at the last try."""
        self._thread: threading.Thread | None = None
        self._expected: dict[str, int] = {}
        self._dropped: dict[str, int] | None = None

    def expect(self, versions: Mapping[str, int]) -> None:
        """Before ``start``: all resources that ever had an event; files of theirs that are gone are made anew."""
        self._expected = dict(versions)

    def start(self) -> None:
        self._thread = threading.Thread(target=self._run, name="nano-resource-journals", daemon=True)
        self._thread.start()

    def moved(self) -> None:
        """There is something new in the log. Cheap; may be called from any thread."""
        self._moved.set()

    def flush(self, timeout_s: float = 5.0) -> bool:
        """Wait until everything durable at this moment is written; False when that did not work out in time."""
        target = self._log.position
        with self._stretch_done:
            rounds = self._rounds
            self._hurry.set()
            self._moved.set()
            self._stretch_done.wait_for(lambda: self.written >= target or self._rounds > rounds + 1, timeout_s)
        return self.written >= target

    def close(self) -> None:
        """Write what is left, sync, end the thread. Without room on the disk the rest is left to the next start."""
        self._closing = True
        self._hurry.set()
        self._moved.set()
        if self._thread is not None:
            self._thread.join()
            self._thread = None

    def rebuild(self, moved: Callable[[int, int], None] = lambda _done, _all: None) -> None:
        """Make every file anew from the log. Only while the thread does not run."""
        assert self._thread is None
        self._boot = self._disk.boot_id()
        self._disk.make_folder(self.folder)
        self._remove_all()
        held: dict[str, list[bytes]] = {}
        size = 0
        for lines in self._log.lines(self._decoder, 0, read_bytes=STRETCH_BYTES):
            for resource, rows in derive(lines).items():
                held.setdefault(resource, []).extend(rows.texts)
                size += sum(map(len, rows.texts))
            moved(lines[-1].last, self._log.position)
            if size >= REBUILD_BYTES:
                self._append_all(held)
                size = 0
        self._append_all(held)
        self.written = self._log.position
        self._sync(len(self._unsynced))

    def _append_all(self, held: dict[str, list[bytes]]) -> None:
        for resource, texts in held.items():
            self._append(resource_path(self.folder, resource), resource, b"".join(texts))
        held.clear()

    # ------------------------------------------------------------------ the thread

    def _run(self) -> None:
        while not self._ended:
            self.step()
            self._rest()

    def step(self) -> None:
        """Write what is new, once. Never raises."""
        try:
            if not self._ready:
                self._resume()
                self._ready = True
            self._follow()
            if self._expected:
                self._replace_missing()
            if self._closing:
                self._sync(SYNC_AT_CLOSE_MAX)
            self._note_trouble(None)
        except Exception as error:  # noqa: BLE001 (derived files: logged, looked at again, tried again)
            self._note_trouble(error)
            self._checked.clear()
            self._ready = False  # what was meant to be written is not: go on from what the mark says

    def _rest(self) -> None:
        """Tell whoever waits, let a stretch gather, then wait for more; sync when nothing came for a while."""
        with self._stretch_done:
            self._rounds += 1
            self._ended = self._closing
            self._stretch_done.notify_all()
        if self._ended:
            return
        self._hurry.wait(self._lag_s)
        self._hurry.clear()
        if not self._moved.wait(IDLE_S if self._unsynced or self.trouble else None) and not self.trouble:
            try:
                self._sync(SYNC_AT_REST_MAX)
            except OSError as error:
                self._note_trouble(error)
        self._moved.clear()

    def _note_trouble(self, error: Exception | None) -> None:
        """Log the first of a row of failures, and its end."""
        if error is not None and not self.trouble:
            log.warning("journal.resource_journals_behind position=%d error=%s", self.written, error)
        elif error is None and self.trouble:
            log.info("journal.resource_journals_caught_up position=%d", self.written)
        self.trouble = str(error) if error is not None else ""

    def _resume(self) -> None:
        """Decide where to go on, from the mark."""
        self._disk.make_folder(self.folder)
        self._boot = self._disk.boot_id()
        mark = read_mark(self._disk, self.folder) or Mark()
        trusted = mark.boot == self._boot and not self._sync_failed
        self.written, self._synced = mark.written, mark.synced
        if mark.begins < self._log.begins.position:
            self._trim(mark)
        if max(mark.written, mark.synced) > self._log.position:
            log.warning("journal.resource_journals_ahead position=%d mark=%d", self._log.position, mark.written)
            self._remove_all()
        elif trusted:
            for resource in self._touched(self.written):
                self._note_unsynced(resource)
        else:
            self._withdraw(self._synced)
            self.written = self._synced
            for resource in sorted(self._touched(self._log.position)):
                with contextlib.suppress(FileNotFoundError):
                    path = resource_path(self.folder, resource)
                    self._cut(path, end_of(self._disk, path, self._synced))
            self._checked.clear()
        self._sync_failed = False

    def _trim(self, mark: Mark) -> None:
        """Old segments were dropped: their rows go too. Cut short, it is done again at the next start."""
        for kind in self._disk.list(self.folder):
            if not kind.startswith("."):
                for name in self._disk.list(self.folder / kind):
                    trim(self._disk, self.folder / kind / name, self._log.begins.position)
        self._synced = 0
        self._write_mark(Mark(mark.written, 0, mark.boot, self._log.begins.position))

    def _dropped_version(self, resource: str) -> int:
        """How many events of a resource the log had before what there is of it."""
        if self._dropped is None:
            horizon = read_horizon(self._disk, self._log.folder / "commits") if self._log.begins.position else None
            base = read_base(self._disk, self._log.folder / "commits", horizon) if horizon is not None else None
            self._dropped = versions_in(base) if base is not None else {}
        return self._dropped.get(resource, 0)

    def _touched(self, up_to: int) -> set[str]:
        """Resources to whose files was added since they were last synced, up to a position."""
        found: set[str] = set()
        if self._synced < up_to:
            for lines in self._log.lines(self._decoder, self._synced, read_bytes=STRETCH_BYTES):
                found |= {entry.resource for line in lines if line.position <= up_to for entry in line.events}
                if lines[-1].last >= up_to:
                    break
        return found

    def _follow(self) -> None:
        log_ = self._log
        while self.written < log_.position:
            for lines in log_.lines(self._decoder, self.written, read_bytes=STRETCH_BYTES):
                anew = [resource for resource, rows in derive(lines).items() if not self._add(resource, rows)]
                self.written = lines[-1].last
                if anew:
                    self._make_anew(anew)
                self._write_mark()

    def _replace_missing(self) -> None:
        """Make those anew that were there once: somebody removed them."""
        there = {
            f"{kind}/{name.removesuffix('.jsonl')}"
            for kind in self._disk.list(self.folder)
            if not kind.startswith(".")
            for name in self._disk.list(self.folder / kind)
        }
        gone = [
            resource
            for resource, version in self._expected.items()
            if resource not in there and version > self._dropped_version(resource)
        ]
        if gone:
            self._make_anew(gone)
            self._write_mark()
        self._expected = {}

    def _add(self, resource: str, rows: Rows) -> bool:
        """Append the rows that are not there yet; False when the file does not fit and has to be made anew."""
        path = resource_path(self.folder, resource)
        texts = rows.texts
        if resource not in self._checked:
            if len(self._checked) >= CHECKED_MAX:
                self._checked.clear()
            self._checked.add(resource)
            tail = read_tail(self._disk, path)
            if tail is None or (tail.version or self._dropped_version(resource)) < rows.version - 1:
                return False
            if tail.version:
                texts = texts[tail.version - rows.version + 1 :]
            if tail.end < tail.size:
                self._cut(path, tail.end)
        if texts:
            self._append(path, resource, b"".join(texts))
        else:  # a process that was killed has written them, and perhaps not synced
            self._note_unsynced(resource)
        return True

    def _append(self, path: Path, resource: str, data: bytes) -> None:
        kind = resource.partition("/")[0]
        if kind not in self._kinds:
            self._disk.make_folder(path.parent)
        handle = self._disk.open(path, create=True)
        try:
            append_all(self._disk, handle, data)
        finally:
            self._disk.close(handle)
        self._note_unsynced(resource)

    def _note_unsynced(self, resource: str) -> None:
        self._unsynced.add(resource)
        self._kinds.add(resource.partition("/")[0])

    def _cut(self, path: Path, size: int) -> None:
        handle = self._disk.open(path, create=True)
        try:
            self._disk.truncate(handle, size)
        finally:
            self._disk.close(handle)

    def _make_anew(self, resources: list[str]) -> None:
        """Write these files again from the beginning of the log up to ``written``."""
        log.warning("journal.resource_journals_made_anew count=%d first=%s", len(resources), resources[0])
        wanted = set(resources)
        self._withdraw(0)  # should this be cut short, the next start looks at every file
        for resource in resources:
            path = resource_path(self.folder, resource)
            self._disk.make_folder(path.parent)
            self._cut(path, 0)
        for lines in self._log.lines(self._decoder, 0, read_bytes=STRETCH_BYTES):
            for resource, rows in derive(line for line in lines if line.last <= self.written).items():
                if resource in wanted:
                    self._append(resource_path(self.folder, resource), resource, b"".join(rows.texts))
            if lines[-1].last >= self.written:
                break

    def _remove_all(self) -> None:
        self._withdraw(0)
        self.written = 0
        self._unsynced.clear()
        for kind in self._disk.list(self.folder):
            if not kind.startswith("."):
                for name in self._disk.list(self.folder / kind):
                    self._disk.remove(self.folder / kind / name)

    # ------------------------------------------------------------------ the mark

    def _withdraw(self, position: int) -> None:
        """Claim, durably and for every process to come, no more than that rows up to here are synced."""
        mark = Mark(position, position, begins=self._log.begins.position)
        replace_file(self._disk, self.folder / ".mark", mark_text(mark))
        self._synced = position

    def _write_mark(self, mark: Mark | None = None) -> None:
        draft = self.folder / ".mark.new"
        handle = self._disk.open(draft, create=True)
        try:
            self._disk.truncate(handle, 0)
            mark = mark or Mark(self.written, self._synced, self._boot, self._log.begins.position)
            append_all(self._disk, handle, mark_text(mark))
        finally:
            self._disk.close(handle)
        self._disk.rename(draft, self.folder / ".mark")

    def _sync(self, files_max: int) -> None:
        """Make up to so many files survive a crash of the machine; with the last of them, move the mark."""
        if not self._unsynced:
            return
        for resource in sorted(self._unsynced)[:files_max]:
            handle = self._disk.open(resource_path(self.folder, resource))
            try:
                self._disk.fdatasync(handle)
            except OSError:
                self._ready, self._sync_failed = False, True
                self._write_mark(
                    Mark(self._synced, self._synced, begins=self._log.begins.position)
                )  # of no boot: the next process trusts no more either
                raise
            finally:
                self._disk.close(handle)
            self._unsynced.discard(resource)
        if not self._unsynced:
            for kind in self._kinds:
                self._disk.sync_folder(self.folder / kind)
            self._disk.sync_folder(self.folder)
            self._synced = self.written
            self._write_mark()


def rebuild_resource_journals(
    folder: Path,
    *,
    clock: Callable[[], datetime],
    disk: Disk | None = None,
    moved: Callable[[int, int], None] = lambda _done, _all: None,
) -> int:
    """Make the resource journals of a stopped node anew; its last position. ``moved`` is told up to which position they are made,
    and the last one. Raises JournalError, JournalDamaged."""
    commit_log = CommitLog(folder, clock=clock, disk=disk)
    commit_log.open()
    try:
        for _ in commit_log.replay(line_decoder()):
            pass  # only the check and the positions matter
        ResourceJournals(commit_log).rebuild(moved)
    finally:
        commit_log.close()
    return commit_log.position
