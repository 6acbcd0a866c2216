"""Snapshots of what a log folds to, ``snapshots/<position>.json.zst``, so that a start reads the newest and the tail only.

When it is time, everything is copied on the event loop (dictionaries only: states are frozen) at the end of what is staged,
and written elsewhere once that position is durable. A snapshot counts when it was written under another name, synced, read
back, compared with what was copied, renamed, and its folder synced. The last few are kept.

Invariant: a snapshot only ever saves time. One that is damaged, of another format or code, not of this journal, or newer
than the log is passed over with one notice; without any, a start reads the log from the beginning. Trouble in writing one
(a full disk) is logged, shown in ``trouble`` and tried again later; it never harms the log.

It does not decide what a start does with one: ``ledger`` does.
"""

import contextlib
import logging
import re
from collections.abc import Callable
from datetime import datetime
from functools import cached_property
from pathlib import Path
from typing import Final

import msgspec

from nano.domain.facts import Model
from nano.journal.anchor import Anchor, NoAnchor
from nano.journal.disk import Disk, append_all
from nano.journal.folded import Capture
from nano.journal.horizon import read_base, read_horizon
from nano.journal.log import Log
from nano.journal.segments import damaged
from nano.journal.snapshot_text import Share, SnapshotText, Unusable
from nano.journal.workers import Workers, Writer

log = logging.getLogger("nano.journal")

NAME: Final = re.compile(r"(\d{16})\.json\.zst")
APPEND_BYTES: Final = 64 << 10


class SnapshotSettings(msgspec.Struct, frozen=True, kw_only=True):
    """``every_events``: after so many events one is taken (0 = never); ``at_stop_events``: at a graceful stop when that many
    came since the last; ``retry_events``: after one that failed; ``keep``: how many are kept."""

    every_events: int = 100_000
    at_stop_events: int = 20_000
    retry_events: int = 10_000
    keep: int = 12


SNAPSHOTS: Final = SnapshotSettings()


