"""``export``: an incident bundle of a journal or of a slice of it, as it is or redacted (``bundle``, ``redaction``).

The log is read twice, or three times for a redacted one: for the state before a slice, for names, and for the lines, which are
streamed into the file. A live node may go on: what the first reading found last is where the bundle ends. The file gets
its name when it is whole and was opened and checked as one that somebody sent.
"""

import os
import secrets
import zipfile
from argparse import Namespace
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import datetime
from hashlib import sha256
from itertools import groupby
from pathlib import Path
from typing import Any, Final, NamedTuple

import msgspec

import nano
from nano.domain.errors import Invalid
from nano.domain.naming import format_size
from nano.domain.schema import describe
from nano.journal.archive import text_size
from nano.journal.line import NO_HASH, Body, Entry, Line, Tracked, encode_line, format_time, line_decoder
from nano.journal.segments import SegmentScan, damaged, decode_block, list_segments, seal_path, segment_path
from nano.tools.display import plain, words
from nano.tools.display.card import print_fields
from nano.tools.display.terminal import Terminal
from nano.tools.display.text import Text
from nano.tools.replay.bundle import FORMAT, MANIFEST, VERSION, BundledFile, Manifest, opened
from nano.tools.replay.node import Node, Start
from nano.tools.replay.redaction import Redactor, redact_raw
from nano.transports.node_files import NodeCard

KEY_BYTES_MIN: Final = 16
FIRST_DAY: Final = (1980, 1, 1, 0, 0, 0)  # of every file in the bundle, so that only what is in it makes a difference
NOTE: Final = "Names, people, addresses and paths are pseudonyms, and the chain was made again over them."


class Written(NamedTuple):
    """A line with its text and place."""

    line: "Line[msgspec.Raw]"
    text: bytes
    segment: Path


class Slice(NamedTuple):
    """``start`` is None from the beginning; ``last`` is the position of the last event."""

    start: Start | None
    last: int


def run(terminal: Terminal, node: Node, options: Namespace) -> int:
    target: Path = options.file.absolute()
    if target.exists():
        raise Invalid(f"{target} exists already.", code="file_exists", hint="Name a file that does not exist yet.")
    for made in (target, options.key.absolute() if options.key else target):
        _require_outside(made, node.folder)
    redactor = Redactor(_key(options.key)) if options.redact else None
    part = _slice(node, options.first, options.last)
    with _draft(target) as draft:
        manifest = _Export(node, part, redactor, terminal.now()).write(draft)
        with opened(draft):
            pass  # as whoever gets it will
    if node.kind == "frontend" and redactor is None:
        terminal.note(
            "It holds digests of passwords and sessions, as the journal does; export --redact leaves them out."
        )
    _tell(terminal, target, manifest, options.output)
    return 0


def _require_outside(made: Path, source: Path) -> None:
    """Raises Invalid(file_inside_source, no_folder)."""
    if made.resolve().is_relative_to(source.resolve()):
        raise Invalid(
            f"{made} lies inside {source}, which is only read.",
            code="file_inside_source",
            hint="Name a file somewhere else.",
        )
    if not made.parent.is_dir():
        raise Invalid(f"There is no folder {made.parent}.", code="no_folder", hint="Make it, or name another.")


def _tell(terminal: Terminal, target: Path, manifest: Manifest, output: str | None) -> None:
    if output == "json":
        told = msgspec.to_builtins(manifest)
        terminal.data(plain.json_line({"file": str(target), "bytes": target.stat().st_size, **told}))
        return
    terminal.write(Text(str(target), "bold"))
    fields: list[tuple[str, str | Text]] = [
        ("node", manifest.node.name + (", redacted" if manifest.redacted else "")),
        ("positions", f"{manifest.first} to {manifest.last}, {words.plural(manifest.transactions, 'transaction')}"),
        ("size", format_size(target.stat().st_size)),
        ("chain head", manifest.head),
    ]
    if manifest.redacted:
        fields.append(("in the node", manifest.original_head))
    print_fields(terminal, fields)


