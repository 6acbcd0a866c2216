"""Making a node's folder out of a journal that is only read: verified line by line, whole or not there at all.

Everything is written into a folder beside the wanted one, which takes the name when all of it is durable and was read
back. What is copied is the commit log with its seals, the node's card and its certificate; secrets (keys, receipts)
and settings are not.
"""

import os
import shutil
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from datetime import datetime
from pathlib import Path

import msgspec

from nano.domain.errors import DiskFull, Failure, Invalid, JournalDamaged
from nano.journal.archive import text_size
from nano.journal.disk import Disk, RealDisk, append_all
from nano.journal.horizon import copy_horizon
from nano.journal.line import line_decoder
from nano.journal.owner import journal_id, write_owner
from nano.journal.resource_journals import rebuild_resource_journals
from nano.journal.segments import Block, SegmentScan, damaged, decode_block, list_segments, seal_path, segment_path
from nano.journal.verify import Progress, Report, no_progress, verify
from nano.tools.replay.checking import certificate_check
from nano.tools.replay.node import Node, is_resource
from nano.transports.node_files import NodeCard

_DECODER = line_decoder()


@contextmanager
def new_folder(into: Path, source: Path) -> Iterator[Path]:
    """A folder to fill, which becomes ``into`` when the block ends well and is gone when it does not. Raises
    Invalid(folder_not_empty, folder_inside_source) before anything is written."""
    if into.exists() and (not into.is_dir() or any(into.iterdir())):
        raise Invalid(
            f"{into} is not empty, and nothing is ever written over a journal.",
            code="folder_not_empty",
            hint="Name a folder that does not exist yet.",
        )
    if into.resolve().is_relative_to(source.resolve()):
        raise Invalid(
            f"{into} lies inside {source}, which is only read.",
            code="folder_inside_source",
            hint="Name a folder somewhere else.",
        )
    into.parent.mkdir(parents=True, exist_ok=True)
    draft = into.with_name(f".{into.name}.{os.getpid()}.part")
    try:
        draft.mkdir(mode=0o700)
        yield draft
        if into.exists():
            into.rmdir()
        draft.rename(into)
        RealDisk().sync_folder(into.parent)
    except OSError as error:
        if error.errno in (28, 122):  # ENOSPC, EDQUOT
            raise DiskFull(f"{into} could not be written: {error.strerror}.", hint="Free some space.") from error
        if isinstance(error, PermissionError):
            raise
        raise Failure(
            f"{into} could not be written: {error.strerror or error}.",
            code="folder_not_written",
            hint="Name a folder in which this user may write.",
        ) from error
    finally:
        shutil.rmtree(draft, ignore_errors=True)


def make_node(node: Node, folder: Path, clock: Callable[[], datetime], progress: Progress = no_progress) -> Report:
    """Fill ``folder`` from the node's journal: copied, derived, then read back and verified. Raises
    JournalDamaged when either is not what it must be."""
    disk = RealDisk()
    journal = folder / "data" / "journal"
    copy_log(node.disk, node.journal / "commits", journal / "commits", progress)
    card = msgspec.json.encode(NodeCard(node.kind, node.name)) + b"\n"
    (folder / "data" / "node.json").write_bytes(card)
    if node.certificate.is_file():
        (folder / "config").mkdir(mode=0o700)
        shutil.copyfile(node.certificate, folder / "config" / "node.crt")
    rebuild_resource_journals(
        journal, clock=clock, disk=_SyncedLater(), moved=lambda done, total: progress("resource journals", done, total)
    )
    write_owner(disk, journal, journal_id(disk, journal / "commits") or "", None)
    os.sync()  # once for them all: one by one takes a millisecond for each of perhaps 100,000 files
    check = certificate_check(folder / "config" / "node.crt")
    report = verify(
        journal,
        disk=disk,
        check_signature=check,
        progress=lambda part, done, total: progress(f"{part}, read back", done, total),
    )
    if report.damage is not None:
        raise JournalDamaged(
            report.damage.message, hint=report.damage.hint, file=report.damage.file, byte=report.damage.byte
        )
    return report


class _SyncedLater(RealDisk):
    """For files that are nobody's yet and are made durable together before they become somebody's."""

    def fdatasync(self, handle: int) -> None:  # noqa: ARG002 (the port's name)
        return


def copy_log(origin: Disk, source: Path, target: Path, progress: Progress = no_progress) -> None:
    """Copy every whole line, checking the chain; a line that is still being written is left out. ``origin`` has the source."""
    disk = RealDisk()
    disk.make_folder(target)
    previous = copy_horizon(origin, source, disk, target).hash
    segments = list_segments(origin, source)
    total, done = sum(text_size(origin, segment.path) for segment in segments), 0
    for number, segment in enumerate(segments):
        scan = SegmentScan(origin, segment.path, previous)
        handle = disk.open(segment_path(target, segment.first), create=True)
        try:
            for block in scan.blocks():
                _require_names(block)
                append_all(disk, handle, block.data)
                done += len(block.data)
                progress("log", done, total)
            disk.fdatasync(handle)
        finally:
            disk.close(handle)
        previous = scan.hash
        if number < len(segments) - 1:
            if scan.torn:
                raise damaged(segment.path, scan.end, "the last line is cut short, and a newer segment exists")
            seal = seal_path(segment.path)
            if seal.is_file():
                shutil.copyfile(seal, target / seal.name)
    disk.sync_folder(target)


def _require_names(block: Block) -> None:
    """Names become paths, so one that is no resource's must never come so far, whatever the chain says."""
    for number, line in enumerate(decode_block(_DECODER, block)):
        for entry in line.events:
            if not is_resource(entry.resource):
                odd = f"{entry.resource[:80]!r} is no name of a resource"
                raise damaged(block.path, block.offset_of(number), odd)
