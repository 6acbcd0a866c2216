"""Retention: archived segments that are older, or more, than a node wants to keep are prepared to be dropped (``horizon``).

What they fold to is made by folding them, from the base before or from the first line, with the chain checked; so what is dropped
was whole, and the new base owes nothing to a snapshot. Anchor and base are written, synced and read back, and count from
the next opening of the log. Invariant: this removes nothing but bases that were prepared before and never begun with, and
what it writes is either whole or not looked at.

It does not know when (``archive_schedule``). A segment that is not archived yet is never dropped.
"""

import logging
from collections.abc import Callable
from datetime import datetime, timedelta
from hashlib import sha256
from pathlib import Path

import msgspec

import nano
from nano.domain.facts import Model
from nano.journal.anchor import NoAnchor, find_anchor
from nano.journal.archive import is_archive
from nano.journal.disk import Disk, replace_file
from nano.journal.folded import Capture, Folded
from nano.journal.horizon import NEXT, Horizon, Limits, base_paths, drop_bases, read_base, read_horizon
from nano.journal.owner import journal_id
from nano.journal.reader import JournalReader
from nano.journal.receipts import Receipts
from nano.journal.segments import Seal, Signer, damaged, list_segments, read_seal, seal_path
from nano.journal.small_files import with_check
from nano.journal.snapshot_text import SnapshotText, Unusable

log = logging.getLogger("nano.journal")


class Retention:
    """Of one journal. ``model`` makes an empty model of the node's kind."""

    def __init__(
        self, disk: Disk, journal: Path, model: Callable[[], Model], limits: Limits, signer: Signer | None
    ) -> None:
        self._disk = disk
        self._journal = journal
        self._commits = journal / "commits"
        self._model = model
        self._limits = limits
        self._signer = signer

    def prepare(self, now: datetime) -> int:
        """The position up to which the next start drops everything; 0 when nothing is due. Raises JournalDamaged, OSError."""
        due = self._due(now) if any(self._limits) else []
        if not due:
            return 0
        last = due[-1].last
        following = read_horizon(self._disk, self._commits, NEXT)
        if following is None or following.position < last or following.limits != self._limits:
            self._write(due)
            log.info("journal.horizon_prepared position=%d", last)
        return last

    def _due(self, now: datetime) -> list[Seal]:
        """The seals of what is to be dropped, oldest first."""
        archived = []
        for segment in list_segments(self._disk, self._commits):
            if not is_archive(segment.path):
                break
            archived.append(segment)
        sizes = [self._disk.size(segment.path) for segment in archived]
        due: list[Seal] = []
        for number, segment in enumerate(archived):
            seal = read_seal(self._disk, seal_path(segment.path))
            if seal is None or not self._is_due(seal, sum(sizes[number:]), now):
                break
            due.append(seal)
        return due

    def _is_due(self, seal: Seal, size: int, now: datetime) -> bool:
        if self._limits.size and size > self._limits.size:
            return True
        if not self._limits.days:
            return False
        try:
            last = find_anchor(self._disk, self._commits, seal.last, seal.last_hash.encode(), check_older=False)
        except NoAnchor as reason:
            raise damaged(self._commits, 0, str(reason)) from reason
        return last.time < now - timedelta(days=self._limits.days)

    # ------------------------------------------------------------------ making

    def _write(self, due: list[Seal]) -> None:
        capture = self._fold(due)
        paths = base_paths(self._journal, capture.position)
        base = b"".join(SnapshotText(self._model()).write(capture))
        self._disk.make_folder(paths[0].parent)
        for path in paths:
            replace_file(self._disk, path, base)
            self._read_back(path, capture)
        before = read_horizon(self._disk, self._commits)
        horizon = Horizon(
            position=capture.position,
            journal=journal_id(self._disk, self._commits) or "",
            hash=capture.hash.decode(),
            time=capture.time,
            epoch=capture.epoch,
            base=sha256(base).hexdigest(),
            made_by=f"nano {nano.__version__}",
            limits=self._limits,
            seals=(*(before.seals if before is not None else ()), *due),
        )
        if self._signer is not None:
            signature = self._signer.sign(horizon.signed_bytes()).hex()
            horizon = msgspec.structs.replace(horizon, key=self._signer.key_id, signature=signature)
        replace_file(self._disk, self._commits / NEXT, with_check(msgspec.json.encode(horizon)))
        drop_bases(self._disk, self._journal, *[known for known in (before, horizon) if known is not None])

    def _fold(self, due: list[Seal]) -> Capture:
        folded = Folded(self._model())
        folded.receipts = Receipts(b"")
        horizon, text = read_horizon(self._disk, self._commits), SnapshotText(folded.model, any_code=True)
        try:
            folded.begin(text.read(read_base(self._disk, self._commits, horizon)) if horizon is not None else None)
        except Unusable as error:
            raise damaged(self._commits, 0, f"its base can't be used ({error})") from error
        reader = JournalReader(self._journal, folded.model.rules.event_types(), disk=self._disk)
        for line in reader.lines():
            folded.apply(line)
            if line.last >= due[-1].last:
                break
        if (reader.position, reader.hash.decode()) != (due[-1].last, due[-1].last_hash):
            raise damaged(reader.path, reader.offset, "it does not end as its seal says")
        return folded.capture(reader.position, reader.hash)

    def _read_back(self, path: Path, capture: Capture) -> None:
        try:
            SnapshotText(self._model()).check(self._disk.read(path), capture)
        except Unusable as error:
            raise damaged(path, 0, f"it does not read back as it was written ({error})") from error