def _key(path: Path | None) -> bytes:
    """Of the pseudonyms: a new one, or that of a file, which is made when it is not there. Raises Invalid(weak_key)."""
    if path is None:
        return secrets.token_bytes(32)
    if not path.exists():
        handle = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
        with os.fdopen(handle, "w") as file:
            file.write(secrets.token_hex(32) + "\n")
    key = path.read_bytes().strip()
    if len(key) < KEY_BYTES_MIN:
        raise Invalid(
            f"{path} holds no good key.", code="weak_key", hint="Name a file that does not exist: it is made."
        )
    return key


def _slice(node: Node, first: int | None, last: int | None) -> Slice:
    """Whole transactions from the one with ``first`` to the one with ``last``. Raises Invalid(invalid_slice)."""
    if first is not None and last is not None and first > last:
        raise Invalid(
            f"Position {first} comes after {last}.", code="invalid_slice", hint="Write --from the smaller of the two."
        )
    folded, reader = node.begin(), node.reader(typed=first is not None)
    begins = node.begins()
    before = begins.hash.decode()
    start = node.start or (folded.start(before) if begins.position else None)
    begun = first is None
    for line in reader.lines():
        if first is not None and line.last < first:
            for number in range(len(line.events)):
                folded.take(line, number, (reader.path, reader.offset))
            before = line.hash
        elif not begun:
            begun = True
            start = folded.start(before) if line.position > 1 else None
        if last is not None and line.last >= last:
            break
    begin = start.position if start else 0
    if reader.position <= begin or (first is not None and first > reader.position):
        raise Invalid(
            f"There is nothing from position {first or 1} to {last or 'the end'}.",
            code="invalid_slice",
            hint=f"This journal has positions {begins.position + 1} to {reader.position}.",
        )
    return Slice(start, reader.position)


@contextmanager
def _draft(target: Path) -> Iterator[Path]:
    draft = target.with_name(f".{target.name}.{os.getpid()}.part")
    try:
        os.close(os.open(draft, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600))
        yield draft
        draft.rename(target)
    finally:
        draft.unlink(missing_ok=True)


def written_lines(node: Node, start: Start | None, last: int) -> Iterator[Written]:
    """Lines after the start up to the one with ``last``, as text too, the chain checked. Raises JournalDamaged."""
    disk, decoder = node.disk, line_decoder()
    position, previous = node.begins()[:2]
    begin = start.position if start else 0
    for segment in list_segments(disk, node.journal / "commits"):
        if segment.first != position + 1:
            raise damaged(segment.path, 0, f"it should start at position {position + 1}")
        scan = SegmentScan(disk, segment.path, previous)
        for block in scan.blocks():
            for text, line in zip(block.lines, decode_block(decoder, block), strict=True):
                position = line.last
                if line.last > begin:
                    yield Written(line, text + b"\n", segment.path)
                if position >= last:
                    return
        previous = scan.hash