class Snapshots:
    """Those of one open log. ``position`` and ``time`` are of the last fact in the newest that counts; ``trouble`` says why
    the last try failed."""

    def __init__(self, commit_log: Log, model: Model, settings: SnapshotSettings, workers: Workers) -> None:
        self.folder = commit_log.folder / "snapshots"
        self.position = 0
        self.time: datetime | None = None
        self.trouble = ""
        self._log = commit_log
        self._model = model
        self._settings = settings
        self._workers = workers
        self._due = settings.every_events
        self._held: Capture | None = None  # copied, not durable yet
        self._writing = False
        self._writer: Writer[Capture] | None = None

    @property
    def possible(self) -> bool:
        return bool(self._settings.every_events and self._model.rules.states)

    # ------------------------------------------------------------------ at a start

    def newest(
        self, *, up_to: int | None = None, above: int = 0, share: Share | None = None
    ) -> tuple[Capture, Anchor] | None:
        """The newest that can be used, else the base, and where the log goes on after it. Raises JournalDamaged, OSError when
        the log has a horizon, and can't be read without its base.

        ``up_to`` a position; only those ``above`` another are looked at. ``share`` see ``SnapshotText.read``.
        """
        begins = self._log.begins.position
        found = list_snapshots(self._log.disk, self.folder) if self.possible else []
        for position, path in reversed(found):
            if position <= max(above, begins):
                break
            if up_to is not None and position > up_to:
                continue
            try:
                capture = self._text.read(self._log.disk.read(path), share)
                if capture.position != position:
                    raise Unusable(f"it is one of position {capture.position}")
                anchor = self._log.anchor(position, capture.hash)
                if (anchor.time, anchor.epoch) != (capture.time, capture.epoch):
                    raise Unusable("its time or epoch is not that of the log")
            except (Unusable, NoAnchor, OSError) as reason:
                self.passed_over(path, reason)
                continue
            return capture, anchor
        if begins > above and (up_to is None or begins <= up_to) and (base := self.base(share)) is not None:
            return base, self._log.anchor(base.position, base.hash)
        return None

    def base(self, share: Share | None = None) -> Capture | None:
        """What was true at the horizon; None for a log that is all there. Raises JournalDamaged, OSError."""
        disk, commits = self._log.disk, self._log.folder / "commits"
        horizon = read_horizon(disk, commits) if self._log.begins.position else None
        if horizon is None:
            return None
        try:
            base = SnapshotText(self._model, any_code=True).read(read_base(disk, commits, horizon), share)
        except Unusable as error:
            raise damaged(
                horizon.base_paths(self._log.folder)[0], 0, f"it was made by {horizon.made_by}: {error}"
            ) from error
        if (base.position, base.hash.decode()) != (horizon.position, horizon.hash):
            raise damaged(horizon.base_paths(self._log.folder)[0], 0, f"it is one of position {base.position}")
        return base

    def passed_over(self, path: Path, reason: Exception) -> None:
        log.warning("journal.snapshot_ignored file=%s reason=%s", path.name, reason)

    def path(self, position: int) -> Path:
        return self.folder / f"{position:016d}.json.zst"

    def begin(self, newest: Capture) -> None:
        """It counts from here on: a start has used it, or it was written."""
        self.position, self.time = newest.position, newest.time
        self._due = newest.position + self._settings.every_events

    # ------------------------------------------------------------------ while running, on the event loop

    def moved(self, durable: int, capture: Callable[[], Capture]) -> None:
        """``durable`` is on disk; take a snapshot if it is time."""
        if self._held is None:
            if durable < self._due or self._writing or not self.possible:
                return
            self._held = capture()
        if self._held.position <= durable:
            if self._writer is None:
                self._writer = self._workers.writer(self.write, self._written)
            self._writing = True
            self._writer.put(self._held)
            self._held = None

    def undone(self) -> None:
        """What was staged did not become durable."""
        self._held = None

    async def close(self, last: Callable[[], Capture] | None) -> None:
        """End, after a last one where it is worth it. ``last`` is None when the log can't be trusted any more."""
        writer, self._writer = self._writer, None
        if writer is not None:
            await self._workers.run(writer.close)
        since = self._log.position - self.position
        if last is not None and self.possible and since >= max(1, self._settings.at_stop_events):
            capture = last()
            self._written(capture, await self._workers.run(self.write, capture))

    def _written(self, capture: Capture, trouble: str) -> None:
        self._writing = False
        self.trouble = trouble
        if trouble:
            self._due = capture.position + self._settings.retry_events
            log.warning("journal.snapshot_failed position=%d reason=%s", capture.position, trouble)
        else:
            self.begin(capture)
            log.info("journal.snapshot_written position=%d", capture.position)

    # ------------------------------------------------------------------ the files, off the event loop

    def write(self, capture: Capture) -> str:
        """Write one and forget those too many. Returns why it did not work out, or nothing. Never raises."""
        draft = self.folder / f"{self.path(capture.position).name}.new"
        disk = self._log.disk
        try:
            disk.make_folder(self.folder)
            self._remove_drafts()
            self._write(draft, capture)
            self._text.check(disk.read(draft), capture)
            self._log.anchor(capture.position, capture.hash, check_older=False)
            disk.rename(draft, self.path(capture.position))
            disk.sync_folder(self.folder)
            for _, path in list_snapshots(disk, self.folder)[: -max(1, self._settings.keep)]:
                disk.remove(path)
        except Exception as error:  # noqa: BLE001 (a snapshot only saves time: told, and tried again later)
            with contextlib.suppress(OSError):
                self._remove_drafts()
            return f"{type(error).__name__}: {error}"
        return ""

    def _write(self, draft: Path, capture: Capture) -> None:
        disk = self._log.disk
        handle = disk.open(draft, create=True)
        try:
            held = bytearray()
            for piece in self._text.write(capture):
                held += piece
                if len(held) >= APPEND_BYTES:
                    append_all(disk, handle, bytes(held))
                    held.clear()
            append_all(disk, handle, bytes(held))
            disk.fdatasync(handle)
        finally:
            disk.close(handle)

    def _remove_drafts(self) -> None:
        """Of a try that was cut short."""
        for name in self._log.disk.list(self.folder):
            if name.endswith(".new"):
                self._log.disk.remove(self.folder / name)

    @cached_property
    def _text(self) -> SnapshotText:
        return SnapshotText(self._model)


def list_snapshots(disk: Disk, folder: Path) -> list[tuple[int, Path]]:
    """(position, file) of every snapshot in a folder, oldest first; nothing is said about what is in them."""
    names = ((NAME.fullmatch(name), name) for name in disk.list(folder))
    return sorted((int(match[1]), folder / name) for match, name in names if match)