class _Export:
    def __init__(self, node: Node, part: Slice, redactor: Redactor | None, now: datetime) -> None:
        self._node = node
        self._slice = part
        self._redactor = redactor
        self._now = now
        self._files: list[BundledFile] = []

    def write(self, draft: Path) -> Manifest:
        node, start, redactor = self._node, self._slice.start, self._redactor
        if redactor is not None:
            self._learn(redactor)
        with zipfile.ZipFile(draft, "w", zipfile.ZIP_DEFLATED, compresslevel=6) as archive:
            card = NodeCard(node.kind, redactor.name(node.name) if redactor else node.name)
            self._add(archive, "node.json", iter([msgspec.json.encode(card) + b"\n"]))
            if start is not None:
                told = redact_start(redactor, start) if redactor else start
                self._add(archive, "start.json", iter([msgspec.json.encode(told) + b"\n"]))
            lines = self._lines(archive)
            if redactor is None and node.certificate.is_file():
                self._add(archive, "node.crt", iter([node.certificate.read_bytes()]))
            manifest = Manifest(
                format=FORMAT,
                version=VERSION,
                made_at=format_time(self._now),
                made_by=f"nano {nano.__version__}",
                node=card,
                schema=schema_of(node),
                first=start.position + 1 if start else 1,
                last=self._slice.last,
                transactions=lines.count,
                head=lines.head.decode(),
                original_head=lines.original,
                redacted=redactor is not None,
                note=NOTE if redactor else "",
                files=self._files,
            )
            archive.writestr(_info(MANIFEST), msgspec.json.format(msgspec.json.encode(manifest), indent=1) + b"\n")
        return manifest

    def _learn(self, redactor: Redactor) -> None:
        start = self._slice.start
        redactor.learn("", {"name": self._node.name})
        if start is not None:
            for resource, state in start.states.items():
                redactor.learn(resource, msgspec.json.decode(state))
        for line, _, _ in written_lines(self._node, start, self._slice.last):
            redactor.learn_actor(line.actor)
            for entry in line.events:
                redactor.learn(entry.resource, msgspec.json.decode(entry.event))

    def _lines(self, archive: zipfile.ZipFile) -> "_Chain":
        """The log, in the segments it has; one that is whole and as it was keeps its seal."""
        start = self._slice.start
        chain = _Chain(start.hash.encode() if start else NO_HASH, self._redactor)
        lines = written_lines(self._node, start, self._slice.last)
        for path, of_segment in groupby(lines, lambda written: written.segment):
            first = start.position + 1 if start and not chain.count else int(path.name.partition(".")[0])
            size = self._add(archive, f"commits/{segment_path(Path(), first).name}", map(chain.text, of_segment))
            seal = seal_path(path)
            if self._redactor is None and seal.is_file() and size == text_size(self._node.disk, path):
                self._add(archive, f"commits/{seal.name}", iter([seal.read_bytes()]))
        return chain

    def _add(self, archive: zipfile.ZipFile, name: str, pieces: Iterator[bytes]) -> int:
        digest, size = sha256(), 0
        with archive.open(_info(name), "w", force_zip64=True) as packed:
            for piece in pieces:
                digest.update(piece)
                size += len(piece)
                packed.write(piece)
        self._files.append(BundledFile(name, size, digest.hexdigest()))
        return size


def _info(name: str) -> zipfile.ZipInfo:
    info = zipfile.ZipInfo(name, FIRST_DAY)
    info.compress_type = zipfile.ZIP_DEFLATED
    info.external_attr = 0o600 << 16
    return info


class _Chain:
    """Lines on their way into the bundle. A redacted line is written again and follows the redacted one before it."""

    def __init__(self, head: bytes, redactor: Redactor | None) -> None:
        self.head = head
        self.original = head.decode()
        self.count = 0
        self._redactor = redactor

    def text(self, written: Written) -> bytes:
        self.count += 1
        self.original = written.line.hash
        if self._redactor is None:
            self.head = written.line.hash.encode()
            return written.text
        text, self.head = encode_line(self.head, redact_line(self._redactor, written.line))
        return text


def redact_line(redactor: Redactor, line: "Line[msgspec.Raw]") -> Body:
    # without its mark: the lines of the other node are other ones in a bundle as well
    tracking = line.tracking and Tracked(redactor.resource(line.tracking.upstream), line.tracking.position)
    return Body(
        position=line.position,
        time=format_time(line.time),
        epoch=line.epoch,
        actor=redactor.name(line.actor),
        command=redactor.command(line.command),
        cause=redactor.cause(line.cause),
        digest=redactor.digest(line.digest),
        events=tuple(
            Entry(redactor.resource(entry.resource), entry.version, redact_raw(redactor, entry.event))
            for entry in line.events
        ),
        tracking=tracking,
    )


def redact_start(redactor: Redactor, start: Start) -> Start:
    return msgspec.structs.replace(
        start,
        states={redactor.resource(resource): redact_raw(redactor, state) for resource, state in start.states.items()},
        versions={redactor.resource(resource): version for resource, version in start.versions.items()},
    )


def schema_of(node: Node) -> str:
    """A digest of every event this version knows for such a node, with its fields."""
    schema: dict[str, Any] = describe(node.model().rules)
    return sha256(msgspec.json.encode(schema, order="sorted")).hexdigest()[:16]
